"""Parameters are counted from the shapes of tensors."""

from __future__ import annotations

import pytest

from libs.modelfiles.hfconfig import Json
from libs.modelfiles.tensors import Tensor
from services.validator import counting


def tensor(dtype: str, *shape: int) -> Tensor:
    return Tensor(dtype, shape, 0, 0)


PLAIN = {"a.weight": tensor("BF16", 8, 8), "a.bias": tensor("F32", 8), "ids": tensor("I64", 1, 4)}
COUNTED: dict[str, tuple[dict[str, Tensor], Json | None, str, tuple[int, str]]] = {
    "as stored": (PLAIN, None, "native", (76, "BF16")),
    "zero-size and scalar": ({"z": tensor("F16", 0, 4), "s": tensor("F16")}, None, "native", (1, "F16")),
    "GPTQ, eight weights an integer": (
        {
            "q.qweight": tensor("I32", 2, 8),
            "q.qzeros": tensor("I32", 1, 8),
            "q.scales": tensor("F16", 1, 8),
            "q.g_idx": tensor("I32", 16),
        },
        {"quant_method": "gptq", "bits": 4},
        "gptq",
        (128, "I32"),
    ),
    "AWQ, by its other key": ({"q.qweight": tensor("I32", 8, 2)}, {"w_bit": 8}, "awq", (64, "I32")),
    "compressed tensors": (
        {
            "q.weight_packed": tensor("I32", 8, 2),
            "q.weight_scale": tensor("BF16", 8, 1),
            "q.weight_shape": tensor("I64", 2),
        },
        {"config_groups": {"group_0": {"weights": {"num_bits": 4}}}},
        "compressed-tensors",
        (128, "I32"),
    ),
    "ModelOpt's four bits": (
        {"q.weight": tensor("U8", 8, 4), "q.weight_scale": tensor("F8_E4M3", 8, 1), "n.weight": tensor("BF16", 8)},
        {"quant_algo": "NVFP4"},
        "modelopt_fp4",
        (72, "U8"),
    ),
    "mxfp4": (
        {"e.gate_up_proj_blocks": tensor("U8", 2, 8, 16), "e.gate_up_proj_scales": tensor("U8", 2, 8)},
        {"quant_method": "mxfp4"},
        "mxfp4",
        (512, "U8"),
    ),
    "fp8 is not packed": (
        {"q.weight": tensor("F8_E4M3", 8, 8), "q.weight_scale_inv": tensor("F32", 1, 1)},
        {"quant_method": "fp8"},
        "fp8",
        (64, "F8_E4M3"),
    ),
    "bits that are not told": ({"q.qweight": tensor("I32", 2, 8)}, {"bits": "four"}, "gptq", (16, "I32")),
}


@pytest.mark.parametrize("case", COUNTED)
def test_parameters_are_counted_unpacked(case: str) -> None:
    tensors, told, method, expected = COUNTED[case]
    counted = counting.count(tensors.items(), told, method)
    assert (counted.parameters, counted.dtype) == expected
