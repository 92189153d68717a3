"""Which ONNX operators convolve or multiply, and the layer that each one is.

Operators in the table `PRODUCTS` are counted or listed as not covered. Other operators that ONNX defines have
no convolution and no matrix product. All further operators are listed as unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import attrs

from dibench.errors import UserError
from dibench.layer import Layer
from dibench.models.products import (  # fmt: skip
    TWO_ACTIVATIONS,
    Shape,
    Uncovered,
    contraction,
    convolution,
    matmul,
    transposed_convolution,
)


@attrs.frozen
class NodeOperands:
    """A node's attributes, the shapes of its inputs and outputs, and which inputs are weights."""

    attributes: Mapping[str, Any]
    shapes: Sequence[Shape | None]
    outputs: Sequence[Shape | None]
    constant: Sequence[bool]

    def shape(self, index: int) -> Shape:
        """Of an input that must be there and known."""
        shape = self.shapes[index] if index < len(self.shapes) else None
        if shape is None:
            raise UnknownShapeError(index)
        return shape

    def weight(self, first: int, second: int) -> int | None:
        """Which of two operands is the weight: the constant one, the second where both are."""
        if self.constant[second]:
            return 1
        return 0 if self.constant[first] else None


class UnknownShapeError(Exception):
    """The shape of the input with this index is not known."""


Result = Layer | Uncovered
Product = Callable[[NodeOperands], Result]


def _conv(x: int, w: int) -> Product:
    def layer(node: NodeOperands) -> Result:
        image, taps = node.shape(x), _filter(node, x, w)
        strides, pads, dilations = _window(node.attributes, image[2:], taps[2:])
        groups = int(node.attributes.get("group", 1))
        result = convolution(
            image, taps, strides=strides, pads=pads, dilations=dilations, groups=groups
        )  # fmt: skip
        if node.constant[w] or not isinstance(result, Layer):
            return result
        return Uncovered("filter computed at run time", result.macs)

    return layer


def _filter(node: NodeOperands, x: int, w: int) -> Shape:
    """The filter's shape; without a filter in the file it follows from `kernel_shape` and the output."""
    known = node.shapes[w] if w < len(node.shapes) else None
    kernel, y = node.attributes.get("kernel_shape"), node.outputs[0]
    if known is not None:
        return known
    if kernel is None or y is None or len(y) < 3:
        raise UnknownShapeError(w)
    return y[1], node.shape(x)[1] // int(node.attributes.get("group", 1)), *kernel


