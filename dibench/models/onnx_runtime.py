"""Writes the operators of onnxruntime's optimiser as the standard ones with the same products and shapes.

onnxruntime saves what it optimised with operators of its own (FusedConv, FusedMatMul, MatMulNBits, QGemm, …),
which ONNX does not define, so that ONNX infers no shape behind them. Each becomes one standard operator or a
few: FusedConv is a Conv, BiasGelu an Identity, MultiHeadAttention two MatMul with transpositions between.
Values are not kept: shapes and products are. Only operators are written that mean the same in every opset.

Source of the operators' meaning: docs/ContribOperators.md of microsoft/onnxruntime (1.23).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx import helper

from dibench.models.onnx_attention import (
    grouped_query_attention,
    listed,
    multi_head_attention,
    packed_attention,
    packed_heads,
    projected_attention,
)
from dibench.models.onnx_writer import Write, Writer

MICROSOFT = "com.microsoft"
NCHWC = "com.microsoft.nchwc"
FOUR_BITS = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4)
"""Types of which one element is one value."""

_NHWC_TO_NCHW = [0, 3, 1, 2]
_NCHW_TO_NHWC = [0, 2, 3, 1]


def standardised(graph: Any) -> None:
    """Replace onnxruntime's operators in a graph and in the graphs inside its nodes."""
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in (*graph.input, *graph.value_info)}
    sizes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    ranks |= {name: len(shape) for name, shape in sizes.items()}
    four_bits = {each.name for each in graph.initializer if each.data_type in FOUR_BITS}
    written: list[Any] = []
    changed = False
    for node in graph.node:
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                standardised(inner)
        write = WRITERS.get((node.domain, node.op_type))
        if write is None:
            written.append(node)
            continue
        changed = True
        writer = Writer(node, len(written), ranks, sizes, four_bits)
        try:
            write(writer)
        except (
            IndexError,
            KeyError,
            TypeError,
            ValueError,
        ):  # it lacks inputs or attributes: listed as it is
            written.append(node)
            continue
        written.extend(writer.nodes)
        graph.initializer.extend(writer.weights)
    if changed:
        del graph.node[:]
        graph.node.extend(written)


_WINDOW = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides", "ceil_mode")


def _same(x: int = 0, *outputs: int) -> Write:
    """What it writes has the shape of input `x`."""

    def write(w: Writer) -> None:
        for index in outputs or (0,):
            if w.output(index):
                w.add("Identity", [w.input(x)], w.output(index))

    return write


def _standard(op: str, *inputs: int, attributes: Sequence[str] = ()) -> Write:
    """A standard operator on some of the inputs."""
    return lambda w: _ignore(w.add(op, [w.input(i) for i in inputs], w.output(0), **w.kept(*attributes)))


def _ignore(_: object) -> None:
    return None


def _channels_last(op: str, *inputs: int, always: bool, attributes: Sequence[str] = _WINDOW) -> Write:
    """An operator on images whose channels come last, always or where its attribute says so."""

    def write(w: Writer) -> None:
        last = always or w.number("channels_last", 0) == 1
        names = [w.input(i) for i in inputs]
        if not last:
            w.add(op, names, w.output(0), **w.kept(*attributes))
            return
        names[0] = w.transpose(names[0], _NHWC_TO_NCHW)
        w.transpose(w.add(op, names, **w.kept(*attributes)), _NCHW_TO_NHWC, w.output(0))

    return write


def _nhwc_conv(w: Writer) -> None:
    """Filters lie as k, r, s, c here."""
    x, filters = w.transpose(w.input(0), _NHWC_TO_NCHW), w.transpose(w.input(1), _NHWC_TO_NCHW)
    w.transpose(w.add("Conv", [x, filters], **w.kept(*_WINDOW)), _NCHW_TO_NHWC, w.output(0))


def _fused_matmul(w: Writer) -> None:
    """`transBatch` moves the first axis before the last one, `trans` then swaps the last two."""
    operands = []
    for index, letter in enumerate("AB"):
        name, rank = w.input(index), w.rank(w.input(index))
        batch, swap = w.number(f"transBatch{letter}", 0), w.number(f"trans{letter}", 0)
        operands.append(_turned(w, name, rank, batch == 1, swap == 1))
    w.add("MatMul", operands, w.output(0))


