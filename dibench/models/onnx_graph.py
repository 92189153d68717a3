"""Reads an ONNX file as a `Model`: sets input sizes, inlines functions, infers shapes, finds products.

Runs in the reader process (`onnx_reader`), because ONNX's C++ code parses an untrusted file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import attrs
import onnx
import onnx.defs

from dibench.errors import UserError
from dibench.layer import Layer
from dibench.models.model import Model, NotCovered, unique_names
from dibench.models.onnx_file import load
from dibench.models.onnx_inference import (
    STANDARD,
    check_order,
    clean,
    inferred,
    inlined,
    shapes_of,
    subgraphs,
)
from dibench.models.onnx_inputs import set_inputs, weight_inputs
from dibench.models.onnx_products import PRODUCTS, WITHOUT_PRODUCT, NodeOperands, UnknownShapeError
from dibench.models.products import Shape, Uncovered, sizes_text

_NO_PARAMETER = (onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING)  # sizes, masks


def read(path: Path, batch: int | None, shapes: Mapping[str, str]) -> Model:
    """The model of an ONNX file; `batch` and `shapes` as `models.load` describes them.

    Raises:
        UserError: the file is broken, or leaves a size open; the message is one line.
    """
    proto = load(path)
    try:
        return _read(proto, path.stem, batch, shapes)
    except UserError as error:
        raise UserError("", clean(str(error), 400), where=path) from None


def _read(proto: Any, name: str, batch: int | None, shapes: Mapping[str, str]) -> Model:
    if not proto.graph.node:
        raise UserError("graph", "must have at least one node: this is no model")
    sizes = [(tensor.data_type, _size(tensor.dims)) for tensor in proto.graph.initializer]
    parameters = sum(size for kind, size in sizes if kind not in _NO_PARAMETER)
    proto = inlined(proto)
    check_order(proto.graph, set())
    weights = weight_inputs(proto.graph)
    given, resized = set_inputs(proto.graph, weights, batch, shapes)
    whole, contradiction = inferred(proto)
    if contradiction is not None and (batch is not None or shapes):
        raise UserError("graph", f"does not take these sizes: {contradiction}")
    found = list(_Walk(whole, weights, resized).graph(whole.graph, {}, set(), inside=""))
    failed = next((one for one in found if isinstance(one.result, UnknownShapeError)), None)
    if failed is not None:
        _explain(proto, failed, contradiction)
    names = unique_names(name, [one.name for one in found])
    layers, not_covered = [], []
    for one, unique in zip(found, names, strict=True):
        if isinstance(one.result, Layer):
            layers.append(one.result.renamed(unique))
        elif isinstance(one.result, Uncovered) and one.result.macs != 0:
            not_covered.append(
                NotCovered(name=unique, op=one.op, reason=one.result.reason, macs=one.result.macs)
            )
        elif isinstance(one.result, UnknownShapeError):
            not_covered.append(
                NotCovered(name=unique, op=one.op, reason="its shape depends on data", macs=None)
            )
    given = {clean(name): shape for name, shape in given.items()}
    first = next(iter(given.values()), (1,))
    return Model(
        name=name, batch=first[0] if first else 1, layers=tuple(layers), not_covered=tuple(not_covered),
        input_shapes=given, parameters=parameters or None,
    )  # fmt: skip


def _size(dims: Any) -> int:
    size = 1
    for dim in dims:
        if dim < 0:
            raise UserError("initializer", "must not have a negative size", dim)
        size *= dim
    return size


@attrs.frozen
class _Found:
    """A convolution or product in the graph: the name and operator of its node, and the layer that it is."""

    name: str
    op: str
    result: Layer | Uncovered | UnknownShapeError


class _Walk:
    """Finds convolutions and products in a graph whose shapes are inferred."""

    def __init__(self, proto: Any, weights: set[str], resized: bool = False) -> None:
        self._weights = weights
        self._resized = resized  # sizes that the file fixes were changed
        self._opsets = {opset.domain: opset.version for opset in proto.opset_import}

    def graph(
        self, graph: Any, outer: Mapping[str, Shape | None], constants: set[str], inside: str
    ) -> Iterator[_Found]:
        """The products of a graph, in order. `inside` says why those inside a node are no layers."""
        shapes = {**outer, **shapes_of(graph)}
        constants = constants | {tensor.name for tensor in graph.initializer}
        constants |= {tensor.values.name for tensor in graph.sparse_initializer}
        if not inside:
            constants |= self._weights | _missing(graph)
        for node in graph.node:
            for inner in subgraphs(node):
                why = inside or f"inside {node.op_type}, which may run it never or many times"
                yield from self.graph(inner, shapes, constants, why)
            if all(name in constants for name in node.input if name) and not _random(node):
                constants.update(node.output)
            if node.op_type == "Reshape":
                _check_reshape(node, shapes, self._resized)
            yield from self._node(node, shapes, constants, inside)

    def _node(
        self, node: Any, shapes: Mapping[str, Shape | None], constants: set[str], inside: str
    ) -> Iterator[_Found]:
        domain = "" if node.domain in STANDARD else node.domain
        product = PRODUCTS.get((domain, node.op_type))
        name = _name(node, constants)
        op = clean(node.op_type)
        if product is None:
            if not self._known(domain, node.op_type):
                where = f" of {clean(domain)}" if domain else ""
                yield _Found(name, op, Uncovered(f"unknown operator{where}: it may multiply"))
            return
        operands = NodeOperands(
            {attribute.name: _value(attribute) for attribute in node.attribute},
            [shapes.get(each) for each in node.input],
            [shapes.get(each) for each in node.output],
            [each in constants for each in node.input],
        )
        try:
            result: Layer | Uncovered | UnknownShapeError = product(operands)
        except UnknownShapeError as unknown:
            result = unknown
        except (IndexError, KeyError, AttributeError, TypeError, ValueError):
            raise UserError(f"node {name}", f"must have the inputs and attributes of {op}") from None
        except UserError as error:
            raise UserError(f"node {name}", str(error)) from None
        if inside and isinstance(result, Layer):
            result = Uncovered(inside, result.macs)
        elif inside and isinstance(result, UnknownShapeError):
            result = Uncovered(inside)
        yield _Found(name, op, result)

    def _known(self, domain: str, op: str) -> bool:
        if (domain, op) in WITHOUT_PRODUCT:
            return True
        version = self._opsets.get(domain, self._opsets.get(domain or "ai.onnx", 1))
        try:
            return bool(onnx.defs.has(op, max(1, version), domain)) or bool(onnx.defs.has(op, domain))
        except (TypeError, ValueError, RuntimeError, OverflowError):
            return False


def _check_reshape(node: Any, shapes: Mapping[str, Shape | None], resized: bool) -> None:
    """Refuse a reshape to a fixed shape that no longer fits the sizes asked for; ONNX does not check it."""
    before, after = (shapes.get(names[0]) if names else None for names in (node.input, node.output))
    if after is None or (before is None and not resized):
        return
    name = f"node {clean(node.name or node.op_type)}"
    if before is None:
        raise UserError(
            name, "fixes a shape in the file that may not fit other sizes; export it with open ones"
        )
    if prod(before) != prod(after):
        rule = f"must keep the number of elements of {sizes_text(before)}: the file fixes this shape"
        raise UserError(name, rule, sizes_text(after))


def _name(node: Any, constants: set[str]) -> str:
    """The name of the weight, `layer1.0.conv1`, if the file kept the module's; else the name of the node."""
    for read in node.input:
        text = clean(read)
        if read in constants and text.endswith(".weight"):
            return text.removesuffix(".weight")
    return clean(node.name or (node.output[0] if node.output else node.op_type)).strip("/")


