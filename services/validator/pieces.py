"""What was read of one file, whatever its path: kept, so that the same bytes of a project are inspected once."""

from __future__ import annotations

from importlib.metadata import version

import msgspec

from libs.modelfiles import gguf, safetensors
from libs.modelfiles.torchfile import PickleScan
from libs.modelfiles.unreadable import Unreadable

MAX_READ_BYTES = 4 * 1024 * 1024  # of a file of which more was read the piece is not kept
MAX_PIECE_BYTES = 4 * 1024 * 1024

# Whatever changes what is read of a file changes this: pieces of another reader are read anew.
READER = f"1, picklescan {version('picklescan')}"


class Reading(msgspec.Struct, frozen=True):
    """Which bytes, read in which way; equal readings have equal pieces."""

    sha256: str
    size_bytes: int
    kind: str


class Broken(msgspec.Struct, frozen=True):
    """Why a file does not follow its format: an Unreadable without its stack."""

    rule: str
    message: str
    fix: str
    offset_bytes: int | None = None

    @classmethod
    def of(cls, error: Unreadable) -> Broken:
        """What `error` says."""
        return cls(error.rule, error.message, error.fix, error.offset_bytes)

    def error(self) -> Unreadable:
        """The error again."""
        return Unreadable(self.rule, self.message, self.fix, self.offset_bytes)


class Piece(msgspec.Struct, omit_defaults=True):
    """The part of an inspection that one file gives."""

    document: bytes | None = None
    header: safetensors.Header | None = None
    gguf: gguf.Header | None = None
    scan: PickleScan | None = None
    broken: Broken | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Piece)


def encode(piece: Piece) -> bytes | None:
    """`piece` to be kept; None if it is too large, or holds what MessagePack cannot (half a surrogate pair)."""
    try:
        raw = _encoder.encode(piece)
    except (ValueError, OverflowError):
        return None
    return raw if len(raw) <= MAX_PIECE_BYTES else None


def decode(raw: bytes) -> Piece:
    """The piece in `raw`."""
    return _decoder.decode(raw)
