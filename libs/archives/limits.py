"""How much one archive, and one model, may hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from libs.contracts.limits import MAX_FILES, MAX_LISTING_BYTES

MIB = 1024 * 1024


@dataclass(frozen=True)
class PathLimits:
    """How many paths one model may have, and how long they may be together."""

    max_files: int = MAX_FILES  # folders, and files that are left out, count as well
    max_listing_bytes: int = MAX_LISTING_BYTES


@dataclass(frozen=True)
class ArchiveLimits:
    """How much one archive may hold.

    Real weights compress to 1.08-1.44:1, zeros to 1029:1 in gzip and to a million in bzip2. The ratio therefore
    distinguishes a bomb from a model, but only after enough output, since small text files compress well.
    """

    max_bytes_out: int = 2 * 1024**4
    max_ratio: int = 20  # bytes out for each byte in
    ratio_free_bytes: int = 256 * MIB  # the ratio is not checked for the first so many bytes out
    paths: PathLimits = field(default_factory=PathLimits)
