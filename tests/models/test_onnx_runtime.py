"""Operators of onnxruntime's optimiser: counted as the standard operators that they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

import onnx_files as files  # noqa: E402 - after the check above
from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - after the check above

from dibench import models  # noqa: E402 - after the check above
from dibench.errors import UserError  # noqa: E402 - after the check above
from dibench.layer import Layer  # noqa: E402 - after the check above
from dibench.models.model import Model  # noqa: E402 - after the check above

RUNTIME = "com.microsoft"
BLOCKS = "com.microsoft.nchwc"
Shapes = Mapping[str, Sequence[int]]


def op(name: str, reads: list[str], writes: list[str], domain: str = RUNTIME, **attributes: Any) -> Any:
    return helper.make_node(name, reads, writes, domain=domain, name=writes[0], **attributes)


def load(
    tmp_path: Path, nodes: Sequence[Any], inputs: Shapes, weights: Shapes, tensors: Sequence[Any] = ()
) -> Model:
    """A model that ends in a product with `last`, so that the shape before it must be known."""
    opsets = [helper.make_opsetid(name, version) for name, version in (("", 17), (RUNTIME, 1), (BLOCKS, 1))]
    path = files.save(
        tmp_path / "m.onnx", nodes, [files.value(name, shape) for name, shape in inputs.items()],
        [*(files.weight(name, shape) for name, shape in weights.items()), *tensors], opset_imports=opsets,
    )  # fmt: skip
    return models.load(path)


def last(x: str) -> Any:
    return helper.make_node("MatMul", [x, "last"], ["out"], name="last")


def shapes(model: Model) -> list[Layer]:
    return [layer.renamed("") for layer in model.layers]


X = [2, 5, 8]
Q = ["s", "z"]  # a scale and a zero point
SAME = [
    ("BiasGelu", ["x", "b"]), ("FastGelu", ["x", "b"]), ("Gelu", ["x"]), ("QuickGelu", ["x"]),
    ("SkipLayerNormalization", ["x", "x", "b", "b"]), ("SkipSimplifiedLayerNormalization", ["x", "x", "b"]),
    ("QuantizeLinear", ["x", *Q]), ("DequantizeLinear", ["x", *Q]), ("QLinearLeakyRelu", ["x", *Q, *Q]),
    ("QLinearSigmoid", ["x", *Q, *Q]), ("QLinearSoftmax", ["x", *Q, *Q]), ("BiasSoftmax", ["x", "x"]),
    ("QLinearAdd", ["x", *Q, "x", *Q, *Q]), ("QLinearMul", ["x", *Q, "b", *Q, *Q]),
    ("RotaryEmbedding", ["x", "p", "c", "c"]), ("BiasAdd", ["x", "b", "x"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "reads"), SAME, ids=[one[0] for one in SAME])
def test_operators_without_a_product_keep_the_shape(tmp_path: Path, name: str, reads: list[str]) -> None:
    weights: Shapes = {"b": [8], "last": [8, 3], "s": [], "z": [], "p": [1], "c": [5, 4]}
    model = load(tmp_path, [op(name, reads, ["y"]), last("y")], {"x": X}, weights)
    assert shapes(model) == [Layer.fc(10, 8, 3)]
    assert model.not_covered == ()


FC = Layer.fc(10, 8, 6)
PRODUCTS = [
    ("FusedMatMul", ["x", "w"], [8, 6], {"alpha": 0.5}),
    ("FusedMatMul", ["x", "w"], [6, 8], {"transB": 1}),
    ("TransposeMatMul", ["x", "w"], [6, 8], {"transB": 1}),
    ("MatMulNBits", ["x", "w", "s"], [6, 1, 16], {"K": 8, "N": 6, "bits": 4, "block_size": 32}),
    ("MatMulBnb4", ["x", "w", "s"], [24], {"K": 8, "N": 6, "block_size": 16, "quant_type": 1}),
    ("MatMulIntegerToFloat", ["x", "w", "s", "s"], [8, 6], {}),
    ("DynamicQuantizeMatMul", ["x", "w", "s"], [8, 6], {}),
    ("GemmFastGelu", ["x", "w", "b"], [8, 6], {}),
]


@pytest.mark.parametrize(("name", "reads", "w", "attributes"), PRODUCTS)
def test_products_are_counted_like_the_standard_one(
    tmp_path: Path, name: str, reads: list[str], w: list[int], attributes: dict[str, Any]
) -> None:
    weights: Shapes = {"w": w, "last": [6, 3], "s": [], "b": [6]}
    model = load(tmp_path, [op(name, reads, ["y"], **attributes), last("y")], {"x": X}, weights)
    assert shapes(model) == [FC, Layer.fc(10, 6, 3)]
    assert [layer.name for layer in model.layers] == ["m/y", "m/last"]


GEMMS = [
    ("FusedGemm", ["x", "w"], {"transA": 1, "transB": 1, "activation": "Relu"}),
    ("QGemm", ["x", *Q, "w", *Q], {"transA": 1, "transB": 1}),
]


@pytest.mark.parametrize(("name", "reads", "attributes"), GEMMS, ids=[one[0] for one in GEMMS])
def test_gemms_transpose_as_they_say(
    tmp_path: Path, name: str, reads: list[str], attributes: dict[str, Any]
) -> None:
    weights: Shapes = {"w": [6, 8], "last": [6, 3], "s": [], "z": []}
    model = load(tmp_path, [op(name, reads, ["y"], **attributes), last("y")], {"x": [8, 10]}, weights)
    assert shapes(model) == [FC, Layer.fc(10, 6, 3)]


def test_fused_products_turn_the_first_axis_inwards(tmp_path: Path) -> None:
    """transBatch moves axis 0 before the last: q[7,2,4,16] is 2·4 matrices of 7×16, k[9,2,4,16] of 9×16."""
    nodes = [op("FusedMatMul", ["q", "k"], ["s"], transBatchA=1, transBatchB=1, transB=1), last("s")]
    model = load(tmp_path, nodes, {"q": [7, 2, 4, 16], "k": [9, 2, 4, 16]}, {"last": [9, 3]})
    assert [part.macs for part in model.not_covered] == [2 * 4 * 7 * 9 * 16]
    assert shapes(model) == [Layer.fc(2 * 4 * 7, 9, 3)]


def test_fused_and_quantised_convolutions(tmp_path: Path) -> None:
    window: dict[str, Any] = {"pads": [1, 1, 1, 1], "strides": [2, 2], "kernel_shape": [3, 3]}
    conv = Layer(N=2, C=4, H=9, W=9, K=6, R=3, S=3, pad_h=1, pad_w=1, stride_h=2, stride_w=2)
    weights: Shapes = {"w": [6, 4, 3, 3], "b": [6], "s": [], "z": [], "o": [6, 3, 3, 4]}
    images, rows = [2, 4, 9, 9], [2, 9, 9, 4]
    quantised = ["x", *Q, "w", *Q, *Q]
    cases = [
        (images, op("FusedConv", ["x", "w", "b"], ["y"], activation="Relu", **window), None),
        (images, op("QLinearConv", quantised, ["y"], channels_last=0, **window), None),
        (rows, op("QLinearConv", quantised, ["y"], channels_last=1, **window), "last channels"),
        (rows, op("NhwcFusedConv", ["x", "o", "b"], ["y"], activation="Relu", **window), "last channels"),
    ]
    for x, made, layout in cases:
        rows_of, width = (2 * 5 * 5, 6) if layout else (2 * 6 * 5, 5)
        found = shapes(load(tmp_path, [made, last("y")], {"x": x}, {**weights, "last": [width, 3]}))
        assert found == [conv, Layer.fc(rows_of, width, 3)]


def test_quantised_pools_joins_and_means(tmp_path: Path) -> None:
    nodes = [
        op("QLinearAveragePool", ["x", *Q, *Q], ["a"], kernel_shape=[2, 2], strides=[2, 2]),
        op("QLinearConcat", [*Q, "a", *Q, "a", *Q], ["c"], axis=1),
        op("QLinearGlobalAveragePool", ["c", *Q, *Q], ["g"], channels_last=0),
        helper.make_node("Flatten", ["g"], ["f"]),
        last("f"),
    ]
    model = load(tmp_path, nodes, {"x": [2, 4, 8, 8]}, {"last": [8, 3], "s": [], "z": []})
    assert shapes(model) == [Layer.fc(2, 8, 3)]


def test_tables_of_rows_and_distances(tmp_path: Path) -> None:
    nodes = [
        op("GatherBlockQuantized", ["table", "at", "s"], ["x"], bits=4, block_size=32), last("x"),
        op("CDist", ["out", "points"], ["d"], metric="euclidean"),
    ]  # fmt: skip
    at = helper.make_tensor("at", TensorProto.INT64, [5], range(5))
    weights: Shapes = {"table": [50, 4], "s": [50, 1], "last": [8, 3], "points": [20, 3]}
    model = load(
        tmp_path, [helper.make_node("Identity", ["at"], ["i"]), *nodes], {"unused": [1]}, weights, [at]
    )
    assert (model.layers, model.macs_known) == ((), 0)  # rows of a constant: all is known before any input
    inputs: Shapes = {"at": [5]}
    model = load(tmp_path, nodes, inputs, weights)
    assert shapes(model) == [Layer.fc(5, 8, 3), Layer.fc(5, 3, 20)]


# Attention: 2 sequences of 5 tokens, 4 heads of 2, so 8 wide.

SCORES = 2 * 4 * 5 * 5 * 2


PACKED = [
    # 128 or 100 inputs of 64 outputs in groups of 32, at this many bits, with zero points or not.
    (128, 4, True), (128, 8, False), (128, 2, True), (100, 4, False),
]  # fmt: skip


@pytest.mark.parametrize(("inputs", "bits", "zeros"), PACKED)
def test_packed_weights_are_as_many_parameters_as_they_were(
    tmp_path: Path, inputs: int, bits: int, zeros: bool
) -> None:
    """Scales and zero points are none: the file has as many as the one that it was made from."""
    blob = onnx.TensorProto(name="q", dims=[64, 4, 4 * bits], data_type=TensorProto.UINT8)
    zero = onnx.TensorProto(name="z", dims=[32 * bits], data_type=TensorProto.UINT8)
    reads = ["x", "q", "s"] + ["z"] * zeros
    nodes = [
        op("MatMulNBits", reads, ["a"], K=inputs, N=64, bits=bits, block_size=32),
        helper.make_node("Add", ["a", "b"], ["h"]), last("h"),
    ]  # fmt: skip
    weights: Shapes = {"s": [256], "b": [64], "last": [64, 8]}
    model = load(tmp_path, nodes, {"x": [3, inputs]}, weights, [blob, *[zero] * zeros])
    assert model.weights == inputs * 64 + 64 * 8
    assert model.parameters == model.weights + 64


@pytest.mark.parametrize(("kind", "columns"), [(TensorProto.UINT8, 32), (TensorProto.UINT4, 64)])
def test_a_table_of_four_bits_has_its_rows_and_parameters(tmp_path: Path, kind: int, columns: int) -> None:
    table = onnx.TensorProto(name="q", dims=[100, columns], data_type=kind)
    nodes = [op("GatherBlockQuantized", ["q", "i", "s"], ["x"], bits=4, block_size=16), last("x")]
    weights: Shapes = {"s": [100, 4], "last": [64, 8]}
    model = load(tmp_path, nodes, {"i": [5]}, weights, [table])
    assert shapes(model) == [Layer.fc(5, 64, 8)]
    assert model.parameters == 100 * 64 + 64 * 8


@pytest.mark.parametrize("past", [0, 11])
def test_attention_with_its_projection(tmp_path: Path, past: int) -> None:
    """The three projections are one weight; the two products of attention read the past too."""
    reads = ["x", "w", "b", "", "past"] if past else ["x", "w", "b"]
    inputs: Shapes = {"x": X, "past": [2, 2, 4, past, 2]} if past else {"x": X}
    weights: Shapes = {"w": [8, 24], "b": [24], "last": [8, 3]}
    model = load(tmp_path, [op("Attention", reads, ["y"], num_heads=4), last("y")], inputs, weights)
    assert shapes(model) == [Layer.fc(10, 8, 24), Layer.fc(10, 8, 3)]
    assert [part.macs for part in model.not_covered] == [2 * 4 * 5 * (5 + past) * 2] * 2
    assert [part.name for part in model.not_covered] == ["m/y/scores", "m/y/values"]


def test_attention_with_values_of_another_width(tmp_path: Path) -> None:
    made = op("Attention", ["x", "w", "b"], ["y"], num_heads=4, qkv_hidden_sizes=[8, 8, 12])
    model = load(tmp_path, [made, last("y")], {"x": X}, {"w": [8, 28], "b": [28], "last": [12, 3]})
    assert shapes(model) == [Layer.fc(10, 8, 28), Layer.fc(10, 12, 3)]
    assert [part.macs for part in model.not_covered] == [SCORES, 2 * 4 * 5 * 5 * 3]


def test_quantised_attention(tmp_path: Path) -> None:
    made = op("QAttention", ["x", "w", "b", "s", "s", "", "z", "z"], ["y"], num_heads=4)
    weights: Shapes = {"w": [8, 24], "b": [24], "s": [], "z": [], "last": [8, 3]}
    model = load(tmp_path, [made, last("y")], {"x": X}, weights)
    assert shapes(model) == [Layer.fc(10, 8, 24), Layer.fc(10, 8, 3)]
    assert [part.macs for part in model.not_covered] == [SCORES] * 2


HEADS = {"past": [2, 4, 11, 2]}
MULTI_HEAD = [
    # inputs, their shapes, keys
    (["q", "k", "v"], {"q": X, "k": [2, 7, 8], "v": [2, 7, 8]}, 7),
    (["q", "k", "v"], {"q": X, "k": [2, 4, 7, 2], "v": [2, 4, 7, 2]}, 7),
    (["q", "k"], {"q": X, "k": [2, 7, 4, 2, 2]}, 7),
    (["q"], {"q": [2, 5, 4, 3, 2]}, 5),
    (["q", "k", "v", "", "", "", "past", "past"], {"q": X, "k": X, "v": X, **HEADS}, 16),
]


@pytest.mark.parametrize(("reads", "inputs", "keys"), MULTI_HEAD)
def test_attention_of_many_heads(tmp_path: Path, reads: list[str], inputs: Shapes, keys: int) -> None:
    made = op("MultiHeadAttention", reads, ["y", "pk", "pv"], num_heads=4)
    model = load(tmp_path, [made, last("y")], inputs, {"last": [8, 3]})
    assert shapes(model) == [Layer.fc(10, 8, 3)]
    assert [part.macs for part in model.not_covered] == [2 * 4 * 5 * keys * 2] * 2


@pytest.mark.parametrize("packed", [False, True])
def test_heads_that_share_keys(tmp_path: Path, packed: bool) -> None:
    """Eight heads of 2 read the keys of two: every head still meets every key."""
    past: Shapes = {"pk": [2, 2, 11, 2], "pv": [2, 2, 11, 2]}
    apart: Shapes = {"q": [2, 5, 16], "k": [2, 5, 4], "v": [2, 5, 4]}
    inputs: Shapes = {"q": [2, 5, 24], **past} if packed else {**apart, **past}
    reads = ["q", "", "", "pk", "pv"] if packed else ["q", "k", "v", "pk", "pv"]
    made = op("GroupQueryAttention", reads, ["y", "nk", "nv"], num_heads=8, kv_num_heads=2)
    model = load(tmp_path, [made, last("y")], inputs, {"last": [16, 3]})
    assert shapes(model) == [Layer.fc(10, 16, 3)]
    assert [part.macs for part in model.not_covered] == [2 * 8 * 5 * 16 * 2] * 2


def test_both_products_of_many_heads_have_their_elements(tmp_path: Path) -> None:
    """Two sequences of 10 tokens, four heads of 16: as `nn.MultiheadAttention` has them."""
    x = [2, 10, 64]
    made = op("MultiHeadAttention", ["q", "k", "v"], ["y"], num_heads=4)
    scores, mixed = load(tmp_path, [made], {"q": x, "k": x, "v": x}, {}).not_covered
    assert (scores.operands, scores.outputs) == ((1280, 1280), 800)
    assert (mixed.operands, mixed.outputs) == ((800, 1280), 1280)
    shared = op("GroupQueryAttention", ["q", "k", "v"], ["y"], num_heads=8, kv_num_heads=2)
    few = [1, 10, 128]
    scores, mixed = load(tmp_path, [shared], {"q": [1, 10, 512], "k": few, "v": few}, {}).not_covered
    assert (scores.operands, scores.outputs) == ((5120, 1280), 800)
    assert (mixed.operands, mixed.outputs) == ((800, 1280), 5120)


def test_experts_are_counted_and_not_covered(tmp_path: Path) -> None:
    """Each of 10 tokens goes through 2 of 4 experts: 8·16 and 16·8."""
    made = op("MoE", ["x", "r", "up", "", "down"], ["y"], k=2)
    weights: Shapes = {"up": [4, 8, 16], "down": [4, 16, 8]}
    (part,) = load(tmp_path, [made], {"x": X, "r": [10, 4]}, weights).not_covered
    assert (part.op, part.macs) == ("MoE", 10 * 2 * (128 + 128))


@pytest.mark.parametrize(("options", "per_byte"), [({}, 2), ({"expert_weight_bits": 8}, 1)])
def test_quantised_experts_have_the_counts_of_others(
    tmp_path: Path, options: dict[str, Any], per_byte: int
) -> None:
    """As above, with weights of 4 bits, which is the default, or of 8; what follows has a known shape."""
    reads = ["x", "r", "up", "su", "", "down", "sd"]
    made = op("QMoE", reads, ["y"], k=2, **options)
    weights: Shapes = {
        "up": [4, 8, 16 // per_byte], "down": [4, 16, 8 // per_byte], "su": [4, 8], "sd": [4, 16],
        "last": [8, 3],
    }  # fmt: skip
    model = load(tmp_path, [made, last("y")], {"x": X, "r": [10, 4]}, weights)
    assert [part.macs for part in model.not_covered] == [10 * 2 * (128 + 128)]
    assert shapes(model) == [Layer.fc(10, 8, 3)]
    assert model.parameters == 4 * (128 + 128) + 8 * 3


LISTED: list[tuple[str, list[str], Shapes, list[Layer]]] = [
    ("PackedMultiHeadAttention", ["q", "q", "q", "", "o", "e"], {"q": [20, 8], "o": [2, 9], "e": [3]}, []),
    ("PackedMultiHeadAttention", ["q", *[""] * 3, "o", "e"], {"q": [20, 4, 3, 2], "o": [2], "e": [3]}, []),
    ("PackedAttention", ["q", "w", "b", "o", "e"], {"q": [20, 16], "o": [2, 9], "e": [3]},
     [Layer.fc(20, 16, 24)]),
    ("PagedAttention", ["q", "q", "q", "c", "c"], {"q": [20, 8], "c": [6, 16, 4, 2]}, []),
]  # fmt: skip


@pytest.mark.parametrize(("name", "reads", "inputs", "projections"), LISTED)
def test_attention_over_lengths_that_data_says_is_listed_and_passed(
    tmp_path: Path, name: str, reads: list[str], inputs: Shapes, projections: list[Layer]
) -> None:
    nodes = [op(name, reads, ["y"], num_heads=4), last("y")]
    model = load(tmp_path, nodes, inputs, {"w": [16, 24], "b": [24], "last": [8, 3]})
    assert shapes(model) == [*projections, Layer.fc(20, 8, 3)]
    assert [(part.op, part.macs) for part in model.not_covered] == [(name, None)]


# Channels in blocks.


def blocked(name: str, filters: int, channels: int, taps: int, block: int, *, of_blocks: bool) -> Any:
    """Filters as onnxruntime reorders them: [k/block][c][r][s][block], with zeros at the end."""
    padded = -(-filters // block) * block
    stored = -(-channels // block) * block if of_blocks else channels
    values = np.zeros((padded // block, stored * taps * taps, block), "float32")
    values.reshape(-1)[:] = np.arange(1, values.size + 1)
    values[-1, :, block - (padded - filters) :] = 0
    return numpy_helper.from_array(values.reshape(padded, stored, taps, taps), name)


@pytest.mark.parametrize("block", [8, 16])
def test_channels_in_blocks_are_those_before_they_were_padded(tmp_path: Path, block: int) -> None:
    """In blocks of 16, 20 filters, 24 (depthwise too) and 12 are stored as 32, 32 and 16."""
    padded = -(-24 // block) * block
    nodes = [
        op("Conv", ["x", "a"], ["1"], BLOCKS, pads=[1] * 4, activation="Relu"),
        op("Conv", ["1", "b"], ["2"], BLOCKS),
        op("Conv", ["2", "c"], ["3"], BLOCKS, pads=[1] * 4, group=padded),
        op("MaxPool", ["3"], ["4"], BLOCKS, kernel_shape=[2, 2], strides=[2, 2]),
        op("Upsample", ["4"], ["5"], BLOCKS, scales=[1, 1, 2, 2]),
        op("Conv", ["5", "d"], ["6"], BLOCKS),
        op("GlobalAveragePool", ["6"], ["7"], BLOCKS),
        op("ReorderOutput", ["7"], ["8"], BLOCKS, channels=12),
        helper.make_node("Flatten", ["8"], ["9"]),
        last("9"),
    ]
    filters = [
        blocked("a", 20, 3, 3, block, of_blocks=False), blocked("b", 24, 20, 1, block, of_blocks=True),
        blocked("c", 24, 1, 3, block, of_blocks=False), blocked("d", 12, 24, 1, block, of_blocks=True),
    ]  # fmt: skip
    model = load(tmp_path, nodes, {"x": [1, 3, 8, 8]}, {"last": [12, 3]}, filters)
    plain: Any = {"N": 1, "H": 8, "W": 8}
    assert shapes(model) == [
        Layer(**plain, C=3, K=20, R=3, S=3, pad_h=1, pad_w=1),
        Layer(**plain, C=20, K=24, R=1, S=1),
        Layer(**plain, C=24, K=24, R=3, S=3, pad_h=1, pad_w=1, groups=24),
        Layer(**plain, C=24, K=12, R=1, S=1),
        Layer.fc(1, 12, 3),
    ]


def test_channels_in_blocks_with_weights_elsewhere_are_refused(tmp_path: Path) -> None:
    nodes = [op("Conv", ["x", "w"], ["y"], BLOCKS)]
    with pytest.raises(
        UserError, match=r"node y: has channels in blocks and its weights outside of the file"
    ):
        load(tmp_path, nodes, {"x": [1, 3, 8, 8]}, {"w": [16, 3, 3, 3]})


def test_an_operator_that_lacks_what_it_needs_is_listed(tmp_path: Path) -> None:
    model = load(tmp_path, [op("MultiHeadAttention", ["x"], ["y"])], {"x": X}, {})
    assert [(part.op, part.macs) for part in model.not_covered] == [("MultiHeadAttention", None)]
