"""The inputs of an ONNX graph: which are weights, and the sizes that a user gives to the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dibench.errors import UserError
from dibench.models.inputs import LARGEST, MOST_AXES, parse_shape
from dibench.models.onnx_products import WEIGHT_INPUTS
from dibench.models.products import Shape

_UNCHANGED = ("Identity", "Cast", "Transpose", "DequantizeLinear", "QuantizeLinear")
"""Operators behind which a weight is still the same weight."""


def weight_inputs(graph: Any) -> set[str]:
    """Graph inputs that operators read as weights only, directly or after a cast or transposition.

    A model that was exported without weights has them as inputs. The first input is always data.
    """
    initialised = {tensor.name for tensor in graph.initializer}
    candidates = [value.name for value in graph.input if value.name not in initialised][1:]
    readers: dict[str, list[tuple[Any, int]]] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, index))

    def only_weight(name: str, depth: int) -> bool:
        uses = readers.get(name, [])
        return bool(uses) and depth > 0 and all(
            index in WEIGHT_INPUTS.get(node.op_type, ())
            or (node.op_type in _UNCHANGED and index == 0 and only_weight(node.output[0], depth - 1))
            for node, index in uses
            if node.output
        )  # fmt: skip

    return {name for name in candidates if only_weight(name, 8)}


def set_inputs(
    graph: Any, weights: set[str], batch: int | None, shapes: Mapping[str, str]
) -> tuple[dict[str, Shape], bool]:
    """Set the size of every input of the graph, in place.

    A given shape comes first. The batch then sets the first axis of the first input and all axes of the same
    name (or, where sizes are fixed, all first axes of the same size); an open batch is 1.

    Returns:
        The shapes by input name, and whether a size that the file fixes was changed.

    Raises:
        UserError: a given shape does not fit, or a size stays open.
    """
    initialised = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in initialised and value.name not in weights]
    tensors = [value for value in inputs if value.type.HasField("tensor_type")]
    given = _given(tensors, shapes)
    symbols: dict[str, int] = {}
    fixed_changed = False
    for value in tensors:
        if value.name in given:
            fixed_changed |= _give(value, given[value.name], symbols)
    if tensors and _rank(tensors[0]):
        fixed_changed |= _give_batch(tensors, given, batch, symbols)
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in symbols:
                dim.dim_value = symbols[dim.dim_param]
    if fixed_changed:  # the inner shapes in the file are those of the old sizes
        del graph.value_info[:]
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")
    return {value.name: _known(value) for value in tensors}, fixed_changed


def _given(tensors: list[Any], shapes: Mapping[str, str]) -> dict[str, Shape]:
    names = [value.name for value in tensors]
    given = {}
    for name, text in shapes.items():
        target = name or (names[0] if names else "")
        if target not in names:
            raise UserError("--input-shape", "must name one of the inputs " + ", ".join(names[:8]), name)
        given[target] = parse_shape(text, name)[0]
    return given


def _rank(value: Any) -> int:
    return len(value.type.tensor_type.shape.dim)


def _give(value: Any, shape: Shape, symbols: dict[str, int]) -> bool:
    """Set an input's shape; returns whether a size that the file fixes was changed."""
    dims = value.type.tensor_type.shape.dim
    if value.type.tensor_type.HasField("shape") and len(dims) != len(shape):
        raise UserError(f"--input-shape {value.name}", f"must have {len(dims)} sizes", list(shape))
    while len(dims) < len(shape):
        dims.add()
    changed = False
    for dim, size in zip(dims, shape, strict=True):
        if dim.dim_param:
            if symbols.setdefault(dim.dim_param, size) != size:
                raise UserError(f"size {dim.dim_param}", "must be the same in every input", size)
        elif dim.HasField("dim_value") and dim.dim_value != size:
            changed = True
        dim.dim_value = size
    return changed


def _give_batch(
    tensors: list[Any], given: Mapping[str, Shape], batch: int | None, symbols: dict[str, int]
) -> bool:
    first = tensors[0].type.tensor_type.shape.dim[0]
    if tensors[0].name in given:
        if batch is not None and batch != given[tensors[0].name][0]:
            raise UserError("--batch", f"must be that of --input-shape, {given[tensors[0].name][0]}", batch)
        return False
    if first.dim_param:
        symbols.setdefault(first.dim_param, batch or 1)
        return False
    if not first.HasField("dim_value"):  # neither size nor name: so for all inputs like it
        for value in tensors:
            if _rank(value) and value.name not in given:
                dim = value.type.tensor_type.shape.dim[0]
                if not dim.HasField("dim_value") and not dim.dim_param:
                    dim.dim_value = batch or 1
        return False
    if batch is None or batch == first.dim_value:
        return False
    before = first.dim_value
    for value in tensors:
        if _rank(value) and value.name not in given:
            dim = value.type.tensor_type.shape.dim[0]
            if dim.HasField("dim_value") and dim.dim_value == before:
                dim.dim_value = batch
    return True


def _known(value: Any) -> Shape:
    kind = value.type.tensor_type
    dims = kind.shape.dim
    if len(dims) > MOST_AXES:
        raise UserError(f"input {value.name}", f"must have at most {MOST_AXES} axes", len(dims))
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    if not kind.HasField("shape"):
        raise UserError(
            f"input {value.name}", f"has no shape: give it with --input-shape {value.name}=1,3,224,224"
        )
    if any(size is None for size in sizes):
        open_sizes = ", ".join(
            dim.dim_param or f"axis {axis}" for axis, dim in enumerate(dims) if not dim.HasField("dim_value")
        )
        example = ",".join("?" if size is None else str(size) for size in sizes)
        raise UserError(
            f"input {value.name}", f"leaves {open_sizes} open: give --input-shape {value.name}={example}"
        )
    if not all(1 <= size <= LARGEST for size in sizes if size is not None):
        raise UserError(f"input {value.name}", f"must have sizes from 1 to {LARGEST}", sizes)
    return tuple(size for size in sizes if size is not None)
