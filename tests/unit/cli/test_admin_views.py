"""How the command shows what operators ask."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console

from libs.cli.admin_views import show_audit, show_refused, show_resumed, show_status
from libs.client.operator import Audit, Backlog, Refused, Resumed, ServiceStatus, Status

REFUSED = Refused("e1", "model.registered.v1", "too large", "2026-01-15T12:00:00Z")
GATEWAY = ServiceStatus(
    service="gateway",
    instance="g1",
    version="0.2.0",
    ready=True,
    checks={"postgres": True, "s3": False},
    advice=["Raise max_payload."],
    outbox_depth=3,
    refused=[REFUSED],
)
SECOND_GATEWAY = ServiceStatus(
    service="gateway", instance="g2", ready=True, advice=["Raise max_payload."], refused=[REFUSED]
)
VALIDATOR = ServiceStatus(service="validator", instance="v1", ready=False)
STATUS = Status([GATEWAY, SECOND_GATEWAY, VALIDATOR], ["extractor"], [Backlog("extractor", 12, 0)])


def shown(show: Callable[[Console], None]) -> str:
    out = io.StringIO()
    show(Console(file=out, width=200, color_system=None))
    return out.getvalue()


def test_status_is_a_line_for_each_process_and_each_silent_service() -> None:
    text = shown(lambda console: show_status(console, STATUS))

    lines = text.splitlines()
    assert "ready, without s3" in lines[1]
    assert "not ready" in lines[3]
    assert "extractor" in lines[4]
    assert "no answer" in lines[4]
    assert "12" in lines[4]
    assert "slipway admin outbox list" in text
    assert text.count("Raise max_payload.") == 1


def test_processes_that_read_the_same_outbox_refuse_an_event_once() -> None:
    text = shown(lambda console: show_refused(console, STATUS))

    assert text.count("too large") == 1
    assert "e1" in text


def test_nothing_refused_is_said() -> None:
    assert "refused no event" in shown(lambda console: show_refused(console, Status([VALIDATOR])))


def test_what_is_resumed_is_counted() -> None:
    assert "1 stream of upload u1" in shown(lambda console: show_resumed(console, Resumed("u1", ["s"])))
    assert "2 streams of upload u1" in shown(lambda console: show_resumed(console, Resumed("u1", ["s", "t"])))
    assert "Model m1" in shown(lambda console: show_resumed(console, Resumed("m1", [], "v")))


def test_an_audit_that_stopped_says_what_to_do() -> None:
    audit = Audit("a", "2026-01-15T12:00:00+00:00", 10, 5_000_000, 9, 1, 0, "9 of 10 objects are unknown.", ["p/k"])

    text = shown(lambda console: show_audit(console, audit))

    for words in ("9 of 10 objects are unknown.", "slipway admin audit --fix", "5.0 MB", "p/k"):
        assert words in text


def test_an_audit_says_how_much_is_where() -> None:
    """Sizes of what is unclaimed, missing or to go, and what the cold tier has; of one tier alone it says nothing."""
    audit = Audit(
        id="a",
        at="2026-01-15T12:00:00+00:00",
        objects=10,
        size_bytes=5_000_000,
        unclaimed=2,
        missing=1,
        foreign=0,
        unclaimed_bytes=3000,
        missing_bytes=4000,
        cold_objects=6,
        cold_bytes=6000,
        leftovers=1,
        leftover_bytes=7000,
        misplaced=3,
        expiring=4,
        expiring_bytes=8000,
    )
    text = shown(lambda console: show_audit(console, audit))
    for words in ("2 (3.0 kB) that no model", "1 (4.0 kB) that models have", "6 of them, 6.0 kB", "1 (7.0 kB) copies"):
        assert words in text
    assert "3 in the other tier" in text
    assert "4 (8.0 kB) that only deleted models have" in text
    plain = Audit("a", "2026-01-15T12:00:00+00:00", 10, 5_000_000, 0, 0, 0)
    text = shown(lambda console: show_audit(console, plain))
    assert "tier" not in text
    assert text.count("none") == 4
