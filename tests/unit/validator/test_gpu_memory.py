"""The GPU memory that serving a model takes."""

from __future__ import annotations

import json

import pytest

from libs.modelfiles import hfconfig
from libs.modelfiles.hfconfig import Json
from services.validator import gpu_memory

LLAMA_8B: dict[str, object] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
}
MEMORY: dict[str, tuple[Json, int, tuple[int | None, str | None]]] = {
    "Llama 8B": (LLAMA_8B, 16 * gpu_memory.GIB, (131072, "L4")),
    "in float32": (LLAMA_8B | {"torch_dtype": "float32"}, 32 * gpu_memory.GIB, (262144, "A100 40GB")),
    "half of its layers without a cache": (
        LLAMA_8B | {"layer_types": ["linear_attention", "full_attention"] * 16},
        16 * gpu_memory.GIB,
        (65536, "L4"),
    ),
    "nothing told": ({}, gpu_memory.GIB, (None, "T4")),
    "larger than any": (LLAMA_8B, 1000 * gpu_memory.GIB, (131072, None)),
}


@pytest.mark.parametrize("case", MEMORY)
def test_memory(case: str) -> None:
    whole, weights_bytes, expected = MEMORY[case]
    config = hfconfig.parse(json.dumps(whole).encode())
    need = gpu_memory.need(weights_bytes, config, generates=True)
    assert (need.kv_bytes_per_token, need.smallest_gpu) == expected
    assert need.weights_bytes == weights_bytes


def test_an_encoder_keeps_no_cache() -> None:
    config = hfconfig.parse(json.dumps(LLAMA_8B).encode())
    assert gpu_memory.need(gpu_memory.GIB, config, generates=False).kv_bytes_per_token is None
