"""A deleted project leaves nothing, in any table and in storage; other projects keep everything."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient

from libs.contracts import ModelErased, ProjectDeleted, ProjectPurged, StoredFile, event_type
from libs.contracts.keys import member_key
from libs.db import Pool, connection, transaction
from services.gateway.deletions import store, sweepers
from services.gateway.handlers import handlers as gateway_handlers
from services.gateway.limits.sweepers import sweep as fold
from services.gateway.models.store.deletion import expire_all_of
from services.gateway.models.transitions import model_registered
from services.gateway.projects.identifiers import digest_of
from services.lifecycle.groups import call_each
from services.lifecycle.handlers import handlers as lifecycle_handlers
from tests.integration.gateway.harness import PROJECT, Uploads
from tests.integration.gateway.large import LARGE_PROJECT, LARGE_TABLES, given_large_registry
from tests.integration.gateway.serving import KEY, OPERATOR_KEY, serving
from tests.integration.lifecycle.harness import Lifecycle, installed
from tests.integration.lifecycle.uploads import keys_in
from tests.support import emitted
from tests.support.delivery import deliver
from tests.support.plans import recorded, sequential_scans
from tests.support.stack import Stack

OTHER = "proj_0THER00000"
PROJECTS = "/admin/v1/projects"
MODELS = 230
CONFIRMED = {"confirm": "test"}


@dataclass
class Installation:
    """A gateway with two projects, and the lifecycle beside it."""

    gateway: Uploads
    lifecycle: Lifecycle
    operator: TestClient[Any, Any]
    delivered: set[str] = field(default_factory=set)  # events

    @property
    def pool(self) -> Pool:
        return self.gateway.pool

    async def operate(self, method: str, path: str, status: int, **request: Any) -> dict[str, Any]:
        async with self.operator.request(method, f"{PROJECTS}{path}", **request) as response:
            answer: dict[str, Any] = await response.json()
            assert response.status == status, answer
            return answer

    async def delete(self) -> dict[str, Any]:
        return await self.operate("POST", f"/{PROJECT}/delete", 202, json=CONFIRMED)

    async def shown(self, project_id: str = PROJECT) -> dict[str, Any]:
        [found] = [each for each in (await self.operate("GET", "", 200))["data"] if each["id"] == project_id]
        return dict(found)

    async def sweep(self, later: timedelta = timedelta()) -> None:
        now = datetime.now(UTC) + later
        await sweepers.sweep(self.pool, self.gateway.dependencies.config, now)
        await fold(self.pool, self.gateway.dependencies.config, now)

    async def exchange(self) -> None:
        """Each service gets what the other has emitted, every event twice."""
        for pool, receiver, table in (
            (self.pool, self.lifecycle.pool, lifecycle_handlers),
            (self.lifecycle.pool, self.pool, gateway_handlers),
        ):
            for event in await emitted(pool):
                if event_type(event) in table.events and event.id not in self.delivered:
                    assert await deliver(receiver, table, event)
                    assert not await deliver(receiver, table, event)
                    self.delivered.add(event.id)

    async def rows(self, project_id: str) -> dict[str, int]:
        """How many rows of a project each table of the gateway has, of those that have any."""
        async with connection(self.pool) as tx:
            tables = await tables_with_projects(self.pool)
            counts = {
                table: await tx.fetchval(f"SELECT count(*) FROM {table} WHERE project_id = $1", project_id)
                for table in tables
            }
            counts["streams"] = await tx.fetchval(
                "SELECT count(*) FROM upload_stream s LEFT JOIN upload u ON u.id = s.upload_id WHERE u.id IS NULL"
            )
        return {table: count for table, count in counts.items() if count}


async def tables_with_projects(pool: Pool) -> set[str]:
    rows = await pool.fetch(
        """
        SELECT table_name
          FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
         WHERE table_schema = current_schema() AND column_name = 'project_id' AND table_type = 'BASE TABLE'
        """
    )
    return {row["table_name"] for row in rows}


async def given_models(installation: Installation, project_id: str, count: int) -> None:
    """Models with two files each, of which one is shared by ten; known to lifecycle and in storage."""
    blobs = installation.lifecycle.blobs

    def file(upload_id: str, name: str, number: int) -> StoredFile:
        sha256 = hashlib.sha256(f"{project_id}{upload_id}{name}".encode()).hexdigest()
        return StoredFile(path=name, size_bytes=3, sha256=sha256, key=member_key(project_id, upload_id, 0, 1, number))

    for number in range(count):
        upload_id, first = f"{project_id[5:9]}{number}", f"{project_id[5:9]}{number - number % 10}"
        files = [file(first, "config.json", 0), file(upload_id, "model.safetensors", 1)]
        model_id = f"model-{upload_id}"
        async with transaction(installation.pool) as tx:
            await tx.execute(
                """
                INSERT INTO model (id, project_id, name, version, status, size_bytes, is_latest)
                VALUES ($1, $2, $1, '1.0.0', 'ready', 6, true)
                """,
                model_id,
                project_id,
            )
            for each in files:
                await tx.execute(
                    """
                    INSERT INTO blob (project_id, sha256, size_bytes, key) VALUES ($1, $2, 3, $3) ON CONFLICT DO NOTHING
                    """,
                    project_id,
                    each.sha256,
                    each.key,
                )
                await tx.execute(
                    "INSERT INTO model_file (model_id, path, project_id, sha256) VALUES ($1, $2, $3, $4)",
                    model_id,
                    each.path,
                    project_id,
                    each.sha256,
                )
            await tx.execute(
                """
                INSERT INTO upload (id, project_id, model_id, model_name, model_version, kind, status, chunk_size_bytes,
                                    expires_at)
                VALUES ($1, $2, $3, $3, '1.0.0', 'directory', 'completed', 1000, now())
                """,
                upload_id,
                project_id,
                model_id,
            )
        registered = model_registered(project_id, model_id, files, upload_id=upload_id, at=datetime.now(UTC))
        await installation.lifecycle.deliver(registered)
        await call_each(lambda key: blobs.put_bytes(key, b"abc"), [each.key for each in files])
    await installation.lifecycle.pool.execute("DELETE FROM purge")  # of the uploads; done long ago


@pytest.fixture
async def installation(uploads: Uploads, stack: Stack, namespace: str) -> AsyncIterator[Installation]:
    shared = uploads.dependencies
    async with installed(stack, shared.blobs, namespace) as lifecycle, serving(shared, token=OPERATOR_KEY) as operator:
        lifecycle.config = msgspec.structs.replace(lifecycle.config, purge_pauses_s="0.01")
        gateway = Uploads(uploads.client, shared)
        async with connection(uploads.pool) as tx:
            await tx.execute("INSERT INTO project (id, name, slug) VALUES ($1, 'other', 'other')", OTHER)
        yield Installation(gateway, lifecycle, operator)


async def given_everything(installation: Installation) -> None:
    """A project with something in every table that has projects, and open uploads with bytes in storage."""
    gateway = installation.gateway
    async with connection(installation.pool) as tx:
        await tx.execute("INSERT INTO member (id, project_id, name, role) VALUES ('m', $1, 'Ann', 'admin')", PROJECT)
        await tx.execute(
            """
            INSERT INTO api_key (id, project_id, sha256, prefix, scopes, role, member_id, limits)
            VALUES ('key', $1, $2, 'xero_test', ARRAY['models'], 'member', 'm', '{"requests_per_second": 1000}')
            """,
            PROJECT,
            digest_of(KEY),
        )
        await tx.execute("INSERT INTO project_feature (project_id, feature) VALUES ($1, 'model_sharing')", PROJECT)
        await tx.execute("INSERT INTO secret (project_id, name, type, sealed) VALUES ($1, 's', 's3', '')", PROJECT)
    async with serving(gateway.dependencies, token=KEY) as client, client.get("/v1/usage") as response:
        assert response.status == 200
    session = (await gateway.open_archive(2000, "open", version="1"))["session_id"]
    await gateway.send_part(session, 0, bytes(1000))
    directory = (await gateway.open_directory({"config.json": b"{}", "a/b": bytes(10)}, "half"))["session_id"]
    await gateway.send_file(directory, "config.json", b"{}")
    headers = {"Idempotency-Key": "once"}
    body = {"model_name": "again", "archive_size": 10, "archive_format": "tar"}
    await gateway.call("POST", "uploads/archive", json=body, headers=headers)
    await gateway.call("DELETE", "models/model-TEST3")


async def finish(installation: Installation) -> None:
    """Sweeps, events and purges, until the project is deleted."""
    for _ in range(20):
        await installation.sweep(timedelta(hours=1))
        await installation.exchange()
        await installation.lifecycle.purge()
        if (await installation.shown())["status"] == "deleted":
            return
    pytest.fail("the project is not deleted")


async def test_a_deleted_project_leaves_nothing_and_others_keep_everything(installation: Installation) -> None:
    await given_models(installation, PROJECT, MODELS)
    await given_models(installation, OTHER, 20)
    await given_everything(installation)
    await installation.sweep()
    blobs, other = installation.lifecycle.blobs, await installation.rows(OTHER)
    stored = await keys_in(blobs, f"{OTHER}/")
    await installation.exchange()
    before = await installation.rows(PROJECT)

    deleting = await installation.delete()
    refused = await installation.delete()  # again: the same
    async with serving(installation.gateway.dependencies, token=KEY) as client, client.get("/v1/usage") as keyed:
        status = keyed.status
    await finish(installation)

    assert set(before) == await tables_with_projects(installation.pool) - {"upload_source", "project_usage_change"}
    assert (deleting["status"], refused["status"], status) == ("deleting", "deleting", 401)
    assert deleting["left"] == {"models": MODELS + 3, "objects": MODELS + MODELS // 10, "bytes": 3 * (MODELS + 23)}
    shown = await installation.shown()
    assert (shown["left"], shown["deleted_at"] is not None) == (None, True)
    assert await installation.rows(PROJECT) == {}
    assert await installation.pool.fetchval("SELECT count(*) FROM request_window") == 0
    assert await keys_in(blobs, f"{PROJECT}/") == set()
    assert await installation.rows(OTHER) == other
    assert await keys_in(blobs, f"{OTHER}/") == stored
    states = "SELECT DISTINCT state FROM object WHERE project_id = $1"
    assert [row["state"] for row in await installation.lifecycle.pool.fetch(states, PROJECT)] == ["deleted"]
    assert [row["state"] for row in await installation.lifecycle.pool.fetch(states, OTHER)] == ["live"]
    references = "SELECT count(*) FROM reference WHERE starts_with(key, $1)"
    assert await installation.lifecycle.pool.fetchval(references, f"{PROJECT}/") == 0
    erased = [event.model_id for event in await emitted(installation.pool) if isinstance(event, ModelErased)]
    assert len(erased) == len(set(erased)) == MODELS
    assert (await installation.operate("POST", "", 201, json={"name": "test"}))["slug"] == "test"
    for method, path, body in (
        ("POST", "delete", CONFIRMED),
        ("PATCH", "limits", {"models": 1}),
        ("POST", "keys", {}),
        ("PUT", "features/model_sharing", {}),
        ("POST", "members", {"name": "Ann"}),
    ):
        await installation.operate(method, f"/{PROJECT}/{path}", 404, json=body)


async def test_it_goes_in_batches_and_goes_on_after_a_crash(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sweep ends early, as if it had been killed, and the next one goes on."""
    await given_models(installation, PROJECT, 30)
    for name, size in (("MODELS_AT_ONCE", 5), ("UPLOADS_AT_ONCE", 4), ("ROWS_AT_ONCE", 1), ("BATCHES", 1)):
        monkeypatch.setattr(sweepers, name, size)
    await installation.delete()

    left = []
    for _ in range(6):
        await installation.sweep()
        left.append((await installation.shown())["left"]["models"])
    assert left == [25, 20, 15, 10, 5, 0]
    await finish(installation)

    assert await installation.rows(PROJECT) == {}


