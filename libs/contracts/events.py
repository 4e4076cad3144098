"""Every event: a frozen Struct named in the past tense; its tag is the JSON `type` and the stem of the NATS subject.

New fields have defaults; a new meaning is a new version. tests/contracts/golden holds one JSON per event.
"""

from __future__ import annotations

import uuid
from datetime import datetime

import msgspec

from libs.contracts.entities import Finding, Part, PartStream, Report, StoredFile, Tier, ValidationOptions


def new_id() -> str:
    """A random identifier (UUID version 4)."""
    return str(uuid.uuid4())


def id_of(*what: object) -> str:
    """The identifier of an event that asks for `what`: equal for equal arguments, so that repeats collapse into one."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(str(each) for each in what)))


_NAMESPACE = uuid.UUID("6f1d3f0a-5d0c-4b62-9c6b-3d1f4f1f9f55")


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Something that happened. It may arrive more than once, and in any order."""

    id: str = msgspec.field(default_factory=new_id)
    at: datetime  # UTC


# Uploads: emitted by the gateway


class UploadOpened(Event, tag="upload.opened.v1"):
    """A stream has parts to unpack. Emitted with its first part, and again by the sweeper while the stream waits.

    It carries every part stored so far, so that a repeat repairs whatever was lost before it.
    """

    stream: PartStream
    parts: list[Part]


class UploadPartStored(Event, tag="upload.part_stored.v1"):
    """One more part of a stream is in storage."""

    upload_id: str
    stream_id: str
    part: Part


class UploadCompleted(Event, tag="upload.completed.v1"):
    """The client has completed the upload and every part is stored; `stream_ids` are still to be unpacked."""

    upload_id: str
    project_id: str
    model_id: str
    stream_ids: list[str]


class UploadAborted(Event, tag="upload.aborted.v1"):
    """The client cancelled the upload; its parts and files are to be removed."""

    upload_id: str
    project_id: str
    model_id: str


class UploadExpired(Event, tag="upload.expired.v1"):
    """The upload was not completed in time; its parts and files are to be removed."""

    upload_id: str
    project_id: str
    model_id: str


class UploadFailed(Event, tag="upload.failed.v1"):
    """The upload was refused for `reason`; its parts and files are to be removed."""

    upload_id: str
    project_id: str
    model_id: str
    reason: str


class UploadResumeRequested(Event, tag="upload.resume_requested.v1"):
    """An operator asks for the parked streams of this upload to be tried again now."""

    upload_id: str
    stream_ids: list[str]


# Streams: emitted by the extractor


class ArchiveProgressed(Event, tag="archive.progressed.v1"):
    """How far a stream has been unpacked. Only the previous release emits it; now StreamProgress goes by plain NATS."""

    upload_id: str
    stream_id: str
    parts_done: int
    members: int
    bytes_out: int


class ArchiveExtracted(Event, tag="archive.extracted.v1"):
    """Every file of the stream is in storage and has its SHA-256."""

    upload_id: str
    stream_id: str
    files: list[StoredFile]
    stripped_prefix: str | None = None  # the only folder at the top, without its slash
    dropped: list[str] = []  # AppleDouble and .DS_Store members that were left out
    bytes_in: int = 0


class ArchiveRejected(Event, tag="archive.rejected.v1"):
    """The stream cannot be unpacked; none of its files is kept."""

    upload_id: str
    stream_id: str
    finding: Finding


class ArchiveParked(Event, tag="archive.parked.v1"):
    """The stream cannot be unpacked now, by no fault of the client; no part of it is lost.

    It is tried again at `retry_at`, or when an operator asks for it.
    """

    upload_id: str
    stream_id: str
    reason: str
    retry_at: datetime  # UTC


# Models: the gateway emits the first two and the last three, the validator the others


class ModelRegistered(Event, tag="model.registered.v1"):
    """The registry refers to these objects; any other object of the upload may be deleted."""

    model_id: str
    upload_id: str
    project_id: str
    files: list[StoredFile]


class ModelValidationRequested(Event, tag="model.validation_requested.v1"):
    """A model waits for its verdict. Repeated with the same `validation_id` until the verdict comes."""

    model_id: str
    project_id: str
    validation_id: str
    files: list[StoredFile]
    resume: bool = False  # an operator asks for it to be tried again now, if it is parked
    options: ValidationOptions | None = None


class ModelValidated(Event, tag="model.validated.v1"):
    """The model passed: no finding is an error."""

    model_id: str
    validation_id: str
    report: Report


class ModelRejected(Event, tag="model.rejected.v1"):
    """The model did not pass: at least one finding is an error."""

    model_id: str
    validation_id: str
    report: Report


