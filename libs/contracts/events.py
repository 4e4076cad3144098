"""Every event: a frozen Struct in the past tense; its tag is the JSON `type` and the NATS subject's stem.

New fields have defaults; a new meaning is a new version. tests/contracts holds one golden JSON per event.
"""

from __future__ import annotations

import uuid
from datetime import datetime

import msgspec

from libs.contracts.entities import Finding, Part, PartStream, Report, StoredFile


def new_id() -> str:
    """A random identifier (UUID version 4)."""
    return str(uuid.uuid4())


def id_of(*what: object) -> str:
    """The identifier of an event that asks for `what`: the same for the same, so that repeats collapse."""
    return str(uuid.uuid5(_ASKED, "/".join(str(each) for each in what)))


_ASKED = uuid.UUID("6f1d3f0a-5d0c-4b62-9c6b-3d1f4f1f9f55")


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Something that happened, told once or more, in any order."""

    id: str = msgspec.field(default_factory=new_id)
    at: datetime  # UTC


# The gateway tells of uploads


class UploadOpened(Event, tag="upload.opened.v1"):
    """A stream has parts to unpack: sent with its first part, and again by the sweeper while it waits.

    It carries every part known so far, so that a repeat repairs whatever was lost before it.
    """

    stream: PartStream
    parts: list[Part]


class UploadPartStored(Event, tag="upload.part_stored.v1"):
    """One more part of a stream is in storage."""

    upload_id: str
    stream_id: str
    part: Part


class UploadCompleted(Event, tag="upload.completed.v1"):
    """The client says that it has sent everything, and it has; `stream_ids` are still to be unpacked."""

    upload_id: str
    project_id: str
    model_id: str
    stream_ids: list[str]


class UploadAborted(Event, tag="upload.aborted.v1"):
    """The client gave the upload up; what it left is to be removed."""

    upload_id: str
    project_id: str
    model_id: str


class UploadExpired(Event, tag="upload.expired.v1"):
    """The upload was not completed in time; what it left is to be removed."""

    upload_id: str
    project_id: str
    model_id: str


class UploadFailed(Event, tag="upload.failed.v1"):
    """The upload was refused for `reason`; what it left is to be removed."""

    upload_id: str
    project_id: str
    model_id: str
    reason: str


class UploadResumeRequested(Event, tag="upload.resume_requested.v1"):
    """An operator wants what is parked of this upload to be tried again now."""

    upload_id: str
    stream_ids: list[str]


# The extractor tells of streams


class ArchiveProgressed(Event, tag="archive.progressed.v1"):
    """How far a stream has been unpacked. Release 0.1 sent it; since then StreamProgress does without the outbox."""

    upload_id: str
    stream_id: str
    parts_done: int
    members: int
    bytes_out: int


class ArchiveExtracted(Event, tag="archive.extracted.v1"):
    """Every file of the stream is in storage, hashed."""

    upload_id: str
    stream_id: str
    files: list[StoredFile]
    stripped_prefix: str | None = None  # the one folder that held every member, without its slash
    dropped: list[str] = []  # AppleDouble and .DS_Store members that were left out
    bytes_in: int = 0


class ArchiveRejected(Event, tag="archive.rejected.v1"):
    """The stream cannot be unpacked; nothing of it is kept."""

    upload_id: str
    stream_id: str
    finding: Finding


class ArchiveParked(Event, tag="archive.parked.v1"):
    """The stream cannot be unpacked now, for a reason that is not its client's; nothing of it is lost.

    It is tried again at `retry_at`, or when an operator says so.
    """

    upload_id: str
    stream_id: str
    reason: str
    retry_at: datetime  # UTC


# The gateway tells of models, the validator answers


class ModelRegistered(Event, tag="model.registered.v1"):
    """The registry refers to these objects; whatever else the upload left may go."""

    model_id: str
    upload_id: str
    project_id: str
    files: list[StoredFile]


class ModelValidationRequested(Event, tag="model.validation_requested.v1"):
    """A model waits for its verdict; asked again with the same `validation_id` until it comes."""

    model_id: str
    project_id: str
    validation_id: str
    files: list[StoredFile]
    resume: bool = False  # an operator wants it to be tried again now, if it is parked


class ModelValidated(Event, tag="model.validated.v1"):
    """No finding is an error."""

    model_id: str
    validation_id: str
    report: Report


class ModelRejected(Event, tag="model.rejected.v1"):
    """At least one finding is an error."""

    model_id: str
    validation_id: str
    report: Report


class ModelValidationParked(Event, tag="model.validation_parked.v1"):
    """The model cannot be checked now, for a reason that is not its client's; it is tried again at `retry_at`."""

    model_id: str
    validation_id: str
    reason: str
    retry_at: datetime  # UTC


