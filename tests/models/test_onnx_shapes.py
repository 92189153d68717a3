"""Shapes that an ONNX graph computes by itself are followed to the layers behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip("onnx")

import onnx_files as files  # noqa: E402 - after the check above
from onnx import TensorProto, helper  # noqa: E402 - after the check above

from dibench import models  # noqa: E402 - after the check above
from dibench.layer import Layer  # noqa: E402 - after the check above

node = helper.make_node


def integers(name: str, values: list[int], *shape: int) -> Any:
    return helper.make_tensor(name, TensorProto.INT64, shape or [len(values)], values)


def test_a_pad_whose_amounts_are_computed_is_followed(tmp_path: Path) -> None:
    """As TensorFlow's SAME is exported: pads in pairs, clipped at 0, transposed to begins and ends."""
    tensors = [
        integers("image", [0, 0, 0, 0]), integers("ends", [-1, 1, 0, 1], 2, 2), integers("least", [0], 1),
        integers("flat", [4]),
    ]  # fmt: skip
    nodes = [
        node("Max", ["ends", "least"], ["clipped"]), node("Transpose", ["clipped"], ["turned"]),
        node("Reshape", ["turned", "flat"], ["spatial"]),
        node("Split", ["spatial"], ["b", "e"], num_outputs=2),
        node("Split", ["image"], ["i", "j"], num_outputs=2),
        node("Concat", ["i", "b", "j", "e"], ["pads"], axis=0),
        node("Pad", ["x", "pads"], ["p"]), node("Conv", ["p", "w"], ["y"], strides=[2, 2]),
        node("Flatten", ["y"], ["f"]), node("MatMul", ["f", "v"], ["z"]),
    ]  # fmt: skip
    weights = [files.weight("w", [8, 3, 3, 3]), files.weight("v", [8 * 16, 10])]
    path = files.save(
        tmp_path / "m.onnx", nodes, [files.value("x", ["N", 3, 8, 8])], [*weights, *tensors],
        opset_imports=[helper.make_opsetid("", 18)],
    )  # fmt: skip
    conv, fc = models.load(path, batch=2).layers
    assert (conv.H, conv.pad_h, conv.pad_w, conv.P, conv.Q) == (8, 0, 0, 4, 4)
    assert fc.renamed("") == Layer.fc(2, 128, 10)


@pytest.mark.parametrize(("size", "outputs"), [(1, 5), (4, 7)])
def test_a_branch_that_the_shapes_decide_is_taken(tmp_path: Path, size: int, outputs: int) -> None:
    """If the second axis is 1 it is squeezed and meets one weight, else its mean meets another."""
    then = helper.make_graph(
        [node("Squeeze", ["x", "one"], ["t"]), node("MatMul", ["t", "a"], ["r"])], "then", [],
        [files.value("r", None)],
    )  # fmt: skip
    other = helper.make_graph(
        [node("ReduceMean", ["x"], ["t"], axes=[1], keepdims=0), node("MatMul", ["t", "b"], ["r"])],
        "else", [], [files.value("r", None)],
    )  # fmt: skip
    nodes = [
        node("Shape", ["x"], ["s"]), node("Gather", ["s", "one"], ["n"]), node("Equal", ["n", "one"], ["c"]),
        node("If", ["c"], ["y"], then_branch=then, else_branch=other), node("MatMul", ["y", "w"], ["z"]),
    ]  # fmt: skip
    weights = [
        files.weight("a", [6, 5]), files.weight("b", [6, 7]), files.weight("w", [outputs, 3]),
        integers("one", [1]),
    ]  # fmt: skip
    path = files.save(tmp_path / "m.onnx", nodes, [files.value("x", ["N", "C", 6])], weights)
    model = models.load(path, shapes={"x": f"2,{size},6"})
    expected = [Layer.fc(2, 6, outputs), Layer.fc(2, outputs, 3)]
    assert [layer.renamed("") for layer in model.layers] == expected
    assert model.not_covered == ()
