"""Every archive format is known wherever one is named; docs/recipes/archive-format.md adds one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from libs.archives.decompress import CODECS
from libs.archives.limits import ArchiveLimits
from libs.archives.signatures import looks_like
from libs.archives.unpack import unpack_archive
from libs.cli.uploads import upload
from libs.contracts import ArchiveFormat, Format
from libs.contracts.formats import ARCHIVES, OTHER_ARCHIVES, SIGNATURE_BYTES, format_by_content, format_by_name
from tests.unit.archives.packing import PACK

ROOT = Path(__file__).parents[2]
MIGRATIONS = ROOT / "services" / "gateway" / "migrations"
NAMES: tuple[ArchiveFormat, ...] = get_args(ArchiveFormat)

by_name = pytest.mark.parametrize("name", NAMES)


@by_name
def test_it_has_suffixes_and_a_signature(name: ArchiveFormat) -> None:
    assert name in ARCHIVES, f"libs/contracts/formats.py: ARCHIVES has no {name}"
    assert all(format_by_name(f"MODEL{suffix.upper()}") == name for suffix in ARCHIVES[name].suffixes)


@by_name
def test_it_is_recognised_by_its_content(name: ArchiveFormat) -> None:
    assert name in PACK, f"tests/unit/archives/packing.py: PACK has no {name}"
    tar_block = bytes(257) + b"ustar\00000" + bytes(247)
    head = PACK[name](tar_block)[:SIGNATURE_BYTES]
    assert format_by_content(head) == name, f"libs/contracts/formats.py: the signature of {name} does not match"
    assert looks_like(head) == ARCHIVES[name].content
    assert ARCHIVES[name].signature not in OTHER_ARCHIVES, f"libs/contracts/formats.py: {name} is accepted now"


@by_name
def test_it_can_be_unpacked(name: ArchiveFormat) -> None:
    assert name in CODECS, f"libs/archives/decompress.py: CODECS has no {name}"
    unpack_archive(name, ArchiveLimits())


def test_the_database_accepts_every_format() -> None:
    """The last CHECK wins, since migrations only go forward."""
    statements = [path.read_text() for path in sorted(MIGRATIONS.glob("*.sql"))]
    checks = [found for text in statements for found in re.findall(r"CHECK \(format IN \(([^)]*)\)\)", text)]
    assert set(re.findall(r"'([^']*)'", checks[-1])) == set(get_args(Format)), (
        f"{MIGRATIONS.relative_to(ROOT)}: upload_stream_format_check is not what libs/contracts/formats.py says; "
        "add a migration"
    )


@by_name
def test_the_command_names_it(name: ArchiveFormat) -> None:
    assert ARCHIVES[name].suffixes[0] in (upload.help or ""), f"libs/cli/uploads.py: no help on {name}"
