"""Unpacking a .tar.gz of weights beside what `tarfile` takes for it, in turns, in one run on one machine."""

from __future__ import annotations

import hashlib
import io
import tarfile
import time
from collections.abc import Callable

import numpy as np
from isal import igzip

from libs.archives.limits import ArchiveLimits
from libs.archives.tar import Content, MemberEnded
from libs.archives.unpack import unpack_archive
from tests.bench.rows import Figures
from tests.bench.stage import MB, Stage
from tests.support.tarblocks import END, header, padded

MIB = 1024 * 1024
SHARD_BYTES = 32 * MIB
SHARDS = 4
CHUNK_BYTES = 512 * 1024


async def unpacking(stage: Stage) -> Figures:
    """With the SHA-256 of every member, in one thread; the best of some rounds each, in turns: MB/s out."""
    archive = weights()
    ours_s, tarfile_s = [], []
    for _ in range(stage.sizes.repeats):
        seconds, ours = timed(unpacked, archive)
        ours_s.append(seconds)
        seconds, theirs = timed(read_by_tarfile, archive)
        tarfile_s.append(seconds)
        if ours != theirs:
            raise RuntimeError("the readers do not agree")
    return Figures(speed(ours_s), speed(tarfile_s), "bf16 weights with sha256, one thread; tarfile")


def weights() -> bytes:
    """A .tar.gz of shards that compress like bf16 weights (about 0.79)."""
    numbers = np.random.default_rng(1).standard_normal(SHARD_BYTES // 2, dtype=np.float32)
    shard = (numbers.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    members = [header(f"model-{number}.safetensors", len(shard)) + padded(shard) for number in range(SHARDS)]
    return igzip.compress(b"".join(members) + END, 1)


def unpacked(archive: bytes) -> list[str]:
    """The digest of each member, by the extractor's readers."""
    unpacker = unpack_archive("tar.gz", ArchiveLimits())
    digests, digest = [], hashlib.sha256()
    for at in range(0, len(archive), CHUNK_BYTES):
        unpacker.feed(archive[at : at + CHUNK_BYTES])
        while not unpacker.needs_input:
            for event in unpacker.step():
                if isinstance(event, Content):
                    digest.update(event.view)
                elif isinstance(event, MemberEnded):
                    digests.append(digest.hexdigest())
                    digest = hashlib.sha256()
    unpacker.close()
    return digests


def read_by_tarfile(archive: bytes) -> list[str]:
    """The digest of each member, by the standard library."""
    digests = []
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r|gz") as members:
        for member in members:
            digest, content = hashlib.sha256(), members.extractfile(member)
            assert content is not None
            while chunk := content.read(CHUNK_BYTES):
                digest.update(chunk)
            digests.append(digest.hexdigest())
    return digests


def timed(work: Callable[[bytes], list[str]], archive: bytes) -> tuple[float, list[str]]:
    """Seconds, and what came out."""
    began = time.perf_counter()
    digests = work(archive)
    return time.perf_counter() - began, digests


def speed(seconds: list[float]) -> float:
    """The best, in MB/s out."""
    return SHARDS * SHARD_BYTES / min(seconds) / MB
