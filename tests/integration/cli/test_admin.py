"""`slipway admin`: what operators see and order."""

from __future__ import annotations

from tests.integration.cli.admin import audit_of
from tests.integration.cli.conftest import Slipway
from tests.integration.cli.server import FakeSlipway

REFUSED = {"event_id": "e1", "type": "model.registered.v1", "reason": "too large", "since": "2026-01-15T12:00:00Z"}
GATEWAY = {
    "service": "gateway",
    "instance": "g1",
    "version": "0.2.0",
    "ready": True,
    "checks": {"postgres": True, "s3": False},
    "advice": ["Raise max_payload."],
    "outbox_depth": 3,
    "refused": [REFUSED],
}


async def test_status_shows_processes_and_who_is_silent(slipway: Slipway, server: FakeSlipway) -> None:
    server.admin.services = [GATEWAY, {"service": "validator", "instance": "v1", "ready": False, "checks": {}}]

    shown = await slipway("admin", "status")
    document = await slipway("admin", "status", "--json")

    lines = shown.out.splitlines()
    assert "ready, without s3" in lines[1]
    assert "not ready" in lines[2]
    assert "extractor" in lines[3]
    assert "no answer" in lines[3]
    assert "12" in lines[3]
    assert "slipway admin outbox list" in shown.out
    assert shown.out.count("Raise max_payload.") == 1
    assert document.json["silent"] == ["extractor"]


async def test_refused_events_are_listed_and_retried(slipway: Slipway, server: FakeSlipway) -> None:
    nothing = await slipway("admin", "outbox", "list")
    server.admin.services = [GATEWAY, {**GATEWAY, "instance": "g2"}]  # both read the same outbox

    listed = await slipway("admin", "outbox", "list")
    retried = await slipway("admin", "outbox", "retry", "e1", "--json")
    everything = await slipway("admin", "outbox", "retry")

    assert "refused no event" in nothing.out
    assert listed.out.count("too large") == 1
    assert "e1" in listed.out
    assert retried.json == {"services": [{"service": "gateway", "events": 1}]}
    assert "7" in everything.out


async def test_a_replay_needs_to_be_told_of_what(slipway: Slipway) -> None:
    refused = await slipway("admin", "replay")
    done = await slipway("admin", "replay", "--event", "e1", "--event", "e2", "--json")

    assert refused.code == 2
    assert "--since or --event" in refused.err
    assert done.json == {"services": [{"service": "gateway", "events": 2}]}


async def test_uploads_and_models_are_resumed(slipway: Slipway, server: FakeSlipway) -> None:
    upload = await slipway("admin", "resume", "upload", "u1")
    model = await slipway("admin", "resume", "model", "m/1", "--json")

    assert "1 stream of upload u1" in upload.out
    assert model.json["validation_id"] == "v"
    assert server.sent("POST /admin/v1/(uploads/u1|models/m.*1)/resume")


async def test_parked_is_a_table(slipway: Slipway, server: FakeSlipway) -> None:
    nothing = await slipway("admin", "parked")
    waiting = {"kind": "model", "id": "m1", "project_id": "proj_TEST01", "name": "tiny", "version": "1.0.0"}
    server.admin.parked = [{**waiting, "waiting_for": "storage is away.", "since": "2026-01-15T12:00:00Z"}]

    listed = await slipway("admin", "parked")
    document = await slipway("admin", "parked", "--json")

    assert "Nothing is parked." in nothing.out
    for words in ("tiny", "storage is away.", "m1", "ago"):
        assert words in listed.out
    assert document.json == {"parked": server.admin.parked}


async def test_an_audit_is_waited_for_and_says_what_to_do(slipway: Slipway, server: FakeSlipway) -> None:
    none = await slipway("admin", "audit", "--last")
    server.admin.audits = [audit_of("2026-01-15T12:00:00+00:00")]  # from before

    stopped = await slipway("admin", "audit")
    fixed = await slipway("admin", "audit", "--fix", "--json")
    last = await slipway("admin", "audit", "--last", "--json")

    assert none.code == 1
    assert "no audit yet" in none.err
    assert "9 of 10 objects are unknown." in stopped.out
    assert "slipway admin audit --fix" in stopped.out
    assert (fixed.json["stopped"], last.json["id"]) == (None, fixed.json["id"])
