"""The bus's tables: streams, handlers, and what a dead letter says of itself."""

from __future__ import annotations

import msgspec
import pytest

from libs.bus import STREAMS, DeadLetter, Handlers, prefixed, stream_name, unprefixed
from libs.contracts import EVENT_TYPES, Event, UploadAborted, UploadExpired, encode_event, event_type
from libs.db import Tx
from tests.support.bus import NOON, an_event


async def nothing(event: Event, tx: Tx) -> list[Event]:
    return []


async def lookup(event: Event, context: object) -> int:
    return 1


def test_every_event_has_a_stream() -> None:
    subjects = next(stream.subjects for stream in STREAMS if stream.name == "EVENTS")
    families = {subject.removesuffix(".>") for subject in subjects}
    assert {event_type(kind).split(".")[0] for kind in EVENT_TYPES} <= families


def test_no_subject_belongs_to_two_streams() -> None:
    subjects = [subject for stream in STREAMS for subject in stream.subjects]
    assert len(subjects) == len(set(subjects))


@pytest.mark.parametrize("namespace", ["", "ns"])
def test_a_namespace_prefixes_names_and_subjects(namespace: str) -> None:
    assert stream_name(namespace, "EVENTS") == ("ns_EVENTS" if namespace else "EVENTS")
    assert prefixed(namespace, "upload.opened.v1") == ("ns.upload.opened.v1" if namespace else "upload.opened.v1")
    assert unprefixed(namespace, prefixed(namespace, "upload.opened.v1")) == "upload.opened.v1"


def test_handlers_are_a_table_by_tag() -> None:
    handlers = Handlers("service")
    assert handlers.on(UploadAborted, UploadExpired)(nothing) is nothing
    handlers.on_dead(UploadAborted)(nothing)
    assert set(handlers.events) == {"upload.aborted.v1", "upload.expired.v1"}
    assert set(handlers.letters) == {"upload.aborted.v1"}


def test_prepare_belongs_to_its_handler() -> None:
    handlers = Handlers("service")
    handlers.on(UploadAborted, prepare=lookup)(nothing)
    handlers.on(UploadExpired)(nothing)
    assert handlers.events["upload.aborted.v1"].prepare is lookup
    assert handlers.events["upload.expired.v1"].prepare is None


def test_an_event_is_handled_in_one_place() -> None:
    handlers = Handlers("service")
    handlers.on(UploadAborted)(nothing)
    with pytest.raises(ValueError, match="twice"):
        handlers.on(UploadAborted)(nothing)


def test_a_dead_letter_keeps_the_original_byte_for_byte() -> None:
    event = an_event()
    letter = DeadLetter(
        consumer="extractor",
        subject="upload.aborted.v1",
        event_type="upload.aborted.v1",
        event_id=event.id,
        reason="no",
        error_type="Invalid",
        delivered=3,
        at=NOON,
        original=encode_event(event),
    )
    read = DeadLetter.decode(letter.encode())
    assert read == letter
    assert read.event() == event
    assert read.letter_subject == "dead.extractor.upload.aborted.v1"


def test_bytes_that_are_no_letter_are_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        DeadLetter.decode(b"\xff\xfe")
