"""
Faults: what breaks, at a chosen moment, and what must still hold.

- `tiers.py`: how much of it a run does.
- `bench.py`: a bucket behind a proxy, and what is asked of it from outside afterwards.
- `operations.py`, `injections.py`: what a client does, and what is done to it.
- `grid.py`: every operation under every fault.
- `points.py`: the transport that fails at the nth frame.
- `history.py`, `linearize.py`: what clients saw, and whether that can be explained.
- `naive.py`: a client that does it as most do, to see the judges convict.
- `soak.py`: a mixed load under random faults, for long.
- `seeded.py`: deliberate bugs, each of which the tests must catch.
"""
