"""Fixtures for all tests (see tests/support), and how hard properties are tried."""

from hypothesis import settings

pytest_plugins = ["tests.support.fixtures"]

# No deadlines: a busy machine is not a failure. The same examples each time: a change that fails is to blame itself.
settings.register_profile("thorough", deadline=None, derandomize=True, max_examples=150)
settings.register_profile("quick", parent=settings.get_profile("thorough"), max_examples=15)
settings.load_profile("thorough")
