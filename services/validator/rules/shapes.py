"""Do names and shapes of the tensors fit the configuration?

Warnings that make the model undeployable, and only for plain decoders, whose names and shapes are the same in every
checkpoint: there vLLM fails for certain, since it checks each parameter against the configuration and misses none
(`DefaultModelLoader.track_weights_loading`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from libs.contracts import Finding
from libs.modelfiles import vllm
from libs.modelfiles.hfconfig import ModelConfig
from libs.modelfiles.tensors import Tensor

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


def check(config: ModelConfig, tensors: Mapping[str, Tensor], *, method: str, file: str) -> Iterator[Finding]:
    """Compare embedding and layers of an unquantized model with the configuration, which is `file`."""
    if not tensors or _MISTRALS_OWN in tensors or method != vllm.NATIVE or not _DECODERS & set(config.architectures):
        return
    for message in _problems(config, tensors):
        yield Finding(rule=MISMATCH, severity="warning", message=message, fix=_FIX, file=file)


def _problems(config: ModelConfig, tensors: Mapping[str, Tensor]) -> Iterator[str]:
    embedding = tensors.get(_EMBEDDING)
    wanted = (config.vocab_size, config.hidden_size)
    if embedding is None:
        yield f"The weights have no {_EMBEDDING}, which {config.architectures[0]} needs."
    elif None not in wanted and embedding.shape != wanted:
        yield f"{_EMBEDDING} has shape {list(embedding.shape)}; the configuration says {list(wanted)}."
    present = {int(match.group(1)) for name in tensors if (match := _LAYER.match(name))}
    absent = [layer for layer in range(min(config.num_layers or 0, 10_000)) if layer not in present]
    if absent:
        yield f"{len(absent):,} of {config.num_layers:,} layers have no tensor, the first of them is {absent[0]}."
