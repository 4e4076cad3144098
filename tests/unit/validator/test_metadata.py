"""What the registry is told of a model, and whether it could be served."""

from __future__ import annotations

import pytest

from tests.support.ggufs import given_gguf
from tests.support.models import (
    LLAMA_CONFIG,
    Files,
    encoded,
    given_llama,
    given_pytorch_llama,
    llama_tensors,
    without,
)
from tests.unit.validator.harness import reported

SECOND = "model-00002-of-00002.safetensors"

UNDEPLOYABLE: dict[str, tuple[Files, str]] = {
    "gguf": ({"model.gguf": given_gguf()}, "does not load GGUF"),
    "exl2 files": (
        without(given_llama(), "model.safetensors") | {"output.exl2": b"exl2"}, "does not load exl2",
    ),
    "exl2 in safetensors": (given_llama(quantization_config={"quant_method": "exl2"}), "does not load exl2"),
    "squeezellm": (given_llama(quantization_config={"quant_method": "squeezellm"}), "does not load squeezellm"),
    "a draft model": (given_llama(architectures=["EagleLlamaForCausalLM"]), "speculative decoding"),
    "no model type": (given_llama(model_type=None), "no model_type"),
    "no tokenizer": (without(given_llama(), "tokenizer.json", "tokenizer_config.json"), "no tokenizer"),
    "a deprecated quantization": (
        given_llama(quantization_config={"quant_method": "fbgemm_fp8"}), "--allow-deprecated-quantization",
    ),
    "more layers than weights": (given_llama(num_hidden_layers=4), "2 of 4 layers"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNDEPLOYABLE)
async def test_is_accepted_but_not_deployable(case: str) -> None:
    files, reason = UNDEPLOYABLE[case]
    report = await reported(files)
    assert report.passed, report.findings
    assert not report.metadata.deployable
    assert reason in (report.metadata.deployable_reason or "")


async def test_a_rejected_model_is_not_deployable_and_says_why() -> None:
    report = await reported(without(given_llama(shards=2), SECOND))
    assert not report.metadata.deployable
    assert report.metadata.deployable_reason == f"{SECOND} is missing."


async def test_metadata_of_a_model_whose_config_tells_little() -> None:
    """Sizes that config.json leaves to its class's defaults are taken from the tensors."""
    files = given_llama() | {"config.json": encoded({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})}
    metadata = (await reported(files)).metadata
    assert (metadata.hidden_size, metadata.num_layers, metadata.vocab_size) == (128, 2, 256)
    assert metadata.context_length is None


async def test_metadata_of_a_small_llama() -> None:
    metadata = (await reported(given_llama(shards=2))).metadata
    assert metadata.format == "safetensors"
    assert metadata.architecture == "LlamaForCausalLM"
    assert metadata.quantization == "native"
    assert metadata.context_length == LLAMA_CONFIG["max_position_embeddings"]
    assert metadata.parameter_count == sum(tensor.size for tensor in llama_tensors().values())
    assert (metadata.hidden_size, metadata.num_layers, metadata.vocab_size) == (128, 2, 256)
    assert (metadata.dtype, metadata.workload_type, metadata.license) == ("F16", "chat", "apache-2.0")
    assert metadata.memory is not None
    assert metadata.memory.kv_bytes_per_token == 2 * 2 * 2 * 32 * 2  # keys and values, layers, heads, size, bytes


async def test_metadata_of_pickled_weights_and_of_gguf() -> None:
    pickled = (await reported(given_pytorch_llama())).metadata
    assert (pickled.format, pickled.dtype) == ("pytorch", "F32")
    assert pickled.parameter_count == sum(tensor.size for tensor in llama_tensors().values())
    gguf = (await reported({"model.gguf": given_gguf()})).metadata
    assert (gguf.format, gguf.architecture, gguf.quantization) == ("gguf", "llama", "gguf")
    assert (gguf.parameter_count, gguf.context_length, gguf.vocab_size) == (128, 512, 3)
