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
    "QMoE": (3, 6, 9, 11, 12, 13),
    "QuantizeLinear": (1, 2),
}
"""Inputs that are scales, zero points or an order of groups."""

_OF_ATTRIBUTES = ("MatMulBnb4", "MatMulFpQ4", "MatMulNBits")
"""Operators whose attributes K and N say the sizes of their packed weight, input 1."""

_PACKED: Mapping[str, tuple[int, ...]] = {"GatherBlockQuantized": (0,), "QMoE": (2, 5, 8)}
"""Inputs whose bytes hold several values, of 4 bits where no attribute says how many."""

_SIZES = ("K", "N", "bits", "expert_weight_bits")


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
        sizes = {each.name: each.i for each in node.attribute if each.name in _SIZES}
        if node.op_type in _OF_ATTRIBUTES and {"K", "N"} <= sizes.keys() and len(node.input) > 1:
            counts[node.input[1]] = max(0, sizes["K"] * sizes["N"])
        for index in _PACKED.get(node.op_type, ()):
            kind, elements = kinds.get(node.input[index], (0, 0)) if index < len(node.input) else (0, 0)
            if elements and kind not in FOUR_BITS:
                bits = sizes.get("bits", sizes.get("expert_weight_bits", 4))
                counts[node.input[index]] = elements * 8 // max(1, bits)
    return counts
