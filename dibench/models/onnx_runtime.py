"""Writes the operators of onnxruntime's optimiser as the standard ones with the same products and shapes.

onnxruntime saves what it optimised with operators of its own (FusedConv, FusedMatMul, MatMulNBits, QGemm, …),
which ONNX does not define, so that ONNX infers no shape behind them. Each becomes one standard operator or a
few: FusedConv is a Conv, BiasGelu an Identity, MultiHeadAttention two MatMul with transpositions between.
Values are not kept: shapes and products are. Only operators are written that mean the same in every opset.

Source of the operators' meaning: docs/ContribOperators.md of microsoft/onnxruntime (1.23).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import onnx
from onnx import helper

MICROSOFT = "com.microsoft"
NCHWC = "com.microsoft.nchwc"
FOUR_BITS = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4)
"""Types of which one element is one value."""

_NHWC_TO_NCHW = [0, 3, 1, 2]
_NCHW_TO_NHWC = [0, 2, 3, 1]
_NEW = "dibench"
"""First word of the names of values that are written; a graph that has it already is not refused."""


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


class Writer:
    """Writes standard nodes in place of one node; each takes the node's name, so that products keep it."""

    def __init__(
        self, node: Any, number: int, ranks: Mapping[str, int], sizes: Mapping[str, tuple[int, ...]],
        four_bits: Collection[str] = (),
    ) -> None:  # fmt: skip
        self.node = node
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        self._prefix = f"{_NEW}/{node.output[0] if node.output else number}"
        self._ranks = ranks
        self._sizes = sizes
        self._four_bits = four_bits

    def input(self, index: int) -> str:
        """The name of an input that must be there."""
        name = self.optional(index)
        if not name:
            raise IndexError(index)
        return name

    def optional(self, index: int) -> str:
        """The name of an input, empty where it is left out."""
        return str(self.node.input[index]) if index < len(self.node.input) else ""

    def output(self, index: int) -> str:
        """The name of an output, empty where it is left out."""
        return str(self.node.output[index]) if index < len(self.node.output) else ""

    def number(self, attribute: str, usual: int | None = None) -> int:
        """An attribute that is a whole number."""
        value = self.attributes.get(attribute, usual)
        if value is None:
            raise KeyError(attribute)
        return int(value)

    def rank(self, name: str) -> int | None:
        """How many axes a value has, where the file says it."""
        return self._ranks.get(name)

    def sizes(self, name: str) -> tuple[int, ...]:
        """The shape of an initializer."""
        return self._sizes[name]

    def is_packed(self, name: str) -> bool:
        """Whether an initializer of few bits is stored in a wider type, several values in one element."""
        return name not in self._four_bits

    def add(self, op: str, inputs: Sequence[str], to: str = "", part: str = "", **attributes: Any) -> str:
        """Write a node; returns the name of its output: `to`, or a new one."""
        to = to or f"{self._prefix}/{len(self.nodes)}"
        name = f"{self.node.name or self.output(0)}{part}"
        self.nodes.append(helper.make_node(op, inputs, [to], name=name, **attributes))
        return to

    def integers(self, values: Sequence[int] | int) -> str:
        """Write a constant of integers."""
        shape = [] if isinstance(values, int) else [len(values)]
        tensor = helper.make_tensor(
            "c", onnx.TensorProto.INT64, shape, [values] if isinstance(values, int) else list(values)
        )
        return self.add("Constant", [], value=tensor)

    def weight(self, shape: Sequence[int]) -> str:
        """A weight of this shape without values."""
        name = f"{self._prefix}/weight{len(self.weights)}"
        self.weights.append(onnx.TensorProto(name=name, dims=shape, data_type=onnx.TensorProto.FLOAT))
        return name

    def reshape(self, x: str, shape: Sequence[int], to: str = "") -> str:
        """Write a Reshape; 0 keeps the size of that axis, -1 takes what is left."""
        return self.add("Reshape", [x, self.integers(shape)], to)

    def transpose(self, x: str, perm: Sequence[int], to: str = "") -> str:
        """Write a Transpose."""
        return self.add("Transpose", [x], to, perm=list(perm))

    def take(self, x: str, axis: int, index: Sequence[int] | int) -> str:
        """Some indices of an axis, which goes where the index is one number."""
        return self.add("Gather", [x, self.integers(index)], axis=axis)

    def kept(self, *names: str) -> dict[str, Any]:
        """Those of the node's attributes that the standard operator has too."""
        return {name: self.attributes[name] for name in names if name in self.attributes}


Write = Callable[[Writer], None]

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


# Attention: q, k and v as [batch, heads, tokens, width].


