"""What is known of architectures, and reckoned of parameters, memory, workload and license."""

from __future__ import annotations

import json

import pytest

from libs.modelfiles import hfconfig, vllm
from libs.modelfiles.tensors import Tensor
from services.validator import counting, frontmatter, memory, workload

ARCHITECTURES = {
    "LlamaForCausalLM": ("generate", True),
    "Qwen3ForCausalLM": ("generate", True),
    "MixtralForCausalLM": ("generate", True),
    "BertModel": ("embed", True),
    "XLMRobertaModel": ("embed", True),
    "LlamaModel": ("embed", True),
    "Qwen2VLForConditionalGeneration": ("multimodal", True),
    "EagleLlamaForCausalLM": ("draft", True),
    "BertForSequenceClassification": ("classify", True),
    "BertForMaskedLM": ("embed", True),
    "MixtralModel": ("embed", True),  # made out of MixtralForCausalLM
    "LlamaForSequenceClassification": ("classify", True),
    "DiffLlamaForCausalLM": ("generate", False),  # through Transformers
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_that_vllm_runs(name: str) -> None:
    resolved = vllm.resolve([name])
    assert resolved is not None
    assert (resolved.kind, resolved.native) == ARCHITECTURES[name]


def test_the_first_architecture_that_vllm_knows_counts() -> None:
    resolved = vllm.resolve(["MyOwnForCausalLM", "LlamaForCausalLM"])
    assert resolved is not None
    assert resolved.architecture == "LlamaForCausalLM"


UNKNOWN = {
    "MyOwnForCausalLM": "does not know the architecture MyOwnForCausalLM",
    "MPTForCausalLM": "does not know MPTForCausalLM any more; vLLM 0.28.0 was the last",
    "BartForConditionalGeneration": "only with a plug-in (https://github.com/vllm-project/bart-plugin)",
    "T5ForConditionalGeneration": "does not know the architecture T5ForConditionalGeneration",
    "": "does not know the architecture",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_architecture_that_vllm_does_not_run_and_why(name: str) -> None:
    assert vllm.resolve([name]) is None
    assert UNKNOWN[name] in vllm.why_unknown(name)[0]


def test_the_facts_are_those_of_one_release() -> None:
    known = vllm.facts()
    assert set(known.versions) == {"vllm", "transformers", "torch"}
    assert {"awq", "gptq", "fp8", "compressed-tensors"} <= known.quantization
    assert not known.quantization & vllm.LEGACY_QUANTIZATION
    assert "torch._utils._rebuild_tensor_v2" in known.pickle_globals
    assert not {name for name in known.pickle_globals if name.startswith(("os.", "posix.", "builtins.eval"))}


def tensor(dtype: str, *shape: int) -> Tensor:
    return Tensor(dtype, shape, 0, 0)


PLAIN = {"a.weight": tensor("BF16", 8, 8), "a.bias": tensor("F32", 8), "ids": tensor("I64", 1, 4)}
COUNTED = {
    "as stored": (PLAIN, None, "native", (76, "BF16")),
    "zero-size and scalar": ({"z": tensor("F16", 0, 4), "s": tensor("F16")}, None, "native", (1, "F16")),
    "GPTQ, eight weights an integer": (
        {
            "q.qweight": tensor("I32", 2, 8),
            "q.qzeros": tensor("I32", 1, 8),
            "q.scales": tensor("F16", 1, 8),
            "q.g_idx": tensor("I32", 16),
        },
        {"quant_method": "gptq", "bits": 4},
        "gptq",
        (128, "I32"),
    ),
    "AWQ, by its other key": ({"q.qweight": tensor("I32", 8, 2)}, {"w_bit": 8}, "awq", (64, "I32")),
    "compressed tensors": (
        {
            "q.weight_packed": tensor("I32", 8, 2),
            "q.weight_scale": tensor("BF16", 8, 1),
            "q.weight_shape": tensor("I64", 2),
        },
        {"config_groups": {"group_0": {"weights": {"num_bits": 4}}}},
        "compressed-tensors",
        (128, "I32"),
    ),
    "ModelOpt's four bits": (
        {"q.weight": tensor("U8", 8, 4), "q.weight_scale": tensor("F8_E4M3", 8, 1), "n.weight": tensor("BF16", 8)},
        {"quant_algo": "NVFP4"},
        "modelopt_fp4",
        (72, "U8"),
    ),
    "mxfp4": (
        {"e.gate_up_proj_blocks": tensor("U8", 2, 8, 16), "e.gate_up_proj_scales": tensor("U8", 2, 8)},
        {"quant_method": "mxfp4"},
        "mxfp4",
        (512, "U8"),
    ),
    "fp8 is not packed": (
        {"q.weight": tensor("F8_E4M3", 8, 8), "q.weight_scale_inv": tensor("F32", 1, 1)},
        {"quant_method": "fp8"},
        "fp8",
        (64, "F8_E4M3"),
    ),
    "bits that are not told": ({"q.qweight": tensor("I32", 2, 8)}, {"bits": "four"}, "gptq", (16, "I32")),
}


@pytest.mark.parametrize("case", COUNTED)
def test_parameters_are_counted_unpacked(case: str) -> None:
    tensors, told, method, expected = COUNTED[case]
    counted = counting.count(tensors.items(), told, method)
    assert (counted.parameters, counted.dtype) == expected


LLAMA_8B = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
}
MEMORY = {
    "Llama 8B": (LLAMA_8B, 16 * memory.GIB, (131072, "L4")),
    "in float32": (LLAMA_8B | {"torch_dtype": "float32"}, 32 * memory.GIB, (262144, "A100 40GB")),
    "half of its layers without a cache": (
        LLAMA_8B | {"layer_types": ["linear_attention", "full_attention"] * 16},
        16 * memory.GIB,
        (65536, "L4"),
    ),
    "nothing told": ({}, memory.GIB, (None, "T4")),
    "larger than any": (LLAMA_8B, 1000 * memory.GIB, (131072, None)),
}


@pytest.mark.parametrize("case", MEMORY)
def test_memory(case: str) -> None:
    whole, weights_bytes, expected = MEMORY[case]
    config = hfconfig.parse(json.dumps(whole).encode())
    need = memory.need(weights_bytes, config, generates=True)
    assert (need.kv_bytes_per_token, need.smallest_gpu) == expected
    assert need.weights_bytes == weights_bytes


def test_an_encoder_keeps_no_cache() -> None:
    config = hfconfig.parse(json.dumps(LLAMA_8B).encode())
    assert memory.need(memory.GIB, config, generates=False).kv_bytes_per_token is None


WORKLOADS = {
    "an encoder": ({"kind": "embed"}, "embedding"),
    "a classifier": ({"kind": "classify"}, "embedding"),
    "sentence-transformers around a decoder": ({"sentence_transformer": True}, "embedding"),
    "a coder by its name": ({"names": ["Qwen/Qwen2.5-Coder-7B"]}, "code"),
    "Starcoder by its architecture": ({"names": ["Starcoder2ForCausalLM"]}, "code"),
    "an encoder-decoder is no coder": ({"names": ["encoder_decoder"]}, "chat"),
    "thinks in its template": ({"chat_template": "{{ '<think>' }}"}, "reasoning"),
    "DeepSeek R1": ({"names": ["deepseek-ai/DeepSeek-R1"]}, "reasoning"),
    "NLLB": ({"names": ["facebook/nllb-200"]}, "multilingual"),
    "a card of many languages": ({"languages": 23}, "multilingual"),
    "a card of a dozen": ({"languages": 12}, "chat"),
    "nothing special": ({"names": ["LlamaForCausalLM", "llama", ""]}, "chat"),
}


@pytest.mark.parametrize("case", WORKLOADS)
def test_workload(case: str) -> None:
    told, expected = WORKLOADS[case]
    silent = {"kind": "generate", "sentence_transformer": False, "names": [], "chat_template": "", "languages": 0}
    assert workload.guess(**(silent | told)) == expected


CARDS = {
    "a value": (b"---\nlicense: mit\n---\n", {"license": ["mit"]}),
    "quoted": (b'---\nlicense: "mit"\n---\n', {"license": ["mit"]}),
    "a list in line": (b"---\nlanguage: [en, 'fr']\n---\n", {"language": ["en", "fr"]}),
    "a list below": (b"---\nlanguage:\n- en\n  - fr\ntags:\n---\n", {"language": ["en", "fr"], "tags": []}),
    "Windows' lines": (b"---\r\nlicense: mit\r\n---\r\n", {"license": ["mit"]}),
    "deeper keys are not read": (b"---\nmodel-index:\n  name: x\n---\n", {"model-index": []}),
    "no front matter": (b"# A model\nlicense: mit\n", {}),
    "never ends": (b"---\nlicense: mit\n", {}),
    "empty": (b"", {}),
    "no UTF-8": (b"---\nlicense: \xff\n---\n", {"license": ["\ufffd"]}),
}


@pytest.mark.parametrize("case", CARDS)
def test_front_matter(case: str) -> None:
    card, fields = CARDS[case]
    assert frontmatter.read(card) == fields


@pytest.mark.parametrize(
    ("card", "text", "name"),
    [
        (b"---\nlicense: apache-2.0\n---\n", b"MIT License", "apache-2.0"),
        (b"---\nlicense: other\nlicense_name: llama3\n---\n", b"", "llama3"),
        (b"---\nlicense: other\n---\n", b"                                 Apache License\n Version 2.0", "apache-2.0"),
        (b"", b"MIT License\n", "mit"),
        (b"", b"Ask the author.", None),
    ],
)
def test_license(card: bytes, text: bytes, name: str | None) -> None:
    assert frontmatter.license_name(card, text) == name
