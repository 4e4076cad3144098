"""`Content-Range` of a request (RFC 9110, 14.5): which bytes of a file it brings, or that it asks what is held."""

from __future__ import annotations

import re

import msgspec

from libs.errors import Invalid, PartSizeMismatch

_RANGE = re.compile(r"^bytes\s+(?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19})$", re.ASCII | re.IGNORECASE)


class Span(msgspec.Struct, frozen=True):
    """Bytes `start` to `end` (exclusive) of `total`; of a question (`asks`), none."""

    start: int
    end: int
    total: int
    asks: bool = False

    @property
    def size_bytes(self) -> int:
        """How many bytes the request's body has."""
        return self.end - self.start

    def require_length(self, content_length: int | None) -> None:
        """Raises: PartSizeMismatch, if a body of this Content-Length cannot be what Content-Range says."""
        if content_length is not None and content_length != self.size_bytes:
            raise PartSizeMismatch(
                f"Content-Range announces {self.size_bytes} bytes, but Content-Length is {content_length}.",
                param="Content-Range",
                retryable=False,
            )


def parse_content_range(header: str) -> Span:
    """What `bytes a-b/total` or `bytes */total` says. Raises: Invalid."""
    match = _RANGE.match(header.strip())
    if match is None:
        raise Invalid(
            f"Content-Range {header!r} is neither of the form 'bytes 0-99/1000' nor, to ask what is held, "
            "'bytes */1000'.",
            param="Content-Range",
        )
    total = int(match[3])
    if match[1] is None:
        return Span(0, 0, total, asks=True)
    first, last = int(match[1]), int(match[2])
    if not first <= last < total:
        raise Invalid(
            f"Content-Range {header!r}: the first byte must not be above the last one, nor that above {total - 1}.",
            param="Content-Range",
        )
    return Span(first, last + 1, total)