class ModelValidationParked(Event, tag="model.validation_parked.v1"):
    """The model cannot be checked now, by no fault of the client; it is tried again at `retry_at`."""

    model_id: str
    validation_id: str
    reason: str
    retry_at: datetime  # UTC


class ModelDeleted(Event, tag="model.deleted.v1"):
    """The client deleted the model; until `erase_at` it can be restored, and the registry refers to its objects."""

    model_id: str
    project_id: str
    erase_at: datetime  # UTC; ModelErased follows some time after it


class ModelRestored(Event, tag="model.restored.v1"):
    """A deleted model is back as it was."""

    model_id: str
    project_id: str


class ModelErased(Event, tag="model.erased.v1"):
    """The registry has no such model any more, and it cannot be restored.

    Objects that no other model of the project refers to come in the ObjectDropped of the same transaction.
    """

    model_id: str
    project_id: str


# Objects: the gateway emits the first, and the audit request; lifecycle emits the others


class ObjectDropped(Event, tag="object.dropped.v1"):
    """The registry does not refer to these objects, or no longer does."""

    project_id: str
    keys: list[str]
    reason: str


class ObjectUnclaimed(Event, tag="object.unclaimed.v1"):
    """Objects are in storage that no event has named; the gateway drops those that it does not know either."""

    project_id: str
    keys: list[str]


class ObjectMissing(Event, tag="object.missing.v1"):
    """Registered objects are not in storage: their models lack files, and no new model may refer to them."""

    project_id: str
    keys: list[str]


class ObjectFound(Event, tag="object.found.v1"):
    """Objects that were missing are in storage again."""

    project_id: str
    keys: list[str]


class ObjectAuditRequested(Event, tag="object.audit_requested.v1"):
    """An operator asks for storage to be compared with the registry now.

    With `fix`, objects that belong to no model are removed, however many there are; without, they are only counted.
    """

    fix: bool = False


class ObjectAudited(Event, tag="object.audited.v1"):
    """Storage was compared with the registry."""

    objects: int  # in storage, below this installation's projects
    size_bytes: int
    unclaimed: int  # objects that belong to no known model
    missing: int  # registered objects that are not in storage
    foreign: int  # objects below a prefix that is no project of this installation; never touched
    stopped: str | None = None  # why nothing was deleted, where an operator has to decide
    keys: list[str] = []  # a sample of the unclaimed objects, for people to look at
    unclaimed_bytes: int = 0
    missing_bytes: int = 0
    cold_objects: int = 0  # of `objects`, those that are in the cold tier
    cold_bytes: int = 0
    leftovers: int = 0  # second copies, in the tier where the object is not; they are removed
    leftover_bytes: int = 0
    misplaced: int = 0  # objects that were only in the other tier than recorded; the record is corrected
    expiring: int = 0  # objects that only deleted models have, which can be restored for now
    expiring_bytes: int = 0


class ObjectDeleted(Event, tag="object.deleted.v1"):
    """The objects have been deleted from storage."""

    project_id: str
    keys: list[str]


class ObjectMoved(Event, tag="object.moved.v1"):
    """The objects are in this tier of storage now. Readers find them in either."""

    project_id: str
    keys: list[str]
    tier: Tier


# Projects: the gateway emits the first two, lifecycle the other


class ProjectLimited(Event, tag="project.limited.v1"):
    """An operator has set, or taken away, a limit of the project that other services keep."""

    project_id: str
    validations_at_once: int | None = None  # None: no limit


class ProjectDeleted(Event, tag="project.deleted.v1"):
    """The registry has no model, upload or object of the project any more, and never will have.

    Told again until ProjectPurged answers it.
    """

    project_id: str


class ProjectPurged(Event, tag="project.purged.v1"):
    """Storage has nothing of the deleted project any more."""

    project_id: str


def event_type(event: Event | type[Event]) -> str:
    """The tag, e.g. "upload.opened.v1"."""
    return str(event.__struct_config__.tag)


# Every class above: what is defined here is an event of this release
EVENT_TYPES: tuple[type[Event], ...] = tuple(Event.__subclasses__())
EVENT_FAMILIES: tuple[str, ...] = tuple(sorted({event_type(kind).partition(".")[0] for kind in EVENT_TYPES}))

_encoder = msgspec.json.Encoder()
_decoders = {event_type(kind): msgspec.json.Decoder(kind) for kind in EVENT_TYPES}


def encode_event(event: Event) -> bytes:
    """The event as JSON."""
    return _encoder.encode(event)


def decode_event(type_name: str, raw: bytes) -> Event:
    """The event of type `type_name` in `raw`.

    Raises: msgspec.DecodeError (ValidationError among them); KeyError if the type is not known here.
    """
    return _decoders[type_name].decode(raw)
