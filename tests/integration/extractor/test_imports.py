"""Files of imports are copied from their source as they were listed, or not at all; what passes is waited for."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import msgspec
import pytest

from libs.contracts import ArchiveParked, Event, Part, RemoteSource, UploadAborted, UploadOpened
from libs.db import transaction
from libs.remote.credentials import seal
from libs.remote.store import Store
from libs.sealing import Keys, new_key
from services.extractor import attempt
from services.extractor.config import ExtractorConfig
from services.extractor.remote import SLICE_BYTES, SLICES_AHEAD
from services.extractor.store import leases
from tests.integration.blobs.faulty import FaultyProxy, Streams, cut_answer
from tests.integration.extractor.harness import NOON, PROJECT, Extractor, Upload, tar_of
from tests.support.latency import further_away
from tests.support.sources import FOLDER, Source, source_at
from tests.support.stack import Stack

CONTENT = random.Random(1).randbytes(30_000_000)
KEY = new_key()


@pytest.fixture
async def source(stack: Stack, namespace: str) -> AsyncIterator[Source]:
    """Another bucket of the embedded server, with one large file."""
    bucket = f"{namespace}-source"
    async with source_at(stack.bucket_url(bucket)) as source:
        await source.put({"model.bin": CONTENT})
        yield source
    stack.remove_bucket(bucket)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once, and few requests make one."""
    monkeypatch.setattr(attempt, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(attempt, "LONGEST_PAUSE_S", 0.02)
    monkeypatch.setattr("libs.remote.store.BACKOFF_S", 0.001)


class Importing:
    """Imports of files of one source."""

    def __init__(self, extractor: Extractor, source: Source) -> None:
        self.extractor = extractor
        self.source = source

    def config(self, *endpoints: str, **changes: object) -> ExtractorConfig:
        """The extractor's settings, with which it may read from the source, and from further endpoints."""
        told = {"secrets_key": KEY, "import_endpoints": ",".join([self.source.endpoint, *endpoints])}
        return msgspec.structs.replace(self.extractor.config, **(told | changes))

    async def file(self, path: str = "model.bin", *, endpoint: str | None = None, sealed: str | None = None) -> Upload:
        """An upload that is a file of the source, as it is now."""
        source = self.source
        location = f"{FOLDER}/{path}"
        content = await source.blobs.read(location, 0, len(CONTENT))
        upload = self.extractor.upload(content or b"-", format="remote", part_bytes=len(content) or 1, path=path)
        remote = RemoteSource(
            kind="s3",
            endpoint=endpoint or source.endpoint,
            container=source.bucket,
            key=location,
            etag=await self.etag(location),
            region="us-east-1",
            secret="source",  # its name
            credentials=sealed or seal(Keys.parse(KEY), PROJECT, "source", source.credentials),
        )
        upload.stream = msgspec.structs.replace(upload.stream, remote=remote, size_bytes=len(content))
        upload.parts = [Part(0, "", len(content))]
        return upload

    async def etag(self, key: str) -> str:
        """The entity tag of an object of the source."""
        async with self.source.blobs._transport.open("GET", key) as response:
            return response.headers["ETag"].strip('"')

    async def asked(self, upload: Upload, **changes: object) -> UploadOpened:
        """The question for the upload's file, with another source: delivered."""
        assert upload.stream.remote is not None
        remote = msgspec.structs.replace(upload.stream.remote, **changes)
        upload.stream = msgspec.structs.replace(upload.stream, remote=remote)
        return await upload.open(0)

    async def parked(self) -> ArchiveParked:
        """What the extractor said last when it could not go on."""

        def seen(events: list[Event]) -> bool:
            return any(isinstance(event, ArchiveParked) for event in events)

        await self.extractor.until(seen)
        return (await self.extractor.emitted(ArchiveParked))[-1]


@pytest.fixture
def importing(extractor: Extractor, source: Source) -> Importing:
    return Importing(extractor, source)


async def test_a_file_is_copied_and_hashed_once_however_often_it_is_asked_for(importing: Importing) -> None:
    upload = await importing.file()
    async with importing.extractor.working(importing.config()):
        for _ in range(2):
            await upload.open(0)
        extracted = await upload.extracted()
    [file] = extracted.files
    assert (file.path, file.size_bytes, file.sha256) == ("model.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert await importing.extractor.contents(extracted) == {"model.bin": CONTENT}
    assert await importing.extractor.objects(upload) == [file.key]
    [row] = await importing.extractor.pool.fetch("SELECT stream::text FROM extraction")
    assert "credentials" not in row["stream"]


async def test_an_empty_file(importing: Importing) -> None:
    await importing.source.put({"empty.txt": b""})
    upload = await importing.file("empty.txt")
    async with importing.extractor.working(importing.config()):
        await upload.open(0)
        [file] = (await upload.extracted()).files
    assert (file.size_bytes, file.sha256) == (0, hashlib.sha256(b"").hexdigest())


async def test_a_source_is_read_by_several_requests_at_a_time_and_not_by_many(
    importing: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, spans, at_once = Store.read, [], []
    reading = 0

    async def counted(self: Store, key: str, etag: str, start: int, length: int) -> bytes:
        nonlocal reading
        spans.append((start, length))
        reading += 1
        at_once.append(reading)
        try:
            return await read(self, key, etag, start, length)
        finally:
            reading -= 1

    monkeypatch.setattr(Store, "read", counted)
    upload = await importing.file()
    async with importing.extractor.working(importing.config()):
        await upload.open(0)
        await upload.extracted()
    assert max(at_once) == SLICES_AHEAD
    assert spans == [(at, min(SLICE_BYTES, len(CONTENT) - at)) for at in range(0, len(CONTENT), SLICE_BYTES)]


async def test_a_connection_that_breaks_costs_no_byte_that_has_arrived(importing: Importing) -> None:
    async with FaultyProxy.open(f"http://a:b@{urlsplit(importing.source.endpoint).netloc}/x") as (proxy, _):
        endpoint = f"http://127.0.0.1:{proxy.port}"
        upload = await importing.file(endpoint=endpoint)
        await proxy.arm(cut_answer(1_000_000), cut_answer(2_500_000), cut_answer(0))
        async with importing.extractor.working(importing.config(endpoint)):
            await upload.open(0)
            extracted = await upload.extracted()
    assert await importing.extractor.contents(extracted) == {"model.bin": CONTENT}
    assert not await importing.extractor.emitted(ArchiveParked)


async def gone(_client: Streams, _connect: Callable[[], Awaitable[Streams]]) -> None:
    """The server is away."""


@pytest.mark.usefixtures("impatient")
async def test_a_source_that_is_away_for_long_parks_the_file_until_it_is_back(importing: Importing) -> None:
    async with FaultyProxy.open(f"http://a:b@{urlsplit(importing.source.endpoint).netloc}/x") as (proxy, _):
        endpoint = f"http://127.0.0.1:{proxy.port}"
        upload = await importing.file(endpoint=endpoint)
        await proxy.arm(*[gone] * 10_000)
        async with importing.extractor.working(importing.config(endpoint, max_attempts=2)):
            await upload.open(0)
            assert "The source does not answer" in (await importing.parked()).reason
            await proxy.arm()
            for _ in range(2):
                await upload.resume()
            extracted = await upload.extracted()
    assert await importing.extractor.contents(extracted) == {"model.bin": CONTENT}


async def test_a_file_that_changed_since_it_was_listed_is_refused(importing: Importing) -> None:
    upload = await importing.file()
    await importing.source.put({"model.bin": CONTENT[::-1]})
    async with importing.extractor.working(importing.config()):
        await upload.open(0)
        rejected = await upload.rejected()
    assert rejected.finding.rule == "source-changed"
    assert rejected.finding.file == "model.bin"


async def test_a_file_that_changes_while_it_is_read_is_refused(
    importing: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, reads = Store.read, 0

    async def changing(self: Store, key: str, etag: str, start: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        if reads == 4:
            await importing.source.put({"model.bin": CONTENT[::-1]})
        return await read(self, key, etag, start, length)

    monkeypatch.setattr(Store, "read", changing)
    upload = await importing.file()
    async with importing.extractor.working(importing.config()):
        await upload.open(0)
        assert (await upload.rejected()).finding.rule == "source-changed"
    assert await importing.extractor.objects(upload) == []


async def test_a_file_that_was_removed_is_refused(importing: Importing) -> None:
    upload = await importing.file()
    await importing.source.blobs.delete([f"{FOLDER}/model.bin"])
    async with importing.extractor.working(importing.config()):
        await upload.open(0)
        assert (await upload.rejected()).finding.rule == "source-changed"


async def test_credentials_that_are_refused_park_the_file_at_once_until_they_are_replaced(importing: Importing) -> None:
    wrong = msgspec.structs.replace(importing.source.credentials, secret_access_key="wrong")
    upload = await importing.file(sealed=seal(Keys.parse(KEY), PROJECT, "source", wrong))
    async with importing.extractor.working(importing.config(poll_s=600)):
        await upload.open(0)
        parked = await importing.parked()
        assert "the secret 'source'" in parked.reason
        await importing.extractor.until_idle()
        right = seal(Keys.parse(KEY), PROJECT, "source", importing.source.credentials)
        asked = await importing.asked(upload, credentials=right)
        assert await importing.extractor.contents(await upload.extracted()) == {"model.bin": CONTENT}
        await importing.extractor.deliver(asked)
    assert len(await importing.extractor.emitted(ArchiveParked)) == 1


@pytest.mark.parametrize(
    ("settings", "changes", "says"),
    [
        ({}, {"credentials": None}, "was deleted"),
        ({"secrets_key": None}, {}, "SLIPWAY_SECRETS_KEY"),
        ({"secrets_key": new_key()}, {}, "SLIPWAY_SECRETS_KEY"),
        ({}, {"secret": "another"}, "encrypted for something else"),
        ({"import_endpoints": "*.amazonaws.com"}, {}, "SLIPWAY_IMPORT_ENDPOINTS"),
    ],
)
async def test_what_only_a_repair_helps_parks_the_file_at_once(
    importing: Importing, settings: dict[str, object], changes: dict[str, object], says: str
) -> None:
    upload = await importing.file()
    async with importing.extractor.working(importing.config(**settings)):
        await importing.asked(upload, **changes)
        assert says in (await importing.parked()).reason


async def test_an_aborted_import_stops_midway_and_leaves_no_part_behind(importing: Importing) -> None:
    host, port = urlsplit(importing.source.endpoint).hostname, urlsplit(importing.source.endpoint).port
    extractor = importing.extractor
    async with further_away(str(host), port or 0, 0.3) as proxy:
        endpoint = f"http://127.0.0.1:{proxy.port}"
        upload = await importing.file(endpoint=endpoint)
        async with extractor.working(importing.config(endpoint)):
            await upload.open(0)
            await extractor.until_progress(lambda seen: seen.bytes_out > 0)
            stream = upload.stream
            aborted = UploadAborted(upload_id=stream.upload_id, project_id=PROJECT, model_id=stream.model_id, at=NOON)
            for _ in range(2):
                await extractor.deliver(aborted)
            await extractor.until_idle()
    assert await extractor.objects(upload) == []
    assert await extractor.blobs.abort_multiparts("") == 0


async def test_many_files_of_imports_take_only_their_places(importing: Importing) -> None:
    """What is sent here is claimed as if there were no imports, however many wait."""
    extractor = importing.extractor
    files = [await importing.file() for _ in range(30)]
    for each in files:
        await each.open(0)
    archive = extractor.upload(tar_of({"a": b"b"}))
    await archive.send()
    await archive.open()
    async with transaction(extractor.pool) as tx:
        fetched = await leases.claim(tx, "me", 4, 60, of_one_project=12, remote=True)
        sent = await leases.claim(tx, "me", 12, 60, of_one_project=12)
        assert len(fetched) == 4
        assert [claim.key for claim in sent] == [archive.stream.id]
        assert await leases.next_claim_s(tx, "me", remote=False) is None
        assert await leases.next_claim_s(tx, "me") == 0


async def test_a_process_copies_as_many_files_at_a_time_as_it_may(importing: Importing) -> None:
    extractor = importing.extractor
    most = 0
    files = [await importing.file() for _ in range(5)]
    for each in files:
        await each.open(0)
    async with extractor.working(importing.config(max_imports=2)):
        for each in files:
            await each.extracted()
            held = await extractor.pool.fetchval("SELECT count(*) FROM extraction WHERE leased_by IS NOT NULL")
            most = max(most, held)
    assert most <= 2


async def test_another_process_begins_the_file_anew_when_one_dies(importing: Importing) -> None:
    upload = await importing.file()
    extractor = importing.extractor
    await upload.open(0)
    async with transaction(extractor.pool) as tx:  # a process that claims it, and dies
        [dead] = await leases.claim(tx, "dead", 1, 0.1, of_one_project=1, remote=True)
    assert dead.fence == 1
    async with extractor.working(importing.config()):
        extracted = await upload.extracted()
    assert await extractor.contents(extracted) == {"model.bin": CONTENT}
