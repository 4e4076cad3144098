"""Bodies and answers of the operator's routes. Times are RFC 3339, sizes in bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

Kind = Literal["upload", "model"]
EventIds = Annotated[list[str], Meta(min_length=1, max_length=1000)]


class Refused(Struct, frozen=True, kw_only=True):
    """An event that the broker will not take, however often it is tried."""

    event_id: str
    type: str
    reason: str | None = None
    since: str | None = None


class ServiceStatus(Struct, frozen=True, kw_only=True):
    """What one process says of itself; a process of another release may say less, or more."""

    service: str
    instance: str = ""
    version: str = ""
    ready: bool | None = None
    checks: dict[str, bool] = {}
    advice: list[str] = []  # what the operator should set or mend
    outbox_depth: int | None = None  # events that wait to be published
    refused: list[Refused] = []


class Backlog(Struct, frozen=True, kw_only=True):
    """What waits for a service in the broker, whether or not a process of it runs."""

    service: str
    waiting: int  # events that were not delivered yet
    in_progress: int  # events delivered and not settled


class Status(Struct, frozen=True, kw_only=True):
    """Every process that answered, and the services known to the broker of which none did."""

    services: list[ServiceStatus]
    silent: list[str]
    backlogs: list[Backlog]


class RetryOutbox(Struct, frozen=True, kw_only=True):
    """POST /admin/v1/outbox/retry: which refused events to try again now; all if none are named."""

    event_ids: EventIds | None = None


class Replay(Struct, frozen=True, kw_only=True):
    """POST /admin/v1/replay: which published events to publish again; at least one of the two is given."""

    since: Annotated[datetime, Meta(tz=True)] | None = None
    event_ids: EventIds | None = None


class Done(Struct, frozen=True, kw_only=True):
    """What one service did about it."""

    service: str
    events: int = 0


class Answers(Struct, frozen=True, kw_only=True):
    """What each service that answered did."""

    data: list[Done]
    object: Literal["list"] = "list"


class Resumed(Struct, frozen=True, kw_only=True):
    """What is tried again now: an upload with its streams that are not unpacked yet, or a model."""

    id: str
    stream_ids: list[str] = []
    validation_id: str | None = None


class RequestAudit(Struct, frozen=True, kw_only=True):
    """POST /admin/v1/audit: with `fix`, what no model is known to have is removed, however much it is."""

    fix: bool = False


class AuditRequested(Struct, frozen=True, kw_only=True):
    """Storage is going to be compared; GET /admin/v1/audit has the result once its `at` is later than this."""

    at: str
    fix: bool


class Audit(Struct, frozen=True, kw_only=True):
    """Storage as it was compared with what is registered."""

    id: str
    at: str
    objects: int  # in storage, below this installation's projects
    size_bytes: int
    unclaimed: int  # objects that no model is known to have
    missing: int  # registered objects that are not in storage
    foreign: int  # objects below what is no project of this installation; never touched
    stopped: str | None  # why nothing was deleted, where the operator has to decide
    keys: list[str]  # some of the unclaimed ones
    unclaimed_bytes: int = 0
    missing_bytes: int = 0
    cold_objects: int = 0  # of `objects`, those in the cold tier
    cold_bytes: int = 0
    leftovers: int = 0  # second copies, in the tier that is not the object's; they are removed
    leftover_bytes: int = 0
    misplaced: int = 0  # only in the tier that was not recorded, which is corrected
    expiring: int = 0  # that only deleted models have; they go when those are erased
    expiring_bytes: int = 0


class AuditList(Struct, frozen=True, kw_only=True):
    """The last audits, the newest first."""

    data: list[Audit]
    object: Literal["list"] = "list"


class Parked(Struct, frozen=True, kw_only=True):
    """An upload or a model that waits for something that is not its client's to do."""

    kind: Kind
    id: str
    project_id: str
    name: str
    version: str
    waiting_for: str | None
    since: str


class ParkedList(Struct, frozen=True, kw_only=True):
    """What has waited longest first; of uploads and of models the first thousand each."""

    data: list[Parked]
    object: Literal["list"] = "list"