def _turned(w: Writer, name: str, rank: int | None, batch: bool, swap: bool) -> str:
    if not batch and not swap:
        return name
    if rank == 1:
        return name
    # The rank may be unknown: an Einsum moves axes of any rank, and multiplies nothing with one operand.
    return w.add(
        "Einsum", [name], equation=f"{'a...c' if batch else '...ac'}->{'...ca' if swap else '...ac'}"
    )


def _packed_weight(w: Writer) -> None:
    """x · w with the weight packed into bytes: attributes say its sizes."""
    w.add("MatMul", [w.input(0), w.weight([w.number("K"), w.number("N")])], w.output(0))


def _split_gelu(w: Writer) -> None:
    halves = w.reshape(w.input(0), [0, 0, 2, -1])
    w.add("Gather", [halves, w.integers(0)], w.output(0), axis=2)


def _quantised_concat(w: Writer) -> None:
    """Inputs are the scale and zero point of the result, then three of each operand."""
    parts = [w.input(i) for i in range(2, len(w.node.input), 3)]
    w.add("Concat", parts, w.output(0), axis=w.number("axis"))


def _quantised_lstm(w: Writer) -> None:
    """Its weights lie transposed: [directions, inputs, 4·hidden]."""
    weights = [w.transpose(w.input(i), [0, 2, 1]) for i in (1, 2)]
    node = helper.make_node("LSTM", [w.input(0), *weights], w.node.output, name=w.node.name)
    node.attribute.extend(each for each in w.node.attribute if each.name in ("hidden_size", "direction"))
    w.nodes.append(node)


def _embedding(w: Writer) -> None:
    """Rows of the table of words; positions and segments are added."""
    w.add("Gather", [w.input(2), w.input(0)], w.output(0))
    if w.output(2):
        w.add("Identity", [w.output(0)], w.output(2))


def _packed_rows(w: Writer) -> None:
    """Rows of a table whose values may be packed into bytes."""
    rows, columns = w.sizes(w.input(0))
    if w.is_packed(w.input(0)):
        columns = columns * 8 // w.number("bits", 4)
    w.add("Gather", [w.weight([rows, columns]), w.input(1)], w.output(0))


def _distances(w: Writer) -> None:
    """Distances between all rows of a and b are computed from a · bᵀ."""
    w.add("MatMul", [w.input(0), w.transpose(w.input(1), [1, 0])], w.output(0))


# Images in blocks of channels. `onnx_nchwc` has written the true number of filters into `channels`.


def _blocked_conv(w: Writer) -> None:
    filters, channels, *taps = w.sizes(w.input(1))
    group = w.number("group", 1)
    count = w.number("channels", filters)
    if group == filters:  # depthwise
        group = count
    kept = {**w.kept(*_WINDOW), "group": group, "blocked_channels": 1}
    w.add("Conv", [w.input(0), w.weight([count, channels, *taps])], w.output(0), **kept)


def _blocked_input(w: Writer) -> None:
    if w.number("channels_last", 0):
        w.transpose(w.input(0), _NHWC_TO_NCHW, w.output(0))
    else:
        w.add("Identity", [w.input(0)], w.output(0))


def _blocked_output(w: Writer) -> None:
    if w.number("channels_last", 0):
        w.transpose(w.input(0), _NCHW_TO_NHWC, w.output(0))
    else:
        w.add("Identity", [w.input(0)], w.output(0))


def _blocked_upsample(w: Writer) -> None:
    scales = helper.make_tensor("c", onnx.TensorProto.FLOAT, [4], [float(s) for s in w.attributes["scales"]])
    w.add("Resize", [w.input(0), "", w.add("Constant", [], value=scales)], w.output(0))


