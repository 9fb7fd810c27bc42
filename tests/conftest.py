"""What holds for all tests."""

import os

from hypothesis import settings

# Tests share the machine with each other: a thread of torch's that has to wait for its fellows spins, and two of them
# to a test took seventeen times the processor time of one. Set before torch is loaded, here and in all programs that
# tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples on every machine, and no verdict that depends on how busy one is.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
