"""Prepares an ONNX graph: checks its order, inlines its functions, infers its shapes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import onnx
import onnx.inliner
import onnx.shape_inference

from dibench.errors import UserError
from dibench.models.onnx_functions import subgraphs
from dibench.models.onnx_shapes import follow, shapes_of
from dibench.models.onnx_text import first_line


def check_order(graph: Any, outer: set[str]) -> None:
    """Refuse a graph in which a node reads what a later node writes, as in a cycle."""
    written = {output for node in graph.node for output in node.output if output}
    ready = outer | {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        for name in node.input:
            if name in written and name not in ready:
                raise UserError(
                    f"node {node.name or node.op_type}",
                    "must come after what writes its input: the graph has a cycle or is out of order",
                    name,
                )
        for inner in subgraphs(node):
            check_order(inner, ready)
        ready.update(node.output)


def inferred(proto: Any) -> tuple[Any, Mapping[str, Any], str | None]:
    """The model with all shapes that can be inferred.

    Returns:
        The model, the small tensors that were computed by their names, and what contradicts itself, if any.

    Raises:
        UserError: ONNX cannot infer shapes at all.
    """
    if any(node.overload for node in proto.graph.node):  # nodes of several versions of the standard
        followed = follow(proto)
        return proto, followed.values, followed.contradiction
    model, contradiction = _inferred_once(proto)
    if not _to_follow(model.graph):
        return model, {}, contradiction
    followed = follow(model)
    return model, followed.values, contradiction or followed.contradiction


def _to_follow(graph: Any) -> bool:
    """Whether the shape of any node's output is unknown, or numbers count: those of a Pad or an If."""
    shapes = shapes_of(graph)
    return any(
        node.op_type in ("If", "Pad") or any(shapes.get(name) is None for name in node.output if name)
        for node in graph.node
    )


def _inferred_once(proto: Any) -> tuple[Any, str | None]:
    infer = partial(onnx.shape_inference.infer_shapes, proto, data_prop=True)
    try:
        return infer(strict_mode=True), None
    except Exception as error:  # of the C++ code: InferenceError, ValueError, UnicodeDecodeError, ...
        contradiction = first_line(error)
    try:
        return infer(strict_mode=False), contradiction
    except Exception as error:
        raise UserError("graph", f"contradicts itself: {first_line(error)}") from None
