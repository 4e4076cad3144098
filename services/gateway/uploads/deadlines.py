"""Deadlines of uploads: by the settings, and where handlers need them, which read none."""

from __future__ import annotations

from datetime import datetime, timedelta

from services.gateway.config import GatewayConfig
from services.gateway.uploads.store.expiry import Lifetime

# Between two questions about the same stream; the last one repeats.
PAUSES = tuple(timedelta(seconds=pause_s) for pause_s in (30, 60, 120, 300, 600, 1800))
PARKED_PAUSE = timedelta(minutes=30)  # beyond the time at which the extractor tries again by itself
IDEMPOTENCY_KEY_KEPT = timedelta(hours=24)  # how long an Idempotency-Key stands for its response


def lifetime(config: GatewayConfig) -> Lifetime:
    """How long every upload of this installation lives."""
    return Lifetime(timedelta(seconds=config.session_ttl_s), timedelta(seconds=config.session_max_s))


def ask_at(config: GatewayConfig, now: datetime) -> datetime:
    """When a service is asked again about what it is told of `now`, if it stays silent."""
    return now + timedelta(seconds=config.stale_after_s)
