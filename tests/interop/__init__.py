"""
Buckets that several clients share: who reads what whom has written.

Clients that can be installed write and read for each other: `cases.py` says what,
`matrix.py` runs it, `exceptions.txt` explains what does not hold, and `page.py` publishes
it. What no such client writes is made by hand in `test_foreign_metas.py`.
"""
