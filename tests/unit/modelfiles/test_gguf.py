"""What a GGUF header tells, and what it may not claim."""

from __future__ import annotations

import struct

import pytest

from libs.modelfiles import gguf
from libs.modelfiles.ranges import Range
from libs.modelfiles.unreadable import Unreadable
from tests.support.ggufs import ARRAY, BOOL, F32, STRING, U8, U32, U64, gguf_header, given_gguf, string, text, u32
from tests.support.ranges import read_from, read_watched


def read(file: bytes) -> gguf.Header:
    return read_from(file, gguf.read_header(len(file)))


def test_tells_keys_parameters_and_the_type_that_holds_most() -> None:
    header = read(given_gguf())
    assert header.architecture == "llama"
    assert header.number("context_length") == 512
    assert header.number("rope.freq_base") is None
    assert (header.parameter_count, header.dtype, header.tensor_count) == (128, "Q4_1", 2)
    assert header.keys["tokenizer.ggml.tokens"] == 3
    assert header.keys["tokenizer.chat_template"] is None  # too long to keep


def test_every_type_of_value_is_passed_over() -> None:
    nested = struct.pack("<IQ", ARRAY, 1) + struct.pack("<IQ", U8, 3) + b"abc"
    keys = {
        "a": (U8, b"\x01"),
        "b": (F32, struct.pack("<f", 0.5)),
        "c": (BOOL, b"\x01"),
        "d": (U64, struct.pack("<Q", 9)),
        "e": (ARRAY, struct.pack("<IQ", U32, 2) + bytes(8)),
        "f": (ARRAY, nested),
        "g": text("last"),
    }
    assert read(gguf_header(keys, {})).keys == {"a": 1, "b": 0.5, "c": True, "d": 9, "e": 2, "f": 1, "g": "last"}


def test_a_split_file_may_hold_keys_alone() -> None:
    assert read(gguf_header({"general.architecture": text("llama")}, {})).parameter_count == 0


HUGE = struct.pack("<Q", 2**60)

REFUSED = {
    "another magic": (b"GGML" + bytes(60), "gguf-magic"),
    "empty": (b"", "gguf-magic"),
    "version 1": (gguf_header({}, {}, version=1), "gguf-version"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "gguf-version"),
    "absurd number of tensors": (b"GGUF" + struct.pack("<I", 3) + HUGE + bytes(8), "gguf-counts"),
    "absurd number of keys": (b"GGUF" + struct.pack("<IQ", 3, 0) + HUGE, "gguf-counts"),
    "ends within the counts": (b"GGUF" + struct.pack("<I", 3), "gguf-truncated"),
    "ends within a key": (gguf_header({"a": text("value")}, {})[:-2], "gguf-truncated"),
    "a string longer than the file": (gguf_header({"a": (STRING, HUGE)}, {}), "gguf-truncated"),
    "an array longer than the file": (
        gguf_header({"a": (ARRAY, struct.pack("<I", U32) + HUGE)}, {}),
        "gguf-truncated",
    ),
    "an unknown type of value": (gguf_header({"a": (99, b"")}, {}), "gguf-value"),
    "arrays within arrays within arrays": (
        gguf_header({"a": (ARRAY, struct.pack("<IQ", ARRAY, 1) * 9 + struct.pack("<IQ", U8, 0))}, {}),
        "gguf-value",
    ),
    "too many dimensions": (
        b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + string("t") + struct.pack("<I", 99) + bytes(64),
        "gguf-tensor",
    ),
    "tensors beyond the end": (given_gguf()[:-1], "gguf-truncated"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str) -> None:
    file, rule = REFUSED[case]
    with pytest.raises(Unreadable) as caught:
        read(file)
    assert caught.value.rule == rule


def test_a_header_longer_than_is_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "MAX_HEADER_BYTES", 1000)
    with pytest.raises(Unreadable) as caught:
        read(gguf_header({"filler": (ARRAY, struct.pack("<IQ", U8, 5000) + bytes(5000))}, {}))
    assert caught.value.rule == "gguf-header-too-large"


def test_reads_as_much_as_the_header_is_long_and_not_a_gigabyte_of_tensors() -> None:
    """The file claims to have a gigabyte; what is asked for is its front."""
    front = given_gguf().ljust(256 * 1024, b"\0")
    reader = gguf.read_header(2**30)
    assert next(reader) == Range(0, 256 * 1024)
    with pytest.raises(StopIteration):
        reader.send(front)


def test_a_long_vocabulary_is_fetched_in_growing_steps_each_byte_once() -> None:
    keys = {"general.architecture": text("llama"), "filler": (ARRAY, struct.pack("<IQ", U8, 10**6) + bytes(10**6))}
    file = gguf_header(keys | {"llama.block_count": u32(7)}, {})
    header, asked = read_watched(file, gguf.read_header(len(file)))
    assert header.number("block_count") == 7
    assert len(asked) == 2
    assert sum(part.length for part in asked) == len(file)
