"""Which architectures vLLM can load, and what is said of the others."""

from __future__ import annotations

import pytest

from libs.modelfiles import vllm

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
