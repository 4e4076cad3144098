"""What is read of a configuration, in the words of many families of models."""

from __future__ import annotations

import json

import pytest

from libs.modelfiles import hfconfig, mistral, quantization
from libs.modelfiles.hfconfig import Json, ModelConfig
from libs.modelfiles.unreadable import Unreadable


def config(**whole: object) -> ModelConfig:
    return hfconfig.parse(json.dumps(whole).encode())


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        hfconfig.parse(raw)
    assert caught.value.rule == "config-json"


def test_python_reads_nan_and_so_does_vllm() -> None:
    assert hfconfig.parse(b'{"rope_theta": NaN, "hidden_size": 8}').hidden_size == 8


CONTEXT: dict[str, tuple[Json, int | None]] = {
    "max_position_embeddings": ({"max_position_embeddings": 4096}, 4096),
    "GPT-2": ({"n_positions": 1024}, 1024),
    "MPT": ({"max_seq_len": 2048}, 2048),
    "ChatGLM": ({"seq_length": 8192}, 8192),
    "the smallest of several": ({"max_position_embeddings": 4096, "max_seq_length": 512}, 512),
    "Command-R's own wins": ({"max_position_embeddings": 8192, "model_max_length": 131072}, 131072),
    "linear scaling": ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4.0}}, 16384),
    "dynamic scaling, new name": (
        {"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "dynamic", "factor": 2}},
        8192,
    ),
    "yarn is scaled already": ({"max_position_embeddings": 4096, "rope_scaling": {"type": "yarn", "factor": 4}}, 4096),
    "llama3 is scaled already": (
        {"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 8}},
        131072,
    ),
    "gemma3 is scaled already": (
        {
            "model_type": "gemma3_text",
            "max_position_embeddings": 1000,
            "rope_scaling": {"rope_type": "linear", "factor": 8},
        },
        1000,
    ),
    "one scaling a type of layer": (
        {
            "max_position_embeddings": 1000,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8},
                "sliding": {"rope_type": "default"},
            },
        },
        8000,
    ),
    "factor null": ({"max_position_embeddings": 100, "rope_scaling": {"type": "linear", "factor": None}}, 100),
    "not told": ({}, None),
    "of another kind": ({"max_position_embeddings": "4096"}, None),
    "negative": ({"max_position_embeddings": -1}, None),
    "true": ({"max_position_embeddings": True}, None),
    "in the text part": ({"text_config": {"max_position_embeddings": 77}}, 77),
    "infinite": ({"max_position_embeddings": 4, "rope_scaling": {"type": "linear", "factor": 1e308 * 10}}, None),
}


@pytest.mark.parametrize("case", CONTEXT)
def test_context_length(case: str) -> None:
    whole, tokens = CONTEXT[case]
    assert config(**whole).context_length == tokens


SIZES: dict[str, tuple[Json, tuple[int | None, ...]]] = {
    "Llama": (
        {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 10,
        },
        (64, 2, 10, 2 * 2 * 16),
    ),
    "GPT-2": ({"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 10}, (64, 2, 10, 2 * 4 * 16)),
    "T5": ({"d_model": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 10}, (64, 2, 10, 2 * 4 * 16)),
    "Falcon 7B": (
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "multi_query": True, "vocab_size": 10},
        (64, 2, 10, 2 * 1 * 16),
    ),
    "its own head size": (
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 32, "vocab_size": 10},
        (64, 2, 10, 2 * 4 * 32),
    ),
    "DeepSeek's latent attention": (
        {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "kv_lora_rank": 512,
            "qk_rope_head_dim": 64,
            "vocab_size": 9,
        },
        (64, 2, 9, 576),
    ),
    "ChatGLM": (
        {
            "hidden_size": 64,
            "num_layers": 2,
            "num_attention_heads": 4,
            "multi_query_group_num": 2,
            "padded_vocab_size": 10,
        },
        (64, 2, 10, 2 * 2 * 16),
    ),
    "a vision model's text part": (
        {
            "vision_config": {"hidden_size": 9},
            "text_config": {"hidden_size": 64, "num_hidden_layers": 2},
            "vocab_size": 10,
        },
        (64, 2, 10, None),
    ),
    "parts within parts": (
        {"thinker_config": {"text_config": {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 10}}},
        (64, 2, 10, None),
    ),
    "nothing": ({}, (None, None, None, None)),
    "nonsense": (
        {"hidden_size": [1], "num_hidden_layers": "2", "vocab_size": 1.5, "num_attention_heads": 0},
        (None,) * 4,
    ),
}


