"""The index of a model in shards: which tensor is in which file."""

from __future__ import annotations

import msgspec

from libs.modelfiles.hfconfig import parse_object
from libs.modelfiles.unreadable import Unreadable

MAX_INDEX_BYTES = 32 * 1024 * 1024

_WRITE_INDEX = "Write the index again, for example with save_pretrained, and upload it with its shards."


class Index(msgspec.Struct, frozen=True):
    """The content of an index."""

    file: str
    weight_map: dict[str, str]  # from a tensor's name to its file's
    total_size: float | None  # bytes of all tensors

    @property
    def shards(self) -> list[str]:
        """The names of all files in the index, sorted."""
        return sorted(set(self.weight_map.values()))


def parse(raw: bytes, file: str) -> Index:
    """Read the index in `raw`; `file` is its name in messages.

    Raises: Unreadable, if it is not JSON or has no weight_map of plain names.
    """
    whole = parse_object(raw, "index-json", file)
    weight_map = whole.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise Unreadable("index-weight-map", "The index has no weight_map that names files.", _WRITE_INDEX)
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or not shard or "/" in shard or "\\" in shard or shard in {".", ".."}:
            raise Unreadable(
                "index-shard-name",
                f"weight_map puts {tensor!r} into {shard!r:.120}, which is not a plain file name.",
                "Name the file alone; shards lie beside their index.",
            )
    metadata = whole.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    known = isinstance(total, int | float) and not isinstance(total, bool)
    return Index(file=file, weight_map=weight_map, total_size=total if known else None)
