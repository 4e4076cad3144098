"""Every hostile archive is refused for its true reason, wherever the pieces are cut."""

from __future__ import annotations

import pytest

from libs.archives.errors import BadArchive
from tests.support.hostile import ANY, Hostile, hostile_archives
from tests.unit.archives.unpacked import unpacked

ARCHIVES = list(hostile_archives())
SMALL_BYTES = 20_000  # larger ones are not fed byte by byte


@pytest.mark.parametrize("hostile", ARCHIVES, ids=lambda hostile: hostile.name)
def test_refused_with_rule_message_and_advice(hostile: Hostile) -> None:
    findings = set()
    for piece_bytes in (1, 7, 511, 512, 513, 4099, len(hostile.content) or 1):
        if piece_bytes >= 511 or len(hostile.content) <= SMALL_BYTES:
            with pytest.raises(BadArchive) as refused:
                unpacked(hostile.content, hostile.format, piece_bytes=piece_bytes)
            findings.add(refused.value.finding)

    [finding] = findings
    assert finding.rule == hostile.rule
    assert finding.severity == "error"
    assert hostile.message in finding.message
    assert hostile.fix in finding.fix
    assert finding.file == hostile.file or (hostile.file == ANY and finding.file)


def test_names_are_unique() -> None:
    assert len({hostile.name for hostile in ARCHIVES}) == len(ARCHIVES) > 40


@pytest.mark.parametrize("hostile", [a for a in ARCHIVES if a.format == "tar" and a.content], ids=lambda a: a.name)
def test_refused_before_the_bytes_after_the_fault_are_seen(hostile: Hostile) -> None:
    """What the finding points at is enough: the archive need not go on for it to be refused."""
    with pytest.raises(BadArchive) as refused:
        unpacked(hostile.content)
    offset = refused.value.finding.offset_bytes
    assert offset is not None
    assert offset <= len(hostile.content)


@pytest.mark.parametrize("hostile", ARCHIVES, ids=lambda hostile: hostile.name)
def test_findings_can_be_shown_anywhere(hostile: Hostile) -> None:
    """No control character and no lone surrogate reaches a log, a terminal or an event."""
    with pytest.raises(BadArchive) as refused:
        unpacked(hostile.content, hostile.format)
    sentence = refused.value.finding.sentence()
    assert sentence.isprintable()
    sentence.encode()