async def test_storage_is_asked_again_until_it_answers(installation: Installation) -> None:
    """With growing pauses, and each question once, however many gateways sweep."""
    await installation.delete()
    for minutes in (0, 0, 1, 1, 3):
        await asyncio.gather(*(installation.sweep(timedelta(minutes=minutes)) for _ in range(2)))
    asked = [event for event in await emitted(installation.pool) if isinstance(event, ProjectDeleted)]

    assert len(asked) == len({event.id for event in asked}) == 3

    await installation.exchange()
    await installation.lifecycle.purge()
    await installation.exchange()
    await installation.lifecycle.deliver(ProjectDeleted(project_id=PROJECT, at=datetime.now(UTC)))
    await installation.lifecycle.purge()
    answers = [event for event in await emitted(installation.lifecycle.pool) if isinstance(event, ProjectPurged)]
    assert len(answers) == 2  # when it was done, and to whoever asks later


async def test_what_was_opened_while_it_was_deleted_goes_as_well(installation: Installation) -> None:
    """By a request whose key had been checked before."""
    await installation.delete()
    await installation.sweep()
    await installation.exchange()
    session = (await installation.gateway.open_archive(2000, "late"))["session_id"]
    await installation.gateway.send_part(session, 0, bytes(1000))
    await installation.lifecycle.purge()
    await installation.exchange()
    await installation.sweep()
    assert (await installation.shown())["status"] == "deleting"

    await finish(installation)

    assert await installation.rows(PROJECT) == {}
    assert await keys_in(installation.lifecycle.blobs, f"{PROJECT}/") == set()


