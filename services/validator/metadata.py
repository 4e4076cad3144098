"""What the registry shows of a model, from its headers and small files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from libs.contracts import ModelMetadata, WorkloadType
from libs.modelfiles import vllm
from libs.modelfiles.gguf import Header as GgufHeader
from libs.modelfiles.hfconfig import ModelConfig
from libs.modelfiles.quantization import Quantization
from libs.modelfiles.statedict import Stored
from libs.modelfiles.tensors import Tensor
from libs.modelfiles.vllm import Resolved
from services.validator import counting, frontmatter, gpu_memory, workload
from services.validator.counting import Count
from services.validator.inspection import Inspection
from services.validator.rules.configuration import model_type_problem

_EMBEDDINGS = re.compile(r"(^|\.)(embed_tokens|word_embeddings|wte|tok_embeddings)\.weight$")
_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d{1,6})\.")
_MAX_NUMBER = 2**53
_MAX_TEXT = 500
S = TypeVar("S", bound=msgspec.Struct)

_NO_TORCH_TYPE = ("F6_E2M3", "F6_E3M2")


class Known(msgspec.Struct, frozen=True):
    """What was understood of a model before its metadata is put together."""

    config: ModelConfig | None
    resolved: Resolved | None
    quantization: Quantization
    tensors: Mapping[str, Tensor]  # of all files that vLLM would load
    loaded: Sequence[str]  # these files


def tensors_of(found: Inspection, loaded: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of the files of weights, by name; of names that share one storage only the first."""
    tensors: dict[str, Tensor] = {}
    for path in loaded:
        if path in found.headers:
            tensors |= found.headers[path].tensors
        elif path in found.pickles and (stored := found.pickles[path].tensors):
            tensors |= _untied(stored)
    return tensors


def _untied(stored: Mapping[str, Stored]) -> dict[str, Tensor]:
    once: dict[tuple[str, tuple[int, ...]], str] = {}
    for name, item in stored.items():
        once.setdefault((item.storage.key, item.tensor.shape), name)
    return {name: stored[name].tensor for name in once.values()}


def gather(found: Inspection, known: Known) -> ModelMetadata:
    """The metadata of the model; None wherever nothing tells, or nothing that could be true."""
    ggufs = [found.ggufs[path] for path in known.loaded if path in found.ggufs]
    told = _of_gguf(found, known, ggufs) if ggufs else _of_tensors(found, known)
    return _sane(told)


def _sane(told: S) -> S:
    """`told` without numbers and texts that only an attacker writes."""
    return msgspec.structs.replace(told, **{name: _sane_value(getattr(told, name)) for name in told.__struct_fields__})