@pytest.mark.parametrize("case", SIZES)
def test_sizes(case: str) -> None:
    whole, expected = SIZES[case]
    read = config(**whole)
    assert (read.hidden_size, read.num_layers, read.vocab_size, read.kv_values_per_layer) == expected


@pytest.mark.parametrize(
    ("whole", "dtype"),
    [
        ({"torch_dtype": "bfloat16"}, "bfloat16"),
        ({"dtype": "torch.float16"}, "float16"),
        ({"text_config": {"dtype": "float32"}}, "float32"),
        ({}, None),
    ],
)
def test_dtype(whole: dict[str, object], dtype: str | None) -> None:
    assert config(**whole).dtype == dtype


def test_an_architecture_that_is_not_named_follows_from_the_model_type() -> None:
    assert config(model_type="bert").architectures == ["BertModel"]
    assert config(model_type="of nobody").architectures == []


@pytest.mark.parametrize("named", ["LlamaForCausalLM", [1], {"a": 1}])
def test_architectures_are_a_list_of_names(named: object) -> None:
    with pytest.raises(Unreadable):
        config(architectures=named).architectures  # noqa: B018


QUANTIZATION: dict[str, tuple[Json, Json | None, str]] = {
    "none": ({}, None, "native"),
    "empty": ({"quantization_config": {}}, None, "native"),
    "null": ({"quantization_config": None}, None, "native"),
    "awq": ({"quantization_config": {"quant_method": "awq"}}, None, "awq"),
    "in capitals": ({"quantization_config": {"quant_method": "GPTQ"}}, None, "gptq"),
    "compressed tensors": (
        {"quantization_config": {"quant_method": "compressed_tensors"}},
        None,
        "compressed-tensors",
    ),
    "by its old key": ({"compression_config": {"quant_method": "compressed-tensors"}}, None, "compressed-tensors"),
    "in the text part": ({"text_config": {"quantization_config": {"quant_method": "fp8"}}}, None, "fp8"),
    "ModelOpt's own file": (
        {},
        {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}},
        "modelopt",
    ),
    "ModelOpt's own file, four bits": (
        {},
        {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}},
        "modelopt_fp4",
    ),
    "config.json before ModelOpt's file": (
        {"quantization_config": {"quant_method": "awq"}},
        {"quantization": {"quant_algo": "FP8"}},
        "awq",
    ),
}


@pytest.mark.parametrize("case", QUANTIZATION)
def test_quantization(case: str) -> None:
    whole, beside, method = QUANTIZATION[case]
    assert quantization.of(config(**whole), beside).method == method


MISTRAL: dict[str, tuple[dict[str, object], str]] = {
    "dense": ({}, "MistralForCausalLM"),
    "experts": ({"moe": {"num_experts": 8}}, "MixtralForCausalLM"),
    "shared experts": ({"moe": {"num_experts": 8, "num_shared_experts": 1}}, "MistralLarge3ForCausalLM"),
    "vision": ({"vision_encoder": {"hidden_size": 4}}, "PixtralForConditionalGeneration"),
    "vision, newer": ({"multimodal": {"vision_encoder_args": {"dim": 4}}}, "PixtralForConditionalGeneration"),
    "audio": (
        {"multimodal": {"whisper_model_args": {"encoder_args": {"dim": 4}}}},
        "VoxtralForConditionalGeneration",
    ),
    "mamba": ({"model_type": "mamba"}, "Mamba2ForCausalLM"),
}


@pytest.mark.parametrize("case", MISTRAL)
def test_mistrals_own_configuration(case: str) -> None:
    params, architecture = MISTRAL[case]
    sizes = {"dim": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "vocab_size": 10}
    read = mistral.parse(json.dumps(sizes | params).encode())
    assert read.architectures == [architecture]
    assert (read.hidden_size, read.num_layers, read.vocab_size, read.kv_values_per_layer) == (64, 2, 10, 64)


@pytest.mark.parametrize(
    ("told", "method"),
    [
        (None, "native"),
        ({"qformat_weight": "fp8_e4m3"}, "fp8"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
    ],
)
def test_mistrals_own_quantization(told: object, method: str) -> None:
    assert quantization.of(mistral.parse(json.dumps({"quantization": told}).encode())).method == method
