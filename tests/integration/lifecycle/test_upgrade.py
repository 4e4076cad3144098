"""The previous release's rows after an upgrade."""

from __future__ import annotations

import shutil
from pathlib import Path

from libs import db
from libs.blobs import Blobs
from libs.config import schema_name
from libs.contracts import ObjectUnclaimed
from libs.contracts.keys import file_key, part_key
from services.lifecycle.app import MIGRATIONS
from tests.integration.lifecycle.harness import installed
from tests.integration.lifecycle.uploads import keys_in
from tests.support import emitted
from tests.support.stack import Stack


async def test_projects_of_the_previous_release_are_known(
    stack: Stack, namespace: str, blobs: Blobs, tmp_path: Path
) -> None:
    """Those of its objects and of its purges, without a further event; its bucket is marked with the first look."""
    schema = schema_name(namespace, "lifecycle")
    previous = tmp_path / "lifecycle" / "migrations"
    previous.mkdir(parents=True)
    shutil.copy(MIGRATIONS / "0001_lifecycle.sql", previous)
    await db.migrate(stack.postgres_url, schema, previous)
    async with await db.open_pool(stack.postgres_url, schema) as pool:
        await pool.execute(
            """
            INSERT INTO object (key, project_id, state, reason, changed_at)
            VALUES ('proj_a/x', 'proj_a', 'deleted', 'r', now())
            """
        )
        await pool.execute("INSERT INTO purge (project_id, prefix, reason, due_at) VALUES ('proj_b', 'b/', 'r', now())")
    lost = {file_key("proj_a", "up", 0, "a"), part_key("proj_b", "up", 0, 0, "a")}
    for key in (*lost, file_key("proj_c", "up", 0, "a")):
        await blobs.put_bytes(key, b"x")

    async with installed(stack, blobs, namespace) as lifecycle:
        audited = await lifecycle.audit()
        assert (audited.unclaimed, audited.foreign, audited.stopped) == (2, 1, None)
        asked = [event for event in await emitted(lifecycle.pool) if isinstance(event, ObjectUnclaimed)]
        assert {key for event in asked for key in event.keys} == lost
        assert len(await keys_in(blobs)) == 3
