"""The tests. Generated examples are the same on every machine and in every run, so that a failure can be repeated.

``HYPOTHESIS_PROFILE=explore`` looks for new ones instead.
"""

import os

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
