"""The tests. Generated examples are the same on every machine and in every run, so that a failure can be repeated.

``HYPOTHESIS_PROFILE=explore`` looks for new ones instead. That a machine is busy is no failure: examples may take their
time in both.
"""

import os

from hypothesis import HealthCheck, settings

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", patient, derandomize=True, database=None)
settings.register_profile("explore", patient, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
