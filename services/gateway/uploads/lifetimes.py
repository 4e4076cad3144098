"""How long sessions live, as the settings say."""

from __future__ import annotations

from datetime import timedelta

from services.gateway.config import GatewayConfig
from services.gateway.uploads.store.expiry import Lifetime


def lifetime(config: GatewayConfig) -> Lifetime:
    """Of every session of this installation."""
    return Lifetime(timedelta(seconds=config.session_ttl_s), timedelta(seconds=config.session_max_s))
