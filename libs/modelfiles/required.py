"""Which files a model must have: a configuration and weights.

The rule is vLLM's: `config.json`, or `params.json` beside Mistral's own consolidated*.safetensors, and weights, both at
top level. A GGUF file carries its configuration inside.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from libs.contracts import Finding, findings
from libs.contracts.rules import WEIGHTS_MISSING
from libs.modelfiles import weights


def missing_files(paths: Iterable[str]) -> list[Finding]:
    """Return an error for each required file that is not among `paths` (relative, POSIX)."""
    names = set(paths)
    selection = weights.select(names)
    missing: list[Finding] = []
    if selection.config not in names and selection.format != "gguf":
        missing.append(_no_config(names))
    if selection.format is None:
        missing.append(_no_weights(names))
    return missing


def _no_config(names: set[str]) -> Finding:
    nested = _first(name for name in names if "/" in name and posixpath.basename(name) == weights.CONFIG)
    message = f"config.json is missing at the top level{_found_at(nested)}."
    fix = _lift(nested) or "Add the model's config.json; save_pretrained writes it beside the weights."
    return findings.error("config-missing", message, fix)


def _no_weights(names: set[str]) -> Finding:
    nested = _first(name for name in names if "/" in name and weights.select([posixpath.basename(name)]).format)
    training = _first(name for name in names if "/" not in name and name.endswith(weights.TRAINING_FILES))
    found = f", {training} belongs to training" if training and not nested else _found_at(nested)
    message = f"There are no model weights at the top level{found}."
    fix = _lift(nested) or "Add at least one file of weights: *.safetensors, *.bin, *.pt, *.exl2 or *.gguf."
    return findings.error(WEIGHTS_MISSING, message, fix)


def _first(names: Iterable[str]) -> str | None:
    return min(names, key=lambda name: (name.count("/"), name), default=None)


def _found_at(path: str | None) -> str:
    return f", only at {path}" if path else ""


def _lift(path: str | None) -> str:
    folder = posixpath.dirname(path) if path else ""
    return f"Upload the content of {folder}/ itself, so that its files are at the top level." if folder else ""
