"""Deadlines: the rounds of all resources, one after the other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from libs.db import Pool
from services.gateway.config import GatewayConfig
from services.gateway.resources import modules

_SWEEPERS: Final = tuple(modules("sweepers"))


async def sweep(pool: Pool, config: GatewayConfig) -> None:
    """One round over everything that has a deadline."""
    now = datetime.now(UTC)
    for module in _SWEEPERS:
        await module.sweep(pool, config, now)
