"""How a model's weights are quantized, by vLLM's names.

Source: `ModelArchConfigConvertorBase._normalize_quantization_config` (model_arch_config_convertor.py) and `get_config`
(transformers_utils/config.py): config.json's quantization_config, its text part's, compression_config, and
hf_quant_config.json where config.json has none.
"""

from __future__ import annotations

import msgspec

from libs.modelfiles.hfconfig import Json, ModelConfig
from libs.modelfiles.vllm import NATIVE

HF_QUANT_CONFIG = "hf_quant_config.json"

_MODELOPT = {
    "FP8": "modelopt",
    "FP8_PER_CHANNEL_PER_TOKEN": "modelopt",
    "FP8_PB_WO": "modelopt",
    "NVFP4": "modelopt_fp4",
    "MXFP8": "modelopt_mxfp8",
    "MIXED_PRECISION": "modelopt_mixed",
}


class Quantization(msgspec.Struct, frozen=True):
    """The method, and the part of the configuration that describes it."""

    method: str  # vLLM's name if it has one, as written otherwise; "native" for none
    config: Json | None = None


def of(config: ModelConfig, hf_quant_config: Json | None = None) -> Quantization:
    """Return the quantization of a model; `hf_quant_config` is the content of that file, if there is one."""
    whole, text = config.whole, config.text
    declared = _part(whole, "quantization_config") or hf_quant_config or _part(whole, "compression_config")
    declared = declared or _part(text, "quantization_config") or _part(text, "compression_config")
    if not declared:
        return Quantization(NATIVE)
    return Quantization(_method(declared) or NATIVE, declared)


def _method(declared: Json) -> str:
    inner = _part(declared, "quantization") or declared  # hf_quant_config.json has it one level down
    algorithm = inner.get("quant_algo") or declared.get("quant_algo")
    producer = (_part(declared, "producer") or {}).get("name")
    if isinstance(algorithm, str) and (producer == "modelopt" or "quant_method" not in declared):
        return _MODELOPT.get(algorithm.upper(), algorithm.lower())
    named = declared.get("quant_method", "")
    return str(named).lower().replace("compressed_tensors", "compressed-tensors")


def _part(whole: Json, key: str) -> Json | None:
    value = whole.get(key)
    return value if isinstance(value, dict) and value else None
