"""This release while the next one is being rolled out: its schema, its rows and its events are already there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.bus import Bus, prefixed, stream_name
from libs.contracts import new_id
from tests.contracts.release import ROOT, SERVICES, Place, Running, new_client, running
from tests.e2e.client import Client, archived
from tests.support.eventually import eventually_sync
from tests.support.models import given_llama
from tests.support.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

UNKNOWN = "next_release"  # a state, a severity and a field that this release has never heard of
# Every table gets a column; what restricts a column to some words, any word
_EXPANDED = """
DO $$
DECLARE expand text;
BEGIN
    FOR expand IN SELECT format('ALTER TABLE %I ADD COLUMN next_release text DEFAULT ''x''', tablename)
                    FROM pg_tables WHERE schemaname = current_schema()
    LOOP EXECUTE expand; END LOOP;
    FOR expand IN SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint
                   WHERE contype = 'c' AND connamespace = current_schema()::regnamespace
                     AND pg_get_constraintdef(oid) LIKE '%ARRAY[%'
    LOOP EXECUTE expand; END LOOP;
    CREATE TABLE next_release (id text PRIMARY KEY);
END $$
"""
# A copy of a row that is there, in a state that this release does not know
_ROWS: dict[str, dict[str, tuple[str, dict[str, object]]]] = {
    "gateway": {
        "model": ("status", {"version": "9.9.9", "serial": 10**6, "is_latest": False}),
        "upload": ("status", {"serial": 10**6, "kind": "directory"}),
    },
    "extractor": {"extraction": ("state", {})},
}
_COPY = """
INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
SELECT {columns} FROM (SELECT (jsonb_populate_record(NULL::{table}, to_jsonb(there) || '{changes}'::jsonb)).*
                         FROM {table} AS there LIMIT 1) AS copy
"""
_COLUMNS = """
SELECT string_agg(column_name, ', ') AS columns FROM information_schema.columns
 WHERE table_schema = current_schema() AND table_name = '{table}' AND is_generated = 'NEVER'
"""


@pytest.fixture
def place(stack: Stack, tmp_path: Path) -> Iterator[Place]:
    place = Place(stack, tmp_path)
    yield place
    place.remove()


def upload(client: Client, name: str) -> dict[str, object]:
    completed = client.upload(name, archived(given_llama()))
    return client.settled(completed["model_id"], within_s=120)


def expand(place: Place) -> None:
    """Migrate to the next release, while this one runs and has rows."""
    for service in SERVICES:
        place.sql(service, _EXPANDED)
    for service, tables in _ROWS.items():
        for table, (column, others) in tables.items():
            key = "stream_id" if table == "extraction" else "id"
            changes = json.dumps({key: new_id(), column: UNKNOWN, **others})
            [row] = place.sql(service, _COLUMNS.format(table=table))
            place.sql(service, _COPY.format(table=table, columns=row["columns"], changes=changes))
    place.sql(
        "validator",
        "INSERT INTO validation (validation_id, model_id, project_id, files, state)"
        f" VALUES ('v', 'm', 'p', '[]', '{UNKNOWN}')",
    )


async def publish(place: Place) -> list[str]:
    """Events of the next release, to consumers that it has widened; the ids of those that this one cannot read."""
    async with Bus.open(place.stack.nats_url, place.namespace) as bus:
        js = (await bus.session()).js
        stream = stream_name(place.namespace, "EVENTS")
        for consumer in await js.consumers_info(stream):
            config = consumer.config
            filters = [
                *(config.filter_subjects or ([config.filter_subject] if config.filter_subject else [])),
                prefixed(place.namespace, f"model.{UNKNOWN}.v1"),
            ]
            config.filter_subject, config.filter_subjects = None, filters
            await js.add_consumer(stream, config)
        at = datetime.now(UTC)
        unknown: dict[str, Any] = {"type": f"model.{UNKNOWN}.v1", "id": new_id(), "at": at, "model_id": "m"}
        golden = json.loads((Path(__file__).parent / "golden" / "model.rejected.v1.json").read_text())
        severity = golden | {"id": new_id()}
        severity["report"]["findings"] = [severity["report"]["findings"][0] | {"severity": UNKNOWN}]
        field = json.loads((Path(__file__).parent / "golden" / "upload.aborted.v1.json").read_text())
        field |= {"id": new_id(), UNKNOWN: {"any": "thing"}}
        for event in (unknown, severity, field):
            await bus.publish(event["type"], msgspec.json.encode(event), {}, event["id"])
        return [unknown["id"], severity["id"]]


def seen(place: Place, services: dict[str, Running], event_id: str) -> None:
    """Raises: AssertionError, while no service has put the event back."""
    assert any(event_id in each.log() for each in services.values()), event_id


def test_this_release_works_on_the_next_ones_schema_rows_and_events(place: Place) -> None:
    with running(place, ROOT, *SERVICES) as services:
        client = new_client(place, services["gateway"])
        first = upload(client, "before")
        expand(place)
        for event_id in asyncio.run(publish(place)):
            eventually_sync(partial(seen, place, services, event_id), 60)

        second = upload(client, "after")

        assert (first["status"], second["status"]) == ("ready", "ready")
        for path in (
            "models",
            "models?extended=true",
            "uploads",
            f"models/{first['id']}/versions",
            f"models/{second['id']}",
        ):
            assert client.get(path).status_code == 200, f"{path}: {services['gateway'].log()[-2000:]}"
        assert [letter.subject for letter in place.on_stream("DEAD")] == []
        assert place.sql("validator", "SELECT fence FROM validation")[0]["fence"] == 0
        for each in services.values():
            assert '"status": 500' not in each.log()
