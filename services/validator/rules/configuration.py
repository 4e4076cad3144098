"""Does vLLM know the model that the configuration describes?"""

from __future__ import annotations

from collections.abc import Iterator

from libs.contracts import Finding, Severity
from libs.modelfiles import hfconfig, mistral, quantization, vllm
from libs.modelfiles.hfconfig import Json, ModelConfig
from libs.modelfiles.quantization import Quantization
from libs.modelfiles.unreadable import Unreadable
from libs.modelfiles.vllm import Resolved
from libs.modelfiles.weights import MISTRAL_CONFIG
from services.validator.inspection import Inspection

# Small files that vLLM or Transformers parse at every start
_PARSED = ("tokenizer_config.json", quantization.HF_QUANT_CONFIG)


def read_config(found: Inspection) -> ModelConfig | None:
    """The model's configuration; None if there is none.

    Raises: Unreadable.
    """
    name = found.selection.config
    raw = found.documents.get(name)
    if raw is None:
        return None
    if len(raw) < found.sizes[name]:
        raise Unreadable(
            "config-too-large",
            f"{name} has {found.sizes[name]:,} bytes; {hfconfig.MAX_CONFIG_BYTES:,} are read.",
            "Upload the configuration alone; weights and vocabularies have files of their own.",
        )
    return mistral.parse(raw, name) if name == MISTRAL_CONFIG else hfconfig.parse(raw, name)


def read_quantization(found: Inspection, config: ModelConfig) -> Quantization:
    """How the weights are quantized."""
    return quantization.of(config, _optional(found, quantization.HF_QUANT_CONFIG))


def check(
    found: Inspection, config: ModelConfig, resolved: Resolved | None, quantized: Quantization
) -> Iterator[Finding]:
    """Architecture, model type, remote code, quantization, and the small files beside."""
    name = found.selection.config
    yield from _check_architecture(name, config, resolved)
    yield from _check_model_type(name, config)
    yield from _check_quantization(name, quantized)
    for path in _PARSED:
        if path in found.documents:
            try:
                hfconfig.parse_object(found.documents[path], "config-json", path)
            except Unreadable as error:
                yield error.finding(path)


def _check_architecture(name: str, config: ModelConfig, resolved: Resolved | None) -> Iterator[Finding]:
    named = config.architectures
    if resolved is None and not named:
        message = "The configuration names no architecture."
        fix = 'Name the class of the model, for example "architectures": ["LlamaForCausalLM"].'
        yield _finding("architecture-missing", "error", message, fix, name)
    elif resolved is None:
        message, fix = vllm.why_unknown(named[0])
        if config.needs_remote_code:
            message += " The model brings code of its own (auto_map), which is never run here."
        yield _finding("architecture-unknown", "error", message, fix, name)
    elif config.needs_remote_code:
        message = (
            f"auto_map points to code of the model's own; {resolved.architecture} needs none of it in vLLM itself."
        )
        fix = "Start vLLM with --trust-remote-code only if you trust that code."
        yield _finding("remote-code", "warning", message, fix, name)
    elif not resolved.native:
        message = f"vLLM has no {resolved.architecture} of its own and would run it through Transformers."
        yield _finding("architecture-transformers", "info", message, "Expect it to be slower.", name)


def _check_model_type(name: str, config: ModelConfig) -> Iterator[Finding]:
    if reason := model_type_problem(config):
        yield _finding("model-type-unknown", "warning", reason, "Set model_type as save_pretrained writes it.", name)


def model_type_problem(config: ModelConfig) -> str | None:
    """Why Transformers, and so vLLM, could not read the configuration by its model_type."""
    known = vllm.facts()
    if config.model_type is None:
        named = config.architectures
        spoken_for = "speculators_config" in config.whole or (named and named[0] in known.model_type_of_architecture)
        return None if spoken_for else "The configuration has no model_type, without which vLLM cannot read it."
    if config.model_type in known.model_types or config.needs_remote_code:
        return None
    return f"vLLM {known.versions['vllm']} does not know the model_type {config.model_type!r}."


def _check_quantization(name: str, quantized: Quantization) -> Iterator[Finding]:
    known, method = vllm.facts(), quantized.method
    if method == vllm.NATIVE:
        return
    if method in vllm.LEGACY_QUANTIZATION:
        message = f"vLLM {known.versions['vllm']} no longer loads {method} weights."
        yield _finding("quantization-legacy", "warning", message, "Quantize with awq, gptq or fp8 to serve it.", name)
    elif method not in known.quantization:
        message = f"vLLM {known.versions['vllm']} does not know the quantization method {method!r:.80}."
        fix = f"Use one of {', '.join(sorted(known.quantization))}."
        yield _finding("quantization-unknown", "error", message, fix, name)
    elif method in known.deprecated_quantization:
        message = f"vLLM {known.versions['vllm']} loads {method} only with --allow-deprecated-quantization."
        yield _finding("quantization-deprecated", "warning", message, "Quantize with a method that stays.", name)


def _optional(found: Inspection, path: str) -> Json | None:
    """The JSON object in `path`; None if there is none or it does not parse, which `check` says."""
    if path not in found.documents:
        return None
    try:
        return hfconfig.parse_object(found.documents[path], "config-json", path)
    except Unreadable:
        return None


def _finding(rule: str, severity: Severity, message: str, fix: str, file: str) -> Finding:
    return Finding(rule=rule, severity=severity, message=message, fix=fix, file=file)
