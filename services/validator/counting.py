"""Counts the parameters of a model from the shapes of its tensors.

Stored tensors count, tied weights once. Where several weights are packed into an integer, each is counted, by the bits
that the configuration names; tensors that only help to unpack them (scales, zero points, indices) do not count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from libs.modelfiles.hfconfig import Json
from libs.modelfiles.tensors import DTYPE_BITS, Tensor

# Tensors that hold packed weights, by the end of their names: AutoGPTQ and AutoAWQ, compressed-tensors, gpt-oss' mxfp4
_PACKED = (".qweight", ".weight_packed", "_blocks")
_HELPERS = (
    ".qzeros", ".scales", ".g_idx", ".weight_scale", ".weight_scale_2", ".weight_scale_inv", ".input_scale",
    ".output_scale", ".weight_zero_point", ".input_zero_point", ".weight_shape", ".weight_g_idx",
    ".weight_global_scale", ".input_global_scale", ".k_scale", ".v_scale", ".k_proj.output_scale",
    "_scales",
)  # fmt: skip
_FP4_METHODS = frozenset({"modelopt_fp4", "mxfp4", "gpt_oss_mxfp4", "fp_quant"})


class Count(msgspec.Struct, frozen=True):
    """The result of `count`."""

    parameters: int
    dtype: str | None  # that holds most of them, as stored


def count(tensors: Iterable[tuple[str, Tensor]], quantization: Json | None = None, method: str = "") -> Count:
    """Count the parameters of `tensors` (name, tensor); `quantization` is the configuration's part about it, `method`
    its name as vLLM has it."""
    bits = _bits(quantization or {}, method)
    per_dtype: Counter[str] = Counter()
    for name, tensor in tensors:
        if quantization is not None and name.endswith(_HELPERS):
            continue
        per_dtype[tensor.dtype] += tensor.element_count * _per_element(name, tensor.dtype, bits, method)
    most = per_dtype.most_common(1)
    return Count(per_dtype.total(), most[0][0] if most else None)


def _per_element(name: str, dtype: str, bits: int | None, method: str) -> int:
    """How many weights one stored element holds."""
    packed = name.endswith(_PACKED) or (method in _FP4_METHODS and dtype == "U8" and name.endswith(".weight"))
    return DTYPE_BITS[dtype] // bits if packed and bits else 1


def _bits(quantization: Json, method: str) -> int | None:
    """Bits of one weight; None where the configuration does not say."""
    if method in _FP4_METHODS:
        return 4
    for key in ("bits", "w_bit", "num_bits"):
        if found := _small(quantization.get(key)):
            return found
    groups = quantization.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping) and (found := _small(weights.get("num_bits"))):
            return found
    return None


def _small(value: object) -> int | None:
    return value if type(value) is int and 1 <= value <= 32 else None
