"""A service behind pgbouncer in transaction mode: nothing relies on the session but LISTEN and migrations."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from deploy.local.ports import free_port
from libs.bus import Bus
from libs.db import WrongSchema, connection, open_pool, transaction
from libs.signals import Signals, notify
from tests.integration.service.harness import as_role, send, working
from tests.support.bus import an_event
from tests.support.eventually import eventually
from tests.support.stack import Stack

PGBOUNCER = shutil.which("pgbouncer")

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="no pgbouncer on PATH (apt-get install pgbouncer)")

CONFIG = """
[databases]
* = host=127.0.0.1 port={postgres_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = md5
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 2
"""


@pytest.fixture
async def pooled_url(stack: Stack, role: str) -> AsyncIterator[str]:
    """The role's URL through a pooler whose two connections all clients share."""
    url, port = urlsplit(as_role(stack.postgres_url, role)), free_port()
    folder = Path(tempfile.mkdtemp(prefix="slipway-pgbouncer-"))
    folder.chmod(0o755)
    (folder / "users").write_text(f'"{role}" "{role}"\n')
    config = CONFIG.format(postgres_port=url.port, port=port, folder=folder)
    (folder / "pgbouncer.ini").write_text(config)
    user = ("-u", "nobody") if os.getuid() == 0 else ()
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(PGBOUNCER), *user, str(folder / "pgbouncer.ini"), stdout=log, stderr=log
        )
    pooled = urlunsplit(url._replace(netloc=f"{role}:{role}@127.0.0.1:{port}"))

    async def answers() -> bool:
        assert process.returncode is None, (folder / "log").read_text()
        try:  # no login: the pooler would open a connection with the role's settings as they are now
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    try:
        await eventually(answers)
        yield pooled
    finally:
        process.terminate()
        await process.wait()
        shutil.rmtree(folder)


async def lives_in(stack: Stack, role: str, schema: str) -> None:
    operator = await asyncpg.connect(stack.postgres_url)
    await operator.execute(f'ALTER ROLE {role} SET search_path = "{schema}"')
    await operator.close()


async def test_a_service_works_behind_a_pooler_in_transaction_mode(
    stack: Stack, namespace: str, bus: Bus, tmp_path: Path, role: str, pooled_url: str
) -> None:
    await lives_in(stack, role, f"{namespace}_service")
    direct = as_role(stack.postgres_url, role)
    async with working(pooled_url, stack, namespace, tmp_path, direct_url=direct) as parts:
        events = [an_event() for _ in range(50)]
        for event in events:
            await send(bus, event)
        for event in events:
            await parts.answers(bus, event)
        assert parts.swept
        assert parts.lives()


async def test_a_role_without_its_schema_is_refused_at_the_start_with_what_to_do(
    stack: Stack, namespace: str, role: str, pooled_url: str
) -> None:
    with pytest.raises(WrongSchema, match=f'ALTER ROLE "{role}" SET search_path = "{namespace}_service"'):
        await open_pool(pooled_url, f"{namespace}_service", pooler=True, prepared=False)


async def test_statements_of_many_clients_share_the_poolers_connections(
    stack: Stack, namespace: str, role: str, pooled_url: str
) -> None:
    """Each transaction, and each statement without one, may be on another server than the one before."""
    schema = f"{namespace}_service"
    operator = await asyncpg.connect(stack.postgres_url)
    await operator.execute(f'CREATE SCHEMA "{schema}" AUTHORIZATION {role}')
    await operator.execute(f'CREATE TABLE "{schema}".thing (id serial, body jsonb)')
    await operator.execute(f'GRANT ALL ON ALL TABLES IN SCHEMA "{schema}" TO {role}')
    await operator.execute(f'GRANT ALL ON ALL SEQUENCES IN SCHEMA "{schema}" TO {role}')
    await lives_in(stack, role, schema)
    backends = set()
    async with await open_pool(pooled_url, schema, size=8, pooler=True, prepared=False) as pool:

        async def work(number: int) -> None:
            for _ in range(20):
                async with transaction(pool) as tx:
                    await tx.execute("INSERT INTO thing (body) VALUES ($1)", {"n": number})
                async with connection(pool) as tx:
                    backends.add(await tx.fetchval("SELECT pg_backend_pid()"))
                    await tx.fetch("SELECT body FROM thing WHERE body->>'n' = $1", str(number))

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(work(number))
        async with Signals.open(as_role(stack.postgres_url, role), schema) as signals:
            with signals.subscribe("parts") as parts:
                assert await parts.wait(10)  # LISTEN stands
                async with transaction(pool) as tx:
                    await notify(tx, "parts")
                assert await parts.wait(10)
    assert await operator.fetchval(f'SELECT count(*) FROM "{schema}".thing') == 160
    assert len(backends) == 2
    await operator.close()
