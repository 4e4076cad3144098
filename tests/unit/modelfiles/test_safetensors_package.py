"""The reader beside the safetensors package: what one accepts the other accepts, on whole and on damaged files.

The format's text is stricter than the package in a few points, and so are we; `stricter` lists them all.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from libs.modelfiles import safetensors
from libs.modelfiles.tensors import DTYPE_BITS
from libs.modelfiles.unreadable import Unreadable
from tests.support.ranges import read_from

# A busy machine is no reason to fail
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])

Tables = dict[str, tuple[str, tuple[int, ...]]]
_deserialize: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = deserialize  # the package has no types


def by_package(file: bytes) -> Tables | None:
    """Names, types and shapes as the package reads them; None if it refuses the file."""
    try:
        return {name: (info["dtype"], tuple(info["shape"])) for name, info in _deserialize(file)}
    except SafetensorError:
        return None


def by_us(file: bytes) -> Tables | Unreadable:
    try:
        tensors = read_from(file, safetensors.read_header(len(file))).tensors
    except Unreadable as error:
        return error
    return {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}


def stricter(file: bytes) -> bool:
    """Whether the file is one of those that only the package takes."""
    length = int.from_bytes(file[:8], "little")
    header = file[8 : 8 + length]
    repeated = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        repeated = repeated or len(dict(items)) != len(items)
        return dict(items)

    told = json.loads(header, object_pairs_hook=pairs)
    tensors = [entry for name, entry in told.items() if name != "__metadata__"]
    return (
        not header.startswith(b"{")  # leading white space
        or not tensors  # no tensor at all
        or repeated  # the same name twice: the package takes the last
        or any(not isinstance(entry, dict) or len(entry) != 3 for entry in tensors)  # a list of values; unknown fields
        or any(not isinstance(entry["dtype"], str) for entry in tensors)  # serde's other spelling: {"F32": null}
    )


def agree(file: bytes) -> None:
    theirs, ours = by_package(file), by_us(file)
    if theirs is None:
        assert isinstance(ours, Unreadable)
    elif isinstance(ours, Unreadable):
        assert stricter(file), ours.message
    else:
        assert theirs == ours


names = st.text(max_size=8).filter(
    lambda name: name != "__metadata__" and name.encode(errors="ignore").decode() == name
)
shapes = st.lists(st.integers(0, 4), max_size=3)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[dict[str, Any], int]:
    """A header that is right, in any order of tensors, and how many bytes it covers."""
    header: dict[str, Any] = {}
    reached = 0
    for name in draw(st.lists(names, min_size=1, max_size=5, unique=True)):
        dtype, shape = draw(st.sampled_from(sorted(DTYPE_BITS))), draw(shapes)
        bits = DTYPE_BITS[dtype]
        for side in shape:
            bits *= side
        assume(bits % 8 == 0)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [reached, reached + bits // 8]}
        reached += bits // 8
    header = dict(draw(st.permutations(list(header.items()))))
    if draw(st.booleans()):
        header["__metadata__"] = draw(st.none() | st.dictionaries(names, st.text(max_size=4).filter(str.isprintable)))
    return header, reached


def encoded(header: Mapping[str, Any], body: int, *, ascii_only: bool = True, padding: str = "") -> bytes:
    raw = (json.dumps(header, ensure_ascii=ascii_only) + padding).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(raw)) + raw + bytes(body)


@relaxed
@given(layouts(), st.booleans(), st.sampled_from(["", " ", "   ", "\n"]))
def test_every_file_that_is_right_is_read_alike(
    layout: tuple[dict[str, Any], int], ascii_only: bool, padding: str
) -> None:
    file = encoded(*layout, ascii_only=ascii_only, padding=padding)
    theirs = by_package(file)
    assert theirs is not None
    assert theirs == by_us(file)


numbers = st.sampled_from([0, 1, 2, 3, 4, 7, 8, -1, 2**31, 2**32, 2**62, 2**63, 2**64 - 1, 2**64, 1.0, 1e3, True, None])
dtypes: st.SearchStrategy[Any] = st.sampled_from([*sorted(DTYPE_BITS), "f32", "F8", "", None, 1, {"F32": None}, []])


@relaxed
@given(layouts(), st.data())
def test_every_change_of_a_header_is_judged_alike(layout: tuple[dict[str, Any], int], data: st.DataObject) -> None:
    """Offsets, shapes, types, fields, names and lengths are changed one to three times."""
    header, body = layout
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(header)))
        entry = header[name]
        change = data.draw(st.sampled_from(["offset", "side", "dtype", "drop", "extra", "rename", "replace", "body"]))
        if change == "body":
            body = max(0, body + data.draw(st.integers(-2, 2)))
        elif change == "rename":
            header["copy"] = entry
        elif change == "replace" or not isinstance(entry, dict) or name == "__metadata__":
            header[name] = data.draw(st.sampled_from([None, [], {}, "x", 1, ["F32", [1], [0, 4]], {"a": 1}]))
        elif change == "offset" and entry.get("data_offsets"):
            offsets = [*entry["data_offsets"]]
            offsets[data.draw(st.integers(0, len(offsets) - 1))] = data.draw(numbers)
            header[name] = entry | {"data_offsets": offsets + data.draw(st.lists(numbers, max_size=1))}
        elif change == "side":
            header[name] = entry | {"shape": [*(entry.get("shape") or []), data.draw(numbers)]}
        elif change == "dtype":
            header[name] = entry | {"dtype": data.draw(dtypes)}
        elif change == "drop" and entry:
            header[name] = {
                key: value for key, value in entry.items() if key != data.draw(st.sampled_from(sorted(entry)))
            }
        elif change == "extra":
            header[name] = entry | {"extra": data.draw(numbers)}
    agree(encoded(header, body))


@relaxed
@given(layouts(), st.data())
def test_every_damaged_byte_is_judged_alike(layout: tuple[dict[str, Any], int], data: st.DataObject) -> None:
    """Bytes of length and header are changed, put in or taken out; the file is cut or goes on."""
    file = bytearray(encoded(*layout))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(file) - 1)))
        change = data.draw(st.sampled_from(["set", "put", "take", "cut", "append"]))
        byte = data.draw(st.sampled_from(b'{}[]":,0123456789-+.eEtfnNFU \n\t\0\x80\xff\\u'))
        if change == "set" and file:
            file[at] = byte
        elif change == "put":
            file.insert(at, byte)
        elif change == "take" and file:
            del file[at]
        elif change == "cut":
            del file[at:]
        else:
            file.append(byte)
    agree(bytes(file))


@relaxed
@given(st.binary(max_size=64))
@example(b"")
@example(struct.pack("<Q", 2) + b"{}")
def test_any_bytes_are_judged_alike(file: bytes) -> None:
    agree(file)
