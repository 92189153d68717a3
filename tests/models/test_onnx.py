"""ONNX files as models: every product counted or listed, at any batch and size, weights never touched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip("onnx")

import onnx_files as files  # noqa: E402 - after the check above
from onnx import TensorProto, helper  # noqa: E402 - after the check above

from dibench import models, networks  # noqa: E402 - after the check above
from dibench.layer import Layer  # noqa: E402 - after the check above
from dibench.models import onnx as from_onnx  # noqa: E402 - after the check above

node = helper.make_node


def only(path: Path, **options: Any) -> Layer:
    model = models.load(path, **options)
    assert not model.not_covered
    (layer,) = model.layers
    return layer


@pytest.mark.parametrize("network", ["alexnet", "mobilenet_v2", "inception_v4", "nasnet_a_mobile"])
@pytest.mark.parametrize("weights", [False, True], ids=["without weights", "with weights"])
def test_a_network_from_onnx_is_its_table(tmp_path: Path, network: str, weights: bool) -> None:
    layers = networks.load(network)
    model = models.load(files.from_table(tmp_path / f"{network}.onnx", layers, weights=weights))
    assert model.layers == layers
    assert model.not_covered == ()
    if weights:
        assert model.parameters == sum(layer.weights for layer in layers)


def test_a_graph_with_branches_takes_its_open_sizes_from_the_options(tmp_path: Path) -> None:
    path = files.residual(tmp_path / "net.onnx")
    model = models.load(path, shapes={"x": "4,3,33,31"})
    by_name = {layer.name.partition("/")[2]: layer for layer in model.layers}
    assert by_name["stem"].shape == Layer(
        N=4, C=3, H=33, W=31, K=8, R=3, S=3, stride_h=2, stride_w=2, pad_h=1, pad_w=1
    ).shape  # fmt: skip
    assert (by_name["left"].op, by_name["left"].P, by_name["left"].Q) == ("grouped", 17, 16)
    assert by_name["right"].op == "pointwise"
    assert by_name["fc"].shape == Layer.fc(N=4, C=8, K=10).shape
    assert model.parameters == 216 + 288 + 64 + 80 + 10
    assert models.load(path, batch=2, shapes={"": "2,3,32,32"}).batch == 2


def test_a_shape_that_the_graph_computes_is_computed(tmp_path: Path) -> None:
    """As PyTorch exports attention: heads split by integers that ONNX's own inference does not follow."""
    integers = [
        helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        for name, values in (("zero", [0]), ("one", [1]), ("last", [2]), ("heads", [4]))
    ]
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]), node("Gather", ["s", "one"], ["t"]),
        node("Gather", ["s", "last"], ["c"]), node("Div", ["c", "heads"], ["d"]),
        node("ConstantOfShape", ["one"], ["any"], value=integers[0]),
        node("Equal", ["any", "zero"], ["same"]),
        node("Where", ["same", "heads", "zero"], ["h"]),
        node("Concat", ["n", "t", "h", "d"], ["to"], axis=0),
        node("Reshape", ["x", "to"], ["r"]),
        node("Transpose", ["r"], ["q"], perm=[0, 2, 1, 3]),
        node("Transpose", ["r"], ["k"], perm=[0, 2, 3, 1]),
        node("MatMul", ["q", "k"], ["scores"]),
    ]  # fmt: skip
    path = files.save(tmp_path / "h.onnx", nodes, [files.value("x", ["N", "T", 32])], integers)
    model = models.load(path, shapes={"x": "2,7,32"})
    (part,) = model.not_covered
    assert part.macs == 2 * 4 * 7 * 7 * 8
    assert model.parameters is None  # sizes are none


def test_a_layer_is_named_by_its_weight_where_a_module_named_it(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "layer1.0.conv1.weight"], ["a"], name="node_Conv_904"),
        node("Conv", ["a", "onnx::Conv_497"], ["b"], name="/layer1/conv2/Conv"),
        node("Conv", ["b", "w"], ["c"]),
    ]
    weights = [
        files.weight(name, [3, 3, 1, 1]) for name in ("layer1.0.conv1.weight", "onnx::Conv_497", "w")
    ]  # fmt: skip
    model = models.load(files.save(tmp_path / "m.onnx", nodes, [files.value("x", [1, 3, 4, 4])], weights))
    assert [layer.name for layer in model.layers] == ["m/layer1.0.conv1", "m/layer1/conv2/Conv", "m/c"]


