"""The API of Fireworks on a gateway for one project."""

from __future__ import annotations

import pytest

from tests.integration.gateway.fireworks.calls import Fireworks
from tests.integration.gateway.harness import Uploads


@pytest.fixture
def fireworks(uploads: Uploads) -> Fireworks:
    return Fireworks(uploads)
