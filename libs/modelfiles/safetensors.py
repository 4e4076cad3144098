"""Reads the safetensors header: names, types, shapes and places of tensors, which must cover the file exactly.

Format: u64 little-endian length of the header, the header as JSON, then the tensors' bytes without a gap. The rules
are those of the `safetensors` 0.8 crate, in its order; the format's own text is stricter in a few points (the header
begins with `{`, names do not repeat, a tensor has its three fields and no others, there is a tensor at all), and so
is this reader.

Source: https://github.com/huggingface/safetensors, README "Format" and safetensors/src/tensor.rs.
"""

from __future__ import annotations

import json
from typing import TypeGuard

import msgspec

from libs.modelfiles import tensor_layout
from libs.modelfiles.ranges import Range, Reader
from libs.modelfiles.tensors import DTYPE_BITS, Tensor
from libs.modelfiles.unreadable import Unreadable

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000

# One string object a type, however many tensors have it
_DTYPE_NAMES = {name: name for name in DTYPE_BITS}

_UPLOAD_AGAIN = "Compare its size with the original's and upload it again."


class Header(msgspec.Struct, frozen=True):
    """The content of a header."""

    tensors: dict[str, Tensor]  # by name
    metadata: dict[str, str]


def read_header(size_bytes: int) -> Reader[Header]:
    """Read the header of a file of `size_bytes`: eight bytes, then the header, and nothing of the tensors.

    Raises: Unreadable, at the first rule that the file breaks.
    """
    prefix = yield Range(0, LENGTH_BYTES)
    length = header_length(prefix, size_bytes)
    raw = yield Range(LENGTH_BYTES, length)
    return parse_header(raw, size_bytes)


def header_length(prefix: bytes, size_bytes: int) -> int:
    """Return the length of the header in bytes, from the file's first eight bytes.

    Raises: Unreadable, if it is beyond the format's limit or the file's end.
    """
    if len(prefix) < LENGTH_BYTES:
        raise Unreadable(
            "safetensors-truncated",
            f"The file has {size_bytes} bytes; a safetensors file begins with a header length of 8.",
            _UPLOAD_AGAIN,
            0,
        )
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES:
        raise Unreadable(
            "safetensors-header-too-large",
            f"The header claims {length:,} bytes, more than the format's limit of {MAX_HEADER_BYTES:,}.",
            f"The file is damaged or not safetensors at all. {tensor_layout.SAVE_AGAIN}",
            0,
        )
    if LENGTH_BYTES + length > size_bytes:
        raise Unreadable(
            "safetensors-truncated",
            f"The header claims {length:,} bytes, but the file ends after {size_bytes - LENGTH_BYTES:,} of them.",
            _UPLOAD_AGAIN,
            size_bytes,
        )
    return length


def parse_header(raw: bytes, size_bytes: int) -> Header:
    """Read the header `raw` (JSON, without the length before it) of a file of `size_bytes`.

    Raises: Unreadable, at the first rule that the header or the layout breaks.
    """
    tensors, metadata = _tables(_json(raw))
    if not tensors:
        message = "The file holds no tensor at all."
        raise Unreadable("safetensors-empty", message, tensor_layout.SAVE_AGAIN, LENGTH_BYTES)
    covered = tensor_layout.check(tensors)
    expected = LENGTH_BYTES + len(raw) + covered
    if expected > size_bytes:
        raise Unreadable(
            "safetensors-truncated",
            f"The tensors need {expected:,} bytes, the file ends {expected - size_bytes:,} bytes early.",
            _UPLOAD_AGAIN,
            size_bytes,
        )
    if expected < size_bytes:
        raise Unreadable(
            "safetensors-trailing-bytes",
            f"{size_bytes - expected:,} bytes follow the last tensor and belong to none.",
            tensor_layout.SAVE_AGAIN,
            expected,
        )
    return Header(tensors=tensors, metadata=metadata)


# JSON


class _Object(tuple[tuple[str, object], ...]):
    """A JSON object as its pairs, in order, repeated keys included."""

    __slots__ = ()


