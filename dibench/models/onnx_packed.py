"""How many parameters the tensors of a quantised ONNX file stand for.

onnxruntime packs values of 2 and 4 bits into bytes. Scales and zero points are how a parameter is written,
and none themselves: a quantised file has as many parameters as the file that it was made from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

from dibench.models.onnx_runtime import FOUR_BITS

_SCALES: Mapping[str, tuple[int, ...]] = {
    "ConvInteger": (2, 3),
    "DequantizeLinear": (1, 2),
    "DynamicQuantizeLSTM": (8, 9, 10, 11),
    "DynamicQuantizeMatMul": (2, 3),
    "GatherBlockQuantized": (2, 3),
    "MatMulBnb4": (2,),
    "MatMulInteger": (2, 3),
    "MatMulIntegerToFloat": (2, 3, 4, 5),
    "MatMulNBits": (2, 3, 4),
    "QAttention": (3, 4, 6, 7),
    "QGemm": (1, 2, 4, 5, 7, 8),
    "QLinearAdd": (1, 2, 4, 5, 6, 7),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QLinearMul": (1, 2, 4, 5, 6, 7),
    "QuantizeLinear": (1, 2),
}
"""Inputs that are scales, zero points or an order of groups."""


def held_by(nodes: Iterable[Any], tensors: Iterable[Any]) -> dict[str, int]:
    """Parameters in tensors by name, where they are not simply the tensor's elements.

    Args:
        nodes: all that may read them.
        tensors: the initializers.
    """
    kinds = {tensor.name: (tensor.data_type, prod(tensor.dims)) for tensor in tensors}
    counts = {}
    for node in nodes:
        for index in _SCALES.get(node.op_type, ()):
            if index < len(node.input):
                counts[node.input[index]] = 0
        weight = node.input[1 if node.op_type.startswith("MatMul") else 0] if len(node.input) > 1 else ""
        sizes = {each.name: each.i for each in node.attribute if each.name in ("K", "N", "bits")}
        kind, elements = kinds.get(weight, (0, 0))
        if node.op_type in ("MatMulNBits", "MatMulBnb4", "MatMulFpQ4") and {"K", "N"} <= sizes.keys():
            counts[weight] = max(0, sizes["K"] * sizes["N"])
        elif node.op_type == "GatherBlockQuantized" and kind not in FOUR_BITS:
            counts[weight] = elements * 8 // max(1, sizes.get("bits", 4))
    return counts
