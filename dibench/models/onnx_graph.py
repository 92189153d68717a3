"""Reads an ONNX file as a `Model`: sets input sizes, inlines functions, infers shapes, finds products.

Runs in the reader process (`onnx_reader`), because ONNX's C++ code parses an untrusted file.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import attrs
import onnx

from dibench.errors import UserError
from dibench.layer import Layer
from dibench.models.model import Model, NotCovered, unique_names
from dibench.models.onnx_file import load
from dibench.models.onnx_functions import STANDARD, all_nodes, inline, subgraphs
from dibench.models.onnx_inference import check_order, inferred
from dibench.models.onnx_inputs import Sizes, set_inputs, weight_inputs
from dibench.models.onnx_packed import held_by
from dibench.models.onnx_products import UnknownShapeError
from dibench.models.onnx_runtime import standardised
from dibench.models.onnx_shapes import shapes_of
from dibench.models.onnx_text import clean
from dibench.models.onnx_walk import Found, Walk, missing
from dibench.models.products import Uncovered

_NO_PARAMETER = (onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING)  # sizes, masks


def read(path: Path, batch: int | None, shapes: Mapping[str, str]) -> Model:
    """The model of an ONNX file; `batch` and `shapes` as `models.load` describes them.

    Raises:
        UserError: the file is broken, leaves a size open, or fixes a size that was asked for; one line.
    """
    proto = load(path)
    try:
        return _read(proto, path.stem, batch, shapes)
    except UserError as error:
        raise UserError("", clean(str(error), 400), where=path) from None
    except UnicodeDecodeError as error:  # protobuf copies a message whose text it cannot decode only in part
        rule = f"holds a name that is not UTF-8: {clean(error.object)}"
        raise UserError("graph", rule, where=path) from None


def _read(proto: Any, name: str, batch: int | None, shapes: Mapping[str, str]) -> Model:
    if not proto.graph.node:
        raise UserError("graph", "must have at least one node: this is no model")
    parameters = _parameters(proto)
    inline(proto)
    check_order(proto.graph, set())
    standardised(proto.graph)
    weights = weight_inputs(proto.graph, shapes)
    found, sizes = _found(proto, weights, batch, shapes)
    if sizes.before is not None:
        before, sizes_before = _found(proto, weights, None, sizes.before)
        _check_batch(found, before, sizes.batch, sizes_before.batch)
    names = unique_names(name, [one.name for one in found])
    layers, not_covered = [], []
    for one, unique in zip(found, names, strict=True):
        if isinstance(one.result, Layer):
            layers.append(one.result.renamed(unique))
        elif isinstance(one.result, Uncovered) and one.result.macs != 0:
            counts = attrs.asdict(one.result, recurse=False)
            not_covered.append(NotCovered(name=unique, op=one.op, **counts))
        elif isinstance(one.result, UnknownShapeError):
            not_covered.append(
                NotCovered(name=unique, op=one.op, reason="its shape depends on data", macs=None)
            )
    return Model(
        name=name, batch=sizes.batch, layers=tuple(layers), not_covered=tuple(not_covered),
        input_shapes={clean(name): shape for name, shape in sizes.shapes.items()},
        parameters=parameters or None,
    )  # fmt: skip


def _found(
    proto: Any, weights: set[str], batch: int | None, shapes: Mapping[str, str]
) -> tuple[list[Found], Sizes]:
    """The convolutions and products of a model at the sizes asked for; the model stays as it is."""
    sized = onnx.ModelProto()
    sized.CopyFrom(proto)
    sizes = set_inputs(sized.graph, weights, batch, shapes)
    whole, values, contradiction = inferred(sized)
    if contradiction is not None and (batch is not None or shapes):
        raise UserError("graph", f"does not take these sizes: {contradiction}")
    found = list(Walk(whole, weights, sizes.batched, values, sizes.resized).found())
    failed = next((one for one in found if isinstance(one.result, UnknownShapeError)), None)
    if failed is not None:
        _explain(sized, failed, contradiction)
    return found, sizes


def _check_batch(found: list[Found], before: list[Found], batch: int, was: int) -> None:
    """Refuse a batch with which not every layer grows: somewhere the file fixes it, or it is another axis.

    Raises:
        UserError: names the first layer that does not.
    """
    rule = (
        f"must grow with the batch from {was} to {batch}: the file fixes a size, or the batch is another axis"
    )
    for one, old in zip_longest(found, before):
        if one is None or old is None:
            raise UserError(f"node {(one or old).name}", rule)
        if one.grows and _times(one.result, was) != _times(old.result, batch):
            raise UserError(f"node {one.name}", rule)


def _times(result: Layer | Uncovered | UnknownShapeError, factor: int) -> object:
    """What a result is at a multiple of its batch."""
    if isinstance(result, Layer):
        return result.with_batch(1).shape, result.N * factor
    return (result.macs or 0) * factor if isinstance(result, Uncovered) else None


def _parameters(proto: Any) -> int:
    """Elements of the tensors in a model, its functions and graphs inside nodes, without sizes and masks."""
    bodies = [proto.graph, *proto.functions]
    nodes = [node for body in bodies for node in all_nodes(body.node)]
    graphs = [proto.graph, *(graph for node in nodes for graph in subgraphs(node))]
    dense = [tensor for graph in graphs for tensor in graph.initializer]
    sparse = [tensor for graph in graphs for tensor in graph.sparse_initializer]
    tensors = [(each.name, each.data_type, each.dims) for each in dense]
    tensors += [(each.values.name, each.values.data_type, each.dims) for each in sparse]
    for node in nodes:
        if node.op_type == "Constant" and node.output:
            found = (_constant(attribute) for attribute in node.attribute)
            tensors += [(node.output[0], *each) for each in found if each is not None]
    held = held_by(nodes, dense)
    return sum(
        held[name] if name in held else _size(dims)
        for name, kind, dims in tensors
        if kind not in _NO_PARAMETER
    )


def _constant(attribute: Any) -> tuple[int, Any] | None:
    """Type and sizes of the tensor in a Constant; a single number is part of the program, no parameter."""
    if attribute.name == "value" and attribute.t.dims:
        return attribute.t.data_type, attribute.t.dims
    if attribute.name == "sparse_value":
        return attribute.sparse_tensor.values.data_type, attribute.sparse_tensor.dims
    if attribute.name == "value_floats":
        return onnx.TensorProto.FLOAT, [len(attribute.floats)]
    return None


def _size(dims: Any) -> int:
    size = 1
    for dim in dims:
        if dim < 0:
            raise UserError("initializer", "must not have a negative size", dim)
        size *= dim
    return size


def _explain(proto: Any, failed: Found, contradiction: str | None) -> None:
    """Refuse the file if an unknown shape is its fault; shapes that depend on data are not.

    Raises:
        UserError: the graph contradicts itself, or an operator that ONNX does not define hides the shape.
    """
    if contradiction is not None:
        raise UserError("graph", f"contradicts itself: {contradiction}")
    shapes = shapes_of(proto.graph)
    gone = [name for name in missing(proto.graph) if name not in shapes]
    if gone:
        raise UserError(
            f"node {failed.name}", "has no known input shape: nothing in the file writes", clean(gone[0])
        )
    walk = Walk(proto)
    unknown = [
        node.op_type
        for node in proto.graph.node
        if not walk.knows("" if node.domain in STANDARD else node.domain, node.op_type)
    ]
    if unknown:
        raise UserError(
            f"node {failed.name}",
            f"has no known input shape: the operator {clean(unknown[0])} is unknown, "
            "and the file does not tell the shape of what it writes",
        )
