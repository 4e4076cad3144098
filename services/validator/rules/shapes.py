"""Do names and shapes of the tensors fit the configuration?

Warnings that make the model undeployable, and only for plain decoders, whose names and shapes are the same in every
checkpoint: there vLLM fails for certain, since it checks each parameter against the configuration and misses none
(`DefaultModelLoader.track_weights_loading`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from libs.contracts import Finding, findings
from libs.modelfiles import vllm
from libs.modelfiles.hfconfig import ModelConfig
from libs.modelfiles.tensors import Tensor
from services.validator.model import Model

_DECODERS = frozenset(
    {
        "LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "GemmaForCausalLM",
        "Gemma2ForCausalLM", "Phi3ForCausalLM", "GraniteForCausalLM", "Olmo2ForCausalLM", "SmolLM3ForCausalLM",
    }
)  # fmt: skip
MISMATCH = "config-weights-mismatch"
_EMBEDDING = "model.embed_tokens.weight"
_MISTRALS_OWN = "tok_embeddings.weight"  # then all have other names
_LAYER = re.compile(r"model\.layers\.(\d{1,6})\.")
_FIX = "Upload the configuration and the weights of one and the same model."


def check_shapes(model: Model) -> Iterator[Finding]:
    """Compare embedding and layers of an unquantized model with its configuration."""
    config, tensors, file = model.config, model.tensors, model.selection.config
    if config is None or not _is_comparable(model, config):
        return
    embedding = tensors.get(_EMBEDDING)
    wanted = (config.vocab_size, config.hidden_size)
    if embedding is None:
        message = f"The weights have no {_EMBEDDING}, which {config.architectures[0]} needs."
        yield findings.warning(MISMATCH, message, _FIX, file=file)
    elif None not in wanted and embedding.shape != wanted:
        message = f"{_EMBEDDING} has shape {list(embedding.shape)}; the configuration says {list(wanted)}."
        yield findings.warning(MISMATCH, message, _FIX, file=file)
    if absent := _absent_layers(config, tensors):
        message = f"{len(absent):,} of {config.num_layers:,} layers have no tensor, the first of them is {absent[0]}."
        yield findings.warning(MISMATCH, message, _FIX, file=file)


def _is_comparable(model: Model, config: ModelConfig) -> bool:
    is_plain = model.quantization.method == vllm.NATIVE and bool(_DECODERS & set(config.architectures))
    return is_plain and bool(model.tensors) and _MISTRALS_OWN not in model.tensors


def _absent_layers(config: ModelConfig, tensors: Mapping[str, Tensor]) -> list[int]:
    present = {int(match.group(1)) for name in tensors if (match := _LAYER.match(name))}
    return [layer for layer in range(min(config.num_layers or 0, 10_000)) if layer not in present]