def _sane_value(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return _sane(value)
    if isinstance(value, str):
        return printable(value, _MAX_TEXT)
    return None if isinstance(value, int) and value > _MAX_NUMBER else value


def printable(text: str, most: int) -> str:
    """`text` as an event and a database take it: `most` characters, no NUL, no half of a surrogate pair."""
    short = text if len(text) <= most else text[: most - 1] + "…"
    return short.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _of_tensors(found: Inspection, known: Known) -> ModelMetadata:
    config = known.config
    counted = _count(known)
    reason = _why_not(found, known)
    generates = known.resolved is None or known.resolved.kind in ("generate", "multimodal", "draft")
    weights_bytes = sum(found.sizes[path] for path in known.loaded)
    return ModelMetadata(
        format=found.selection.format,
        architecture=_architecture(known),
        quantization=known.quantization.method,
        context_length=config.context_length if config else None,
        parameter_count=counted.parameters if counted else None,
        hidden_size=(config.hidden_size if config else None) or _side(known.tensors, 1),
        num_layers=(config.num_layers if config else None) or _layers(known.tensors),
        vocab_size=(config.vocab_size if config else None) or _side(known.tensors, 0),
        dtype=counted.dtype if counted else None,
        workload_type=_workload(found, known),
        license=_license(found),
        memory=gpu_memory.need(weights_bytes, config, generates=generates),
        deployable=reason is None,
        deployable_reason=reason,
    )


def _of_gguf(found: Inspection, known: Known, ggufs: list[GgufHeader]) -> ModelMetadata:
    told = next((header for header in ggufs if header.architecture), ggufs[0])
    vocabulary = told.number("vocab_size") or told.keys.get("tokenizer.ggml.tokens")
    license_key = told.keys.get("general.license")
    return ModelMetadata(
        format="gguf",
        architecture=(_architecture(known) or told.architecture),
        quantization="gguf",
        context_length=told.number("context_length"),
        parameter_count=sum(header.parameter_count for header in ggufs),
        hidden_size=told.number("embedding_length"),
        num_layers=told.number("block_count"),
        vocab_size=vocabulary if isinstance(vocabulary, int) else None,
        dtype=max(ggufs, key=lambda header: header.parameter_count).dtype,
        workload_type=_workload(found, known, str(told.keys.get("general.name", ""))),
        license=license_key if isinstance(license_key, str) else _license(found),
        memory=gpu_memory.need(sum(found.sizes[path] for path in known.loaded), None, generates=True),
        deployable=False,
        deployable_reason=f"vLLM {vllm.facts().versions['vllm']} does not load GGUF files without a plug-in.",
    )


def _architecture(known: Known) -> str | None:
    if known.resolved:
        return known.resolved.architecture
    named = known.config.architectures if known.config else []
    return named[0] if named else None


def _count(known: Known) -> Count | None:
    """The parameters, if the tensors are known and say what they hold: exl2 packs by rules of its own."""
    if not known.tensors or known.quantization.method == "exl2":
        return None
    return counting.count(known.tensors.items(), known.quantization.config, known.quantization.method)


def _why_not(found: Inspection, known: Known) -> str | None:
    """Why vLLM would not serve a model that is otherwise in order."""
    release = f"vLLM {vllm.facts().versions['vllm']}"
    if found.selection.format == "exl2" or known.quantization.method in vllm.LEGACY_QUANTIZATION:
        method = "exl2" if found.selection.format == "exl2" else known.quantization.method
        return f"{release} does not load {method} weights."
    if known.quantization.method in vllm.facts().deprecated_quantization:
        return f"{release} loads {known.quantization.method} weights only with --allow-deprecated-quantization."
    if known.resolved and known.resolved.kind == "draft":
        return f"{known.resolved.architecture} drafts for another model (speculative decoding) and is not served alone."
    if any(tensor.dtype in _NO_TORCH_TYPE for tensor in known.tensors.values()):
        return "The weights have a type of six bits, which torch does not have."
    return model_type_problem(known.config) if known.config else None


def _side(tensors: Mapping[str, Tensor], side: int) -> int | None:
    """A side of the token embedding: 0 the vocabulary, 1 the hidden size."""
    for name, tensor in tensors.items():
        if _EMBEDDINGS.search(name) and len(tensor.shape) == 2:
            return tensor.shape[side]
    return None


def _layers(tensors: Mapping[str, Tensor]) -> int | None:
    numbers = {int(match.group(1)) for name in tensors if (match := _LAYER.search(name))}
    return len(numbers) or None


def _license(found: Inspection) -> str | None:
    text = next(
        (found.documents[name] for name in ("LICENSE", "LICENSE.txt", "LICENSE.md") if name in found.documents), b""
    )
    return frontmatter.license_name(found.documents.get("README.md", b""), text)


def _workload(found: Inspection, known: Known, *names: str) -> WorkloadType:
    card = frontmatter.read(found.documents.get("README.md", b""))
    whole = known.config.whole if known.config else {}
    told = [whole.get("_name_or_path"), whole.get("model_type"), _architecture(known), *names, *card.get("tags", [])]
    template = found.documents.get("chat_template.jinja") or found.documents.get("tokenizer_config.json", b"")
    return workload.guess(
        kind=known.resolved.kind if known.resolved else None,
        sentence_transformer="modules.json" in found.sizes,
        names=[name for name in told if isinstance(name, str)],
        chat_template=template.decode("utf-8", "replace"),
        languages=len(card.get("language", [])),
    )
