"""Tests, in the order of the house: `tests/core/test_nuid.py` tests `objstore/core/nuid.py`."""
