"""Fixtures for all tests (see tests/support), and how hard properties are tried."""

import signal

import pytest
from hypothesis import settings

pytest_plugins = ["tests.support.fixtures"]

# A shell starts what runs in the background with SIGINT ignored, and children inherit that; some tests interrupt them.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadlines: a busy machine is not a failure. The same examples each time: a change that fails is to blame itself.
settings.register_profile("thorough", deadline=None, derandomize=True, max_examples=150)
settings.register_profile("quick", parent=settings.get_profile("thorough"), max_examples=15)
settings.load_profile("thorough")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--stores seaweedfs`: the S3 servers on which the tests of object storage run (`make test-stores`)."""
    parser.addoption("--stores", default="juicefs,nanio", help="S3 servers for tests/integration/blobs/test_blobs.py")
