"""Does vLLM know the model that the configuration describes?"""

from __future__ import annotations

from collections.abc import Iterator

from libs.contracts import Finding, findings
from libs.modelfiles import hfconfig, quantization, vllm
from libs.modelfiles.hfconfig import ModelConfig
from libs.modelfiles.unreadable import Unreadable
from services.validator.model import Model

UNKNOWN = "architecture-unknown"
REMOTE_CODE = "remote-code"

# Small files that vLLM or Transformers parse at every start
_PARSED = ("tokenizer_config.json", quantization.HF_QUANT_CONFIG)


def check_config_is_readable(model: Model) -> Iterator[Finding]:
    """The configuration is a JSON object whose architectures are a list of names."""
    if error := model.config_error:
        yield error.finding(model.selection.config)


def check_architecture(model: Model) -> Iterator[Finding]:
    """vLLM has the architecture, and needs no code of the model's own for it."""
    config, resolved, file = model.config, model.resolved, model.selection.config
    if config is None:
        return
    named = config.architectures
    if resolved is None and not named:
        message = "The configuration names no architecture."
        fix = 'Name the class of the model, for example "architectures": ["LlamaForCausalLM"].'
        yield findings.error("architecture-missing", message, fix, file=file)
    elif resolved is None:
        message, fix = vllm.why_unknown(named[0])
        if config.needs_remote_code:
            message += " The model brings code of its own (auto_map), which is never run here."
        yield findings.error(UNKNOWN, message, fix, file=file)
    elif config.needs_remote_code:
        message = (
            f"auto_map points to code of the model's own; {resolved.architecture} needs none of it in vLLM itself."
        )
        fix = "Start vLLM with --trust-remote-code only if you trust that code."
        yield findings.warning(REMOTE_CODE, message, fix, file=file)
    elif not resolved.native:
        message = f"vLLM has no {resolved.architecture} of its own and would run it through Transformers."
        yield findings.info("architecture-transformers", message, "Expect it to be slower.", file=file)


def check_model_type(model: Model) -> Iterator[Finding]:
    """Transformers, and so vLLM, reads the configuration by its model_type."""
    if model.config and (message := model_type_problem(model.config)):
        fix = "Set model_type as save_pretrained writes it."
        yield findings.warning("model-type-unknown", message, fix, file=model.selection.config)


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


def check_quantization(model: Model) -> Iterator[Finding]:
    """vLLM loads weights that are quantized so."""
    known, method, file = vllm.facts(), model.quantization.method, model.selection.config
    release = f"vLLM {known.versions['vllm']}"
    if method == vllm.NATIVE:
        return
    if method in vllm.LEGACY_QUANTIZATION:
        message = f"{release} no longer loads {method} weights."
        fix = "Quantize with awq, gptq or fp8 to serve it."
        yield findings.warning("quantization-legacy", message, fix, file=file)
    elif method not in known.quantization:
        message = f"{release} does not know the quantization method {method!r:.80}."
        fix = f"Use one of {', '.join(sorted(known.quantization))}."
        yield findings.error("quantization-unknown", message, fix, file=file)
    elif method in known.deprecated_quantization:
        message = f"{release} loads {method} only with --allow-deprecated-quantization."
        fix = "Quantize with a method that stays."
        yield findings.warning("quantization-deprecated", message, fix, file=file)


def check_small_files(model: Model) -> Iterator[Finding]:
    """The small files beside the configuration are JSON objects."""
    if model.config is None:
        return
    for path in _PARSED:
        if path in model.documents:
            try:
                hfconfig.parse_object(model.documents[path], "config-json", path)
            except Unreadable as error:
                yield error.finding(path)