# Objects: the gateway drops, lifecycle deletes and asks


class ObjectDropped(Event, tag="object.dropped.v1"):
    """Nothing in the registry refers to these objects any more, or ever did."""

    project_id: str
    keys: list[str]
    reason: str


class ObjectUnclaimed(Event, tag="object.unclaimed.v1"):
    """Lifecycle found objects that it was never told of; the gateway drops those it does not know either."""

    project_id: str
    keys: list[str]


class ObjectMissing(Event, tag="object.missing.v1"):
    """Registered objects are not in storage: their models lack files, and nothing new may rely on them."""

    project_id: str
    keys: list[str]


class ObjectFound(Event, tag="object.found.v1"):
    """Objects that were missing are in storage again."""

    project_id: str
    keys: list[str]


class ObjectAuditRequested(Event, tag="object.audit_requested.v1"):
    """An operator wants storage to be compared with the registry now.

    With `fix`, what no model is known to have goes, however much it is; without, it is only counted.
    """

    fix: bool = False


class ObjectAudited(Event, tag="object.audited.v1"):
    """Storage was compared with what is registered."""

    objects: int  # in storage, below this installation's projects
    size_bytes: int
    unclaimed: int  # objects that no model is known to have
    missing: int  # registered objects that are not in storage
    foreign: int  # objects below what is no project of this installation; never touched
    stopped: str | None = None  # why nothing was deleted, where an operator has to decide
    keys: list[str] = []  # some of the unclaimed ones, for people to look at


class ObjectDeleted(Event, tag="object.deleted.v1"):
    """The objects are gone from storage."""

    project_id: str
    keys: list[str]


EVENT_TYPES: tuple[type[Event], ...] = (
    UploadOpened,
    UploadPartStored,
    UploadCompleted,
    UploadAborted,
    UploadExpired,
    UploadFailed,
    UploadResumeRequested,
    ArchiveProgressed,
    ArchiveExtracted,
    ArchiveRejected,
    ArchiveParked,
    ModelRegistered,
    ModelValidationRequested,
    ModelValidated,
    ModelRejected,
    ModelValidationParked,
    ObjectDropped,
    ObjectUnclaimed,
    ObjectMissing,
    ObjectFound,
    ObjectAuditRequested,
    ObjectAudited,
    ObjectDeleted,
)

_BY_TYPE = {str(kind.__struct_config__.tag): kind for kind in EVENT_TYPES}
_encoder = msgspec.json.Encoder()
_decoders = {name: msgspec.json.Decoder(kind) for name, kind in _BY_TYPE.items()}


def event_type(event: Event | type[Event]) -> str:
    """The tag, e.g. "upload.opened.v1"."""
    return str(event.__struct_config__.tag)


def encode_event(event: Event) -> bytes:
    """The event as JSON."""
    return _encoder.encode(event)


def decode_event(type_name: str, raw: bytes) -> Event:
    """The event of type `type_name` in `raw`.

    Raises: msgspec.DecodeError (ValidationError among them); KeyError if the type is not known here.
    """
    return _decoders[type_name].decode(raw)
