"""The metadata of a model, which the registry shows, from its headers and small files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from libs.contracts import ModelMetadata, WorkloadType
from libs.modelfiles import vllm
from libs.modelfiles.gguf import Header as GgufHeader
from libs.modelfiles.tensors import Tensor
from services.validator import counting, frontmatter, gpu_memory, workload
from services.validator.counting import Count
from services.validator.model import Model
from services.validator.rules.configuration import model_type_problem
from services.validator.text import printable

_EMBEDDINGS = re.compile(r"(^|\.)(embed_tokens|word_embeddings|wte|tok_embeddings)\.weight$")
_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d{1,6})\.")
_MAX_NUMBER = 2**53
_MAX_TEXT = 500
S = TypeVar("S", bound=msgspec.Struct)

_NO_TORCH_TYPE = ("F6_E2M3", "F6_E3M2")


def gather(model: Model) -> ModelMetadata:
    """Return the metadata of the model. A field is None where no file says it, or says something impossible."""
    ggufs = [model.ggufs[path] for path in model.loaded if path in model.ggufs]
    gathered = _of_gguf(model, ggufs) if ggufs else _of_tensors(model)
    return _sane(gathered)


def _sane(gathered: S) -> S:
    """`gathered` without numbers and texts that only an attacker would write."""
    names = gathered.__struct_fields__
    return msgspec.structs.replace(gathered, **{name: _sane_value(getattr(gathered, name)) for name in names})


def _sane_value(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return _sane(value)
    if isinstance(value, str):
        return printable(value, _MAX_TEXT)
    return None if isinstance(value, int) and value > _MAX_NUMBER else value


def _of_tensors(model: Model) -> ModelMetadata:
    config = model.config
    counted = _count(model)
    reason = _why_not(model)
    generates = model.resolved is None or model.resolved.kind in ("generate", "multimodal", "draft")
    weights_bytes = sum(model.sizes[path] for path in model.loaded)
    return ModelMetadata(
        format=model.selection.format,
        architecture=_architecture(model),
        quantization=model.quantization.method,
        context_length=config.context_length if config else None,
        parameter_count=counted.parameters if counted else None,
        hidden_size=(config.hidden_size if config else None) or _side(model.tensors, 1),
        num_layers=(config.num_layers if config else None) or _layers(model.tensors),
        vocab_size=(config.vocab_size if config else None) or _side(model.tensors, 0),
        dtype=counted.dtype if counted else None,
        workload_type=_workload(model),
        license=_license(model),
        memory=gpu_memory.need(weights_bytes, config, generates=generates),
        deployable=reason is None,
        deployable_reason=reason,
    )


def _of_gguf(model: Model, ggufs: list[GgufHeader]) -> ModelMetadata:
    header = next((header for header in ggufs if header.architecture), ggufs[0])
    vocabulary = header.number("vocab_size") or header.keys.get("tokenizer.ggml.tokens")
    license_key = header.keys.get("general.license")
    return ModelMetadata(
        format="gguf",
        architecture=(_architecture(model) or header.architecture),
        quantization="gguf",
        context_length=header.number("context_length"),
        parameter_count=sum(header.parameter_count for header in ggufs),
        hidden_size=header.number("embedding_length"),
        num_layers=header.number("block_count"),
        vocab_size=vocabulary if isinstance(vocabulary, int) else None,
        dtype=max(ggufs, key=lambda header: header.parameter_count).dtype,
        workload_type=_workload(model, str(header.keys.get("general.name", ""))),
        license=license_key if isinstance(license_key, str) else _license(model),
        memory=gpu_memory.need(sum(model.sizes[path] for path in model.loaded), None, generates=True),
        deployable=False,
        deployable_reason=f"vLLM {vllm.facts().versions['vllm']} does not load GGUF files without a plug-in.",
    )


def _architecture(model: Model) -> str | None:
    if model.resolved:
        return model.resolved.architecture
    named = model.config.architectures if model.config else []
    return named[0] if named else None


def _count(model: Model) -> Count | None:
    """The parameters, if the tensors are known and say what they hold: exl2 packs by rules of its own."""
    if not model.tensors or model.quantization.method == "exl2":
        return None
    return counting.count(model.tensors.items(), model.quantization.config, model.quantization.method)


def _why_not(model: Model) -> str | None:
    """Why vLLM would not serve a model that is otherwise in order."""
    release = f"vLLM {vllm.facts().versions['vllm']}"
    if model.selection.format == "exl2" or model.quantization.method in vllm.LEGACY_QUANTIZATION:
        method = "exl2" if model.selection.format == "exl2" else model.quantization.method
        return f"{release} does not load {method} weights."
    if model.quantization.method in vllm.facts().deprecated_quantization:
        return f"{release} loads {model.quantization.method} weights only with --allow-deprecated-quantization."
    if model.resolved and model.resolved.kind == "draft":
        return f"{model.resolved.architecture} drafts for another model (speculative decoding) and is not served alone."
    if any(tensor.dtype in _NO_TORCH_TYPE for tensor in model.tensors.values()):
        return "The weights have a type of six bits, which torch does not have."
    return model_type_problem(model.config) if model.config else None


def _side(tensors: Mapping[str, Tensor], side: int) -> int | None:
    """A side of the token embedding: 0 the vocabulary, 1 the hidden size."""
    for name, tensor in tensors.items():
        if _EMBEDDINGS.search(name) and len(tensor.shape) == 2:
            return tensor.shape[side]
    return None


def _layers(tensors: Mapping[str, Tensor]) -> int | None:
    numbers = {int(match.group(1)) for name in tensors if (match := _LAYER.search(name))}
    return len(numbers) or None


def _license(model: Model) -> str | None:
    text = next(
        (model.documents[name] for name in ("LICENSE", "LICENSE.txt", "LICENSE.md") if name in model.documents), b""
    )
    return frontmatter.license_name(model.documents.get("README.md", b""), text)


def _workload(model: Model, *names: str) -> WorkloadType:
    card = frontmatter.read(model.documents.get("README.md", b""))
    whole = model.config.whole if model.config else {}
    names_of_model = [
        whole.get("_name_or_path"),
        whole.get("model_type"),
        _architecture(model),
        *names,
        *card.get("tags", []),
    ]
    template = model.documents.get("chat_template.jinja") or model.documents.get("tokenizer_config.json", b"")
    return workload.guess(
        kind=model.resolved.kind if model.resolved else None,
        sentence_transformer="modules.json" in model.sizes,
        names=[name for name in names_of_model if isinstance(name, str)],
        chat_template=template.decode("utf-8", "replace"),
        languages=len(card.get("language", [])),
    )
