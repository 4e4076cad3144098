"""What the validator's tests are validator."""

from __future__ import annotations

import pytest

from libs.blobs import Blobs
from tests.integration.validator.harness import CountingStorage, Validator
from tests.support.fixtures import PoolFor, SignalsFor


@pytest.fixture
async def validator(pool_for: PoolFor, signals_for: SignalsFor, blobs: Blobs) -> Validator:
    """A validator's schema, signals and bucket; no worker yet."""
    return Validator(await pool_for("validator"), await signals_for("validator"), blobs, CountingStorage(blobs))
