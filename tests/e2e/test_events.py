"""Events are the hurry, the database is the truth: lost, repeated and poisonous ones change no outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from deploy.local.services import NAMES
from libs import db, outbox
from libs.config import schema_name
from libs.contracts import Part, PartStream, UploadOpened
from libs.db import transaction
from tests.e2e.client import Client, answered, archived
from tests.support.deployment import CHUNK_BYTES, NAMESPACE, Deployment
from tests.support.eventually import eventually_sync
from tests.support.models import given_big_llama
from tests.support.tarblocks import END, member

ARCHIVE = archived(given_big_llama(6 * CHUNK_BYTES))
HOSTILE = member("../escape", b"x") + END
OF_A_GOOD_UPLOAD = (
    "upload.opened.v1",
    "upload.part_stored.v1",
    "upload.completed.v1",
    "archive.extracted.v1",
    "model.registered.v1",
    "model.validation_requested.v1",
    "model.validated.v1",
)
# A row of an outbox that has its type and is about what is named in `lost` never gets there: once.
LOSE = """
    CREATE SCHEMA IF NOT EXISTS e2e_faults;
    CREATE TABLE IF NOT EXISTS e2e_faults.lost (type text, about text);
    CREATE OR REPLACE FUNCTION e2e_faults.lose() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM e2e_faults.lost WHERE type = NEW.type AND position(about IN NEW.body::text) > 0;
        IF FOUND THEN RETURN NULL; END IF;
        RETURN NEW;
    END $$;
"""


@pytest.fixture
def losing(deployment: Deployment, poisoned: object) -> Iterator[Deployment]:
    """Events can be lost on their way from the transaction to the relay."""
    for statement in LOSE.split(";\n    C"):
        deployment.sql("gateway", statement if statement.lstrip().startswith("CREATE") else f"C{statement}")
    for service in NAMES:
        deployment.sql(
            service, "CREATE TRIGGER lose BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION e2e_faults.lose()"
        )
    yield deployment
    for service in NAMES:
        deployment.sql(service, "DROP TRIGGER lose ON outbox")
    deployment.sql("gateway", "DROP SCHEMA e2e_faults CASCADE")


@pytest.fixture(scope="module")
def poisoned(deployment: Deployment, new_client: Callable[[], Client]) -> Iterator[tuple[Client, dict[str, Any]]]:
    """An upload with an event that no handler can handle; begun early, since it is tried for more than a minute."""
    client = new_client()
    with client.http:
        session = client.open_archive("poisonous", ARCHIVE)
        asyncio.run(_emit(deployment, poison(client, session["session_id"], session["model_id"])))
        yield client, session
        deployment.settle(client.project_id)


def lose(deployment: Deployment, event_type: str, about: str) -> None:
    """The next event of this type that mentions `about` is lost."""
    deployment.sql("gateway", "INSERT INTO e2e_faults.lost VALUES ($1, $2)", event_type, about)


def test_any_event_may_be_lost(client: Client, losing: Deployment) -> None:
    """One upload for each kind of event, side by side; each comes to its true end, only later."""
    ready = []
    for event_type in OF_A_GOOD_UPLOAD:
        session = client.open_archive(f"without {event_type}", ARCHIVE)
        about = session["model_id"] if event_type.startswith("model.") else session["session_id"]
        lose(losing, event_type, about)
        for number in range(session["total_chunks"]):
            answered(client.send(session, ARCHIVE, number))
        answered(client.complete(session, wait_s=0), 200, 202)
        ready.append(session)

    refused_uploads = []
    for event_type in ("archive.rejected.v1", "upload.failed.v1"):
        session = client.open_archive(f"without {event_type}", HOSTILE, "tar")
        lose(losing, event_type, session["session_id"])
        answered(client.send(session, HOSTILE, 0))
        refused_uploads.append(session)

    aborted = client.open_archive("without upload.aborted.v1", ARCHIVE)
    lose(losing, "upload.aborted.v1", aborted["session_id"])
    answered(client.send(aborted, ARCHIVE, 0))
    answered(client.delete(f"uploads/{aborted['session_id']}"))

    for session in ready:
        client.settled(session["model_id"], within_s=150)
    for session in refused_uploads:
        client.settled(session["model_id"], "error", within_s=150)
    assert losing.sql("gateway", "SELECT * FROM e2e_faults.lost") == []


def test_an_upload_whose_events_cannot_be_handled_says_so_and_goes_on_when_they_can(
    poisoned: tuple[Client, dict[str, Any]],
) -> None:
    """An error of ours deletes nothing: what the client sends is kept, and taken as soon as it can be."""
    client, session = poisoned

    def parked() -> None:
        shown = answered(client.get(f"uploads/{session['session_id']}"))
        assert "extractor could not process upload.opened.v1" in (shown["waiting_for"] or "")
        assert shown["status"] == "open"

    eventually_sync(parked, within_s=150)
    for number in range(session["total_chunks"]):
        answered(client.send(session, ARCHIVE, number))
    answered(client.complete(session), 200, 202)
    client.settled(session["model_id"])


def test_every_event_told_again_changes_nothing(client: Client, deployment: Deployment) -> None:
    done = client.upload("told again", ARCHIVE)
    client.settled(done["model_id"])
    deployment.settle(client.project_id)
    deployment.quiet()
    before = (answered(client.get("models")), deployment.stored(client.project_id))

    for service in NAMES:
        assert asyncio.run(_replay(deployment, service)) > 0 or service == "lifecycle"
    deployment.quiet()

    assert (answered(client.get("models")), deployment.stored(client.project_id)) == before


def poison(client: Client, upload_id: str, model_id: str) -> UploadOpened:
    """An event that can be read, and not be stored: no column takes the part's number."""
    stream = PartStream(
        id=f"{upload_id}-0",
        upload_id=upload_id,
        project_id=client.project_id,
        model_id=model_id,
        number=0,
        format="tar.gz",
        size_bytes=1,
        total_parts=1,
    )
    return UploadOpened(at=datetime.now(UTC), stream=stream, parts=[Part(2**63, "attempt", 1)])


async def _emit(deployment: Deployment, event: UploadOpened) -> None:
    async with (
        await db.open_pool(deployment.stack.postgres_url, schema_name(NAMESPACE, "gateway")) as pool,
        transaction(pool) as tx,
    ):
        await outbox.emit(tx, [event])


async def _replay(deployment: Deployment, service: str) -> int:
    async with await db.open_pool(deployment.stack.postgres_url, schema_name(NAMESPACE, service)) as pool:
        return await outbox.replay(pool)