async def test_a_project_is_deleted_only_by_its_name(installation: Installation) -> None:
    refused = await installation.operate("POST", f"/{PROJECT}/delete", 400, json={"confirm": "Test"})
    await installation.operate("POST", "/proj_0000000000/delete", 404, json={"confirm": "test"})

    assert refused["error"]["param"] == "confirm"
    assert "for good" in refused["error"]["message"]
    assert (await installation.shown())["status"] == "active"


async def test_a_purge_that_nobody_asked_for_changes_nothing(installation: Installation) -> None:
    await deliver(installation.pool, gateway_handlers, ProjectPurged(project_id=PROJECT, at=datetime.now(UTC)))
    await installation.sweep()

    assert (await installation.shown())["status"] == "active"


async def test_every_table_that_has_projects_is_emptied(installation: Installation) -> None:
    known = {*store.TABLES, *store.OF_UPLOADS, *store.OF_MODELS, "model", "blob", "upload"}

    assert await tables_with_projects(installation.pool) == known


async def test_no_table_is_read_from_end_to_end(uploads: Uploads) -> None:
    await given_large_registry(uploads.pool)
    now = datetime.now(UTC)
    async with transaction(uploads.pool) as tx:
        await tx.execute("UPDATE project SET deleting_at = now(), revoked_at = now() WHERE id = $1", LARGE_PROJECT)
        with recorded(tx) as statements:
            await store.live_uploads(tx, LARGE_PROJECT, 20)
            await store.unused_objects(tx, LARGE_PROJECT, 100)
            await store.ended_uploads(tx, LARGE_PROJECT, 20)
            await store.ask(tx, LARGE_PROJECT, now, [timedelta(seconds=1)])
            assert await expire_all_of(tx, LARGE_PROJECT, now, 200) == 200
            await store.delete_windows(tx, LARGE_PROJECT)
        assert await sequential_scans(tx, statements) & LARGE_TABLES == set()
