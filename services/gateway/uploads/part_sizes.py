"""How large the parts of archives and files are. Sizes are in bytes."""

from __future__ import annotations

from libs.blobs import MAX_PARTS, MIN_PART_BYTES
from libs.blobs import part_bytes as smallest_part_bytes
from libs.contracts import limits

MIB = 1 << 20


def of_archive(size_bytes: int, wanted: int) -> int:
    """The size of an archive's parts: as wanted, or as many whole MiB more as keep it within 10,000 parts."""
    if size_bytes <= wanted * limits.MAX_PARTS:
        return wanted
    return -(-size_bytes // (limits.MAX_PARTS * MIB)) * MIB


def of_stream(size_bytes: int) -> int:
    """The size of the S3 parts of a file that is sent as a stream.

    It is such that a tenth of S3's 10,000 numbers is left for broken requests.
    """
    return smallest_part_bytes(size_bytes + size_bytes // 8)


def equal_cut(size: int | None, number: int, count: int, total: int) -> int | None:
    """The bytes of every chunk but the last, if chunk `number` of `size` bytes is one of an equal cut of large ones."""
    if size is None or count < 2 or count > MAX_PARTS // 2:
        return None
    if number < count - 1:
        cut = size
    else:
        cut, odd = divmod(total - size, count - 1)
        if odd:
            return None
    return cut if cut >= MIN_PART_BYTES and cut * (count - 1) < total <= cut * count else None
