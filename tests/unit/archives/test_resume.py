"""A reader that starts at a checkpoint says what one that read everything says."""

from __future__ import annotations

import msgspec
import pytest

from libs.archives.errors import BadArchive
from libs.archives.limits import ArchiveLimits
from libs.archives.tar import MemberEnded, MemberStarted, TarCheckpoint, TarReader
from libs.archives.unpack import resume_tar
from tests.support.tarblocks import END, header, member
from tests.unit.archives.unpacked import drained

FILES = [("m/config.json", b"{}"), ("m/empty", b""), ("m/a.bin", bytes(512)), ("m/sub/b.bin", bytes(700))]
ARCHIVE = (
    header("./", type_=b"5")
    + header("m/", type_=b"5")
    + b"".join(member(path, content) for path, content in FILES[:2])
    + member("m/.DS_Store", b"junk")
    + b"".join(member(path, content) for path, content in FILES[2:])
)


def checkpoints(archive: bytes) -> list[tuple[list[str], TarCheckpoint]]:
    """After each file: the paths so far, and where to go on; as they come back from a database."""
    found, paths = [], []
    for event in TarReader().feed(archive):
        if isinstance(event, MemberStarted):
            paths.append(event.path)
        elif isinstance(event, MemberEnded):
            assert event.checkpoint is not None
            stored = msgspec.json.encode(event.checkpoint())
            found.append((list(paths), msgspec.json.decode(stored, type=TarCheckpoint)))
    return found


@pytest.mark.parametrize("passed", range(len(FILES)))
def test_rest_of_the_archive(passed: int) -> None:
    archive = ARCHIVE + END
    paths, checkpoint = checkpoints(archive)[passed]
    unpacker = resume_tar(ArchiveLimits(), checkpoint, paths, size_bytes=len(archive))
    files = drained(unpacker, archive[checkpoint.next_at :], 100)
    assert checkpoint.files == passed + 1
    assert files.contents == dict(FILES[passed + 1 :])
    assert [*checkpoint.dropped, *files.dropped] == ["m/.DS_Store"]


@pytest.mark.parametrize(
    ("rest", "rule"),
    [
        (member("m/config.json") + END, "path-repeated"),
        (member("m") + END, "path-file-and-folder"),
        (member("M/CONFIG.json") + END, "path-collides"),
        (header("m/last", size=b"%011o\0" % 10**6) + END, "tar-truncated"),
        (b"", "tar-no-end"),
    ],
)
def test_faults_and_their_offsets(rest: bytes, rule: str) -> None:
    archive = ARCHIVE + rest
    paths, checkpoint = checkpoints(ARCHIVE)[2]
    findings = []
    for start, unpacker in (
        (0, resume_tar(ArchiveLimits(), NOTHING, [], size_bytes=len(archive))),
        (checkpoint.next_at, resume_tar(ArchiveLimits(), checkpoint, paths, size_bytes=len(archive))),
    ):
        with pytest.raises(BadArchive) as refused:
            drained(unpacker, archive[start:], 1000)
        findings.append(refused.value.finding)
    assert findings[0] == findings[1]
    assert findings[0].rule == rule


def test_limits_count_what_came_before() -> None:
    paths, checkpoint = checkpoints(ARCHIVE)[2]
    limits = ArchiveLimits(max_bytes_out=checkpoint.bytes_out + 699)
    with pytest.raises(BadArchive) as refused:
        drained(resume_tar(limits, checkpoint, paths, size_bytes=len(ARCHIVE)), ARCHIVE[checkpoint.next_at :], 1000)
    assert refused.value.finding.rule == "archive-too-large"


NOTHING = TarCheckpoint(next_at=0, files=0, bytes_out=0, folders=[], dropped=[])
