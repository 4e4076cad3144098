"""Archives become files, whatever the order and the time in which their parts come."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import random

import pytest

from libs.contracts import ArchiveExtracted, ArchiveProgressed, Format
from libs.contracts.keys import file_key, member_key, staged_key
from services.extractor.progress import progress
from tests.integration.extractor.harness import PROJECT, Compress, CountingBlobs, Extractor, tar_of

FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": random.Random(1).randbytes(3_000_000),
    "sub/tokenizer.json": random.Random(2).randbytes(70_000),
    "empty.txt": b"",
}


@pytest.mark.parametrize(
    ("archive_format", "compress"), [("tar", bytes), ("tar.gz", gzip.compress), ("tar.bz2", bz2.compress)]
)
async def test_every_file_is_stored_with_its_digest(
    extractor: Extractor, archive_format: Format, compress: Compress
) -> None:
    upload = extractor.upload(compress(tar_of(FILES)), format=archive_format, part_bytes=500_000)
    async with extractor.working():
        await upload.open()
        await upload.send()
        extracted = await upload.extracted()

    assert await extractor.contents(extracted) == FILES
    assert {file.path: file.sha256 for file in extracted.files} == digests(FILES)
    assert extracted.bytes_in == upload.stream.size_bytes
    assert extracted.stripped_prefix is None
    assert sorted(await extractor.objects(upload)) == sorted(file.key for file in extracted.files)


async def test_parts_may_come_in_any_order_and_before_their_stream(extractor: Extractor) -> None:
    upload = extractor.upload(tar_of(FILES))
    order = list(range(len(upload.pieces)))
    random.Random(3).shuffle(order)
    async with extractor.working():
        await upload.send(order[:20])
        await upload.open()
        await upload.send(order[20:])
        assert await extractor.contents(await upload.extracted()) == FILES


async def test_files_are_stored_while_later_parts_are_still_to_come(extractor: Extractor) -> None:
    """Extraction keeps pace with the upload: it does not wait for its end."""
    upload = extractor.upload(tar_of(FILES | {"last.bin": bytes(500_000)}))
    last = len(upload.pieces) - 1
    async with extractor.working():
        await upload.open()
        await upload.send(range(last))
        await extractor.until_progress(lambda seen: seen.members == len(FILES))
        assert len(await extractor.objects(upload)) == len(FILES)
        assert not await extractor.emitted(ArchiveExtracted)
        await upload.send([last])
        await upload.extracted()


async def test_chunks_of_one_file_are_joined(extractor: Extractor) -> None:
    content = random.Random(4).randbytes(300_000)
    sha256 = hashlib.sha256(content).hexdigest()
    upload = extractor.upload(content, format="raw", path="deep/model.bin", sha256=sha256, number=7)
    async with extractor.working():
        await upload.open()
        await upload.send(reversed(range(len(upload.pieces))))
        extracted = await upload.extracted()
    assert await extractor.contents(extracted) == {"deep/model.bin": content}
    assert extracted.files[0].sha256 == sha256
    assert extracted.stripped_prefix is None


async def test_file_that_is_one_object_already_is_read_for_its_digest_and_never_written(extractor: Extractor) -> None:
    content = random.Random(5).randbytes(3_000_000)
    key = file_key(PROJECT, "u1", 3, "a")
    upload = extractor.upload(content, format="object", path="model.bin", part_bytes=len(content), number=3, key=key)
    counting = CountingBlobs(extractor.blobs)
    extractor.blobs = counting
    async with extractor.working():
        await upload.send()
        await upload.open()
        extracted = await upload.extracted()
    [file] = extracted.files
    assert (file.path, file.key, file.size_bytes) == ("model.bin", key, len(content))
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert extracted.stripped_prefix is None
    assert counting.written == [key]  # by the client
    assert counting.bytes_read == len(content)


async def test_file_that_its_client_can_still_replace_is_copied_and_the_copy_is_kept(extractor: Extractor) -> None:
    """What was hashed is what is kept, whatever comes to the client's key later; also by a second attempt."""
    content = random.Random(6).randbytes(3_000_000)
    key = staged_key(PROJECT, "u1", "model.bin")
    upload = extractor.upload(content, format="staged", path="model.bin", part_bytes=len(content), number=3, key=key)
    await upload.send()
    await upload.open()
    await extractor.pool.execute("UPDATE extraction SET fence = 6")
    async with extractor.working():
        extracted = await upload.extracted()
    await extractor.blobs.put_bytes(key, b"other")
    [file] = extracted.files
    assert file.key == member_key(PROJECT, upload.stream.upload_id, 3, 7, 0)
    assert (file.path, file.sha256) == ("model.bin", hashlib.sha256(content).hexdigest())
    assert await extractor.contents(extracted) == {"model.bin": content}
    assert extracted.stripped_prefix is None


