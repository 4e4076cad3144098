"""The wire language stays readable: each event has a JSON that was written once and must be understood for ever.

A golden that no longer decodes is a break of the contract: give the new field a default, or the event a new version.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from libs import contracts
from libs.contracts import EVENT_TYPES, Event, decode_event, encode_event, event_type

GOLDEN = Path(__file__).parent / "golden"

by_tag = pytest.mark.parametrize("kind", EVENT_TYPES, ids=event_type)


@by_tag
def test_a_golden_event_is_read_and_written_as_it_was(kind: type[Event]) -> None:
    golden = GOLDEN / f"{event_type(kind)}.json"
    assert golden.exists(), f"tests/contracts/golden has no {golden.name}: write one with every field set"
    raw = golden.read_bytes()
    event = decode_event(event_type(kind), raw)
    assert type(event) is kind
    same = msgspec.json.decode(encode_event(event)) == msgspec.json.decode(raw)
    assert same, f"tests/contracts/golden/{golden.name} lacks a field, or the event writes one in another way"


@by_tag
def test_a_golden_event_sets_every_field(kind: type[Event]) -> None:
    """So that a field cannot be renamed, or change its type, unnoticed."""
    written = msgspec.json.decode((GOLDEN / f"{event_type(kind)}.json").read_bytes())
    assert set(written) == {"type", *(field.encode_name for field in msgspec.structs.fields(kind))}


@by_tag
def test_unknown_fields_are_passed_over(kind: type[Event]) -> None:
    """A newer service may say more than an older one knows."""
    written = msgspec.json.decode((GOLDEN / f"{event_type(kind)}.json").read_bytes())
    newer = msgspec.json.encode({**written, "said_by_a_newer_version": {"a": 1}})
    assert type(decode_event(event_type(kind), newer)) is kind


@by_tag
def test_an_event_is_exported(kind: type[Event]) -> None:
    assert kind.__name__ in contracts.__all__, f"libs/contracts/__init__.py does not export {kind.__name__}"


def test_every_golden_belongs_to_an_event() -> None:
    assert {file.stem for file in GOLDEN.glob("*.json")} == {event_type(kind) for kind in EVENT_TYPES}


def test_tags_are_subjects_of_a_family_with_a_version() -> None:
    for kind in EVENT_TYPES:
        family, _, version = event_type(kind).split(".")
        assert family.islower()
        assert version[0] == "v"
        assert version[1:].isdigit()


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b'{"type":"upload.aborted.v1"}', b'{"type":"upload.expired.v1","id":"1"}', b"\xff\xfe"],
)
def test_what_is_not_the_event_is_refused(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_event("upload.aborted.v1", raw)


def test_an_unknown_type_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        decode_event("upload.dreamt_of.v1", b"{}")
