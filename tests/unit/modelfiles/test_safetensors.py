"""Every rule of the safetensors header, by name, and what is no reason to reject."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from libs.modelfiles import safetensors
from libs.modelfiles.ranges import Range
from libs.modelfiles.safetensors import Header
from libs.modelfiles.unreadable import Unreadable
from tests.support.ranges import read_from


def given_file(header: str | bytes | dict[str, Any], body: bytes = b"", length: int | None = None) -> bytes:
    """A file with this header, and its true length unless told otherwise."""
    if isinstance(header, dict):
        header = json.dumps(header)
    raw = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(raw) if length is None else length) + raw + body


def entry(dtype: str = "F32", shape: object = (1,), begin: object = 0, end: object = 4) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def read(file: bytes) -> Header:
    return read_from(file, safetensors.read_header(len(file)))


FOUR = b"1234"
A = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'

REJECTED = {
    "shorter than a length": (b"\0\0\0", "safetensors-truncated", "has 3 bytes"),
    "empty file": (b"", "safetensors-truncated", "has 0 bytes"),
    "header over the limit": (given_file("{}", length=100_000_001), "safetensors-header-too-large", "100,000,001"),
    "length of 2^64-1": (given_file("{}", length=2**64 - 1), "safetensors-header-too-large", "limit of 100,000,000"),
    "header past the end": (given_file("{}", length=10), "safetensors-truncated", "ends after 2"),
    "no header": (given_file(b""), "safetensors-header-json", "does not begin with '{'"),
    "leading white space": (given_file(f' {{"a":{A}}}', FOUR), "safetensors-header-json", "does not begin with '{'"),
    "an array": (given_file("[]"), "safetensors-header-json", "does not begin with '{'"),
    "byte order mark": (given_file(f'\ufeff{{"a":{A}}}', FOUR), "safetensors-header-json", "does not begin"),
    "not UTF-8": (given_file(b'{"\xff":1}'), "safetensors-header-json", "not UTF-8"),
    "not JSON": (given_file('{"a":'), "safetensors-header-json", "not JSON"),
    "something after the JSON": (given_file(f'{{"a":{A}}}\0', FOUR), "safetensors-header-json", "Extra data"),
    "control character": (given_file(f'{{"\x01":{A}}}', FOUR), "safetensors-header-json", "control character"),
    "half a surrogate pair": (given_file(f'{{"\\ud800":{A}}}', FOUR), "safetensors-header-json", "surrogate"),
    "nested too deeply": (given_file('{"a":' + "[" * 100_000), "safetensors-header-json", "nested too deeply"),
    "metadata is a list": (given_file(f'{{"__metadata__":[],"a":{A}}}', FOUR), "safetensors-metadata", "not an object"),
    "metadata of numbers": (
        given_file(f'{{"__metadata__":{{"n":1}},"a":{A}}}', FOUR),
        "safetensors-metadata",
        "not a string, under 'n'",
    ),
    "metadata shaped like a tensor": (
        given_file(f'{{"__metadata__":{A},"a":{A}}}', FOUR),
        "safetensors-metadata",
        "__metadata__",
    ),
    "metadata twice": (
        given_file(f'{{"__metadata__":{{}},"__metadata__":{{}},"a":{A}}}', FOUR),
        "safetensors-duplicate-key",
        "'__metadata__' twice",
    ),
    "metadata key twice": (
        given_file(f'{{"__metadata__":{{"k":"1","k":"2"}},"a":{A}}}', FOUR),
        "safetensors-duplicate-key",
        "'__metadata__.k' twice",
    ),
    "tensor twice": (given_file(f'{{"a":{A},"a":{A}}}', FOUR), "safetensors-duplicate-key", "'a' twice"),
    "field twice": (
        given_file('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', FOUR),
        "safetensors-tensor",
        "has a field twice",
    ),
    "tensor is null": (given_file({"a": None}), "safetensors-tensor", "is not an object"),
    "tensor is a list": (given_file({"a": ["F32", [1], [0, 4]]}, FOUR), "safetensors-tensor", "is not an object"),
    "field missing": (given_file({"a": {"dtype": "F32", "shape": [1]}}), "safetensors-tensor", "lacks data_offsets"),
    "unknown field": (given_file({"a": entry() | {"x": 1}}, FOUR), "safetensors-tensor", "does not know: x"),
    "unknown dtype": (given_file({"a": entry("F32E")}, FOUR), "safetensors-dtype", "'F32E'"),
    "dtype in lower case": (given_file({"a": entry("f32")}, FOUR), "safetensors-dtype", "'f32'"),
    "dtype of another kind": (given_file({"a": entry() | {"dtype": 1}}, FOUR), "safetensors-dtype", "dtype: 1"),
    "negative side": (given_file({"a": entry(shape=[-1])}, FOUR), "safetensors-tensor", "shape"),
    "side is a float": (given_file({"a": entry(shape=[1.0])}, FOUR), "safetensors-tensor", "shape"),
    "side is true": (given_file({"a": entry(shape=[True])}, FOUR), "safetensors-tensor", "shape"),
    "side beyond 64 bits": (given_file({"a": entry(shape=[2**64])}, FOUR), "safetensors-tensor", "shape"),
    "side of 5000 digits": (
        given_file('{"a":{"dtype":"F32","shape":[' + "9" * 5000 + "]}}"),
        "safetensors-tensor",
        "lacks",
    ),
    "shape is null": (given_file({"a": entry(shape=None)}, FOUR), "safetensors-tensor", "shape"),
    "minus zero": (
        given_file('{"a":{"dtype":"F32","shape":[1],"data_offsets":[-0,4]}}', FOUR),
        "safetensors-tensor",
        "data_offsets",
    ),
    "three offsets": (
        given_file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 4]}}, FOUR),
        "safetensors-tensor",
        "data_offsets",
    ),
    "three tensors named like fields": (
        given_file('{"dtype":"F32","shape":[1],"data_offsets":[0,4]}', FOUR),
        "safetensors-tensor",
        "Tensor 'dtype' is not an object",
    ),
    "no tensor": (given_file({}), "safetensors-empty", "no tensor at all"),
    "only metadata": (given_file({"__metadata__": {"format": "pt"}}), "safetensors-empty", "no tensor at all"),
    "hole": (
        given_file({"a": entry(), "b": entry(begin=8, end=12)}, FOUR * 3),
        "safetensors-hole",
        "leaves a hole after byte 4",
    ),
    "hole at the beginning": (given_file({"a": entry(begin=4, end=8)}, FOUR * 2), "safetensors-hole", "after byte 0"),
    "overlap": (given_file({"a": entry(), "b": entry(begin=2, end=6)}, FOUR * 2), "safetensors-overlap", "ends at 4"),
    "same place": (given_file({"a": entry(), "b": entry()}, FOUR), "safetensors-overlap", "overlaps"),
    "ends before it begins": (
        given_file({"a": entry(begin=0, end=4), "b": entry(begin=4, end=2)}, FOUR),
        "safetensors-offsets",
        "before it begins",
    ),
    "too few bytes for the shape": (given_file({"a": entry(shape=[2])}, FOUR), "safetensors-size", "takes 8"),
    "too many bytes for the shape": (given_file({"a": entry("F16")}, FOUR), "safetensors-size", "takes 2"),
    "overflow": (given_file({"a": entry(shape=[2**40, 2**40])}, FOUR), "safetensors-overflow", "larger than 2^64-1"),
    "overflow before a zero": (
        given_file({"a": entry(shape=[2**40, 2**40, 0], end=0)}),
        "safetensors-overflow",
        "larger than 2^64-1",
    ),
    "one element of four bits": (
        given_file({"a": entry("F4", end=1)}, b"1"),
        "safetensors-misaligned",
        "within a byte",
    ),
    "three elements of six bits": (
        given_file({"a": entry("F6_E2M3", [3], end=2)}, b"12"),
        "safetensors-misaligned",
        "within a byte",
    ),
    "file cut short": (given_file({"a": entry()}, FOUR[:3]), "safetensors-truncated", "ends 1 bytes early"),
    "trailing bytes": (given_file({"a": entry()}, FOUR + b"5"), "safetensors-trailing-bytes", "1 bytes follow"),
}


@pytest.mark.parametrize("case", REJECTED)
def test_rejects(case: str) -> None:
    file, rule, told = REJECTED[case]
    with pytest.raises(Unreadable) as caught:
        read(file)
    assert caught.value.rule == rule
    assert told in caught.value.message
    assert caught.value.fix


ACCEPTED = {
    "one tensor": (given_file({"a": entry()}, FOUR), 1),
    "trailing spaces": (given_file(json.dumps({"a": entry()}) + "   ", FOUR), 1),
    "trailing new lines": (given_file(json.dumps({"a": entry()}) + "\n\t\r ", FOUR), 1),
    "metadata is null": (given_file({"__metadata__": None, "a": entry()}, FOUR), 1),
    "metadata of strings": (given_file({"__metadata__": {"format": "pt"}, "a": entry()}, FOUR), 1),
    "a scalar": (given_file({"a": entry(shape=[])}, FOUR), 1),
    "zero elements": (given_file({"a": entry(shape=[0], end=0)}), 1),
    "zero before what would overflow": (given_file({"a": entry(shape=[0, 2**40, 2**40], end=0)}), 1),
    "zero elements between others": (
        given_file({"a": entry(), "z": entry(shape=[0], begin=4, end=4), "b": entry(begin=4, end=8)}, FOUR * 2),
        3,
    ),
    "not in order": (given_file({"b": entry(begin=4, end=8), "a": entry()}, FOUR * 2), 2),
    "two elements of four bits": (given_file({"a": entry("F4", [2], end=1)}, b"1"), 1),
    "four elements of six bits": (given_file({"a": entry("F6_E3M2", [4], end=3)}, b"123"), 1),
    "empty name": (given_file({"": entry()}, FOUR), 1),
    "surrogate pair": (given_file({"\N{GRINNING FACE}": entry()}, FOUR), 1),
    "escaped NUL": (given_file({"\0": entry()}, FOUR), 1),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepts(case: str) -> None:
    file, tensors = ACCEPTED[case]
    assert len(read(file).tensors) == tensors


def test_reads_eight_bytes_and_the_header_and_nothing_else() -> None:
    file = given_file({"a": entry("U8", [1000], end=1000)}, bytes(1000))
    reader = safetensors.read_header(len(file))
    assert next(reader) == Range(0, 8)
    assert reader.send(file[:8]) == Range(8, len(file) - 1008)


def test_a_length_beyond_the_limit_is_rejected_before_any_of_it_is_read() -> None:
    reader = safetensors.read_header(2**40)
    next(reader)
    with pytest.raises(Unreadable, match="more than the format's limit"):
        reader.send(struct.pack("<Q", 2**39))


def test_errors_name_the_byte_in_the_file() -> None:
    with pytest.raises(Unreadable) as caught:
        read(given_file('{"ä":]'))
    assert caught.value.offset_bytes == 8 + len('{"ä":'.encode())
