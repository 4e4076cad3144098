"""What was read of files: headers and small files, without the weights.

The facts of a file do not depend on its path, and are kept in the database: files with the same bytes in the same
project are read once.
"""

from __future__ import annotations

from importlib.metadata import version

import msgspec

from libs.modelfiles import gguf, safetensors
from libs.modelfiles.torchfile import PickleScan
from libs.modelfiles.unreadable import Unreadable
from services.validator.model import Model

MAX_READ_BYTES = 4 * 1024 * 1024  # facts are not kept of a file of which more than this was read
MAX_FACTS_BYTES = 4 * 1024 * 1024  # encoded; larger facts are not kept
_MAX_TENSORS = 1_000_000  # of one model; a mixture of 384 experts in 61 layers has a fifth of that

# Changes with everything that changes what is read of a file: facts of another reader are read anew.
READER = f"1, picklescan {version('picklescan')}"


class FactsKey(msgspec.Struct, frozen=True):
    """Which bytes, and how they are read; equal keys have equal facts."""

    sha256: str
    size_bytes: int
    kind: str


class FormatError(msgspec.Struct, frozen=True):
    """Why a file does not follow its format: an Unreadable that can be encoded."""

    rule: str
    message: str
    fix: str
    offset_bytes: int | None = None

    @classmethod
    def of(cls, error: Unreadable) -> FormatError:
        """The content of `error`."""
        return cls(error.rule, error.message, error.fix, error.offset_bytes)

    def error(self) -> Unreadable:
        """The error again."""
        return Unreadable(self.rule, self.message, self.fix, self.offset_bytes)


class FileFacts(msgspec.Struct, omit_defaults=True):
    """What was read of one file."""

    document: bytes | None = None  # the beginning of a small file
    header: safetensors.Header | None = None
    gguf: gguf.Header | None = None
    scan: PickleScan | None = None
    broken: FormatError | None = None


class ModelFacts(msgspec.Struct):
    """What was read of the files of one model so far, by path."""

    sizes: dict[str, int]  # bytes, of every file
    documents: dict[str, bytes] = msgspec.field(default_factory=dict)
    headers: dict[str, safetensors.Header] = msgspec.field(default_factory=dict)
    ggufs: dict[str, gguf.Header] = msgspec.field(default_factory=dict)
    pickles: dict[str, PickleScan] = msgspec.field(default_factory=dict)
    unreadable: dict[str, Unreadable] = msgspec.field(default_factory=dict)
    new: dict[FactsKey, bytes] = msgspec.field(default_factory=dict)  # encoded, to be kept
    files_read: int = 0  # not counting files whose facts were kept from an earlier validation
    bytes_read: int = 0

    def add(self, path: str, facts: FileFacts) -> None:
        """Add the facts of the file at `path`."""
        if facts.document is not None:
            self.documents[path] = facts.document
        if facts.gguf is not None:
            self.ggufs[path] = facts.gguf
        if facts.scan is not None:
            self.pickles[path] = facts.scan
        if facts.broken is not None:
            self.unreadable[path] = facts.broken.error()
        if facts.header is not None:
            self._add_header(path, facts.header)

    def model(self) -> Model:
        """The view that rules and metadata are given."""
        return Model(
            sizes=self.sizes,
            documents=self.documents,
            headers=self.headers,
            ggufs=self.ggufs,
            pickles=self.pickles,
            unreadable=self.unreadable,
        )

    def _add_header(self, path: str, header: safetensors.Header) -> None:
        """Keep a header only while all headers together fit into memory."""
        if sum(len(each.tensors) for each in self.headers.values()) + len(header.tensors) <= _MAX_TENSORS:
            self.headers[path] = header
            return
        self.unreadable[path] = Unreadable(
            "model-too-many-tensors",
            f"With this file the model has more than {_MAX_TENSORS:,} tensors, which is as many as are read.",
            "Merge tensors that belong together, as the experts of a layer.",
        )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(FileFacts)


def encode(facts: FileFacts) -> bytes | None:
    """`facts` to be kept; None if they are too large, or hold what MessagePack cannot (half of a surrogate pair)."""
    try:
        raw = _encoder.encode(facts)
    except (ValueError, OverflowError):
        return None
    return raw if len(raw) <= MAX_FACTS_BYTES else None


def decode(raw: bytes) -> FileFacts:
    """The facts in `raw`."""
    return _decoder.decode(raw)
