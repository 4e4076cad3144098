"""Reads the header of a GGUF file: its keys, and the names, shapes and places of tensors.

Format: "GGUF", u32 version, u64 number of tensors, u64 number of keys, the keys with typed values, the tensors' infos;
then, aligned, their bytes. Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3).
"""

from __future__ import annotations

import math
import struct
from collections import Counter

import msgspec

from libs.modelfiles.ranges import Range, Reader
from libs.modelfiles.unreadable import Unreadable

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_HEADER_BYTES = 64 * 1024 * 1024
MAX_TENSORS = 1_000_000
MAX_KEYS = 1_000_000
_FIRST_BYTES = 256 * 1024
_MAX_DIMENSIONS = 8
_MAX_ARRAY_DEPTH = 4
_KEPT_STRING_BYTES = 256  # of a key's value; chat templates and the like are passed over

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9

# ggml's types of tensors: name, elements of a block, bytes of a block
_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip


class Header(msgspec.Struct, frozen=True):
    """What a GGUF header says."""

    keys: dict[str, object]  # scalars and short strings; of an array its length
    parameter_count: int
    dtype: str | None  # ggml's name of the type that holds most parameters
    tensor_count: int

    def number(self, key: str) -> int | None:
        """Return a positive integer of the model's architecture, e.g. "context_length"; None if there is none."""
        value = self.keys.get(f"{self.architecture}.{key}")
        return value if type(value) is int and value > 0 else None

    @property
    def architecture(self) -> str | None:
        value = self.keys.get("general.architecture")
        return value if isinstance(value, str) else None


def read_header(size_bytes: int) -> Reader[Header]:
    """Read the header of a file of `size_bytes`, as much of it as there is and no tensor.

    Raises: Unreadable.
    """
    content = b""
    wanted = _FIRST_BYTES
    while True:
        content += yield Range(len(content), min(wanted, MAX_HEADER_BYTES, size_bytes) - len(content))
        try:
            return _parse(content, size_bytes)
        except _Short as short:
            if short.needed > size_bytes:
                raise _broken("gguf-truncated", "The file ends within its header.", size_bytes) from short
            if short.needed > MAX_HEADER_BYTES:
                message = f"The header is longer than {MAX_HEADER_BYTES:,} bytes."
                raise _broken("gguf-header-too-large", message, MAX_HEADER_BYTES) from short
            wanted = max(wanted * 4, short.needed)


class _Short(Exception):
    """More of the file is needed: its first `needed` bytes at least."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


class _Cursor:
    """Reads values from the bytes at hand, one after another. Raises: _Short where they end."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0

    def take(self, layout: str) -> int | float | bool:
        start = self.at
        self.skip(struct.calcsize(f"<{layout}"))
        value: int | float | bool = struct.unpack_from(f"<{layout}", self.content, start)[0]
        return value

    def count(self, layout: str = "Q") -> int:
        return int(self.take(layout))

    def skip(self, size: int) -> None:
        if self.at + size > len(self.content):
            raise _Short(self.at + size)
        self.at += size

    def string(self, keep: int = _KEPT_STRING_BYTES) -> str | None:
        """Read a string; None if it is longer than `keep` bytes, and so skipped."""
        length = self.count()
        start = self.at
        self.skip(length)
        return self.content[start : self.at].decode("utf-8", "replace") if length <= keep else None


def _parse(content: bytes, size_bytes: int) -> Header:
    cursor = _Cursor(content)
    if content[:4] != MAGIC:
        raise _broken("gguf-magic", f"The file begins with {content[:4]!r}, not with 'GGUF'.", 0)
    cursor.skip(4)
    version = cursor.count("I")
    if version not in VERSIONS:
        raise _broken("gguf-version", f"The file is of GGUF version {version}; known are 2 and 3.", 4)
    tensor_count, key_count = cursor.count(), cursor.count()
    if tensor_count > MAX_TENSORS or key_count > MAX_KEYS:
        message = f"The header claims {tensor_count:,} tensors and {key_count:,} keys, more than any model has."
        raise _broken("gguf-counts", message, 8)
    keys: dict[str, object] = {}
    for _ in range(key_count):
        name = cursor.string() or "?"
        keys[name] = _value(cursor, cursor.count("I"))
    per_type: Counter[str] = Counter()
    reach = 0
    for _ in range(tensor_count):
        dtype, elements, end = _tensor(cursor)
        per_type[dtype] += elements
        reach = max(reach, end)
    needed = _aligned(cursor.at, keys.get("general.alignment")) + reach if tensor_count else cursor.at
    if needed > size_bytes:
        message = f"The tensors need {needed:,} bytes, the file has {size_bytes:,}."
        raise _broken("gguf-truncated", message, size_bytes)
    most = per_type.most_common(1)
    return Header(keys, per_type.total(), most[0][0] if most else None, tensor_count)


def _aligned(at: int, alignment: object) -> int:
    """Where the tensors begin after a header that ends at `at`."""
    step = alignment if type(alignment) is int and alignment > 0 else 32
    return -(-at // step) * step


def _value(cursor: _Cursor, kind: int, depth: int = 0) -> object:
    if kind == _STRING:
        return cursor.string()
    if kind != _ARRAY:
        if kind not in _SCALARS:
            raise _broken("gguf-value", f"A key has a value of type {kind}, which GGUF does not know.", cursor.at)
        return cursor.take(_SCALARS[kind])
    inner, length = cursor.count("I"), cursor.count()
    if depth >= _MAX_ARRAY_DEPTH:
        raise _broken("gguf-value", "A key has arrays within arrays, nested too deeply.", cursor.at)
    if inner in _SCALARS:
        cursor.skip(length * struct.calcsize(f"<{_SCALARS[inner]}"))
    else:
        for _ in range(length):
            _value(cursor, inner, depth + 1)
    return length


def _tensor(cursor: _Cursor) -> tuple[str, int, int]:
    """One tensor's info: its type's name, its elements, and where it ends, in bytes from the start of all tensors."""
    name = cursor.string()
    dimensions = cursor.count("I")
    if dimensions > _MAX_DIMENSIONS:
        raise _broken("gguf-tensor", f"Tensor {name!r} claims {dimensions:,} dimensions.", cursor.at)
    elements = math.prod(cursor.count() for _ in range(dimensions))
    kind, offset = cursor.count("I"), cursor.count()
    if kind not in _TYPES:
        return f"type {kind}", elements, offset
    dtype, block, block_bytes = _TYPES[kind]
    return dtype, elements, offset + -(-elements // block) * block_bytes


def _broken(rule: str, message: str, offset: int) -> Unreadable:
    return Unreadable(rule, message, "Compare the file with the original, convert or upload it again.", offset)
