"""Experiments: each script opens with its question and what was found."""
