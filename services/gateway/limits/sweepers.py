"""What projects use, folded: changes become part of the rows that they change."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from libs.db import Pool, transaction
from services.gateway.config import GatewayConfig
from services.gateway.limits import store

FOLDED_AT_ONCE: Final = 5_000
ROUNDS: Final = 20  # in one sweep; what is more waits for the next one


async def sweep(pool: Pool, config: GatewayConfig, now: datetime) -> None:
    """One round over the changes of use; sums are right before and after, and while two gateways do this at once."""
    for _ in range(ROUNDS):
        async with transaction(pool) as tx:
            if await store.fold(tx, FOLDED_AT_ONCE) < FOLDED_AT_ONCE:
                return
