"""Counts of ONNX graphs that are easily wrong: each right value is derived by hand beside its test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip("onnx")

import onnx_files as files  # noqa: E402 - after the check above
from onnx import TensorProto, helper  # noqa: E402 - after the check above

from dibench import models  # noqa: E402 - after the check above
from dibench.errors import UserError  # noqa: E402 - after the check above
from dibench.layer import Layer  # noqa: E402 - after the check above
from dibench.models.model import Model  # noqa: E402 - after the check above

node = helper.make_node
Shapes = Mapping[str, Sequence[Any]]


def integers(name: str, values: Sequence[int]) -> Any:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def load(
    tmp_path: Path, nodes: Sequence[Any], inputs: Shapes, weights: Shapes | None = None,
    tensors: Sequence[Any] = (), opset: int = 18, options: dict[str, Any] | None = None, **more: Any,
) -> Model:  # fmt: skip
    filled = [files.weight(name, shape) for name, shape in (weights or {}).items()]
    imports = more.pop("opset_imports", [helper.make_opsetid("", opset)])
    path = files.save(
        tmp_path / "m.onnx", nodes, [files.value(name, shape) for name, shape in inputs.items()],
        [*filled, *tensors], opset_imports=imports, **more,
    )  # fmt: skip
    return models.load(path, **(options or {}))


def shapes(model: Model) -> list[Layer]:
    return [layer.renamed("") for layer in model.layers]


def macs_not_covered(model: Model) -> list[int | None]:
    return [part.macs for part in model.not_covered]


# What is a weight.


def test_the_past_of_attention_is_attended_to(tmp_path: Path) -> None:
    """One query of 8 heads meets 127 keys of the past and its own, each 64 wide, and values as many."""
    now, past = [1, 8, 1, 64], [1, 8, 127, 64]
    model = load(
        tmp_path, [node("Attention", ["q", "k", "v", "", "pk", "pv"], ["y"])],
        {"q": now, "k": now, "v": now, "pk": past, "pv": past}, opset=23,
    )  # fmt: skip
    assert (model.layers, macs_not_covered(model)) == ((), [8 * 1 * 128 * (64 + 64)])


def test_weights_in_constant_nodes_and_sparse_ones_are_parameters(tmp_path: Path) -> None:
    w = files.weight("", [16, 24])
    nonzero = helper.make_tensor("v", TensorProto.FLOAT, [2], [1.0, 2.0])
    sparse = helper.make_sparse_tensor(nonzero, integers("i", [3, 50]), [24, 8])
    nodes = [
        node("Constant", [], ["w"], value=w), node("Constant", [], ["scale"], value_float=0.5),
        node("Constant", [], ["to"], value_ints=[4, 8]), node("Constant", [], ["b"], value_floats=[1.0] * 8),
        node("MatMul", ["x", "w"], ["a"]), node("MatMul", ["a", "v"], ["c"]), node("Add", ["c", "b"], ["y"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [files.value("x", [4, 16])], [files.value("y", None)], sparse_initializer=[sparse]
    )
    path = tmp_path / "m.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    path.write_bytes(model.SerializeToString())
    found = models.load(path)
    assert shapes(found) == [Layer.fc(N=4, C=16, K=24), Layer.fc(N=4, C=24, K=8)]
    assert found.parameters == 16 * 24 + 24 * 8 + 8  # neither the scale nor the sizes


def test_a_product_of_weights_is_computed_once_and_no_layer(tmp_path: Path) -> None:
    """As a low-rank update of a weight is written: w + a·b, applied to x."""
    nodes = [
        node("MatMul", ["a", "b"], ["ab"]), node("Add", ["w", "ab"], ["w2"]),
        node("MatMul", ["x", "w2"], ["y"]),
    ]  # fmt: skip
    model = load(tmp_path, nodes, {"x": [8, 64]}, {"a": [64, 4], "b": [4, 32], "w": [64, 32]})
    assert shapes(model) == [Layer.fc(N=8, C=64, K=32)]
    assert model.macs_known == 8 * 64 * 32


def test_queries_expanded_to_the_batch_are_what_their_weight_is_applied_to(tmp_path: Path) -> None:
    """Sixteen learned queries for each of 8 images: 128 rows of 64, times 64×64."""
    nodes = [
        node("Shape", ["x"], ["n"], start=0, end=1), node("Concat", ["n", "rest"], ["to"], axis=0),
        node("Expand", ["queries", "to"], ["q"]), node("MatMul", ["q", "w"], ["y"]),
    ]  # fmt: skip
    model = load(
        tmp_path, nodes, {"x": ["N", 10, 64]}, {"queries": [1, 16, 64], "w": [64, 64]},
        [integers("rest", [16, 64])], options={"batch": 8},
    )  # fmt: skip
    assert shapes(model) == [Layer.fc(N=8 * 16, C=64, K=64)]
    assert model.macs == 524_288


@pytest.mark.parametrize("op", ["Expand", "Tile"])
@pytest.mark.parametrize("form", ["at once", "transposed after", "under a cast, twice"])
def test_a_weight_that_is_copied_for_the_batch_counts_once(tmp_path: Path, op: str, form: str) -> None:
    """Eight copies of 64·32 weights are one weight that 80 rows meet; each of three experts is its own."""
    rows = [32, 64] if form == "transposed after" else [64, 32]
    copies, twice = ([8, *rows], [1]) if op == "Expand" else ([8, 1, 1], [1, 1, 1])
    nodes = [node(op, ["w", "to"], ["e"])]
    nodes += {
        "at once": [node("Identity", ["e"], ["v"])],
        "transposed after": [node("Transpose", ["e"], ["v"], perm=[0, 2, 1])],
        "under a cast, twice": [node("Cast", ["e"], ["c"], to=1), node(op, ["c", "same"], ["v"])],
    }[form]
    nodes.append(node("MatMul", ["x", "v"], ["y"]))
    tensors = [integers("to", copies), integers("same", twice)]
    model = load(tmp_path, nodes, {"x": [8, 10, 64]}, {"w": [1, *rows]}, tensors)
    assert shapes(model) == [Layer.fc(N=80, C=64, K=32)]
    experts = load(
        tmp_path, nodes, {"x": [8, 3, 10, 64]}, {"w": [1, 3, *rows]},
        [integers("to", [8, 3, *rows] if op == "Expand" else [8, 1, 1, 1]), integers("same", [1, *twice])],
    ) if form != "transposed after" else None  # fmt: skip
    assert experts is None or (experts.weights, experts.macs) == (3 * 64 * 32, 8 * 3 * 10 * 64 * 32)


def test_a_buffer_that_is_written_with_activations_is_no_weight(tmp_path: Path) -> None:
    """Keys of a cache of fixed size: the initializer holds zeros, a slice of it is replaced."""
    nodes = [
        node("ScatterND", ["cache", "at", "x"], ["keys"]), node("Transpose", ["keys"], ["t"], perm=[1, 0]),
        node("MatMul", ["x", "t"], ["y"]),
    ]  # fmt: skip
    at = helper.make_tensor("at", TensorProto.INT64, [2, 1], [0, 1])
    model = load(tmp_path, nodes, {"x": [2, 16]}, {"cache": [128, 16]}, [at])
    assert (model.layers, macs_not_covered(model)) == ((), [2 * 128 * 16])


KEYS_OF_INPUTS = [
    # The second input has an open size, is given, stands beside weights in the file, or is a stack.
    ({"a": ["n", 64], "b": [64, "m"]}, {}, {"a": "5,64", "b": "64,7"}, 5 * 64 * 7),
    ({"a": [5, 64], "b": [64, 7]}, {}, {"b": "64,7"}, 5 * 64 * 7),
    ({"a": [5, 64], "b": [64, 7]}, {"w": [7, 3]}, {}, 5 * 64 * 7),
    ({"a": [2, 5, 64], "b": [2, 64, 7]}, {}, {}, 2 * 5 * 64 * 7),
]


@pytest.mark.parametrize(("inputs", "weights", "given", "macs"), KEYS_OF_INPUTS)
def test_an_input_of_the_graph_is_no_weight(
    tmp_path: Path, inputs: Shapes, weights: Shapes, given: dict[str, str], macs: int
) -> None:
    nodes = [node("MatMul", ["a", "b"], ["y"])] + [node("MatMul", ["y", name], ["z"]) for name in weights]
    model = load(tmp_path, nodes, inputs, weights, options={"shapes": given})
    assert macs_not_covered(model) == [macs]
    assert len(model.layers) == len(weights)


def test_without_weights_in_the_file_a_matrix_of_fixed_size_is_one(tmp_path: Path) -> None:
    model = load(tmp_path, [node("MatMul", ["a", "b"], ["y"])], {"a": [5, 64], "b": [64, 7]})
    assert shapes(model) == [Layer.fc(N=5, C=64, K=7)]


# Sizes.


def test_axes_called_by_a_question_mark_or_sized_0_or_minus_1_are_open_and_not_equal(tmp_path: Path) -> None:
    for size in ("?", "None", 0, -1):
        conv = [node("Conv", ["x", "w"], ["y"])]
        inputs: Shapes = {"x": [size, 3, size, size]}
        options = {"shapes": {"x": "2,3,32,48"}}
        model = load(tmp_path, conv, inputs, {"w": [16, 3, 3, 3]}, options=options)
        assert model.macs == 2 * 16 * 30 * 46 * 3 * 9
        with pytest.raises(UserError, match=r"leaves axis 2, axis 3 open: give --input-shape x=5,3,\?,\?"):
            load(tmp_path, conv, inputs, {"w": [16, 3, 3, 3]}, options={"batch": 5})


EXPRESSIONS = [
    # The axis of the second input, its size at n = 6 and past = 5, and what is given.
    ("past + 1", 6, {"shapes": {"x": "6,8", "p": "5,8"}}),
    ("past+n", 11, {"shapes": {"x": "6,8", "p": "5,8"}}),
    ("2*n", 12, {"batch": 6}),
    ("n//2", 3, {"batch": 6}),
    ("Max(1, floor(n/4)) - 0", 1, {"shapes": {"x": "6,8"}}),
    ("ceiling(n/4)", 2, {"shapes": {"x": "6,8"}}),
]


@pytest.mark.parametrize(("axis", "size", "options"), EXPRESSIONS, ids=[one[0] for one in EXPRESSIONS])
def test_an_axis_may_be_an_expression_of_others(
    tmp_path: Path, axis: str, size: int, options: dict[str, Any]
) -> None:
    past = {"p": ["past", 8]} if "past" in axis else {}
    inputs: Shapes = {"x": ["n", 8], "m": [axis, 8], **past}
    nodes = [node("MatMul", [name, "w"], [f"y{name}"]) for name in inputs]
    model = load(tmp_path, nodes, inputs, {"w": [8, 4]}, options=options)
    assert [layer.N for layer in model.layers] == [6, size, *([5] if past else [])]


def test_a_given_size_must_not_contradict_an_expression(tmp_path: Path) -> None:
    nodes = [node("MatMul", [name, "w"], [f"y{name}"]) for name in "xm"]
    inputs: Shapes = {"x": ["n", 8], "m": ["n + 1", 8]}
    with pytest.raises(UserError, match=r"size n \+ 1: must be 7 \(got 9\)"):
        load(tmp_path, nodes, inputs, {"w": [8, 4]}, options={"shapes": {"x": "6,8", "m": "9,8"}})
    with pytest.raises(UserError, match=r"leaves past \+ 1 open: give --input-shape m=\?,8"):
        load(tmp_path, nodes, {"x": ["n", 8], "m": ["past + 1", 8]}, {"w": [8, 4]})


def test_a_batch_that_a_resize_fixes_is_refused(tmp_path: Path) -> None:
    """The sizes of a Resize hold the old batch: behind it everything would stay at one image."""
    nodes = [
        node("Conv", ["x", "w"], ["a"]), node("Resize", ["a", "", "", "sizes"], ["b"]),
        node("Conv", ["b", "v"], ["y"], name="late"),
    ]  # fmt: skip
    weights: Shapes = {"w": [8, 3, 3, 3], "v": [4, 8, 1, 1]}
    sizes = [integers("sizes", [1, 8, 12, 12])]
    inputs = {"x": [1, 3, 8, 8]}
    assert load(tmp_path, nodes, inputs, weights, sizes).macs == 8 * 36 * 27 + 4 * 144 * 8
    for options in ({"batch": 4}, {"shapes": {"x": "4,3,8,8"}}):
        with pytest.raises(UserError, match=r"node late: must grow with the batch from 1 to 4: the file"):
            load(tmp_path, nodes, inputs, weights, sizes, options=options)


def test_a_sequence_is_not_taken_for_a_batch(tmp_path: Path) -> None:
    """Attention over the first axis grows with its square: --batch must not set it, --input-shape may."""
    nodes = [
        node("MatMul", ["x", "w"], ["a"]), node("Transpose", ["a"], ["q"], perm=[1, 0, 2]),
        node("Transpose", ["a"], ["k"], perm=[1, 2, 0]), node("MatMul", ["q", "k"], ["y"], name="scores"),
    ]  # fmt: skip
    weights = {"w": [16, 16]}
    model = load(tmp_path, nodes, {"x": ["T", "N", 16]}, weights, options={"shapes": {"x": "128,2,16"}})
    assert (model.macs, macs_not_covered(model)) == (128 * 2 * 16 * 16, [2 * 128 * 128 * 16])
    with pytest.raises(
        UserError, match=r"node scores: must grow with the batch from 1 to 4: .* another axis"
    ):
        load(tmp_path, nodes, {"x": ["T", 2, 16]}, weights, options={"batch": 4})


# Padding, one axis, three axes.


@pytest.mark.parametrize("mode", ["constant", "reflect"])
@pytest.mark.parametrize("form", ["input", "axes", "attribute", "computed", "behind a cast"])
def test_a_pad_before_a_convolution_is_its_padding(tmp_path: Path, mode: str, form: str) -> None:
    """X counts before padding: 3·15·16 elements, not 3·18·18."""
    tensors = [
        integers("p", [0, 0, 1, 0, 0, 0, 2, 2]),
        integers("some", [1, 0, 2, 2]),
        integers("axes", [2, 3]),
    ]
    pads = {
        "input": [node("Pad", ["x", "p"], ["b"], mode=mode)],
        "axes": [node("Pad", ["x", "some", "", "axes"], ["b"], mode=mode)],
        "attribute": [node("Pad", ["x"], ["b"], mode=mode, pads=[0, 0, 1, 0, 0, 0, 2, 2])],
        "computed": [
            node("Identity", ["p"], ["q"]), node("Neg", ["q"], ["r"]), node("Neg", ["r"], ["s"]),
            node("Pad", ["x", "s"], ["b"], mode=mode),
        ],
        "behind a cast": [
            node("Pad", ["x", "p"], ["a"], mode=mode), node("Cast", ["a"], ["b"], to=TensorProto.FLOAT),
        ],
    }  # fmt: skip
    conv = node("Conv", ["b", "w"], ["y"], pads=[0, 1, 0, 0], strides=[2, 2])
    model = load(
        tmp_path, [*pads[form], conv], {"x": [1, 3, 15, 16]}, {"w": [4, 3, 3, 3]}, tensors,
        opset=10 if form == "attribute" else 18,
    )  # fmt: skip
    (layer,) = model.layers
    assert (layer.H, layer.W, layer.pad_h, layer.pad_w, layer.P, layer.Q) == (15, 16, 1, 1, 8, 9)
    assert (layer.inputs, layer.macs) == (3 * 15 * 16, 4 * 8 * 9 * 27)


def test_padding_of_channels_is_none_of_a_convolution(tmp_path: Path) -> None:
    nodes = [node("Pad", ["x", "p"], ["b"]), node("Conv", ["b", "w"], ["y"])]
    pads = [integers("p", [0, 1, 0, 0, 0, 0, 0, 0])]
    model = load(tmp_path, nodes, {"x": [1, 3, 8, 8]}, {"w": [4, 4, 3, 3]}, pads)
    assert shapes(model) == [Layer(N=1, C=4, H=8, W=8, K=4, R=3, S=3)]


def test_a_convolution_over_one_axis_is_a_layer_of_height_one(tmp_path: Path) -> None:
    conv = node("Conv", ["x", "w"], ["y"], pads=[2, 0], strides=[2], dilations=[2], group=2)
    (layer,) = load(tmp_path, [conv], {"x": [3, 8, 50]}, {"w": [6, 4, 3]}).layers
    assert (layer.H, layer.R, layer.P, layer.W, layer.S, layer.Q) == (1, 1, 1, 50, 3, 24)  # (52 - 5)//2 + 1
    assert (layer.macs, layer.weights, layer.inputs) == (3 * 6 * 24 * 4 * 3, 6 * 4 * 3, 3 * 8 * 50)


def test_a_convolution_over_three_axes_is_counted_and_a_layer_where_one_has_one_tap(tmp_path: Path) -> None:
    """(2+1)-D networks convolve space and time in turn: frames are images, and positions are sequences."""
    x: Shapes = {"x": [2, 4, 6, 10, 12]}
    whole = load(tmp_path, [node("Conv", ["x", "w"], ["y"])], x, {"w": [5, 4, 3, 3, 3]})
    assert (whole.layers, macs_not_covered(whole)) == ((), [2 * 5 * 4 * 8 * 10 * 4 * 27])
    space = load(tmp_path, [node("Conv", ["x", "w"], ["y"], strides=[1, 2, 2])], x, {"w": [5, 4, 1, 3, 3]})
    assert shapes(space) == [Layer(N=12, C=4, H=10, W=12, K=5, R=3, S=3, stride_h=2, stride_w=2)]
    time = load(
        tmp_path, [node("Conv", ["x", "w"], ["y"], pads=[1, 0, 0, 1, 0, 0])], x, {"w": [5, 4, 3, 1, 1]}
    )
    (layer,) = time.layers
    assert (layer.macs, layer.inputs, layer.outputs) == (2 * 5 * 6 * 120 * 4 * 3, 2 * 4 * 720, 2 * 5 * 720)


@pytest.mark.parametrize(
    ("attributes", "out"),
    [
        ({"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]}, 10),
        ({}, 7),
        ({"strides": [3, 3], "pads": [0, 0, 1, 1]}, 14),
        ({"dilations": [2, 2], "strides": [2, 2]}, 13),
        ({"strides": [2, 2], "output_shape": [9, 9]}, 9),
        ({"strides": [2, 2], "output_shape": [10, 10], "output_padding": [1, 1]}, 10),
        ({"strides": [2, 2], "auto_pad": "SAME_UPPER"}, 10),
        ({"strides": [3, 3], "auto_pad": "VALID"}, 15),
    ],
)
def test_a_transposed_convolution_is_that_whose_gradient_it_is(
    tmp_path: Path, attributes: dict[str, Any], out: int
) -> None:
    """Each of 4·25 inputs meets 6·9 taps, whatever stride and padding do to the output."""
    conv = node("ConvTranspose", ["x", "w"], ["y"], **attributes)
    model = load(tmp_path, [conv], {"x": [1, 4, 5, 5]}, {"w": [4, 6, 3, 3]})
    (layer,) = model.layers
    assert (model.not_covered, layer.transposed) == ((), True)
    assert (layer.macs, layer.weights) == (4 * 25 * 6 * 9, 4 * 6 * 9)
    assert (layer.inputs, layer.outputs) == (4 * 25, 6 * out * out)
    back = layer.as_convolution
    assert (back.C, back.H, back.K, back.P, back.inputs) == (6, out, 4, 5, 6 * out * out)


def test_a_transposed_convolution_of_an_impossible_size_is_counted(tmp_path: Path) -> None:
    conv = node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], output_shape=[20, 20])
    model = load(tmp_path, [conv], {"x": [1, 4, 5, 5]}, {"w": [4, 6, 3, 3]})
    assert (model.layers, macs_not_covered(model)) == ((), [4 * 25 * 6 * 9])


# Recurrent layers, Einstein sums.


def test_an_lstm_is_one_product_of_all_inputs_and_one_of_each_step(tmp_path: Path) -> None:
    """T = 50 steps, batch 2, 32 inputs, 64 hidden: 8,192 weights once, 16,384 at each step."""
    lstm = node("LSTM", ["x", "w", "r"], ["y"], hidden_size=64)
    model = load(tmp_path, [lstm], {"x": [50, 2, 32]}, {"w": [1, 256, 32], "r": [1, 256, 64]})
    assert shapes(model) == [Layer.fc(N=100, C=32, K=256), *[Layer.fc(N=2, C=64, K=256)] * 50]
    assert (model.macs, model.weights) == (2_457_600, 827_392)


@pytest.mark.parametrize(("before", "each_step"), [(1, [3]), (0, [2, 1])])
def test_a_gru_of_both_directions_has_its_products_in_each(
    tmp_path: Path, before: int, each_step: list[int]
) -> None:
    """Where the reset gate comes before the product, the two gates are computed first."""
    gru = node(
        "GRU", ["x", "w", "r"], ["y"], hidden_size=5, direction="bidirectional", linear_before_reset=before,
        layout=1,
    )  # fmt: skip
    model = load(tmp_path, [gru], {"x": [4, 7, 3]}, {"w": [2, 15, 3], "r": [2, 15, 5]})
    step = [Layer.fc(N=4, C=5, K=5 * part) for part in each_step]
    assert shapes(model) == [Layer.fc(N=28, C=3, K=15), *step * 7] * 2


EINSUMS = [
    # equation, x, weights, layers, macs of what is not covered
    ("...i,ij->...j", [[2, 5, 64]], [[64, 32]], [Layer.fc(10, 64, 32)], []),
    ("...i,ji", [[2, 5, 64]], [[32, 64]], [Layer.fc(10, 64, 32)], []),
    ("b...c,...cd->b...d", [[8, 3, 6]], [[3, 6, 4]],
     [Layer(N=8, C=18, H=1, W=1, K=12, R=1, S=1, groups=3)], []),
    ("nc,cr,rd->nd", [[9, 16]], [[16, 2], [2, 24]], [Layer.fc(9, 16, 2), Layer.fc(9, 2, 24)], []),
    ("bhqd,bhkd->bhqk", [[2, 4, 7, 8], [2, 4, 9, 8]], [], [], [2 * 4 * 7 * 9 * 8]),
    ("bqd,bkd,de->bqe", [[2, 7, 8], [2, 9, 8]], [[8, 5]], [Layer.fc(14, 8, 5)], []),  # b: k is summed alone
    ("bi,i->bi", [[4, 6]], [[6]], [], []),  # no sum, no product
    ("bij->bji", [[4, 6, 5]], [], [], []),
    ("bii,ij->bj", [[4, 6, 6]], [[6, 5]], [Layer.fc(4, 6, 5)], []),  # of the diagonal
    ("bnc,cd->nd", [[4, 6, 8]], [[8, 5]], [Layer.fc(6, 8, 5)], []),  # images are summed first
]  # fmt: skip


@pytest.mark.parametrize(("equation", "xs", "ws", "layers", "macs"), EINSUMS, ids=[one[0] for one in EINSUMS])
def test_an_einstein_sum_is_the_products_from_left_to_right(
    tmp_path: Path,
    equation: str,
    xs: list[list[int]],
    ws: list[list[int]],
    layers: list[Layer],
    macs: list[int],
) -> None:
    inputs: Shapes = {f"x{i}": shape for i, shape in enumerate(xs)}
    weights: Shapes = {f"w{i}": shape for i, shape in enumerate(ws)}
    model = load(tmp_path, [node("Einsum", [*inputs, *weights], ["y"], equation=equation)], inputs, weights)
    assert (shapes(model), macs_not_covered(model)) == (layers, macs)


# Products of two activations.


def counts(model: Model) -> list[tuple[tuple[int, int] | None, int | None]]:
    return [(part.operands, part.outputs) for part in model.not_covered]


def test_a_product_of_two_activations_has_elements_and_reuse_of_its_own(tmp_path: Path) -> None:
    """Four images of 3·10 times 10·5: M = 4·3·10·5."""
    model = load(tmp_path, [node("MatMul", ["x", "y"], ["z"])], {"x": [4, 3, 10], "y": [4, 10, 5]})
    (part,) = model.not_covered
    assert (part.macs, part.operands, part.outputs) == (600, (120, 200), 60)
    assert (part.reuse, part.ai) == ((600 / 120, 600 / 200, 600 / 60), 600 / 380)
    shared = load(tmp_path, [node("MatMul", ["x", "y"], ["z"])], {"x": [1, 3, 10], "y": [4, 10, 5]})
    assert counts(shared) == [((30, 200), 60)]


EXPANDED: list[list[Any]] = [
    [node("Expand", ["x", "four"], ["wide"])],
    [node("Tile", ["x", "times"], ["wide"])],
    [node("Expand", ["x", "four"], ["more"]), node("Mul", ["more", "scale"], ["wide"])],
    [node("Mul", ["scale", "x"], ["less"]), node("Expand", ["less", "four"], ["wide"])],
    [node("Expand", ["x", "four"], ["more"]), node("Transpose", ["more"], ["turned"], perm=[0, 2, 1]),
     node("Transpose", ["turned"], ["wide"], perm=[0, 2, 1])],
]  # fmt: skip


@pytest.mark.parametrize("nodes", EXPANDED, ids=["expand", "tile", "scaled", "scaled before", "turned"])
def test_an_expanded_activation_counts_once(tmp_path: Path, nodes: list[Any]) -> None:
    tensors = [integers("four", [4, 1, 1]), integers("times", [4, 1, 1])]
    product = [*nodes, node("MatMul", ["wide", "y"], ["z"])]
    inputs: Shapes = {"x": [1, 3, 10], "y": [4, 10, 5], "scale": [1]}
    model = load(tmp_path, product, inputs, tensors=tensors)
    assert (macs_not_covered(model), counts(model)) == ([600], [((30, 200), 60)])


@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_copies_that_meet_other_numbers_are_elements(tmp_path: Path, op: str) -> None:
    nodes = [node("Expand", ["x", "four"], ["more"]), node(op, ["more", "b"], ["wide"])]
    product = [*nodes, node("MatMul", ["wide", "y"], ["z"])]
    inputs: Shapes = {"x": [1, 3, 10], "y": [4, 10, 5], "b": [4, 3, 10]}
    model = load(tmp_path, product, inputs, tensors=[integers("four", [4, 1, 1])])
    assert counts(model) == [((120, 200), 60)]


def test_heads_that_share_keys_by_copies_of_them_count_these_once(tmp_path: Path) -> None:
    """Eight heads of 64 over the ten keys of two heads, as exporters write it."""
    tensors = [integers("axis", [2]), integers("four", [1, 2, 4, 10, 64]), integers("heads", [1, 8, 10, 64])]
    spread = [
        [node("Unsqueeze", [name, "axis"], [f"{name}1"]), node("Expand", [f"{name}1", "four"], [f"{name}2"]),
         node("Reshape", [f"{name}2", "heads"], [f"{name}3"])]
        for name in ("k", "v")
    ]  # fmt: skip
    nodes = [
        *spread[0], *spread[1], node("Transpose", ["k3"], ["kt"], perm=[0, 1, 3, 2]),
        node("MatMul", ["q", "kt"], ["scores"]), node("Softmax", ["scores"], ["shares"]),
        node("MatMul", ["shares", "v3"], ["y"]),
    ]  # fmt: skip
    few = [1, 2, 10, 64]
    model = load(tmp_path, nodes, {"q": [1, 8, 10, 64], "k": few, "v": few}, tensors=tensors)
    assert macs_not_covered(model) == [8 * 10 * 10 * 64] * 2
    assert counts(model) == [((5120, 1280), 800), ((800, 1280), 5120)]


def test_attention_as_one_operator_reads_queries_keys_and_values(tmp_path: Path) -> None:
    """Its scores need never be in memory: Q is the first operand, K and V are the second."""
    q, now, past = [1, 8, 10, 64], [1, 2, 10, 64], [1, 2, 30, 64]
    inputs: Shapes = {"q": q, "k": now, "v": now, "pk": past, "pv": past}
    alone = load(tmp_path, [node("Attention", ["q", "k", "v"], ["y"])], inputs, opset=23)
    assert (macs_not_covered(alone), counts(alone)) == ([8 * 10 * 10 * 128], [((5120, 2 * 1280), 5120)])
    made = node("Attention", ["q", "k", "v", "", "pk", "pv"], ["y"])
    with_past = load(tmp_path, [made], inputs, opset=23)
    assert macs_not_covered(with_past) == [8 * 10 * 40 * 128]
    assert counts(with_past) == [((5120, 2 * 2 * 40 * 64), 5120)]
    flat = node("Attention", ["q", "k", "v"], ["y"], q_num_heads=8, kv_num_heads=2)
    three = load(tmp_path, [flat], {"q": [1, 10, 512], "k": [1, 10, 128], "v": [1, 10, 128]}, opset=23)
    assert counts(three) == counts(alone)


def test_an_einstein_sum_of_three_activations_is_two_products(tmp_path: Path) -> None:
    """The second one reads what the first one wrote: 2·7·9."""
    inputs: Shapes = {"a": [2, 7, 8], "b": [2, 9, 8], "c": [2, 9, 5]}
    model = load(tmp_path, [node("Einsum", [*inputs], ["y"], equation="bqd,bkd,bke->bqe")], inputs)
    assert counts(model) == [((112, 144), 126), ((126, 90), 70)]
    nodes = [
        node("Expand", ["one", "sizes"], ["a"]),
        node("Einsum", [*inputs], ["y"], equation="bqd,bkd,bke->bqe"),
    ]
    spread = {"one": [1, 1, 8], "b": [2, 9, 8], "c": [2, 9, 5]}
    model = load(tmp_path, nodes, spread, tensors=[integers("sizes", [2, 7, 8])])
    assert counts(model) == [((8, 144), 126), ((126, 90), 70)]


def test_counts_that_shapes_do_not_tell_are_not_known(tmp_path: Path) -> None:
    """Of an affine grid the multiply-adds alone are known."""
    theta = load(tmp_path, [node("AffineGrid", ["t", "size"], ["y"])], {"t": [2, 2, 3]}, opset=20,
                 tensors=[integers("size", [2, 3, 4, 5])])  # fmt: skip
    (part,) = theta.not_covered
    assert (part.macs, part.operands, part.outputs, part.reuse, part.ai) == (240, None, None, None, None)
    # Q and K cut to heads without a size: nothing is divided by it.
    cut = node("Slice", ["q", "begin", "end", "axes"], ["none"])
    attend = node("Attention", ["none", "none", "q"], ["y"])
    tensors = [integers("begin", [0]), integers("end", [0]), integers("axes", [3])]
    (empty,) = load(tmp_path, [cut, attend], {"q": [1, 2, 10, 5]}, opset=23, tensors=tensors).not_covered
    assert (empty.macs, empty.reuse, empty.ai) == (2 * 10 * 10 * 5, None, None)


# Functions.


def function(name: str, nodes: list[Any], opset: int) -> Any:
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("my", 1)]
    return helper.make_function("my", name, ["x", "w"], ["y"], nodes, imports)


def test_a_function_may_be_written_for_another_version_of_the_operators(tmp_path: Path) -> None:
    """Squeeze takes its axes as an attribute before version 13: the reshaped rows are 4·1·64 then 4·64."""
    lin = function(
        "Lin", [node("Squeeze", ["x"], ["s"], axes=[1]), node("MatMul", ["s", "w"], ["t"]),
                node("Unsqueeze", ["t"], ["y"], axes=[1])], 11,
    )  # fmt: skip
    two = function("Two", [node("Lin", ["x", "w"], ["t"], domain="my"), node("Relu", ["t"], ["y"])], 18)
    for name in ("Lin", "Two"):
        nodes = [node(name, ["x", "a"], ["h"], domain="my"), node(name, ["h", "b"], ["y"], domain="my")]
        model = load(
            tmp_path, nodes, {"x": [4, 1, 64]}, {"a": [64, 32], "b": [32, 8]}, functions=[lin, two],
            opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("my", 1)],
        )  # fmt: skip
        assert shapes(model) == [Layer.fc(4, 64, 32), Layer.fc(4, 32, 8)]
        assert model.macs == 9_216


def test_a_call_gives_a_function_its_attributes_and_may_leave_inputs_out(tmp_path: Path) -> None:
    conv = node("Conv", ["x", "w", "bias"], ["y"], pads=[1, 1, 1, 1])
    conv.attribute.add(name="strides", type=onnx.AttributeProto.INTS, ref_attr_name="step")
    body = helper.make_function(
        "my", "Block", ["x", "w", "bias"], ["y"], [conv], [helper.make_opsetid("", 18)], attributes=["step"]
    )
    model = load(
        tmp_path, [node("Block", ["x", "w"], ["y"], domain="my", step=[2, 2], name="down")],
        {"x": [1, 3, 8, 8]}, {"w": [4, 3, 3, 3]}, functions=[body],
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("my", 1)],
    )  # fmt: skip
    assert shapes(model) == [
        Layer(N=1, C=3, H=8, W=8, K=4, R=3, S=3, stride_h=2, stride_w=2, pad_h=1, pad_w=1)
    ]


# Nothing to count.


def test_a_model_without_products_is_not_covered_by_100_percent(tmp_path: Path) -> None:
    model = load(tmp_path, [node("Relu", ["x"], ["y"])], {"x": [4]})
    assert model.coverage == "covers 0 MACs: no convolution and no product that dibench knows is in the model"


def test_a_product_without_elements_is_none(tmp_path: Path) -> None:
    """The first step of decoding has no past: no key to meet."""
    empty = helper.make_tensor("past", TensorProto.FLOAT, [8, 0], [])
    model = load(tmp_path, [node("MatMul", ["x", "past"], ["y"])], {"x": [4, 8]}, tensors=[empty])
    assert (model.layers, model.not_covered) == ((), ())
