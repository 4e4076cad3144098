"""What is known of one tensor without reading it."""

from __future__ import annotations

import math

import msgspec

# Bits of one element, by safetensors' names of types
DTYPE_BITS = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8,
    "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


class Tensor(msgspec.Struct, frozen=True, gc=False):
    """One tensor as the header describes it; a header may have a million of them."""

    dtype: str  # a key of DTYPE_BITS
    shape: tuple[int, ...]
    begin: int  # bytes from the end of the header
    end: int  # exclusive

    @property
    def size_bytes(self) -> int:
        return self.end - self.begin

    @property
    def element_count(self) -> int:
        return math.prod(self.shape)
