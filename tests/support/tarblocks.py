"""Tar archives block by block, right or wrong, as a test wants them."""

from __future__ import annotations

BLOCK = 512
END = bytes(2 * BLOCK)  # the end marker


def header(
    name: str | bytes = "config.json",
    size: int | bytes = 0,
    *,
    type_: bytes = b"0",
    link: str | bytes = b"",
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
    checksum: bytes | None = None,
) -> bytes:
    """One header block; `size` and `checksum` may be raw bytes of the field."""
    raw_size = size if isinstance(size, bytes) else b"%011o\0" % size
    block = bytearray(BLOCK)
    for at, value in (
        (0, _bytes(name)[:100]),
        (100, b"0000644\0" + b"0000000\0" * 2),
        (124, raw_size),
        (136, b"00000000000\0"),
        (148, b" " * 8),
        (156, type_),
        (157, _bytes(link)[:100]),
        (257, magic),
        (345, prefix),
    ):
        block[at : at + len(value)] = value
    block[148:156] = b"%06o\0 " % sum(block) if checksum is None else checksum
    return bytes(block)


def padded(content: bytes) -> bytes:
    """`content` up to the next block."""
    return content + bytes(-len(content) % BLOCK)


def member(name: str | bytes = "config.json", content: bytes = b"{}", *, type_: bytes = b"0") -> bytes:
    """A header and its content."""
    return header(name, len(content), type_=type_) + padded(content)


def pax(*records: tuple[str, str | bytes], type_: bytes = b"x") -> bytes:
    """An extended header with these records."""
    return member("PaxHeaders/x", b"".join(pax_record(key, value) for key, value in records), type_=type_)


def pax_record(key: str, value: str | bytes) -> bytes:
    """b"LENGTH KEY=VALUE\\n", where LENGTH counts itself."""
    body = b" " + key.encode() + b"=" + _bytes(value) + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def gnu_long(name: str | bytes, type_: bytes = b"L") -> bytes:
    """A GNU long name (or link)."""
    return member("././@LongLink", _bytes(name) + b"\0", type_=type_)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