def test_padding_before_and_after_may_differ(tmp_path: Path) -> None:
    weights = [files.weight("w", [4, 3, 3, 3])]
    even = [files.value("x", [1, 3, 8, 8])]
    upper = only(
        files.save(
            tmp_path / "u.onnx", [node("Conv", ["x", "w"], ["y"], strides=[2, 2], auto_pad="SAME_UPPER")],
            even, weights,
        )
    )  # fmt: skip
    lower = only(
        files.save(
            tmp_path / "l.onnx", [node("Conv", ["x", "w"], ["y"], strides=[2, 2], auto_pad="SAME_LOWER")],
            even, weights,
        )
    )  # fmt: skip
    assert (upper.pad_h, upper.P, lower.pad_h, lower.P) == (0, 4, 1, 4)
    explicit = only(
        files.save(tmp_path / "e.onnx", [node("Conv", ["x", "w"], ["y"], pads=[2, 0, 0, 1])], even, weights)
    )
    assert (explicit.pad_h, explicit.pad_w, explicit.P, explicit.Q) == (2, 0, 8, 7)
    assert explicit.macs == 4 * 8 * 7 * 3 * 9


LINEAR = [
    # operator, inputs (name, shape), weights, attributes, expected layer
    ("MatMul", [("x", [2, 5, 7, 16])], [("w", [16, 24])], {}, Layer.fc(N=70, C=16, K=24)),
    ("MatMul", [("x", [3, 16, 9])], [("w", [24, 16])], {"order": "wx"}, Layer.fc(N=27, C=16, K=24)),
    ("MatMul", [("x", [16])], [("w", [16, 24])], {}, Layer.fc(N=1, C=16, K=24)),
    ("Gemm", [("x", [16, 3])], [("w", [24, 16])], {"transA": 1, "transB": 1}, Layer.fc(N=3, C=16, K=24)),
    (
        "MatMul", [("x", [4, 5, 16])], [("w", [4, 16, 24])], {},
        Layer(N=5, C=64, H=1, W=1, K=96, R=1, S=1, groups=4),
    ),
    ("MatMul", [("x", [5, 16])], [("w", [4, 16, 24])], {}, Layer.fc(N=5, C=16, K=96)),
    ("Einsum", [("x", [2, 5, 16])], [("w", [16, 4, 6])], {"equation": "bnc,chd->bnhd"}, Layer.fc(10, 16, 24)),
    (
        "Einsum", [("x", [2, 4, 5, 16])], [("w", [4, 16, 24])], {"equation": "bhnc,hcd->bhnd"},
        Layer(N=10, C=64, H=1, W=1, K=96, R=1, S=1, groups=4),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("op", "inputs", "weights", "attributes", "expected"), LINEAR)
def test_a_product_with_weights_is_the_layer_with_its_counts(
    tmp_path: Path,
    op: str,
    inputs: Sequence[tuple[str, list[int]]],
    weights: Sequence[tuple[str, list[int]]],
    attributes: dict[str, Any],
    expected: Layer,
) -> None:
    order = attributes.pop("order", "xw") if "order" in attributes else "xw"
    path = files.save(
        tmp_path / "p.onnx",
        [node(op, list(order), ["y"], **attributes)],
        [files.value(name, shape) for name, shape in inputs],
        [files.weight(name, shape) for name, shape in weights],
    )
    layer = only(path)
    assert layer.shape == expected.shape
    assert layer.weights == math.prod(weights[0][1])
    if expected.groups == 1:
        assert layer.inputs == math.prod(inputs[0][1])


def quantised(tmp_path: Path) -> Path:
    small = [
        helper.make_tensor(name, TensorProto.FLOAT if name.endswith("s") else TensorProto.INT8, [], [1])
        for name in ("xs", "xz", "ws", "wz", "ys", "yz")
    ]
    w = onnx.TensorProto(name="w", dims=[8, 3, 3, 3], data_type=TensorProto.INT8)
    v = onnx.TensorProto(name="v", dims=[6, 5], data_type=TensorProto.INT8)
    nodes = [
        node("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"]),
        node("ConvInteger", ["x", "w"], ["z"]),
        node("QLinearMatMul", ["y", "xs", "xz", "v", "ws", "wz", "ys", "yz"], ["u"]),
        node("MatMulInteger", ["y", "v"], ["t"]),
    ]
    return files.save(
        tmp_path / "q.onnx", nodes, [files.value("x", [1, 3, 8, 8], TensorProto.INT8)], [*small, w, v]
    )