def _split_heads(w: Writer, x: str, heads: int) -> str:
    """[batch, tokens, heads·width] as [batch, heads, tokens, width]."""
    return w.transpose(w.reshape(x, [0, 0, heads, -1]), [0, 2, 1, 3])


def _attend(w: Writer, q: str, k: str, v: str, heads: int, kv_heads: int) -> None:
    """The two products of attention; heads that share keys become rows of one product."""
    if heads != kv_heads:
        q = w.reshape(q, [0, kv_heads, -1, 0])
    scores = w.add("MatMul", [q, w.transpose(k, [0, 1, 3, 2])], part="/scores")
    mixed = w.add("MatMul", [scores, v], part="/values")
    if heads != kv_heads:
        mixed = w.reshape(mixed, [0, heads, -1, 0])
    w.reshape(w.transpose(mixed, [0, 2, 1, 3]), [0, 0, -1], w.output(0))


def _with_past(w: Writer, past: int, present: int, now: str) -> str:
    """The keys or values of the past and now, one after the other."""
    if w.optional(past) and w.number("past_present_share_buffer", 0):
        return w.add("Identity", [w.input(past)], w.output(present))
    if w.optional(past):
        return w.add("Concat", [w.input(past), now], w.output(present), axis=2)
    return w.add("Identity", [now], w.output(present)) if w.output(present) else now


def _projected_attention(past: int) -> Write:
    """Inputs times one weight that holds the three projections, then attention."""

    def write(w: Writer) -> None:
        heads = w.number("num_heads")
        projected = w.add("MatMul", [w.input(0), w.input(1)])
        widths = list(w.attributes.get("qkv_hidden_sizes", ()))
        if widths:
            ends = [sum(widths[: i + 1]) for i in range(3)]
            starts = [0, *ends[:2]]
            parts = [w.take(projected, 2, range(start, end)) for start, end in zip(starts, ends, strict=True)]
        else:
            thirds = w.reshape(projected, [0, 0, 3, -1])
            parts = [w.take(thirds, 2, i) for i in range(3)]
        q, k, v = (_split_heads(w, part, heads) for part in parts)
        if w.optional(past):
            k, v = (
                w.add("Concat", [w.take(w.input(past), 0, i), now], axis=2) for i, now in enumerate((k, v))
            )
        _attend(w, q, k, v, heads, heads)

    return write


def _multi_head_attention(past: int) -> Write:
    """q, k and v apart, or packed into q (five axes), or k and v packed into k."""

    def write(w: Writer) -> None:
        heads = w.number("num_heads")
        if not w.optional(1):
            q, k, v = (w.transpose(w.take(w.input(0), 3, i), [0, 2, 1, 3]) for i in range(3))
        else:
            q = _split_heads(w, w.input(0), heads)
            if not w.optional(2):
                k, v = (w.transpose(w.take(w.input(1), 3, i), [0, 2, 1, 3]) for i in range(2))
            else:
                k, v = (
                    w.input(i) if w.rank(w.input(i)) == 4 else _split_heads(w, w.input(i), heads)
                    for i in (1, 2)
                )
        k, v = _with_past(w, past, 1, k), _with_past(w, past + 1, 2, v)
        _attend(w, q, k, v, heads, heads)

    return write


def _grouped_query_attention(w: Writer) -> None:
    heads, kv_heads = w.number("num_heads"), w.number("kv_num_heads")
    if w.optional(1):
        q, k, v = (_split_heads(w, w.input(i), count) for i, count in enumerate((heads, kv_heads, kv_heads)))
    else:
        packed = _split_heads(w, w.input(0), heads + 2 * kv_heads)
        ends = (0, heads, heads + kv_heads, heads + 2 * kv_heads)
        q, k, v = (w.take(packed, 1, range(ends[i], ends[i + 1])) for i in range(3))
    k, v = _with_past(w, 3, 1, k), _with_past(w, 4, 2, v)
    _attend(w, q, k, v, heads, kv_heads)


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
    "Attention": _projected_attention(past=4),
    "BiasSplitGelu": _split_gelu,
    "CDist": _distances,
    "DecoderMaskedMultiHeadAttention": _multi_head_attention(past=5),
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
    "GroupQueryAttention": _grouped_query_attention,
    "MatMulBnb4": _packed_weight,
    "MatMulFpQ4": _packed_weight,
    "MatMulInteger16": _standard("MatMul", 0, 1),
    "MatMulIntegerToFloat": _standard("MatMul", 0, 1),
    "MatMulNBits": _packed_weight,
    "MultiHeadAttention": _multi_head_attention(past=6),
    "NhwcConv": _nhwc_conv,
    "NhwcFusedConv": _nhwc_conv,
    "NhwcMaxPool": _channels_last("MaxPool", 0, always=True),
    "QAttention": _projected_attention(past=8),
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
