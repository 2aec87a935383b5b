"""
What the other clients' tests assert, asserted of this one: a module for each client.

Each test bears the name of theirs and says what it is that they assert; where this client
does otherwise on purpose the test says so, and `docs/topics/differences.md` says why. What
no other client tests is in `test_beyond.py`.

Two variables of the environment choose what all this runs against:

- `NATS_SERVER_BIN`: the nats-server program, of whatever version from 2.9 on. What an older
  server cannot do is asserted to fail in the way that is documented.
- `OBJSTORE_TEST_REPLICAS=3`: buckets have three replicas, on a cluster.
"""
