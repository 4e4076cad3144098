"""How little of a model is read, and how."""

from __future__ import annotations

import asyncio

import pytest

from libs.errors import ObjectNotFound, Unavailable
from services.validator.reader import SMALL_BYTES, ModelReader
from tests.support.models import given_big_llama, given_llama
from tests.support.torchfiles import given_torch
from tests.unit.validator.harness import MemoryStorage, reported, stored


def header_bytes(file: bytes) -> int:
    """The length of a safetensors file's front."""
    return 8 + int.from_bytes(file[:8], "little")


async def test_of_weights_only_the_headers_are_read() -> None:
    """Twenty megabytes in three shards: what is read are headers and the files that are small."""
    files = given_big_llama(20_000_000, shards=3)
    weights = {path for path in files if path.endswith(".safetensors")}

    found = await ModelReader(MemoryStorage(files), requests=4).read_model(stored(files))

    small = sum(len(content) for path, content in files.items() if path not in weights)
    assert found.bytes_read <= sum(header_bytes(files[path]) for path in weights) + small
    assert found.files_read == len(files)


async def test_of_any_other_large_file_only_the_ends_are_read() -> None:
    files = given_llama() | {"tokenizer.json": b"{" + b" " * 10_000_000 + b"}", "picture.png": bytes(5_000_000)}
    storage = MemoryStorage(files)

    found = await ModelReader(storage, requests=4).read_model(stored(files))

    assert found.bytes_read < 250_000
    assert max(length for _, _, length in storage.reads) < 100_000


async def test_of_pickled_weights_the_tensors_are_not_read() -> None:
    files = given_llama() | {"pytorch_model.bin": given_torch({"a": (2048, 2048)})}
    del files["model.safetensors"]

    found = await ModelReader(MemoryStorage(files), requests=4).read_model(stored(files))

    assert found.bytes_read < 100_000
    assert found.pickles["pytorch_model.bin"].tensors


async def test_a_small_file_costs_one_request() -> None:
    files = {"config.json": b"{}", "model.bin": given_torch({"a": (2, 2)}), "notes.txt": b"x" * SMALL_BYTES}
    storage = MemoryStorage(files)

    await ModelReader(storage, requests=4).read_model(stored(files))

    assert sorted(key for key, *_ in storage.reads) == sorted(files)


async def test_requests_are_bounded_over_all_models() -> None:
    """A thousand files of two models, three requests at a time."""

    class Gauge(MemoryStorage):
        now = most = 0

        async def read(self, key: str, start: int, length: int) -> bytes:
            self.now += 1
            self.most = max(self.most, self.now)
            content = await super().read(key, start, length)
            self.now -= 1
            return content

    files = {f"notes/{number}.txt": str(number).encode() for number in range(500)}
    storage = Gauge(files)
    reader = ModelReader(storage, requests=3)

    await asyncio.gather(reader.read_model(stored(files)), reader.read_model(stored(files)))

    assert storage.most == 3
    assert len(storage.reads) == 1000


async def test_a_missing_object_is_raised_with_the_name_of_its_file() -> None:
    class Gone(MemoryStorage):
        async def read(self, key: str, start: int, length: int) -> bytes:
            raise ObjectNotFound

    with pytest.raises(ObjectNotFound, match=r"^config\.json: its object is not in storage"):
        await ModelReader(Gone({}), requests=4).read_model(stored({"config.json": b"{}"}))


async def test_a_file_that_is_shorter_in_storage_is_storages_fault_and_not_the_models() -> None:
    files = given_llama(shards=2)
    short = {path: content[: len(content) // 2] for path, content in files.items()}

    with pytest.raises(Unavailable, match="storage ends at byte"):
        await ModelReader(MemoryStorage(short), requests=4).read_model(stored(files))


async def test_storage_that_does_not_answer_is_given_up_after_a_while() -> None:
    class Mute(MemoryStorage):
        async def read(self, key: str, start: int, length: int) -> bytes:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

    with pytest.raises(Unavailable, match=r"config\.json: object storage did not answer"):
        await ModelReader(Mute({}), requests=4).read_model(stored({"config.json": b"{}"}), patience_s=0.001)


async def test_an_empty_file_of_weights_is_none_that_torch_would_load() -> None:
    files = given_llama() | {"pytorch_model.bin": b""}
    del files["model.safetensors"]

    report = await reported(files)

    assert [finding.rule for finding in report.findings if finding.severity == "error"] == ["pytorch-unloadable"]