class _NotNatural:
    """A number that is no u64; kept for the message."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _json(raw: bytes) -> object:
    if not raw.startswith(b"{"):
        raise _bad_header("The header does not begin with '{'.", 0)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _bad_header("The header is not UTF-8.", error.start) from error
    try:
        return _decoder.decode(text)
    except json.JSONDecodeError as error:
        at = len(text[: error.pos].encode())
        raise _bad_header(f"The header is not JSON: {error.msg}.", at) from error
    except RecursionError as error:
        raise _bad_header("The header's JSON is nested too deeply.", 0) from error


def _bad_header(message: str, at: int) -> Unreadable:
    return Unreadable("safetensors-header-json", message, tensor_layout.SAVE_AGAIN, LENGTH_BYTES + at)


def _natural(digits: str) -> int | _NotNatural:
    """A JSON integer as the crate reads it: serde takes -0 and integers beyond u64 for floating point."""
    if digits[0] == "-" or len(digits) > 20:
        return _NotNatural(digits)
    value = int(digits)
    return value if value <= tensor_layout.U64_MAX else _NotNatural(digits)


def _object(pairs: list[tuple[str, object]]) -> Tensor | _Object:
    """A tensor, if the pairs describe one, at once in its small form; else the pairs, for the message."""
    if len(pairs) == 3:
        fields = dict(pairs)
        dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
        name = _DTYPE_NAMES.get(dtype) if isinstance(dtype, str) else None
        if name is not None and _naturals(shape) and _naturals(offsets) and len(offsets) == 2:
            return Tensor(name, tuple(shape), offsets[0], offsets[1])
    return _Object(pairs)


def _naturals(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int for item in value)


_decoder = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_natural,
    parse_float=_NotNatural,
    parse_constant=_NotNatural,
)


def _tables(header: object) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The header's tensors and metadata. Raises: Unreadable."""
    if isinstance(header, Tensor):  # three tensors named dtype, shape and data_offsets, none of them an object
        raise _wrong_tensor("dtype", header.dtype)
    assert isinstance(header, _Object)  # noqa: S101  # the text begins with '{'
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] | None = None
    for name, value in header:
        if name == "__metadata__":
            if metadata is not None:
                raise _repeated("__metadata__")
            metadata = _metadata(value)
        elif isinstance(value, Tensor):
            if name in tensors:
                raise _repeated(name)
            tensors[_encodable(name)] = value
        else:
            raise _wrong_tensor(name, value)
    return tensors, metadata or {}


def _metadata(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, _Object):
        raise _bad_metadata("__metadata__ is not an object of strings.")
    metadata: dict[str, str] = {}
    for key, text in value:
        if key in metadata:
            raise _repeated(f"__metadata__.{key}")
        if not isinstance(text, str):
            raise _bad_metadata(f"__metadata__ holds a value that is not a string, under {key!r}.")
        metadata[_encodable(key)] = _encodable(text)
    return metadata


def _encodable(text: str) -> str:
    """`text`, if it is Unicode: JSON can spell half a surrogate pair, which no UTF-8 file may hold."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise _bad_header(f"The header spells half a surrogate pair in {text!r}.", 0) from error
    return text


def _bad_metadata(message: str) -> Unreadable:
    return Unreadable("safetensors-metadata", message, tensor_layout.SAVE_AGAIN, LENGTH_BYTES)


def _repeated(name: str) -> Unreadable:
    message = f"The header has {name!r} twice."
    return Unreadable("safetensors-duplicate-key", message, tensor_layout.SAVE_AGAIN, LENGTH_BYTES)


def _wrong_tensor(name: str, value: object) -> Unreadable:
    """Build the error that says why `value` does not describe a tensor."""
    if not isinstance(value, _Object):
        what = "is not an object"
    elif len(fields := dict(value)) != len(value):
        what = "has a field twice"
    elif missing := {"dtype", "shape", "data_offsets"} - fields.keys():
        what = f"lacks {', '.join(sorted(missing))}"
    elif extra := fields.keys() - {"dtype", "shape", "data_offsets"}:
        what = f"has fields that the format does not know: {', '.join(sorted(extra))}"
    elif not isinstance(fields["dtype"], str) or fields["dtype"] not in DTYPE_BITS:
        return Unreadable(
            "safetensors-dtype",
            f"Tensor {name!r} has an unknown dtype: {fields['dtype']!r:.80}.",
            f"Save it as one of {', '.join(DTYPE_BITS)}.",
            LENGTH_BYTES,
        )
    elif not _naturals(fields["shape"]):
        what = "has a shape that is not a list of integers from 0 to 2^64-1"
    else:
        what = "has data_offsets that are not two integers from 0 to 2^64-1"
    return Unreadable("safetensors-tensor", f"Tensor {name!r} {what}.", tensor_layout.SAVE_AGAIN, LENGTH_BYTES)
