"""Buckets that several clients share: who reads what whom has written."""
