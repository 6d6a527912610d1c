"""Fuzzing with coverage as its guide, for as long as one likes: ``make fuzz``. What it found becomes a unit test."""
