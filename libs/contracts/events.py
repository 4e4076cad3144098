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


# The extractor tells of streams


class ArchiveProgressed(Event, tag="archive.progressed.v1"):
    """How far a stream has been unpacked; only ever grows within one attempt."""

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
    ArchiveProgressed,
    ArchiveExtracted,
    ArchiveRejected,
    ModelRegistered,
    ModelValidationRequested,
    ModelValidated,
    ModelRejected,
    ObjectDropped,
    ObjectUnclaimed,
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
