"""What a file is, by its first bytes."""

from __future__ import annotations

from libs.contracts.formats import ARCHIVES, OTHER_ARCHIVES, format_by_content

_OTHER_FILES = {
    b"GGUF": "a GGUF model",
    b"\x80\x02": "a Python pickle",
    b"version https://git-lfs": "a Git LFS pointer instead of the file",
}
_TEXTS = {b"<": "an HTML or XML page", b"{": "JSON"}  # also after white space
_LONGEST_SAFETENSORS_HEADER = 100_000_000  # bytes


def looks_like(first: bytes) -> str:
    """Describe a file by its first bytes (SIGNATURE_BYTES are enough), in words for a message."""
    if found := format_by_content(first):
        return ARCHIVES[found].content
    for signature, content in (OTHER_ARCHIVES | _OTHER_FILES).items():
        if first.startswith(signature):
            return content
    for signature, content in _TEXTS.items():
        if first.lstrip().startswith(signature):
            return content
    if first[8:9] == b"{" and int.from_bytes(first[:8], "little") < _LONGEST_SAFETENSORS_HEADER:
        return "a safetensors file"
    return "nothing known" if first else "nothing at all"
