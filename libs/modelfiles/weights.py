"""Which files of a model vLLM would load.

Source: `DefaultModelLoader._prepare_weights` (vllm/model_executor/model_loader/default_loader.py) and
`filter_files_not_needed_for_inference` (weight_utils.py): the first pattern that matches anything at top level wins,
and Mistral's own format goes before all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from libs.contracts import Finding

WeightFormat = Literal["safetensors", "pytorch", "gguf", "exl2"]

CONFIG = "config.json"
MISTRAL_CONFIG = "params.json"
INDEX = "model.safetensors.index.json"
MISTRAL_INDEX = "consolidated.safetensors.index.json"
PYTORCH_INDEX = "pytorch_model.bin.index.json"

# What training leaves beside the weights; vLLM looks at the end of the name
TRAINING_FILES = ("training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt")

_MISTRAL = re.compile(r"consolidated[^/]*\.safetensors")
_PATTERNS: tuple[tuple[WeightFormat, str], ...] = (
    ("safetensors", ".safetensors"),
    ("pytorch", ".bin"),
    ("pytorch", ".pt"),
    # beyond vLLM: kept, though not served
    ("exl2", ".exl2"),
    ("gguf", ".gguf"),
)
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{1,6})-of-(?P<count>\d{1,6})(?P<suffix>\.\w+)")
_NAMED = 5  # of what is missing, spelled out in a message


class Selection(msgspec.Struct, frozen=True):
    """The weights that count."""

    format: WeightFormat | None = None  # None: no file of weights
    files: list[str] = []  # before the index has its say
    index: str | None = None  # the index that vLLM would follow, or that names the .bin shards
    config: str = CONFIG


def select(paths: Iterable[str]) -> Selection:
    """The files that vLLM would take for weights, of all `paths` (relative, POSIX)."""
    top = sorted(path for path in paths if "/" not in path and not path.startswith("."))
    if mistral := [path for path in top if _MISTRAL.fullmatch(path)]:
        config = MISTRAL_CONFIG if MISTRAL_CONFIG in top else CONFIG
        return Selection("safetensors", mistral, _if_there(MISTRAL_INDEX, top), config)
    only_training = False
    for kind, suffix in _PATTERNS:
        if only_training and suffix == ".pt":
            continue  # *.bin matched, so that vLLM looks no further
        matched = [path for path in top if path.endswith(suffix)]
        files = [path for path in matched if kind != "pytorch" or not path.endswith(TRAINING_FILES)]
        if files:
            index = {"safetensors": INDEX, "pytorch": PYTORCH_INDEX}.get(kind)
            return Selection(kind, files, _if_there(index, top))
        only_training = only_training or bool(matched)
    return Selection()


def _if_there(name: str | None, top: list[str]) -> str | None:
    return name if name in top else None


def missing_shards(files: Iterable[str]) -> Iterator[Finding]:
    """One error for each set of numbered files (model-00001-of-00003.safetensors) that is not whole."""
    sets: dict[tuple[str, str, str], set[int]] = {}
    for path in files:
        if match := _SHARD.fullmatch(path):
            stem, number, count, suffix = match.group("stem", "number", "count", "suffix")
            sets.setdefault((stem, count, suffix), set()).add(int(number))
    for (stem, count, suffix), numbers in sorted(sets.items()):
        wanted = range(int(count)) if 0 in numbers else range(1, int(count) + 1)
        absent = [number for number in wanted if number not in numbers]
        if absent:
            names = [f"{stem}-{number:0{len(count)}}-of-{count}{suffix}" for number in absent[:_NAMED]]
            more = f" and {len(absent) - _NAMED:,} more" if len(absent) > _NAMED else ""
            yield Finding(
                rule="shard-missing",
                severity="error",
                message=f"{len(absent):,} of {len(wanted):,} shards are missing: {', '.join(names)}{more}.",
                fix="Upload every shard; the numbers in their names say how many there are.",
            )