def _window(
    attributes: Mapping[str, Any], sizes: Shape, taps: Shape
) -> tuple[list[int], list[tuple[int, int]], list[int]]:
    """Strides, (begin, end) pads and dilations of each axis, `auto_pad` resolved."""
    axes = len(sizes)
    strides = list(attributes.get("strides") or [1] * axes)
    dilations = list(attributes.get("dilations") or [1] * axes)
    pads = list(attributes.get("pads") or [0] * (2 * axes))
    if len(pads) != 2 * axes or len(strides) != axes or len(dilations) != axes or len(taps) != axes:
        raise UserError("strides, pads, dilations, filter", f"must be given for {axes} axes")
    auto = attributes.get("auto_pad", b"NOTSET").decode("ascii", "replace")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        ends = []
        for size, tap, stride, dil in zip(sizes, taps, strides, dilations, strict=True):
            if stride < 1:
                raise UserError("strides", "must not be negative or zero", stride)
            total = max(0, (-(-size // stride) - 1) * stride + dil * (tap - 1) + 1 - size)
            less = total // 2
            ends.append((less, total - less) if auto == "SAME_UPPER" else (total - less, less))
        return strides, ends, dilations
    if auto == "VALID":
        return strides, [(0, 0)] * axes, dilations
    if auto != "NOTSET":
        raise UserError("auto_pad", "must be NOTSET, VALID, SAME_UPPER or SAME_LOWER", auto)
    return strides, list(zip(pads[:axes], pads[axes:], strict=True)), dilations


def _conv_transpose(node: NodeOperands) -> Result:
    return transposed_convolution(node.shape(0), node.shape(1))


def _deformable(node: NodeOperands) -> Result:
    x, w, y = node.shape(0), node.shape(1), node.outputs[0]
    macs = None if y is None else prod(y) * prod(w[1:])
    return Uncovered(f"deformable convolution of {len(x) - 2} axes", macs)


def _causal(node: NodeOperands) -> Result:
    x, w = node.shape(0), node.shape(1)
    return Uncovered("1-D convolution with state", prod(x[:1]) * prod(w) * prod(x[2:]))


def _matmul(a: int, b: int) -> Product:
    return lambda node: matmul(node.shape(a), node.shape(b), node.weight(a, b))


def _gemm(node: NodeOperands) -> Result:
    a, b = node.shape(0), node.shape(1)
    if len(a) != 2 or len(b) != 2:
        raise UserError("Gemm", "must have two matrices")
    a = a[::-1] if node.attributes.get("transA") else a
    b = b[::-1] if node.attributes.get("transB") else b
    return matmul(a, b, node.weight(0, 1))


def _fused_matmul(node: NodeOperands) -> Result:
    if node.attributes.get("transBatchA") or node.attributes.get("transBatchB"):
        return Uncovered("product with transposed batches")
    a, b = node.shape(0), node.shape(1)
    if node.attributes.get("transA") and len(a) > 1:
        a = (*a[:-2], a[-1], a[-2])
    if node.attributes.get("transB") and len(b) > 1:
        b = (*b[:-2], b[-1], b[-2])
    return matmul(a, b, node.weight(0, 1))


def _matmul_nbits(node: NodeOperands) -> Result:
    return matmul(node.shape(0), (int(node.attributes["K"]), int(node.attributes["N"])), 1)


def _einsum(node: NodeOperands) -> Result:
    equation = node.attributes.get("equation", b"").decode("ascii", "replace").replace(" ", "")
    inputs, arrow, out = equation.partition("->")
    terms = inputs.split(",")
    if len(terms) == 1:
        return Uncovered("one operand: no product", 0)
    if len(terms) != 2 or "." in equation:
        return Uncovered(f"Einsum {equation[:60]}: not two operands with every axis named")
    if not arrow:
        out = "".join(sorted(label for label in set(inputs) - {","} if inputs.count(label) == 1))
    if any(len(set(term)) != len(term) for term in terms):
        return Uncovered(f"Einsum {equation[:60]}: takes a diagonal")
    if not set(terms[0]) & set(terms[1]) - set(out):
        return Uncovered("product without a sum", 0)
    return contraction((terms[0], terms[1]), (node.shape(0), node.shape(1)), out, node.weight(0, 1))


def _recurrent(gates: int) -> Product:
    def macs(node: NodeOperands) -> Result:
        x, w, r = node.shape(0), node.shape(1), node.shape(2)
        if len(x) != 3 or len(w) != 3 or len(r) != 3 or w[1] != gates * r[2]:
            raise UserError("recurrent weights", "must be of three dimensions that agree")
        return Uncovered("recurrent layer", x[0] * x[1] * (prod(w) + prod(r)))

    return macs


def _attention(node: NodeOperands) -> Result:
    """Q·Kᵀ and scores·V, the mask not considered."""
    q, k, v = (node.shape(i) for i in range(3))
    if len(q) == 4 and len(k) == len(v) == 4:
        batch, heads, queries, head = q
        keys, values = k[2], v[3]
    elif len(q) == len(k) == len(v) == 3 and node.attributes.get("q_num_heads"):
        heads, kv_heads = (int(node.attributes.get(f"{which}_num_heads") or 1) for which in ("q", "kv"))
        batch, queries, head = q[0], q[1], q[2] // heads
        keys, values = k[1], v[2] // kv_heads
    else:
        raise UserError("Attention", "must have operands of four dimensions, or three with q_num_heads")
    return Uncovered("attention, " + TWO_ACTIVATIONS, batch * heads * queries * keys * (head + values))


def _of_unknown_macs(reason: str) -> Product:
    return lambda node: Uncovered(reason)


PRODUCTS: dict[tuple[str, str], Product] = {
    ("", "Conv"): _conv(0, 1),
    ("", "ConvInteger"): _conv(0, 1),
    ("", "QLinearConv"): _conv(0, 3),
    ("", "ConvTranspose"): _conv_transpose,
    ("", "DeformConv"): _deformable,
    ("", "CausalConvWithState"): _causal,
    ("", "Gemm"): _gemm,
    ("", "MatMul"): _matmul(0, 1),
    ("", "MatMulInteger"): _matmul(0, 1),
    ("", "QLinearMatMul"): _matmul(0, 3),
    ("", "Einsum"): _einsum,
    ("", "RNN"): _recurrent(1),
    ("", "GRU"): _recurrent(3),
    ("", "LSTM"): _recurrent(4),
    ("", "Attention"): _attention,
    ("", "LinearAttention"): _of_unknown_macs("linear attention"),
    ("ai.onnx.preview", "FlexAttention"): _of_unknown_macs("attention, " + TWO_ACTIVATIONS),
    ("ai.onnx.ml", "LinearClassifier"): _of_unknown_macs("linear model of classical learning"),
    ("ai.onnx.ml", "LinearRegressor"): _of_unknown_macs("linear model of classical learning"),
    ("ai.onnx.ml", "SVMClassifier"): _of_unknown_macs("kernel model of classical learning"),
    ("ai.onnx.ml", "SVMRegressor"): _of_unknown_macs("kernel model of classical learning"),
    # What ONNX Runtime's optimiser writes.
    ("com.microsoft", "FusedConv"): _conv(0, 1),
    ("com.microsoft", "FusedGemm"): _gemm,
    ("com.microsoft", "FusedMatMul"): _fused_matmul,
    ("com.microsoft", "MatMulNBits"): _matmul_nbits,
}
"""(domain, operator) to the function that reads its node; the standard domain is ''."""

WITHOUT_PRODUCT = frozenset(
    ("com.microsoft", name)
    for name in (
        "BiasAdd", "BiasGelu", "BiasSplitGelu", "DequantizeLinear", "FastGelu", "Gelu", "GroupNorm",
        "Inverse", "QLinearAdd", "QLinearAveragePool", "QLinearConcat",
        "QLinearGlobalAveragePool", "QLinearLeakyRelu",
        "QLinearMul", "QLinearSigmoid", "QLinearSoftmax", "QuantizeLinear", "QuickGelu", "RotaryEmbedding",
        "SimplifiedLayerNormalization", "SkipGroupNorm", "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
    )
)  # fmt: skip
"""Operators outside the standard that have no convolution and no product."""

WEIGHT_INPUTS = {
    "Conv": {1, 2}, "ConvTranspose": {1, 2}, "FusedConv": {1, 2}, "ConvInteger": {1, 3},
    "QLinearConv": {1, 2, 3, 4, 5, 6, 7, 8}, "Gemm": {1, 2}, "FusedGemm": {1, 2}, "MatMul": {1},
    "MatMulInteger": {1, 3}, "BatchNormalization": {1, 2, 3, 4}, "DequantizeLinear": {0, 1, 2},
    "LSTM": {1, 2, 3}, "GRU": {1, 2, 3}, "RNN": {1, 2, 3},
}  # fmt: skip
"""Inputs of operators that are weights: in a model exported without weights they are inputs of the graph."""
