"""What was read of a model: everything that the rules may look at."""

from __future__ import annotations

import msgspec

from libs.modelfiles import gguf, safetensors, weights
from libs.modelfiles.torchfile import PickleScan
from libs.modelfiles.unreadable import Unreadable
from services.validator.pieces import Piece, Reading

_MAX_TENSORS = 1_000_000  # of one model; a mixture of 384 experts in 61 layers has a fifth of that


class Inspection(msgspec.Struct):
    """The headers and small files of one model, by path."""

    sizes: dict[str, int]  # bytes, of every file
    selection: weights.Selection
    documents: dict[str, bytes] = msgspec.field(default_factory=dict)  # small files that have something to say
    headers: dict[str, safetensors.Header] = msgspec.field(default_factory=dict)
    ggufs: dict[str, gguf.Header] = msgspec.field(default_factory=dict)
    pickles: dict[str, PickleScan] = msgspec.field(default_factory=dict)
    unreadable: dict[str, Unreadable] = msgspec.field(default_factory=dict)
    fresh: dict[Reading, bytes] = msgspec.field(default_factory=dict)  # encoded pieces that were not known before
    files_read: int = 0  # for this inspection; what was known is not read again
    bytes_read: int = 0

    def take(self, path: str, piece: Piece) -> None:
        """Add what was read of the file at `path`."""
        if piece.document is not None:
            self.documents[path] = piece.document
        if piece.gguf is not None:
            self.ggufs[path] = piece.gguf
        if piece.scan is not None:
            self.pickles[path] = piece.scan
        if piece.broken is not None:
            self.unreadable[path] = piece.broken.error()
        if piece.header is not None:
            self._take_header(path, piece.header)

    def _take_header(self, path: str, header: safetensors.Header) -> None:
        """Keep a header only while all of them together fit into memory."""
        if sum(len(each.tensors) for each in self.headers.values()) + len(header.tensors) <= _MAX_TENSORS:
            self.headers[path] = header
            return
        self.unreadable[path] = Unreadable(
            "model-too-many-tensors",
            f"With this file the model has more than {_MAX_TENSORS:,} tensors, which is as many as are read.",
            "Merge tensors that belong together, as the experts of a layer.",
        )


def empty(sizes: dict[str, int]) -> Inspection:
    """The inspection of a model whose files have `sizes`, before anything is read."""
    return Inspection(sizes=sizes, selection=weights.select(sizes))
