"""Checks that the tensors of a safetensors file follow each other, each as long as its shape and type say.

Source: `Metadata::validate` in safetensors/src/tensor.rs.
"""

from __future__ import annotations

from collections.abc import Mapping

from libs.modelfiles.tensors import DTYPE_BITS, Tensor
from libs.modelfiles.unreadable import Unreadable

U64_MAX = 2**64 - 1
SAVE_AGAIN = "Save the file again with the safetensors library and upload it."


def check(tensors: Mapping[str, Tensor]) -> int:
    """Check that the tensors follow each other without hole or overlap, each as long as its shape and type say.

    Returns: where the last one ends, in bytes from the end of the header. Raises: Unreadable.
    """
    reached = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != reached or tensor.end < tensor.begin:
            raise _misplaced(name, tensor, reached)
        bits = _size_bits(name, tensor)
        if bits % 8:
            raise Unreadable(
                "safetensors-misaligned",
                f"Tensor {name!r} of {tensor.dtype} and shape {list(tensor.shape)} ends within a byte.",
                f"Pad it until its number of elements times {DTYPE_BITS[tensor.dtype]} bits is whole bytes.",
            )
        if tensor.size_bytes != bits // 8:
            raise Unreadable(
                "safetensors-size",
                f"Tensor {name!r} has {tensor.size_bytes:,} bytes; "
                f"{tensor.dtype} of shape {list(tensor.shape)} takes {bits // 8:,}.",
                SAVE_AGAIN,
            )
        reached = tensor.end
    return reached


def _size_bits(name: str, tensor: Tensor) -> int:
    """Bits of a tensor, multiplied in order as the crate does: that overflows even if a later side is 0."""
    count = 1
    for side in (*tensor.shape, DTYPE_BITS[tensor.dtype]):
        count *= side
        if count > U64_MAX:
            raise Unreadable(
                "safetensors-overflow",
                f"Tensor {name!r} of {tensor.dtype} and shape {list(tensor.shape)} is larger than 2^64-1 bits.",
                SAVE_AGAIN,
            )
    return count


def _misplaced(name: str, tensor: Tensor, reached: int) -> Unreadable:
    place = f"Tensor {name!r} at bytes {tensor.begin:,} to {tensor.end:,}"
    if tensor.end < tensor.begin:
        return Unreadable("safetensors-offsets", f"{place} ends before it begins.", SAVE_AGAIN)
    if tensor.begin > reached:
        message = f"{place} leaves a hole after byte {reached:,}, where the last one ended."
        return Unreadable("safetensors-hole", message, SAVE_AGAIN)
    message = f"{place} overlaps the one before it, which ends at {reached:,}."
    return Unreadable("safetensors-overlap", message, SAVE_AGAIN)
