"""What holds for all tests."""

from hypothesis import settings

# The same examples on every machine, and no verdict that depends on how busy one is.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
