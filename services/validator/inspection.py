"""What was read of a model: everything that the rules may look at."""

from __future__ import annotations

import msgspec

from libs.modelfiles import gguf, safetensors, weights
from libs.modelfiles.torchfile import PickleScan
from libs.modelfiles.unreadable import Unreadable


class Inspection(msgspec.Struct):
    """The headers and small files of one model, by path."""

    sizes: dict[str, int]  # bytes, of every file
    selection: weights.Selection
    documents: dict[str, bytes] = msgspec.field(default_factory=dict)  # small files that have something to say
    headers: dict[str, safetensors.Header] = msgspec.field(default_factory=dict)
    ggufs: dict[str, gguf.Header] = msgspec.field(default_factory=dict)
    pickles: dict[str, PickleScan] = msgspec.field(default_factory=dict)
    unreadable: dict[str, Unreadable] = msgspec.field(default_factory=dict)
    files_read: int = 0
    bytes_read: int = 0


def empty(sizes: dict[str, int]) -> Inspection:
    """The inspection of a model whose files have `sizes`, before anything is read."""
    return Inspection(sizes=sizes, selection=weights.select(sizes))
