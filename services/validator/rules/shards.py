"""Are all shards of the weights there, and do they hold what the index says?

vLLM takes from a safetensors index only the names of files: each must exist, and others beside them are ignored
(`filter_duplicate_safetensors_files`). What the index says beyond that is still a promise about the weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from libs.contracts import Finding, findings
from libs.modelfiles.index import Index
from libs.modelfiles.tensors import Tensor
from services.validator.model import Model

_NUMBERED = re.compile(r"(?P<stem>.+)-(?P<number>\d{1,6})-of-(?P<count>\d{1,6})(?P<suffix>\.\w+)")
_NAMED = 5  # of what is missing or misplaced, spelled out in a message

_WRITE_INDEX = "Write the index again, for example with save_pretrained, and upload it with its shards."
_UPLOAD_SHARD = "Upload the shard, or write the index again if it is no longer part of the model."


def check_index_is_readable(model: Model) -> Iterator[Finding]:
    """An index that cannot be read is an error where vLLM follows it: of .bin files it loads all that are there."""
    if error := model.index_error:
        followed = model.selection.format == "safetensors"
        yield error.finding(model.selection.index or "", "error" if followed else "warning")


def check_shards(model: Model) -> Iterator[Finding]:
    """Compare the shards with the index; without one, with the numbers in their names."""
    index = model.index
    if index is None:
        yield from compare_numbers(model.loaded)
        return
    yield from compare_files(index, model.selection.files)
    if model.selection.format == "safetensors":
        shards = {path: model.headers[path].tensors for path in model.loaded if path in model.headers}
        yield from compare_tensors(index, shards)
        yield from compare_total_size(index, shards)


def compare_files(index: Index, present: Sequence[str]) -> Iterator[Finding]:
    """Compare the files that the index names with those `present`, which vLLM would load without it."""
    for shard in index.shards:
        if shard not in present:
            yield findings.error("index-shard-missing", f"{shard} is missing.", _UPLOAD_SHARD, file=index.file)
    for path in present:
        if path not in index.weight_map.values():
            message = f"{path} is not in the index: vLLM ignores it."
            fix = "Leave it out, or add it to the index."
            yield findings.warning("index-shard-unlisted", message, fix, file=index.file)


def compare_tensors(index: Index, shards: Mapping[str, Mapping[str, Tensor]]) -> Iterator[Finding]:
    """Compare the index with the tensors of `shards`, by file; only files whose header could be read are in it."""
    first_in: dict[str, str] = {}
    for shard, tensors in shards.items():
        for name in tensors:
            first_in.setdefault(name, shard)
    yield from _named_but_not_there(index, shards, first_in)
    yield from _there_but_not_named(index, shards, first_in)


def _named_but_not_there(
    index: Index, shards: Mapping[str, Mapping[str, Tensor]], first_in: Mapping[str, str]
) -> Iterator[Finding]:
    absent: list[str] = []
    elsewhere: list[str] = []
    for name, shard in index.weight_map.items():
        if shard not in shards or name in shards[shard]:
            continue
        if name in first_in:
            elsewhere.append(f"{name} in {first_in[name]} instead of {shard}")
        elif len(shards) == len(index.shards):
            absent.append(f"{name} of {shard}")
    if absent:
        message = f"{len(absent):,} tensor(s) named here, but in no shard: {_some(absent)}."
        yield findings.error("index-tensor-missing", message, _WRITE_INDEX, file=index.file)
    if elsewhere:
        message = f"{len(elsewhere):,} tensor(s) in another shard than named: {_some(elsewhere)}."
        yield findings.warning("index-tensor-misplaced", message, _WRITE_INDEX, file=index.file)


def _there_but_not_named(
    index: Index, shards: Mapping[str, Mapping[str, Tensor]], first_in: Mapping[str, str]
) -> Iterator[Finding]:
    held = [(name, shard) for shard, tensors in shards.items() for name in tensors]
    if twice := [f"{name} in {first_in[name]} and {shard}" for name, shard in held if first_in[name] != shard]:
        message = f"{len(twice):,} tensor(s) in two shards: {_some(twice)}."
        yield findings.error("index-tensor-duplicate", message, _WRITE_INDEX, file=index.file)
    if unnamed := [f"{name} in {shard}" for name, shard in held if name not in index.weight_map]:
        message = f"{len(unnamed):,} tensor(s) in a shard, but not named here: {_some(unnamed)}."
        yield findings.warning("index-tensor-unnamed", message, _WRITE_INDEX, file=index.file)


def compare_total_size(index: Index, shards: Mapping[str, Mapping[str, Tensor]]) -> Iterator[Finding]:
    """Compare metadata.total_size with the tensors of all shards."""
    if index.total_size is None or len(shards) != len(index.shards):
        return
    total = sum(tensor.size_bytes for tensors in shards.values() for tensor in tensors.values())
    if total != index.total_size:
        message = f"metadata.total_size says {index.total_size:,.0f} bytes, the tensors have {total:,}."
        yield findings.warning("index-total-size", message, "Check that no shard is an older one.", file=index.file)


def compare_numbers(files: Iterable[str]) -> Iterator[Finding]:
    """One error for each set of numbered files (model-00001-of-00003.safetensors) that is not whole."""
    sets: dict[tuple[str, str, str], set[int]] = {}
    for path in files:
        if match := _NUMBERED.fullmatch(path):
            stem, number, count, suffix = match.group("stem", "number", "count", "suffix")
            sets.setdefault((stem, count, suffix), set()).add(int(number))
    for (stem, count, suffix), numbers in sorted(sets.items()):
        wanted = range(int(count)) if 0 in numbers else range(1, int(count) + 1)
        absent = [f"{stem}-{number:0{len(count)}}-of-{count}{suffix}" for number in wanted if number not in numbers]
        if absent:
            message = f"{len(absent):,} of {len(wanted):,} shards are missing: {_some(absent)}."
            fix = "Upload every shard; the numbers in their names say how many there are."
            yield findings.error("shard-missing", message, fix)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
