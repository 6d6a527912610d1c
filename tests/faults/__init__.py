"""Faults of real processes under a steady load, every answer of which is accounted for (docs/reliability.md)."""
