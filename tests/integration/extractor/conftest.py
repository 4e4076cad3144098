"""What the extractor's tests are given."""

from __future__ import annotations

import pytest

from libs.blobs import Blobs
from tests.integration.extractor.given import Given
from tests.support.fixtures import PoolFor, SignalsFor


@pytest.fixture
async def given(pool_for: PoolFor, signals_for: SignalsFor, blobs: Blobs) -> Given:
    """An extractor's schema, signals and bucket; no worker yet."""
    return Given(await pool_for("extractor"), await signals_for("extractor"), blobs)
