"""Which ONNX operators convolve or multiply, and the layer that each one is.

Operators in the table `PRODUCTS` are counted or listed as not covered. Other operators that ONNX defines have
no convolution and no matrix product. All further operators are listed as unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
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
    recurrent,
    transposed_convolution,
)


@attrs.frozen
class NodeOperands:
    """A node's attributes, the shapes of its inputs and outputs, which inputs are weights, which are given.

    `padded` is what a Pad before the node padded: the shape before it and (begin, end) of each axis.
    `distinct` are the elements of inputs that hold copies of them.
    """

    attributes: Mapping[str, Any]
    shapes: Sequence[Shape | None]
    outputs: Sequence[Shape | None]
    constant: Sequence[bool]
    given: Sequence[bool]
    padded: tuple[Shape, Sequence[tuple[int, int]]] | None = None
    distinct: Sequence[int | None] = ()

    def shape(self, index: int) -> Shape:
        """Of an input that must be there and known."""
        shape = self.shapes[index] if index < len(self.shapes) else None
        if shape is None:
            raise UnknownShapeError(index)
        return shape

    def elements(self, index: int, size: int) -> int:
        """The distinct ones of an input of that size, which may hold copies of them."""
        known = self.distinct[index] if index < len(self.distinct) else None
        return size if known is None else min(size, known)

    def each_once(self, result: Layer | Uncovered, first: int | None, second: int) -> Layer | Uncovered:
        """The result of a product whose operands are these inputs; None is a product before it."""
        if not isinstance(result, Uncovered) or result.operands is None:
            return result
        one, other = result.operands
        one = one if first is None else self.elements(first, one)
        return attrs.evolve(result, operands=(one, self.elements(second, other)))

    def weight(self, first: int, second: int) -> int | None:
        """Which of two operands is the weight: the constant one, the second where both are."""
        if self.constant[second]:
            return 1
        return 0 if self.constant[first] else None


class UnknownShapeError(Exception):
    """The shape of the input with this index is not known."""


Result = Layer | Uncovered
Product = Callable[[NodeOperands], Result | Sequence[Result]]


def _conv(x: int, w: int) -> Product:
    def layer(node: NodeOperands) -> Result:
        image, taps = node.shape(x), _filter(node, x, w)
        strides, pads, dilations = _window(node.attributes, image[2:], taps[2:])
        groups = int(node.attributes.get("group", 1))
        if node.attributes.get("blocked_channels"):
            taps = (taps[0], image[1] // groups, *taps[2:])
        if node.padded is not None and not any(map(sum, node.padded[1][:2])):
            image, before = node.padded
            pads = [(a + c, b + d) for (a, b), (c, d) in zip(pads, before[2:], strict=True)]
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
    x, w, y = node.shape(0), node.shape(1), node.outputs[0]
    groups, axes = int(node.attributes.get("group", 1)), len(x) - 2
    if len(w) != axes + 2 or axes < 1:
        raise UserError("filter", "must have as many dimensions as its input")
    strides = list(node.attributes.get("strides") or [1] * axes)
    dilations = list(node.attributes.get("dilations") or [1] * axes)
    pads = list(node.attributes.get("pads") or [0] * (2 * axes))
    if y is None or len(pads) != 2 * axes or len(y) != axes + 2:
        return Uncovered("transposed convolution", prod(x) * prod(w[1:]))
    ends = list(zip(pads[:axes], pads[axes:], strict=True))
    auto = node.attributes.get("auto_pad", b"NOTSET")
    if auto in (b"SAME_UPPER", b"SAME_LOWER") or node.attributes.get("output_shape"):
        # The size of the output is given, and what is cropped follows from it.
        more = list(node.attributes.get("output_padding") or [0] * axes)
        spans = [dil * (taps - 1) + 1 for dil, taps in zip(dilations, w[2:], strict=True)]
        each = zip(x[2:], y[2:], strides, spans, more, strict=True)
        totals = [step * (size - 1) + extra + span - out for size, out, step, span, extra in each]
        halves = [(total // 2, total - total // 2) for total in totals]
        ends = halves if auto == b"SAME_UPPER" else [(end, begin) for begin, end in halves]
    elif auto == b"VALID":
        ends = [(0, 0)] * axes
    result = transposed_convolution(x, w, y, strides=strides, pads=ends, dilations=dilations, groups=groups)
    if node.constant[1] or not isinstance(result, Layer):
        return result
    return Uncovered("filter computed at run time", result.macs)


def _deformable(node: NodeOperands) -> Result:
    x, w, y = node.shape(0), node.shape(1), node.outputs[0]
    macs = None if y is None else prod(y) * prod(w[1:])
    return Uncovered(f"deformable convolution of {len(x) - 2} axes", macs)


def _causal(node: NodeOperands) -> Result:
    x, w = node.shape(0), node.shape(1)
    return Uncovered("1-D convolution with state", prod(x[:1]) * prod(w) * prod(x[2:]))


def _matmul(a: int, b: int) -> Product:
    def product(node: NodeOperands) -> Result:
        result = matmul(node.shape(a), node.shape(b), node.weight(a, b))
        return node.each_once(result, a, b)

    return product


def _gemm(node: NodeOperands) -> Result:
    a, b = node.shape(0), node.shape(1)
    if len(a) != 2 or len(b) != 2:
        raise UserError("Gemm", "must have two matrices")
    a = a[::-1] if node.attributes.get("transA") else a
    b = b[::-1] if node.attributes.get("transB") else b
    return node.each_once(matmul(a, b, node.weight(0, 1)), 0, 1)


def _einsum(node: NodeOperands) -> list[Result]:
    """Operands are multiplied from left to right, as PyTorch and onnxruntime do.

    An axis that stands in one operand only is summed before the product; a product without a sum is none.
    """
    equation = node.attributes.get("equation", b"").decode("ascii", "replace").replace(" ", "")
    terms, out = _einsum_labels(equation, [len(node.shape(i)) for i in range(equation.count(",") + 1)])
    found: list[Result] = []
    done: dict[Hashable, int] = {}
    constant = True
    for index, term in enumerate(terms):
        operand = _diagonal(term, node.shape(index))
        later = {label for each in terms[index + 1 :] for label in each} | set(out)
        both = [
            {label: size for label, size in one.items() if label in other or label in later}
            for one, other in ((done, operand), (operand, done))
        ]
        multiplied = [label for label in both[0] if label in both[1]]
        if any(label not in later for label in multiplied) and not (constant and node.constant[index]):
            labels, sizes = [tuple(one) for one in both], [tuple(one.values()) for one in both]
            weight = 1 if node.constant[index] else 0 if constant else None
            product = contraction((labels[0], labels[1]), (sizes[0], sizes[1]), list(later), weight)
            found.append(node.each_once(product, 0 if index == 1 else None, index))
        constant = node.constant[index] and (constant or index == 0)
        done = {
            label: max(one.get(label, 1) for one in both)
            for label in (*both[0], *both[1])
            if label in later
        }  # fmt: skip
    return found


def _einsum_labels(equation: str, ranks: Sequence[int]) -> tuple[list[list[Hashable]], list[Hashable]]:
    """The labels of each operand and of the result; the axes of an ellipsis are -1, -2, … from the right."""
    inputs, arrow, result = equation.partition("->")
    terms: list[list[Hashable]] = []
    for term, rank in zip(inputs.split(","), ranks, strict=True):
        before, dots, after = term.partition("...")
        free = rank - len(before) - len(after)
        if "." in before + after or free < 0 or (free and not dots):
            raise UserError("equation", "must name each axis of each operand", equation[:60])
        terms.append([*before, *range(-free, 0), *after])
    ellipsis = sorted({label for term in terms for label in term if isinstance(label, int)})
    once = sorted(label for label in set(inputs) - set(",.") if inputs.count(label) == 1)
    if not arrow:
        return terms, [*ellipsis, *once]
    before, dots, after = result.partition("...")
    return terms, [*before, *(ellipsis if dots else ()), *after]


def _diagonal(term: Sequence[Hashable], shape: Shape) -> dict[Hashable, int]:
    """Sizes by label; a label that stands twice takes the diagonal."""
    sizes: dict[Hashable, int] = {}
    for label, size in zip(term, shape, strict=True):
        if sizes.setdefault(label, size) != size:
            raise UserError("equation", f"must have axes of one size for {label}", size)
    return sizes


def _recurrent(gates: int) -> Product:
    def layers(node: NodeOperands) -> list[Result]:
        x, w, r = node.shape(0), node.shape(1), node.shape(2)
        if len(x) != 3 or len(w) != 3 or len(r) != 3 or w[1] != gates * r[2] or w[:2] != r[:2]:
            raise UserError("recurrent weights", "must be of three dimensions that agree")
        if node.attributes.get("layout"):
            x = (x[1], x[0], x[2])
        if x[2] != w[2]:
            raise UserError("recurrent weights", f"must be for inputs of {x[2]} features", w[2])
        if not (node.constant[1] and node.constant[2]):
            return [Uncovered("weights computed at run time", x[0] * x[1] * (prod(w) + prod(r)))]
        # A GRU that resets before the product needs the other gates first.
        resets_first = gates == 3 and not node.attributes.get("linear_before_reset")
        parts = [2, 1] if resets_first else [gates]
        if not prod(x) * prod(r):
            return []
        inputs = Layer.fc(N=x[0] * x[1], C=x[2], K=w[1])
        step = [Layer.fc(N=x[1], C=r[2], K=part * r[2]) for part in parts]
        return recurrent(inputs, step, steps=x[0]) * r[0]

    return layers


def _attention(node: NodeOperands) -> Result:
    """Q·Kᵀ and scores·V over past and present keys, the mask not considered.

    As one operator it reads Q, K and V and writes its output: scores need never be in memory.
    """
    q, k, v = (node.shape(i) for i in range(3))
    if len(q) == 4 and len(k) == len(v) == 4:
        batch, heads, queries, head = q
        kv_heads, keys, values = k[1], k[2], v[3]
    elif len(q) == len(k) == len(v) == 3 and node.attributes.get("q_num_heads"):
        heads, kv_heads = (int(node.attributes.get(f"{which}_num_heads") or 1) for which in ("q", "kv"))
        batch, queries, head = q[0], q[1], q[2] // heads
        keys, values = k[1], v[2] // kv_heads
    else:
        raise UserError("Attention", "must have operands of four dimensions, or three with q_num_heads")
    past = node.shape(4)[2] if len(node.shapes) > 4 and node.given[4] else 0
    rows, shared = batch * heads * queries, k[0] * kv_heads
    sizes = (rows * head, shared * keys * head, shared * keys * values)
    of_q, of_k, of_v = (node.elements(i, size) for i, size in enumerate(sizes))
    operands = of_q, of_k + of_v + shared * past * (head + values)
    macs = rows * (keys + past) * (head + values)
    return Uncovered("attention, " + TWO_ACTIVATIONS, macs, operands, rows * values)


def _experts(*weights: int, bits: int) -> Product:
    """Each token goes through `k` of the experts, which its values choose; weights of few bits are packed."""

    def product(node: NodeOperands) -> Result:
        x, packed = node.shape(0), max(1, int(node.attributes.get("expert_weight_bits", bits)))
        shapes = [node.shape(i) for i in weights if i < len(node.given) and node.given[i]]
        one_token = sum(prod(shape[1:]) for shape in shapes) * 8 // packed
        return Uncovered(
            "experts chosen by data", prod(x[:-1]) * int(node.attributes.get("k", 1)) * one_token
        )

    return product


def _affine_grid(node: NodeOperands) -> Result:
    """Each position of the grid, in homogeneous coordinates, times the matrix of its image."""
    theta, grid = node.shape(0), node.outputs[0]
    return Uncovered(TWO_ACTIVATIONS, None if grid is None else prod(grid) * theta[2])


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
    ("", "AffineGrid"): _affine_grid,
    ("", "LinearAttention"): _of_unknown_macs("linear attention"),
    ("ai.onnx.preview", "FlexAttention"): _attention,
    ("ai.onnx.ml", "LinearClassifier"): _of_unknown_macs("linear model of classical learning"),
    ("ai.onnx.ml", "LinearRegressor"): _of_unknown_macs("linear model of classical learning"),
    ("ai.onnx.ml", "SVMClassifier"): _of_unknown_macs("kernel model of classical learning"),
    ("ai.onnx.ml", "SVMRegressor"): _of_unknown_macs("kernel model of classical learning"),
    # Of onnxruntime's operators those that no standard ones stand for: `onnx_runtime` writes the others.
    ("com.microsoft", "MoE"): _experts(2, 4, 6, bits=8),
    ("com.microsoft", "QMoE"): _experts(2, 5, 8, bits=4),
    **{
        ("com.microsoft", name): _of_unknown_macs("attention whose lengths or pattern data says")
        for name in (
            "DecoderAttention",
            "LongformerAttention",
            "PackedAttention",
            "PackedMultiHeadAttention",
            "PagedAttention",
            "SparseAttention",
        )
    },
}
"""(domain, operator) to the function that reads its node; the standard domain is ''."""

WITHOUT_PRODUCT = frozenset(
    ("com.microsoft", name)
    for name in (
        "BifurcationDetector", "CropAndResize", "DequantizeBFP", "DynamicTimeWarping", "GridSample",
        "IsAllFinite", "MaxpoolWithMask", "MulInteger", "MurmurHash3", "NGramRepeatBlock", "Pad",
        "QuantizeBFP", "Range", "ReduceSumInteger", "RemovePadding", "RestorePadding", "Tokenizer",
        "UnfoldTensor", "Unique",
    )
)  # fmt: skip
"""Operators outside the standard that have no convolution and no product, beside those in `onnx_runtime`."""

WEIGHT_INPUTS = {
    "Conv": {1, 2}, "ConvTranspose": {1, 2}, "ConvInteger": {1, 3},
    "QLinearConv": {1, 2, 3, 4, 5, 6, 7, 8}, "Gemm": {1, 2}, "MatMul": {1},
    "MatMulInteger": {1, 3}, "BatchNormalization": {1, 2, 3, 4}, "DequantizeLinear": {0, 1, 2},
    "LSTM": {1, 2, 3}, "GRU": {1, 2, 3}, "RNN": {1, 2, 3},
}  # fmt: skip
"""Inputs of operators that are weights: in a model exported without weights they are inputs of the graph."""
