"""Reads Mistral's own configuration, params.json, as if it were a config.json.

Source: vllm/transformers_utils/configs/mistral.py, `adapt_config_dict`.
"""

from __future__ import annotations

from libs.modelfiles.hfconfig import Json, ModelConfig, parse_object

# Its names, where they are not among those that ModelConfig knows
_RENAMED = {"tied_embeddings": "tie_word_embeddings"}


def parse(raw: bytes, file: str = "params.json") -> ModelConfig:
    """Read the configuration in `raw`, with the architecture that vLLM would choose for it.

    Raises: Unreadable, if it is not a JSON object.
    """
    params = parse_object(raw, "config-json", file)
    text = {_RENAMED.get(key, key): value for key, value in params.items()}
    whole = text | {"model_type": "mistral", "architectures": [_architecture(params)]}
    if quantization := _quantization(params.get("quantization")):
        whole["quantization_config"] = quantization
    return ModelConfig(whole=whole, text=text)


def _architecture(params: Json) -> str:
    multimodal = _part(params, "multimodal")
    if multimodal.get("vision_encoder_args") or params.get("vision_encoder"):
        return "PixtralForConditionalGeneration"
    if encoder := _part(_part(multimodal, "whisper_model_args"), "encoder_args"):
        return "VoxtralRealtimeGeneration" if encoder.get("causal") else "VoxtralForConditionalGeneration"
    if params.get("model_type") == "mamba":
        return "Mamba2ForCausalLM"
    if experts := _part(params, "moe"):
        return "MistralLarge3ForCausalLM" if experts.get("num_shared_experts") else "MixtralForCausalLM"
    return "MistralForCausalLM"


def _part(params: Json, key: str) -> Json:
    value = params.get(key)
    return value if isinstance(value, dict) else {}


def _quantization(declared: object) -> Json | None:
    if not isinstance(declared, dict) or not declared:
        return None
    if declared.get("qformat_weight") == "fp8_e4m3":
        return {"quant_method": "fp8"}
    return declared