_TRANS = ("transA", "transB")
_REDUCE = ("axes", "keepdims", "noop_with_empty_axes")
_SKIPS = ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")
_SAME = (
    "BiasAdd", "BiasGelu", "BiasSoftmax", "BiasDropout", "BitmaskBiasDropout", "BitmaskDropout",
    "DequantizeLinear", "FastGelu", "GatedAdd", "GatedRMSNorm", "Gelu", "GemmaRotaryEmbedding", "GroupNorm",
    "Inverse", "QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax", "QOrderedGelu", "QuantizeLinear",
    "QuickGelu", "RotaryEmbedding", "ScaledSiLU", "SimplifiedLayerNormalization", "SkipGroupNorm", "Trilu",
)  # fmt: skip
_MICROSOFT: dict[str, Write] = {
    **dict.fromkeys(_SAME, _same()),
    **dict.fromkeys(_SKIPS, _same(0, 0, 3)),
    "Attention": projected_attention(past=4),
    "BiasSplitGelu": _split_gelu,
    "CDist": _distances,
    "DecoderAttention": listed(0),
    "DecoderMaskedMultiHeadAttention": multi_head_attention(past=5),
    "DynamicQuantizeLSTM": _quantised_lstm,
    "DynamicQuantizeMatMul": _standard("MatMul", 0, 1),
    "EmbedLayerNormalization": _embedding,
    "ExpandDims": _standard("Unsqueeze", 0, 1),
    "FusedConv": _standard("Conv", 0, 1, attributes=_WINDOW),
    "FusedGemm": _standard("Gemm", 0, 1, attributes=_TRANS),
    "FusedMatMul": _fused_matmul,
    "FusedMatMulActivation": _fused_matmul,
    "GatherBlockQuantized": _packed_rows,
    "GatherND": _standard("GatherND", 0, 1),
    "GemmFastGelu": _standard("MatMul", 0, 1),
    "GemmFloat8": _standard("Gemm", 0, 1, attributes=_TRANS),
    "GroupQueryAttention": grouped_query_attention,
    "LongformerAttention": listed(0),
    "MatMulBnb4": _packed_weight,
    "MatMulFpQ4": _packed_weight,
    "MatMulInteger16": _standard("MatMul", 0, 1),
    "MatMulIntegerToFloat": _standard("MatMul", 0, 1),
    "MatMulNBits": _packed_weight,
    "MoE": listed(0),
    "MultiHeadAttention": multi_head_attention(past=6),
    "NhwcConv": _nhwc_conv,
    "NhwcFusedConv": _nhwc_conv,
    "NhwcMaxPool": _channels_last("MaxPool", 0, always=True),
    "PackedAttention": packed_attention,
    "PackedMultiHeadAttention": packed_heads,
    "PagedAttention": listed(0),
    "QAttention": projected_attention(past=8),
    "QEmbedLayerNormalization": _embedding,
    "QGemm": _standard("Gemm", 0, 3, attributes=_TRANS),
    "QLinearAdd": _standard("Add", 0, 3),
    "QLinearAveragePool": _channels_last("AveragePool", 0, always=False),
    "QLinearConcat": _quantised_concat,
    "QLinearConv": _channels_last("Conv", 0, 3, always=False),
    "QLinearGlobalAveragePool": _channels_last("GlobalAveragePool", 0, always=False, attributes=()),
    "QLinearMul": _standard("Mul", 0, 3),
    "QLinearReduceMean": _standard("ReduceMean", 0, attributes=_REDUCE),
    "QLinearWhere": _standard("Where", 0, 1, 4),
    "QMoE": listed(0),
    "SparseAttention": listed(0),
    "TransposeMatMul": _fused_matmul,
}
WRITERS: Mapping[tuple[str, str], Write] = {
    **{(MICROSOFT, op): write for op, write in _MICROSOFT.items()},
    # onnxruntime puts these two into the standard domain, which does not have them.
    ("", "SimplifiedLayerNormalization"): _same(),
    ("", "SkipSimplifiedLayerNormalization"): _same(0, 0, 3),
    (NCHWC, "Conv"): _blocked_conv,
    (NCHWC, "MaxPool"): _standard("MaxPool", 0, attributes=_WINDOW),
    (NCHWC, "AveragePool"): _standard("AveragePool", 0, attributes=_WINDOW),
    (NCHWC, "GlobalMaxPool"): _standard("GlobalMaxPool", 0),
    (NCHWC, "GlobalAveragePool"): _standard("GlobalAveragePool", 0),
    (NCHWC, "ReorderInput"): _blocked_input,
    (NCHWC, "ReorderOutput"): _blocked_output,
    (NCHWC, "Upsample"): _blocked_upsample,
}
"""(domain, operator) to the function that writes it as standard ones."""
