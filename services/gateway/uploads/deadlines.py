"""Deadlines of uploads, beside those that all resources share."""

from __future__ import annotations

from datetime import timedelta

from services.gateway.config import GatewayConfig
from services.gateway.uploads.store.expiry import Lifetime

PARKED_PAUSE = timedelta(minutes=30)  # beyond the time at which the extractor tries again by itself
IDEMPOTENCY_KEY_KEPT = timedelta(hours=24)  # how long an Idempotency-Key stands for its response


def lifetime(config: GatewayConfig) -> Lifetime:
    """How long every upload of this installation lives."""
    return Lifetime(timedelta(seconds=config.session_ttl_s), timedelta(seconds=config.session_max_s))