def test_quantised_operators_are_counted_like_the_others(tmp_path: Path) -> None:
    model = models.load(quantised(tmp_path))
    conv = Layer(N=1, C=3, H=8, W=8, K=8, R=3, S=3)
    fc = Layer.fc(N=48, C=6, K=5)
    assert [layer.shape for layer in model.layers] == [conv.shape, conv.shape, fc.shape, fc.shape]


def test_a_weight_is_known_behind_what_only_changes_its_form(tmp_path: Path) -> None:
    scale = [
        helper.make_tensor("s", TensorProto.FLOAT, [], [1.0]),
        helper.make_tensor("z", TensorProto.INT8, [], [0]),
    ]
    w = onnx.TensorProto(name="w", dims=[24, 16], data_type=TensorProto.INT8)
    nodes = [
        node("DequantizeLinear", ["w", "s", "z"], ["wf"]),
        node("Transpose", ["wf"], ["wt"], perm=[1, 0]),
        node("MatMul", ["x", "wt"], ["y"]),
    ]
    path = files.save(tmp_path / "d.onnx", nodes, [files.value("x", [2, 16])], [*scale, w])
    assert only(path).shape == Layer.fc(N=2, C=16, K=24).shape


def test_a_file_whose_weights_were_cut_out_is_read_from_the_shapes_it_tells(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "gone"], ["y"], kernel_shape=[3, 3], group=2), node("Relu", ["y"], ["z"])]
    path = files.save(
        tmp_path / "cut.onnx", nodes, [files.value("x", [1, 4, 8, 8])],
        value_info=[files.value("y", [1, 6, 6, 6])],
    )  # fmt: skip
    assert only(path).shape == Layer(N=1, C=4, H=8, W=8, K=6, R=3, S=3, groups=2).shape


UNCOVERED = [
    ("Conv", ["x", "w"], [1, 2, 4, 4, 4], [3, 2, 3, 3, 3], 3 * 8 * 54, "3-D convolution"),
    ("MatMul", ["x", "x"], [2, 5, 5], [1], 2 * 125, "product of two activations, no weight"),
    ("Einsum", ["x", "x"], [4, 5], [1], 80, "product of two activations, no weight"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "reads", "x", "w", "macs", "reason"), UNCOVERED)
def test_what_is_no_layer_is_listed_with_its_macs(
    tmp_path: Path, op: str, reads: list[str], x: list[int], w: list[int], macs: int, reason: str
) -> None:
    attributes = {"equation": "ik,jk->ij"} if op == "Einsum" else {}
    path = files.save(
        tmp_path / "u.onnx", [node(op, reads, ["y"], name="it", **attributes)], [files.value("x", x)],
        [files.weight("w", w)],
    )  # fmt: skip
    model = models.load(path)
    (part,) = model.not_covered
    assert (model.layers, part.name, part.op, part.reason, part.macs) == ((), "u/it", op, reason, macs)


