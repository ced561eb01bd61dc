"""Comparisons that print a table and write JSON. Run one with `python -m benchmarks.<name> [--json FILE]`."""
