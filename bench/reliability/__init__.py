"""The reliability goals, measured on real processes: ``python -m bench.reliability [ROW ...]``."""
