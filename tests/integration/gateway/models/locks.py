"""Waiting until somebody waits."""

from __future__ import annotations

from libs.db import connection
from tests.integration.gateway.harness import Uploads
from tests.support.eventually import eventually


async def someone_waits_for_a_lock(uploads: Uploads) -> None:
    """Return once a statement of this test's schema waits for another's transaction."""

    async def waits() -> bool:
        async with connection(uploads.pool) as tx:
            return bool(
                await tx.fetchval(
                    """
                    SELECT EXISTS (SELECT FROM pg_stat_activity
                                    WHERE application_name = current_schema() AND wait_event_type = 'Lock')
                    """
                )
            )

    await eventually(waits)