def _random(node: Any) -> bool:
    return not any(node.input) and node.op_type != "Constant"


def _missing(graph: Any) -> set[str]:
    """Values that nodes read and nothing writes: weights that were stripped from the file."""
    written = {output for node in graph.node for output in node.output}
    there = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    known = written | there | {tensor.values.name for tensor in graph.sparse_initializer}
    return {name for node in graph.node for name in node.input if name and name not in known}


def _value(attribute: Any) -> Any:
    kinds = {1: "f", 2: "i", 3: "s", 6: "floats", 7: "ints", 8: "strings"}
    if attribute.type not in kinds:
        return None
    value = getattr(attribute, kinds[attribute.type])
    return list(value) if attribute.type in (6, 7, 8) else value


def _explain(proto: Any, failed: _Found, contradiction: str | None) -> None:
    """Refuse the file if an unknown shape is its fault; shapes that depend on data are not.

    Raises:
        UserError: the graph contradicts itself, or an operator that ONNX does not define hides the shape.
    """
    if contradiction is not None:
        raise UserError("graph", f"contradicts itself: {contradiction}")
    shapes = shapes_of(proto.graph)
    missing = [name for name in _missing(proto.graph) if name not in shapes]
    if missing:
        raise UserError(
            f"node {failed.name}", "has no known input shape: nothing in the file writes", clean(missing[0])
        )
    walk = _Walk(proto, set())
    unknown = [
        node.op_type
        for node in proto.graph.node
        if not walk._known("" if node.domain in STANDARD else node.domain, node.op_type)
    ]
    if unknown:
        raise UserError(
            f"node {failed.name}",
            f"has no known input shape: the operator {clean(unknown[0])} is unknown, "
            "and the file does not tell the shape of what it writes",
        )
