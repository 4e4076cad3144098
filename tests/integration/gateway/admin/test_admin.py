"""What operators ask and order, over real NATS and Postgres; the other services' processes are played by the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient

from libs.bus import Bus, Consumer, Handlers
from libs.contracts import (
    ModelValidationRequested,
    ObjectAudited,
    ObjectAuditRequested,
    UploadAborted,
    UploadOpened,
    UploadResumeRequested,
    id_of,
)
from libs.db import transaction
from services.gateway.admin import routes
from services.gateway.admin.store import KEPT
from services.gateway.deadlines import PAUSES
from services.gateway.models.sweepers import give_verdicts_up
from services.gateway.projects.access import OPERATOR
from services.gateway.uploads.store import deadlines
from services.gateway.uploads.sweepers import ask_extractor_again
from tests.integration.gateway.harness import FILES, NOON, PROJECT, STALE_AFTER, Uploads, extracted
from tests.integration.gateway.models.test_verdicts import DAYS, asked_through_all_pauses
from tests.integration.gateway.models.verdicts import asked_for, parked
from tests.integration.gateway.serving import OPERATOR_KEY, serving
from tests.support.bus import running
from tests.support.eventually import eventually
from tests.support.fixtures import PoolFor

Respond = Callable[[bytes], Awaitable[bytes]]


class Operator:
    """An operator with a client, beside a project that uploads."""

    def __init__(self, client: TestClient[Any, Any], uploads: Uploads) -> None:
        self.client = client
        self.uploads = uploads

    async def call(self, method: str, path: str, status: int = 200, **request: Any) -> Any:
        async with self.client.request(method, f"/admin/v1/{path}", **request) as answer:
            body = await answer.json()
            assert answer.status == status, body
            return body


@pytest.fixture
async def operator(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Operator]:
    monkeypatch.setattr(routes, "WAIT_S", 0.3)  # whoever answers here does so at once
    await uploads.dependencies.bus.session()
    async with serving(uploads.dependencies, token=OPERATOR_KEY) as client:
        yield Operator(client, uploads)


@pytest.fixture
async def processes(bus: Bus) -> AsyncIterator[Callable[..., Awaitable[list[Any]]]]:
    """`await processes(subject, answer, …)`: processes that answer so; what they are asked is in the list."""
    async with AsyncExitStack() as listening:

        async def answering(subject: str, *answers: object) -> list[Any]:
            asked: list[Any] = []
            for answer in answers:

                async def respond(body: bytes, answer: object = answer) -> bytes:
                    asked.append(msgspec.json.decode(body) if body else None)
                    return msgspec.json.encode(answer)

                await listening.enter_async_context(bus.answer(subject, respond))
            return asked

        yield answering


@pytest.mark.parametrize("route", routes.ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_only_the_operators_key_opens_them(operator: Operator, route: Any) -> None:
    headers = {"Authorization": "Bearer another"}
    async with operator.client.request(route.method, route.path, headers=headers) as answer:
        assert answer.status == 401
    assert route.access is OPERATOR


async def test_status_shows_what_every_process_says_and_names_the_services_that_are_silent(
    operator: Operator, processes: Callable[..., Awaitable[list[Any]]], bus: Bus, pool_for: PoolFor
) -> None:
    refused = {"event_id": "e1", "type": "model.registered.v1", "reason": "too large", "since": "2026-01-15T12:00:00Z"}
    gateway = {"service": "gateway", "instance": "b", "version": "0.2.0", "ready": True, "checks": {"s3": False}}
    others = [
        {"service": "gateway", "instance": "a", "outbox_depth": 3, "refused": [refused], "of_the_next_release": 1},
        {"service": "validator", "instance": "c", "ready": False},
    ]
    await processes("status", gateway, *others)
    for name in ("validator", "extractor"):  # their consumers stay when their processes have ended
        handlers = Handlers(name)
        handlers.retire(UploadAborted)
        async with running(Consumer(bus, await pool_for("extractor"), handlers).run):
            await eventually(partial(knows, bus, name))

    status = await operator.call("GET", "status")
    assert [(each["service"], each["instance"]) for each in status["services"]] == [
        ("gateway", "a"),
        ("gateway", "b"),
        ("validator", "c"),
    ]
    first, second, third = status["services"]
    assert (first["outbox_depth"], first["refused"]) == (3, [refused])
    assert (second["ready"], second["checks"], second["refused"]) == (True, {"s3": False}, [])
    assert third["ready"] is False
    assert status["silent"] == ["extractor"]
    assert status["backlogs"] == [
        {"service": "extractor", "waiting": 0, "in_progress": 0},
        {"service": "validator", "waiting": 0, "in_progress": 0},
    ]


async def knows(bus: Bus, name: str) -> bool:
    return name in [backlog.service for backlog in await bus.backlogs()]


async def test_refused_events_are_retried_by_every_service(
    operator: Operator, processes: Callable[..., Awaitable[list[Any]]]
) -> None:
    asked = await processes("outbox.retry", {"service": "gateway", "events": 1}, {"service": "extractor", "events": 0})
    done = await operator.call("POST", "outbox/retry", json={"event_ids": ["e1"]})
    assert done["data"] == [{"service": "extractor", "events": 0}, {"service": "gateway", "events": 1}]
    await operator.call("POST", "outbox/retry")
    assert [body["event_ids"] for body in asked] == [["e1"], ["e1"], None, None]


async def test_a_replay_says_of_what(operator: Operator, processes: Callable[..., Awaitable[list[Any]]]) -> None:
    asked = await processes("outbox.replay", {"service": "gateway", "events": 7})
    refused = await operator.call("POST", "replay", status=400)
    assert "'since' or 'event_ids'" in refused["error"]["message"]
    done = await operator.call("POST", "replay", json={"since": "2026-01-15T12:00:00Z"})
    assert done["data"] == [{"service": "gateway", "events": 7}]
    assert asked == [{"since": "2026-01-15T12:00:00Z", "event_ids": None}]


async def test_a_parked_upload_is_resumed_with_what_of_it_is_not_unpacked(operator: Operator) -> None:
    uploads = operator.uploads
    opened = await uploads.open_archive(10)
    session = opened["session_id"]
    await uploads.send_part(session, 0, b"x" * 10)
    resumed = await operator.call("POST", f"uploads/{session}/resume", status=202)
    assert (resumed["id"], resumed["stream_ids"]) == (session, [f"{session}-0"])
    [event] = await uploads.emitted(UploadResumeRequested)
    assert (event.upload_id, event.stream_ids) == (session, [f"{session}-0"])

    await uploads.deliver(extracted(session))
    unpacked = await operator.call("POST", f"uploads/{session}/resume", status=409)
    assert "Nothing of this upload waits" in unpacked["error"]["message"]
    await uploads.complete(session)
    assert "complete" in (await operator.call("POST", f"uploads/{session}/resume", status=409))["error"]["message"]
    await operator.call("POST", "uploads/unknown/resume", status=404)
    assert len(await uploads.emitted(UploadResumeRequested)) == 1


async def test_the_extractor_is_asked_at_once_about_an_upload_that_was_parked_for_long(operator: Operator) -> None:
    uploads = operator.uploads
    session = (await uploads.open_archive(10))["session_id"]
    await uploads.send_part(session, 0, b"x" * 10)
    now = datetime.now(UTC)
    for pause in PAUSES:  # the pauses have grown, and the last question was asked just now
        now += pause + timedelta(seconds=1)
        await ask_extractor_again(uploads.pool, now, STALE_AFTER)
    async with transaction(uploads.pool) as tx:
        await deadlines.park(tx, session, [f"{session}-0"], "dead letter.", now + timedelta(minutes=30))
    asked = len(await uploads.emitted(UploadOpened))
    assert asked == 1 + len(PAUSES)

    for times in (1, 2):  # an operator may have to try twice
        await operator.call("POST", f"uploads/{session}/resume", status=202)
        now = datetime.now(UTC)
        await ask_extractor_again(uploads.pool, now, STALE_AFTER)
        opened = await uploads.emitted(UploadOpened)
        assert len(opened) == asked + times
        assert len({event.id for event in opened}) == len(opened)
    await ask_extractor_again(uploads.pool, now + PAUSES[0] + timedelta(seconds=1), STALE_AFTER)
    assert len(await uploads.emitted(UploadOpened)) == asked + 3  # the pauses are short again


async def test_a_models_verdict_is_asked_for_again_at_the_operators_word(operator: Operator) -> None:
    uploads = operator.uploads
    model_id = (await uploads.upload_directory(FILES))["model_id"]
    first = await asked_for(uploads, model_id)
    resumed = await operator.call("POST", f"models/{model_id}/resume", status=202)
    assert (resumed["id"], resumed["validation_id"]) == (model_id, first.validation_id)
    again = await asked_for(uploads, model_id)
    assert (again.resume, again.validation_id, len(again.files)) == (True, first.validation_id, 2)
    assert again.id == id_of("model.validation_requested", first.validation_id, 2)

    await uploads.validate(model_id)
    refused = await operator.call("POST", f"models/{model_id}/resume", status=409)
    assert "'ready' and waits for no verdict" in refused["error"]["message"]
    assert (await operator.call("POST", "models/m/resume", status=404))["error"]["code"] == "model_not_found"
    assert len(await uploads.emitted(ModelValidationRequested)) == 2


async def test_a_model_that_was_given_up_is_validated_after_all(operator: Operator) -> None:
    uploads = operator.uploads
    model_id = (await uploads.upload_directory(FILES))["model_id"]
    now = await asked_through_all_pauses(uploads, datetime.now(UTC))
    await give_verdicts_up(uploads.pool, now + DAYS, DAYS)
    assert (await uploads.model(model_id))["status"] == "error"

    await operator.call("POST", f"models/{model_id}/resume", status=202)
    model = await uploads.model(model_id)
    assert (model["status"], model["status_reason"]) == ("validating", None)
    await give_verdicts_up(uploads.pool, datetime.now(UTC) + timedelta(days=1), DAYS)  # its clock began anew
    await uploads.validate(model_id)
    assert (await uploads.model(model_id))["status"] == "ready"


async def test_what_is_parked_is_listed_with_its_reason(operator: Operator) -> None:
    uploads = operator.uploads
    assert (await operator.call("GET", "parked"))["data"] == []
    for name in ("first", "second", "third"):
        model_id = (await uploads.upload_directory(FILES, name))["model_id"]
        if name != "third":
            asked = await asked_for(uploads, model_id)
            await uploads.deliver(parked(asked, NOON, f"{name} cannot be read."))
    opened = await uploads.open_archive(10, "fourth")
    session = opened["session_id"]
    await uploads.send_part(session, 0, b"x" * 10)
    async with transaction(uploads.pool) as tx:
        await deadlines.park(tx, session, [f"{session}-0"], "disk full.", NOON)
    *listed, fourth = (await operator.call("GET", "parked"))["data"]
    assert (fourth["kind"], fourth["id"], fourth["name"], fourth["waiting_for"]) == (
        "upload",
        session,
        "fourth",
        "disk full.",
    )
    assert datetime.fromisoformat(fourth["since"]) > datetime.now(UTC) - timedelta(minutes=10)
    assert sorted((each["kind"], each["name"], each["waiting_for"]) for each in listed) == [
        ("model", "first", "first cannot be read."),
        ("model", "second", "second cannot be read."),
    ]
    assert {(each["project_id"], each["version"], each["since"]) for each in listed} == {
        (PROJECT, "1.0.0", "2026-01-15T12:00:00Z")
    }


async def test_an_audit_is_asked_for_and_its_result_kept(operator: Operator) -> None:
    uploads = operator.uploads
    assert (await operator.call("GET", "audit"))["data"] == []
    asked = await operator.call("POST", "audit", status=202, json={"fix": True})
    [event] = await uploads.emitted(ObjectAuditRequested)
    assert (event.fix, event.at) == (True, datetime.fromisoformat(asked["at"]))

    def audited(number: int, **more: Any) -> ObjectAudited:
        at = NOON + timedelta(hours=number)
        return ObjectAudited(objects=number, size_bytes=1, unclaimed=2, missing=3, foreign=4, at=at, **more)

    sizes = {
        "unclaimed_bytes": 5,
        "missing_bytes": 6,
        "cold_objects": 7,
        "cold_bytes": 8,
        "leftovers": 9,
        "leftover_bytes": 10,
        "misplaced": 11,
        "expiring": 12,
        "expiring_bytes": 13,
    }
    last = audited(KEPT + 5, stopped="Too much is unknown.", keys=["a", "b"], **sizes)
    for each in [last, *(audited(number) for number in range(KEPT + 5)), last]:
        await uploads.deliver(each)
    kept = (await operator.call("GET", "audit"))["data"]
    assert [audit["objects"] for audit in kept] == list(range(KEPT + 5, 5, -1))
    assert kept[0] == {
        "id": last.id,
        "at": "2026-01-16T13:00:00+00:00",
        "objects": 25,
        "size_bytes": 1,
        "unclaimed": 2,
        "missing": 3,
        "foreign": 4,
        "stopped": "Too much is unknown.",
        "keys": ["a", "b"],
        **sizes,
    }
