"""
How fast objstore is, beside other clients and beside the floor: what is possible at all.

`python -m tests.benchmarks` runs the cases and writes `results.json`;
`python -m tests.benchmarks.page` puts them into `docs/topics/performance.md`, with plots.

    cases.py      what is measured: one table
    goals.py      what has to come out: one table
    clients/      objstore, its peers, and the floor, with the same operations
    worker.py     a process that has one client in it, and measures what it does
    usage.py      CPU, memory, wake-ups, system calls and copies of a process
    rounds.py     the server, the workers, and whose turn it is
    results.py    the samples of a run, and the figures that are made of them
    report.py     figures and goals as text
    page.py       figures and goals as a page
    plots.py      figures as pictures
    experiments/  questions, each with its script and what was found
"""
