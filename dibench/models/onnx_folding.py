"""Computes the integers from which an ONNX graph builds its shapes, where ONNX's inference does not.

Exporters write the shape of a reshape as a little program of its own: Shape, Gather, Div, Where, Concat.
ONNX's inference follows some of these operators, also with `data_prop=True`: onnx 1.23 leaves the heads of
attention open where Equal and Where choose them, as PyTorch exports them (tests/models/test_onnx.py). What it
leaves open is computed here by ONNX's reference implementation, on tensors of at most `MOST_ELEMENTS`, and
put into the graph as constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from onnx import numpy_helper

from dibench.models.products import Shape

MOST_ELEMENTS = 256
OPERATORS = frozenset({
    "Abs", "Add", "And", "Cast", "Ceil", "Concat", "ConstantOfShape", "Div", "Equal", "Expand",
    "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min",
    "Mod", "Mul", "Neg", "Not", "Or", "ReduceProd", "Reshape", "Shape", "Size", "Slice", "Sqrt",
    "Squeeze", "Sub", "Unsqueeze", "Where",
})  # fmt: skip


def fold(graph: Any, shapes: Mapping[str, Shape | None], opset: int) -> bool:
    """Replace nodes whose result follows from constants and known shapes; returns whether there were any."""
    known: dict[str, Any] = {}
    for tensor in graph.initializer:
        if prod(tensor.dims) <= MOST_ELEMENTS:
            _learn(known, tensor.name, tensor)
    kept = []
    for node in graph.node:
        results = _results(node, known, shapes, opset)
        if results is None:
            kept.append(node)
            continue
        known.update(results)
        if node.op_type == "Constant":
            kept.append(node)  # its value is in the graph already
    if len(kept) == len(graph.node):
        return False
    folded = {name for node in graph.node for name in node.output} - {
        name for node in kept for name in node.output
    }
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(known[name], name) for name in folded if name in known)
    return True


def _learn(known: dict[str, Any], name: str, tensor: Any) -> None:
    try:
        known[name] = numpy_helper.to_array(tensor)
    except Exception:  # its payload was dropped, being large or external
        return


def _results(
    node: Any, known: Mapping[str, Any], shapes: Mapping[str, Shape | None], opset: int
) -> dict[str, Any] | None:
    """The node's outputs as arrays; None if they are unknown or too large to be a shape."""
    if node.op_type == "Constant":
        found: dict[str, Any] = {}
        for attribute in node.attribute:
            if attribute.name == "value" and prod(attribute.t.dims) <= MOST_ELEMENTS:
                _learn(found, node.output[0], attribute.t)
        return found or None
    if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx") or len(node.output) != 1:
        return None
    if node.op_type in ("Shape", "Size"):
        shape = shapes.get(node.input[0]) if node.input else None
        if shape is None:
            return None
        ends = {attribute.name: attribute.i for attribute in node.attribute}
        part = np.array(shape[ends.get("start", 0) : ends.get("end", len(shape))], np.int64)
        return {node.output[0]: part if node.op_type == "Shape" else np.array(prod(shape), np.int64)}
    if not all(name in known for name in node.input if name):
        return None
    size = shapes.get(node.output[0])
    if node.op_type in ("Expand", "ConstantOfShape"):
        target = known.get(node.input[-1])
        size = None if target is None else tuple(int(one) for one in np.ravel(target))
    if size is not None and abs(prod(size)) > MOST_ELEMENTS:
        return None
    from onnx.reference import ReferenceEvaluator

    try:
        feeds = {name: known[name] for name in node.input if name}
        (result,) = ReferenceEvaluator(node, opsets={"": opset}).run(None, feeds)
    except Exception:  # the node contradicts itself: ONNX's inference says how
        return None
    result = np.asarray(result)
    return {node.output[0]: result} if result.size <= MOST_ELEMENTS else None
