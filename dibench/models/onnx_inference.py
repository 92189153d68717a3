"""Prepares an ONNX graph: checks its order, inlines its functions, infers its shapes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import onnx
import onnx.inliner
import onnx.shape_inference

from dibench.errors import UserError
from dibench.models.onnx_file import MOST_NODES
from dibench.models.onnx_folding import fold
from dibench.models.products import Shape

STANDARD = ("", "ai.onnx")
"""Names of the standard domain."""


def inlined(proto: Any) -> Any:
    """The model with the bodies of its functions in place of their calls.

    Raises:
        UserError: a function calls itself, or the result would have more than MOST_NODES nodes.
    """
    if not proto.functions:
        return proto
    bodies = {(f.domain, f.name): f.node for f in proto.functions}
    sizes: dict[tuple[str, str], int] = {}

    def nodes(body: Any, above: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in _nodes(body):
            key = (node.domain, node.op_type)
            if key in above:
                raise UserError(f"function {key[1]}", "must not call itself")
            if key in bodies and key not in sizes:
                if len(above) > 50:
                    raise UserError("functions", "must not nest deeper than 50")
                sizes[key] = nodes(bodies[key], (*above, key))
            total += sizes.get(key, 1)
            if total > MOST_NODES:
                raise UserError("graph", f"must have at most {MOST_NODES} nodes with its functions inlined")
        return total

    nodes(proto.graph.node, ())
    try:
        return onnx.inliner.inline_local_functions(proto)
    except Exception as error:
        raise UserError("functions", f"cannot be inlined: {_first_line(error)}") from None


def _nodes(body: Any) -> Iterator[Any]:
    """The nodes of a body and of the graphs inside its nodes."""
    for node in body:
        yield node
        for graph in subgraphs(node):
            yield from _nodes(graph.node)


def subgraphs(node: Any) -> Iterator[Any]:
    """The graphs inside a node: branches and bodies of loops."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


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


def inferred(proto: Any) -> tuple[Any, str | None]:
    """The model with all shapes that can be inferred, and what contradicts itself in it, if anything does."""
    model, contradiction = _inferred_once(proto)
    opset = max((each.version for each in proto.opset_import if each.domain in STANDARD), default=1)
    while _open(model.graph) and fold(proto.graph, shapes_of(model.graph), opset):
        model, contradiction = _inferred_once(proto)
    return model, contradiction


def _open(graph: Any) -> bool:
    """Whether the shape of any node's output is unknown."""
    shapes = shapes_of(graph)
    return any(shapes.get(name) is None for node in graph.node for name in node.output if name)


def _inferred_once(proto: Any) -> tuple[Any, str | None]:
    infer = partial(onnx.shape_inference.infer_shapes, proto, data_prop=True)
    try:
        return infer(strict_mode=True), None
    except Exception as error:  # of the C++ code: InferenceError, ValueError, UnicodeDecodeError, ...
        contradiction = _first_line(error)
    try:
        return infer(strict_mode=False), contradiction
    except Exception as error:
        raise UserError("graph", f"contradicts itself: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:200] if lines else type(error).__name__


def shapes_of(graph: Any) -> dict[str, Shape | None]:
    """The shape of every value of a graph by its name, None where a size is open."""
    shapes: dict[str, Shape | None] = {}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shapes[value.name] = _shape(value)
    for tensor in graph.initializer:
        shapes[tensor.name] = tuple(tensor.dims)
    for sparse in graph.sparse_initializer:
        shapes[sparse.values.name] = tuple(sparse.dims)
    return shapes


def _shape(value: Any) -> Shape | None:
    """The shape of a value, None where a size is open."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        return None
    if not all(dim.HasField("dim_value") for dim in kind.shape.dim):
        return None
    sizes = tuple(dim.dim_value for dim in kind.shape.dim)
    if any(size < 0 for size in sizes):
        raise UserError(f"value {clean(value.name)}", "must not have a negative size", sizes)
    return sizes


def clean(text: str | bytes, most: int = 120) -> str:
    """Printable and short: names in a file may hold control characters, or be no UTF-8."""
    text = text if isinstance(text, str) else text.decode("utf-8", "replace")
    return "".join(ch if ch.isprintable() else "?" for ch in text[:most])