def test_attention_and_graphs_inside_nodes_are_listed(tmp_path: Path) -> None:
    then, other = (
        helper.make_graph(
            [node("MatMul", ["q", "w"], [f"y{name}"])], name, [], [files.value(f"y{name}", None)]
        )
        for name in ("then", "else")
    )
    nodes = [
        node("Attention", ["q", "q", "q"], ["a"], name="attention", q_num_heads=2, kv_num_heads=2),
        node("If", ["c"], ["y"], name="if", then_branch=then, else_branch=other),
    ]
    inputs = [files.value("q", [2, 6, 8]), files.value("c", [], TensorProto.BOOL)]
    path = files.save(
        tmp_path / "r.onnx", nodes, inputs, [files.weight("w", [8, 4])],
        opset_imports=[helper.make_opsetid("", 23)],
    )  # fmt: skip
    model = models.load(path)
    macs = {part.op: part.macs for part in model.not_covered}
    assert model.layers == ()
    assert macs["Attention"] == 2 * 2 * 6 * 6 * (4 + 4)
    branches = [part for part in model.not_covered if part.op == "MatMul"]
    assert [part.macs for part in branches] == [2 * 6 * 8 * 4] * 2
    assert all("inside If" in part.reason for part in branches)


def test_the_models_own_functions_are_looked_into(tmp_path: Path) -> None:
    function = helper.make_function(
        "mine", "Block", ["x", "w"], ["y"],
        [node("MatMul", ["x", "w"], ["m"], name="inner"), node("Relu", ["m"], ["y"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    nodes = [
        node("Block", ["x", "w"], ["a"], domain="mine"), node("Block", ["a", "w"], ["b"], domain="mine"),
    ]  # fmt: skip
    path = files.save(
        tmp_path / "f.onnx", nodes, [files.value("x", [3, 8])], [files.weight("w", [8, 8])],
        functions=[function], opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)],
    )  # fmt: skip
    model = models.load(path)
    assert [layer.shape for layer in model.layers] == [Layer.fc(N=3, C=8, K=8).shape] * 2
    assert model.not_covered == ()


def test_an_operator_outside_the_standard_is_listed_as_unknown(tmp_path: Path) -> None:
    nodes = [node("Magic", ["x"], ["m"], name="magic", domain="acme"), node("MatMul", ["m", "w"], ["y"])]
    path = files.save(
        tmp_path / "m.onnx", nodes, [files.value("x", [2, 8])], [files.weight("w", [8, 4])],
        value_info=[files.value("m", [2, 8])],
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)],
    )  # fmt: skip
    model = models.load(path)
    assert [layer.op for layer in model.layers] == ["fc"]
    (part,) = model.not_covered
    assert (part.op, part.macs) == ("Magic", None)
    assert "unknown operator of acme" in part.reason


def test_sizes_that_depend_on_data_are_listed_not_guessed(tmp_path: Path) -> None:
    nodes = [
        node("NonZero", ["x"], ["i"]),
        node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        node("Transpose", ["f"], ["t"], perm=[1, 0]),
        node("MatMul", ["t", "w"], ["y"], name="late"),
    ]
    path = files.save(tmp_path / "n.onnx", nodes, [files.value("x", [3, 4])], [files.weight("w", [2, 5])])
    (part,) = models.load(path).not_covered
    assert (part.name, part.macs, part.reason) == ("n/late", None, "its shape depends on data")


def test_a_fixed_batch_in_the_file_can_be_changed(tmp_path: Path) -> None:
    path = files.save(
        tmp_path / "b.onnx",
        [node("Conv", ["x", "w"], ["y"]), node("Relu", ["y"], ["z"])],
        [files.value("x", [1, 3, 8, 8])],
        [files.weight("w", [4, 3, 3, 3])],
        value_info=[files.value("y", [1, 4, 6, 6])],
    )
    assert only(path).N == 1
    assert only(path, batch=32).shape == Layer(N=32, C=3, H=8, W=8, K=4, R=3, S=3).shape
    assert only(path, shapes={"x": "2,3,20,9"}).P == 18


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads its memory from Linux's /proc")
def test_external_weights_of_gigabytes_are_not_loaded(tmp_path: Path) -> None:
    """Weights of 2 GB beside the file, as a hole that takes no disk."""
    path = files.with_external_weights(tmp_path / "huge.onnx", C=2**15, K=2**14)
    assert (tmp_path / "huge.bin").stat().st_size == 2**31
    from_onnx._reader().close()  # its peak is this file's
    assert only(path).shape == Layer.fc(N=1, C=2**15, K=2**14).shape
    process = from_onnx._reader()._process
    assert process is not None
    status = Path(f"/proc/{process.pid}/status").read_text()
    peak_kb = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    assert peak_kb < 300_000
