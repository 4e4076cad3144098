"""What the supported vLLM release can load, from vllm.json.

deploy/vllm/architectures.py generates that file from vLLM itself; the lookups here are the same as in its
`_ModelRegistry.inspect_model_cls` and `_normalize_arch` (vllm/model_executor/models/registry.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec

Kind = Literal["generate", "multimodal", "embed", "classify", "reward", "draft"]

# Documented by Slipway's API and loaded by earlier releases of vLLM, by this one no more
LEGACY_QUANTIZATION = frozenset({"squeezellm", "exl2"})
NATIVE = "native"  # no quantization


class Facts(msgspec.Struct, frozen=True):
    """The content of vllm.json."""

    versions: dict[str, str]  # vllm, transformers, torch
    architectures: dict[str, Kind]
    transformers_architectures: dict[str, Kind]  # not vLLM's own, but run through Transformers
    dropped_architectures: dict[str, str]  # to the last version that had it
    plugin_architectures: dict[str, str]  # to the plug-in's address
    architecture_suffixes: dict[str, Kind]  # in order of precedence
    model_types: dict[str, str | None]  # to the architecture assumed where config.json names none
    model_type_of_architecture: dict[str, str]  # where config.json has no model_type
    quantization: frozenset[str]
    deprecated_quantization: frozenset[str]
    pickle_globals: frozenset[str]  # that torch.load(weights_only=True) lets through


class Resolved(msgspec.Struct, frozen=True):
    """An architecture that vLLM can run."""

    architecture: str  # as config.json says
    kind: Kind
    native: bool  # vLLM's own implementation; False through Transformers


@cache
def facts() -> Facts:
    """Return the content of vllm.json, which is read once."""
    raw = files("libs.modelfiles").joinpath("vllm.json").read_bytes()
    return msgspec.json.decode(raw, type=Facts)


def resolve(architectures: Iterable[str]) -> Resolved | None:
    """Return the first of `architectures` that vLLM can run, or None.

    An architecture of remote code is not among them, even if the model's auto_map names one.
    """
    known = facts()
    for name in architectures:
        if kind := known.architectures.get(name):
            return Resolved(name, kind, native=True)
        converted = _converted(name)
        through_transformers = known.transformers_architectures.get(name)
        if converted and (converted != "generate" or not through_transformers):
            return Resolved(name, converted, native=True)
        if through_transformers:
            return Resolved(name, through_transformers, native=False)
    return None


def _converted(name: str) -> Kind | None:
    """The kind of `name`, if vLLM can derive it from an architecture that it has: LlamaModel embeds."""
    known = facts()
    for suffix, kind in known.architecture_suffixes.items():
        if name.endswith(suffix):
            stem = name.removesuffix(suffix)
            return kind if any(stem + other in known.architectures for other in known.architecture_suffixes) else None
    return None


def why_unknown(architecture: str) -> tuple[str, str]:
    """Return message and fix for an architecture that `resolve` does not know."""
    known = facts()
    release = f"vLLM {known.versions['vllm']}"
    if last := known.dropped_architectures.get(architecture):
        return f"{release} does not know {architecture} any more; vLLM {last} was the last that did.", _OTHER_MODEL
    if address := known.plugin_architectures.get(architecture):
        return f"{release} runs {architecture} only with a plug-in ({address}).", _OTHER_MODEL
    return f"{release} does not know the architecture {architecture}.", _OTHER_MODEL


_OTHER_MODEL = "Convert the model to an architecture that vLLM has, or upload one that it can run."
