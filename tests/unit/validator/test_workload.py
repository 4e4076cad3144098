"""What a model is for, by its names, its template and its languages."""

from __future__ import annotations

from typing import Any

import pytest

from services.validator import workload

WORKLOADS: dict[str, tuple[dict[str, Any], str]] = {
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
    silent: dict[str, Any] = {
        "kind": "generate",
        "sentence_transformer": False,
        "names": [],
        "chat_template": "",
        "languages": 0,
    }
    assert workload.guess(**{**silent, **told}) == expected
