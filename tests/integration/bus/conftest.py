"""What the tests of the bus are given."""

from __future__ import annotations

import pytest

from libs.bus import Bus, retries
from tests.integration.bus.harness import SERVICE, Harness
from tests.support.fixtures import PoolFor, SignalsFor


@pytest.fixture
async def harness(pool_for: PoolFor, signals_for: SignalsFor, bus: Bus) -> Harness:
    pool = await pool_for(SERVICE)
    await pool.execute("CREATE TABLE applied (seq serial, event_id text)")
    return Harness(bus, pool, await signals_for(SERVICE))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between deliveries that a test can wait for."""
    monkeypatch.setattr(retries, "BACKOFF_S", (0.02,))
    monkeypatch.setattr(retries, "UNAVAILABLE_BACKOFF_S", (0.02,))
    monkeypatch.setattr(retries, "AWAY_BACKOFF_S", (0.02,))
    monkeypatch.setattr(retries, "NEWER_BACKOFF_S", (0.2,))
