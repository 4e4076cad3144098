"""Fixtures of the tests of limits."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.gateway.harness import Uploads
from tests.integration.gateway.limits.harness import Limited
from tests.integration.gateway.serving import OPERATOR_KEY, serving, with_a_key


@pytest.fixture
async def limited(uploads: Uploads) -> AsyncIterator[Limited]:
    """The gateway with the real check of keys: as a key of a project sees it, and as the operator does."""
    async with with_a_key(uploads) as keyed, serving(uploads.dependencies, token=OPERATOR_KEY) as operator:
        yield Limited(keyed.client, keyed.dependencies, operator)
