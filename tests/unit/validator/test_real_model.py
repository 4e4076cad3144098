"""all-MiniLM-L6-v2, as its authors published it: 91 MB, of which less than 200 KB are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.sample import NoSample, fetch
from tests.unit.validator.harness import read, reported

CACHE = Path(__file__).parents[3] / ".cache" / "models"


@pytest.fixture(scope="module")
def model() -> dict[str, bytes]:
    """Its files, downloaded once."""
    try:
        folder = fetch(CACHE)
    except NoSample as absent:
        pytest.skip(str(absent))
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_real_sentence_transformer_is_understood_from_its_headers(model: dict[str, bytes]) -> None:
    report = await reported(model)

    assert report.findings == []
    metadata = report.metadata
    assert (metadata.architecture, metadata.quantization, metadata.workload_type) == (
        "BertModel",
        "native",
        "embedding",
    )
    assert (metadata.parameter_count, metadata.dtype) == (22_713_728, "F32")
    assert (metadata.hidden_size, metadata.num_layers, metadata.vocab_size) == (384, 6, 30522)
    assert metadata.context_length == 512
    assert metadata.license == "apache-2.0"
    assert metadata.deployable


async def test_its_weights_are_not_read(model: dict[str, bytes]) -> None:
    found = await read(model)

    header = 8 + int.from_bytes(model["model.safetensors"][:8], "little")
    rest = sum(len(content) for path, content in model.items() if path != "model.safetensors")
    assert found.bytes_read <= header + rest
    assert found.bytes_read < 200_000
