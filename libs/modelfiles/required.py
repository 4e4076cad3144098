"""What a directory of files must hold to be a model at all: a configuration and weights.

The rule is vLLM's: `config.json`, or `params.json` for Mistral's own format, and weights, both at top level. A GGUF
file carries its configuration inside.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from libs.contracts import Finding

CONFIG = "config.json"
MISTRAL_CONFIG = "params.json"

# What vLLM's filter_files_not_needed_for_inference leaves out (vllm/model_executor/model_loader/weight_utils.py)
TRAINING_FILES = frozenset({"training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt"})

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".exl2", ".gguf")


def is_weights(path: str) -> bool:
    """Whether the file at `path` (relative, POSIX) holds weights that a server would load."""
    return "/" not in path and path.endswith(WEIGHT_SUFFIXES) and path not in TRAINING_FILES


def missing_files(paths: Iterable[str]) -> list[Finding]:
    """What keeps the files at `paths` (relative, POSIX) from being a model: one error each; none if all is there."""
    names = set(paths)
    weights = sorted(name for name in names if is_weights(name))
    findings: list[Finding] = []
    if not names & {CONFIG, MISTRAL_CONFIG} and not _all_gguf(weights):
        findings.append(_no_config(names))
    if not weights:
        findings.append(_no_weights(names))
    return findings


def _all_gguf(weights: list[str]) -> bool:
    return bool(weights) and all(name.endswith(".gguf") for name in weights)


def _no_config(names: set[str]) -> Finding:
    nested = _first(name for name in names if posixpath.basename(name) in {CONFIG, MISTRAL_CONFIG})
    return Finding(
        rule="config-missing",
        severity="error",
        message=f"config.json is missing at the top level{_found_at(nested)}.",
        fix=_lift(nested) or "Add the model's config.json; save_pretrained writes it beside the weights.",
    )


def _no_weights(names: set[str]) -> Finding:
    nested = _first(name for name in names if "/" in name and is_weights(posixpath.basename(name)))
    training = _first(name for name in names if name in TRAINING_FILES)
    found = f", {training} belongs to training" if training and not nested else _found_at(nested)
    return Finding(
        rule="weights-missing",
        severity="error",
        message=f"There are no model weights at the top level{found}.",
        fix=_lift(nested) or "Add at least one file of weights: *.safetensors, *.bin, *.pt, *.exl2 or *.gguf.",
    )


def _first(names: Iterable[str]) -> str | None:
    return min(names, key=lambda name: (name.count("/"), name), default=None)


def _found_at(path: str | None) -> str:
    return f", only at {path}" if path else ""


def _lift(path: str | None) -> str:
    folder = posixpath.dirname(path) if path else ""
    return f"Upload the content of {folder}/ itself, so that its files are at the top level." if folder else ""
