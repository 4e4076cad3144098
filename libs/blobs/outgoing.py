"""Bodies of requests to the store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import aclosing

from libs.errors import Invalid

Buffer = bytes | bytearray | memoryview

SLICE_BYTES = 1024 * 1024


async def exactly(body: AsyncIterable[Buffer], size_bytes: int) -> AsyncGenerator[Buffer, None]:
    """The chunks of `body`, which must hold exactly `size_bytes`; empty ones are left out.

    The last chunk comes only once the body has ended well, the others at once. A body that turns out to be too long, or
    that raises at its end (a checksum that does not match), therefore never reaches the server whole, and the server
    stores nothing.

    Raises: Invalid for a body that is shorter or longer; whatever the body raises.
    """
    held: Buffer = b""
    passed = 0
    async for chunk in body:
        passed += len(chunk)
        if passed > size_bytes:
            raise Invalid(f"The body is longer than the {size_bytes:,} bytes that were declared.")
        if len(chunk) > 0 and passed == size_bytes:
            held = chunk
        elif len(chunk) > 0:
            yield chunk
    if passed < size_bytes:
        raise Invalid(f"The body ended after {passed:,} bytes; {size_bytes:,} were declared.")
    if len(held) > 0:
        yield held


def slices(content: Buffer) -> Iterator[memoryview]:
    """Views of `content`, so small that progress is noticed between them."""
    view = memoryview(content).cast("B")
    for start in range(0, len(view), SLICE_BYTES):
        yield view[start : start + SLICE_BYTES]


async def collected(body: AsyncIterable[Buffer], size_bytes: int) -> bytearray:
    """Read a small body into memory.

    Raises: as `exactly`.
    """
    gathered = bytearray()
    async with aclosing(exactly(body, size_bytes)) as chunks:
        async for chunk in chunks:
            gathered += chunk
    return gathered
