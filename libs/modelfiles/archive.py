"""What every stage of unpacking shares: its limits, its refusal, and a guess at what wrong bytes are."""

from __future__ import annotations

from dataclasses import dataclass, field

from libs import errors
from libs.contracts import Finding
from libs.modelfiles.paths import PathLimits, shown

MIB = 1024 * 1024
SNIFF_BYTES = 512  # enough to recognise every format below


@dataclass(frozen=True)
class ArchiveLimits:
    """How much one archive may become.

    Real weights compress to 1.08-1.44:1, zeros to 1029:1 in gzip and to a million in bzip2: so the ratio tells a bomb
    from a model, once there is enough of it (small text files compress well).
    """

    max_bytes_out: int = 2 * 1024**4
    max_ratio: int = 20
    ratio_free_bytes: int = 256 * MIB  # no ratio is asked of the first so many bytes out
    paths: PathLimits = field(default_factory=PathLimits)


class BadArchive(errors.ArchiveRejected):
    """The archive is refused; `finding` says where, why, and what to do."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(finding.sentence(), retryable=False)


def refusal(rule: str, found: str, fix: str, *, file: str | None = None, offset: int | None = None) -> BadArchive:
    """A refusal to be raised; `file` is the member's raw name, `offset` counts the bytes before the fault."""
    return BadArchive(
        Finding(
            rule=rule,
            severity="error",
            message=found,
            fix=fix,
            file=None if file is None else shown(file),
            offset_bytes=offset,
        )
    )


_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"PK\x03\x04", "a zip file"),
    (b"PK\x05\x06", "an empty zip file"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"\xfd7zXZ\x00", "xz data"),
    (b"\x04\x22\x4d\x18", "lz4 data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z file"),
    (b"Rar!", "a rar file"),
    (b"GGUF", "a GGUF model"),
    (b"\x80\x02", "a Python pickle"),
    (b"<", "an HTML or XML page"),
    (b"{", "JSON"),
    (b"version https://git-lfs", "a Git LFS pointer instead of the file"),
)


def looks_like(first: bytes) -> str:
    """What the first bytes of a file (512 are enough) look like, as words for a message."""
    if first[257:262] == b"ustar":
        return "a tar file"
    text = first.lstrip()
    for signature, name in _SIGNATURES:
        if first.startswith(signature) or (signature in (b"<", b"{") and text.startswith(signature)):
            return name
    if first[8:9] == b"{" and int.from_bytes(first[:8], "little") < 100_000_000:
        return "a safetensors file"
    return "nothing known" if first else "nothing at all"