async def test_keys_carry_the_fence_of_the_claim(extractor: Extractor) -> None:
    """An attempt that lost its lease writes elsewhere than the next one."""
    upload = extractor.upload(tar_of({"a": b"b"}))
    await upload.send()
    await upload.open()
    await extractor.pool.execute("UPDATE extraction SET fence = 6")
    async with extractor.working():
        extracted = await upload.extracted()
    assert [file.key for file in extracted.files] == [member_key(PROJECT, upload.stream.upload_id, 0, 7, 0)]


async def test_folders_around_the_model_are_stripped_and_litter_is_dropped(extractor: Extractor) -> None:
    upload = extractor.upload(
        tar_of({f"./my-model/{path}": content for path, content in FILES.items()} | {"._x": b"y"})
    )
    async with extractor.working():
        await upload.open()
        await upload.send()
        extracted = await upload.extracted()
    assert extracted.stripped_prefix == "my-model"
    assert extracted.dropped == ["._x"]
    assert await extractor.contents(extracted) == FILES


async def test_two_thousand_small_files(extractor: Extractor) -> None:
    files = {f"{number % 10}/{number}.json": f"{number}".encode() for number in range(1999)}
    upload = extractor.upload(gzip.compress(tar_of(files)), format="tar.gz")
    async with extractor.working():
        await upload.open()
        await upload.send()
        extracted = await upload.extracted()
    assert {file.path: file.sha256 for file in extracted.files} == digests(files)
    assert len(await extractor.objects(upload)) == len(files)


async def test_progress_only_grows(extractor: Extractor) -> None:
    upload = extractor.upload(tar_of(FILES))
    async with extractor.working():
        await upload.open()
        await upload.send()
        await upload.extracted()
    seen = [(each.parts_done, each.members, each.bytes_out) for each in extractor.published if each.parts_done]
    assert seen
    assert seen == sorted(seen)
    assert seen[-1][2] <= sum(map(len, FILES.values()))
    assert max(each.parts_known for each in extractor.published) == upload.stream.total_parts
    assert not await extractor.emitted(ArchiveProgressed)


async def test_progress_is_published_of_streams_that_are_not_read_yet(extractor: Extractor) -> None:
    """A queued stream shows that its parts are known, so that nobody asks for it."""
    uploads = [extractor.upload(tar_of(FILES)) for _ in range(3)]
    for upload in uploads:
        await upload.open(0)
        await upload.send([1, 2])
        await upload.report_part(1)
    known = {seen.stream_id: seen.parts_known for seen in progress.changed()}
    assert known == {upload.stream.id: 3 for upload in uploads}
    assert progress.changed() == []


async def test_many_streams_share_one_process(extractor: Extractor) -> None:
    """More uploads than places, most of them waiting for their next part."""
    uploads = [extractor.upload(tar_of({"n.bin": bytes([number]) * 200_000})) for number in range(40)]
    async with extractor.working():
        for upload in uploads:
            await upload.open()
            await upload.send([0])
        for upload in reversed(uploads):
            await upload.send(range(1, len(upload.pieces)))
        for number, upload in enumerate(uploads):
            assert await extractor.contents(await upload.extracted()) == {"n.bin": bytes([number]) * 200_000}


def digests(files: dict[str, bytes]) -> dict[str, str]:
    return {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
