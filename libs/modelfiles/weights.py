"""Selects the files of a model that vLLM would load.

Source: `DefaultModelLoader._prepare_weights` (vllm/model_executor/model_loader/default_loader.py) and
`filter_files_not_needed_for_inference` (weight_utils.py): the first pattern that matches anything at top level wins,
and Mistral's own format goes before all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

import msgspec

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


class Selection(msgspec.Struct, frozen=True):
    """The files that vLLM would take for weights, index and configuration."""

    format: WeightFormat | None = None  # None: no file of weights
    files: list[str] = []  # before the index has its say
    index: str | None = None  # the index that vLLM would follow, or that names the .bin shards
    config: str = CONFIG


def select(paths: Iterable[str]) -> Selection:
    """Return what vLLM would load of `paths` (relative, POSIX)."""
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
