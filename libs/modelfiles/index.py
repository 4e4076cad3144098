"""The index of a model in shards: which tensor is in which file.

vLLM takes from a safetensors index only the names of files: each must exist, and others beside them are ignored
(`filter_duplicate_safetensors_files`). What the index says beyond that is still a promise about the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from libs.contracts import Finding, Severity
from libs.modelfiles.hfconfig import parse_object
from libs.modelfiles.tensors import Tensor
from libs.modelfiles.unreadable import Unreadable

MAX_INDEX_BYTES = 32 * 1024 * 1024
_NAMED = 5  # tensors spelled out in a message

_WRITE_INDEX = "Write the index again, for example with save_pretrained, and upload it with its shards."
_UPLOAD_SHARD = "Upload the shard, or write the index again if it is no longer part of the model."


class Index(msgspec.Struct, frozen=True):
    """What an index says."""

    file: str
    weight_map: dict[str, str]  # from a tensor's name to its file's
    total_size: float | None  # bytes of all tensors

    @property
    def shards(self) -> list[str]:
        """The files named, sorted."""
        return sorted(set(self.weight_map.values()))


def parse(raw: bytes, file: str) -> Index:
    """The index in `raw`; `file` is its name.

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


def check_files(index: Index, present: list[str]) -> Iterator[Finding]:
    """Compare the files that the index names with those `present`, which vLLM would load without it."""
    absent = [shard for shard in index.shards if shard not in present]
    for shard in absent:
        yield _finding(index, "index-shard-missing", "error", f"{shard} is missing.", _UPLOAD_SHARD)
    for path in present:
        if path not in index.weight_map.values():
            message = f"{path} is not in the index: vLLM ignores it."
            yield _finding(index, "index-shard-unlisted", "warning", message, "Leave it out, or add it to the index.")


def check_tensors(index: Index, shards: Mapping[str, Mapping[str, Tensor]]) -> Iterator[Finding]:
    """Compare the index with the tensors of `shards`, by file; only files whose header could be read are in it."""
    home: dict[str, str] = {}
    twice: list[str] = []
    unnamed: list[str] = []
    for shard, tensors in shards.items():
        for name in tensors:
            if name in home:
                twice.append(f"{name} in {home[name]} and {shard}")
            home.setdefault(name, shard)
            if name not in index.weight_map:
                unnamed.append(f"{name} in {shard}")
    absent: list[str] = []
    elsewhere: list[str] = []
    for name, shard in index.weight_map.items():
        if shard not in shards or name in shards[shard]:
            continue
        if name in home:
            elsewhere.append(f"{name} in {home[name]} instead of {shard}")
        elif len(shards) == len(index.shards):
            absent.append(f"{name} of {shard}")
    yield from _listed(index, "index-tensor-missing", "error", absent, "named here, but in no shard")
    yield from _listed(index, "index-tensor-duplicate", "error", twice, "in two shards")
    yield from _listed(index, "index-tensor-misplaced", "warning", elsewhere, "in another shard than named")
    yield from _listed(index, "index-tensor-unnamed", "warning", unnamed, "in a shard, but not named here")


def check_total(index: Index, shards: Mapping[str, Mapping[str, Tensor]]) -> Iterator[Finding]:
    """Compare metadata.total_size with the tensors of all shards."""
    if index.total_size is None or len(shards) != len(index.shards):
        return
    total = sum(tensor.size_bytes for tensors in shards.values() for tensor in tensors.values())
    if total != index.total_size:
        message = f"metadata.total_size says {index.total_size:,.0f} bytes, the tensors have {total:,}."
        yield _finding(index, "index-total-size", "warning", message, "Check that no shard is an older one.")


def _listed(index: Index, rule: str, severity: Severity, names: list[str], what: str) -> Iterator[Finding]:
    if names:
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        message = f"{len(names):,} tensor(s) {what}: {', '.join(names[:_NAMED])}{more}."
        yield _finding(index, rule, severity, message, _WRITE_INDEX)


def _finding(index: Index, rule: str, severity: Severity, message: str, fix: str) -> Finding:
    return Finding(rule=rule, severity=severity, message=message, fix=fix, file=index.file)
