"""What a file is, by its first bytes."""

from __future__ import annotations

SIGNATURE_BYTES = 512  # enough to recognise every format below

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
