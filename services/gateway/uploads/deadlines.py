"""Deadlines of uploads, beside those that all resources share."""

from __future__ import annotations

from datetime import timedelta

from libs.config import DAY_S
from services.gateway.config import GatewayConfig
from services.gateway.uploads.store.expiry import Lifetime

PARKED_PAUSE = timedelta(minutes=30)  # beyond the time at which the extractor tries again by itself
IDEMPOTENCY_KEY_KEPT = timedelta(hours=24)  # how long an Idempotency-Key stands for its response


def lifetime(config: GatewayConfig) -> Lifetime:
    """How long every upload of this installation lives."""
    return Lifetime(timedelta(seconds=config.session_ttl_s), timedelta(seconds=config.session_max_s))


def in_words(span: timedelta) -> str:
    """As messages say it: "7 days", "24 hours", "90 seconds"."""
    seconds = round(span.total_seconds())
    if seconds >= 2 * DAY_S:
        return f"{seconds // DAY_S} days"
    return f"{seconds // 3600} hours" if seconds >= 7200 else f"{seconds} seconds"
