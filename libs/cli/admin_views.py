"""What `slipway admin` prints: processes, refused events, parked work, audits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.text import Text

from libs.cli.formatting import ago
from libs.cli.panels import fact_table, panel
from libs.cli.views import table
from libs.client.operator import Audit, Member, Parked, ProjectFeature, Republished, Resumed, ServiceStatus, Status


def show_status(console: Console, status: Status) -> None:
    """The processes, a line each, and below them the services that are silent."""
    waiting = {each.service: each.waiting for each in status.backlogs}
    columns = ("service", "state", "version", ">outbox", ">refused", ">events waiting", "id")
    rows: list[Sequence[RenderableType]] = [
        (
            each.service,
            _state(each),
            each.version,
            _count(each.outbox_depth),
            _bad(len(each.refused)),
            _count(waiting.get(each.service)),
            each.instance,
        )
        for each in status.services
    ]
    rows += [
        (service, Text("● no answer", "red"), "", "", "", _count(waiting.get(service)), "") for service in status.silent
    ]
    table(console, columns, rows, "Nothing answers, and the broker knows of no service.")
    for advice in sorted({advice for each in status.services for advice in each.advice}):
        console.print(advice, style="yellow", markup=False, soft_wrap=True)
    if any(each.refused for each in status.services):
        console.print("Refused events: slipway admin outbox list", style="dim")


def _state(process: ServiceStatus) -> Text:
    down = [name for name, holds in process.checks.items() if not holds]
    if process.ready is False:
        return Text(f"● not ready: {', '.join(down) or 'stopping'}", "red")
    return Text(f"● ready, without {', '.join(down)}", "yellow") if down else Text("● ready", "green")


def show_refused(console: Console, status: Status) -> None:
    """The events that the broker will not take, a line each."""
    refused = {(each.service, event.event_id): event for each in status.services for event in each.refused}
    rows = (
        (service, event.type, event.reason or "", ago(event.since), event_id)
        for (service, event_id), event in refused.items()
    )
    table(console, ("service", "type", "reason", "since", "id"), rows, "The broker has refused no event.")


def show_republished(console: Console, answers: Sequence[Republished]) -> None:
    """How many events each service publishes again."""
    rows = ((each.service, str(each.events)) for each in answers)
    table(console, ("service", ">events published again"), rows, "No service answered; see slipway admin status.")


def show_resumed(console: Console, resumed: Resumed) -> None:
    """Say what is tried again."""
    count = len(resumed.stream_ids)
    what = f"{count} {'stream' if count == 1 else 'streams'} of upload" if count else "Model"
    console.print(f"{what} {resumed.id}: tried again now. See slipway admin parked.", soft_wrap=True)


def show_parked(console: Console, parked: Sequence[Parked]) -> None:
    """One line for each parked upload or model: what it waits for, and since when."""
    rows = (
        (each.kind, each.name, each.version, each.waiting_for or "", ago(each.since), each.project_id, each.id)
        for each in parked
    )
    table(console, ("kind", "name", "version", "waiting for", "since", "project", "id"), rows, "Nothing is parked.")


def show_audit(console: Console, audit: Audit) -> None:
    """The result of an audit, and the command to run next."""
    known: dict[str, RenderableType | None] = {
        "stored": f"{audit.objects} objects, {decimal(audit.size_bytes)}",
        "cold tier": f"{audit.cold_objects} of them, {decimal(audit.cold_bytes)}" if audit.cold_objects else None,
        "expiring": _found(audit.expiring, audit.expiring_bytes, "that only deleted models have"),
        "unclaimed": _found(audit.unclaimed, audit.unclaimed_bytes, "that no model is known to have"),
        "missing": _found(
            audit.missing, audit.missing_bytes, "that models have and storage has not; slipway models list shows which"
        ),
        "left over": (
            _found(audit.leftovers, audit.leftover_bytes, "copies in the other tier; they are being removed")
            if audit.leftovers
            else None
        ),
        "misplaced": f"{audit.misplaced} in the other tier than recorded; corrected" if audit.misplaced else None,
        "foreign": f"{audit.foreign} of projects that are not known here; left alone" if audit.foreign else "none",
        "stopped": Text(audit.stopped, "red") if audit.stopped else None,
        "for example": ", ".join(audit.keys) or None,
        "next": "slipway admin audit --fix removes what is unclaimed" if audit.stopped else None,
    }
    bad = bool(audit.stopped or audit.missing)
    console.print(panel("audit", _moment(audit.at), "error" if bad else "ready", fact_table(known)))


def show_features(console: Console, features: Sequence[ProjectFeature]) -> None:
    """A line for each feature: on or off, and since when."""
    rows = (
        (each.feature, Text("on", "green") if each.enabled else Text("off", "dim"), ago(each.enabled_at))
        for each in features
    )
    table(console, ("feature", "state", "since"), rows, "There are no features.")


def show_members(console: Console, members: Sequence[Member]) -> None:
    """The members of a project, a line each."""
    rows = (
        (
            each.name,
            each.role,
            Text(f"removed {ago(each.removed_at)}", "red") if each.removed_at else Text("active", "green"),
            ago(each.created_at),
            each.id,
        )
        for each in members
    )
    table(console, ("name", "role", "state", "added", "id"), rows, "No members yet: slipway admin members add")


def _found(count: int, size_bytes: int, what: str) -> str:
    return f"{count} ({decimal(size_bytes)}) {what}" if count else "none"


def _moment(moment: str) -> str:
    return datetime.fromisoformat(moment).isoformat(sep=" ", timespec="seconds")


def _count(number: int | None) -> str:
    return "" if number is None else str(number)


def _bad(number: int) -> Text:
    return Text(str(number), "red" if number else "")
