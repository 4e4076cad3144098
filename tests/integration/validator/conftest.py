"""What the validator's tests are given."""

from __future__ import annotations

import pytest

from libs.blobs import Blobs
from tests.integration.validator.given import CountingStorage, Given
from tests.support.fixtures import PoolFor, SignalsFor


@pytest.fixture
async def given(pool_for: PoolFor, signals_for: SignalsFor, blobs: Blobs) -> Given:
    """A validator's schema, signals and bucket; no worker yet."""
    return Given(await pool_for("validator"), await signals_for("validator"), blobs, CountingStorage(blobs))
