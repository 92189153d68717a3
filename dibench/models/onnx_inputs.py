"""The inputs of an ONNX graph: which are weights, and the sizes that a user gives to the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import attrs

from dibench.errors import UserError
from dibench.models.inputs import LARGEST, MOST_AXES, parse_shape
from dibench.models.onnx_functions import subgraphs
from dibench.models.onnx_products import WEIGHT_INPUTS
from dibench.models.onnx_symbols import names_in, size_of
from dibench.models.products import Shape

_UNCHANGED = ("Identity", "Cast", "Transpose", "DequantizeLinear", "QuantizeLinear")
"""Operators behind which a weight is still the same weight."""

_NO_NAMES = ("-1", "none", "null", "unk", "unknown")
"""Names of axes that name nothing, beside those without a letter."""

_MULTIPLY = (
    "Conv", "ConvInteger", "ConvTranspose", "GRU", "Gemm", "LSTM", "MatMul", "MatMulInteger", "QLinearConv",
    "QLinearMatMul", "RNN",
)  # fmt: skip


def weight_inputs(graph: Any, given: Collection[str] = ()) -> set[str]:
    """Graph inputs that operators read as weights only, directly or after a cast or transposition.

    A model that was exported without weights has them as inputs. The first input is always data, and so is
    one that has an open size, whose shape is `given`, or that stands beside weights in the file.
    """
    if _holds_weights(graph):
        return set()
    initialised = {tensor.name for tensor in graph.initializer}
    candidates = {
        value.name: _rank(value)
        for value in [each for each in graph.input if each.name not in initialised][1:]
        if value.name not in given and all(_fixed(dim) for dim in value.type.tensor_type.shape.dim)
    }
    readers: dict[str, list[tuple[Any, int]]] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, index))

    def only_weight(name: str, rank: int, depth: int) -> bool:
        uses = readers.get(name, [])
        return bool(uses) and depth > 0 and all(
            # A stack of matrices is rather the keys of attention.
            (index in WEIGHT_INPUTS.get(node.op_type, ()) and (node.op_type != "MatMul" or rank < 3))
            or (node.op_type in _UNCHANGED and index == 0 and only_weight(node.output[0], rank, depth - 1))
            for node, index in uses
            if node.output
        )  # fmt: skip

    return {name for name, rank in candidates.items() if only_weight(name, rank, 8)}


def _holds_weights(graph: Any) -> bool:
    """Whether any convolution or product reads a weight that is in the file."""
    inside = {tensor.name for tensor in graph.initializer}
    inside |= {tensor.values.name for tensor in graph.sparse_initializer}
    for node in graph.node:
        reads = [name for name in node.input if name]
        if all(name in inside for name in reads) and (reads or node.op_type == "Constant"):
            inside.update(node.output)
        elif node.op_type in _MULTIPLY and any(name in inside for name in node.input[:2]):
            return True
    return False


@attrs.frozen
class Sizes:
    """The inputs of a graph with their sizes.

    `shapes` are those of the inputs by name, `batched` the inputs whose first axis is the batch. `resized`
    says whether a size that the file fixes was changed. `before` has the same shapes at the file's own batch,
    or at one image, as the option --input-shape takes them; None where the batch is the same.
    """

    shapes: dict[str, Shape]
    batched: set[str]
    resized: bool
    before: dict[str, str] | None = None

    @property
    def batch(self) -> int:
        """The first axis of the first input."""
        first = next(iter(self.shapes.values()), ())
        return first[0] if first else 1


def set_inputs(graph: Any, weights: set[str], batch: int | None, shapes: Mapping[str, str]) -> Sizes:
    """Set the size of every input of the graph, in place.

    A given shape comes first. The batch then sets the first axis of the first input and all axes of the same
    name (or, where sizes are fixed, all first axes of the same size); an open batch is 1. An axis that is
    called `past + 1` follows from the one that is called `past`.

    Raises:
        UserError: a given shape does not fit, or a size stays open.
    """
    _forget_placeholders(graph)
    initialised = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in initialised and value.name not in weights]
    tensors = [value for value in inputs if value.type.HasField("tensor_type")]
    for name, times in Counter(value.name for value in tensors).items():
        if times > 1:
            raise UserError(f"input {name}", "must stand once among the graph's inputs", times)
    given = _given(tensors, shapes)
    was = [_first_axis(value) for value in tensors]
    symbols: dict[str, int] = {}
    resized = False
    for value in tensors:
        if value.name in given:
            resized |= _give(value, given[value.name], symbols)
    if tensors and _rank(tensors[0]):
        resized |= _give_batch(tensors, given, batch, symbols)
    _check_expressions(symbols)
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            size = size_of(dim.dim_param, symbols) if dim.dim_param else None
            if size is not None:
                dim.dim_value = size
    if resized:  # the inner shapes in the file are those of the old sizes
        del graph.value_info[:]
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")
    known = {value.name: _known(value) for value in tensors}
    axes = dict(zip(known, was, strict=True))
    batched = {name for name, axis in axes.items() if known[name] and _is_batch(axis, was[0])}
    sizes = Sizes(known, batched, resized)
    return attrs.evolve(sizes, before=_before(sizes, axes, asked=batch is not None) if known else None)


def _is_batch(axis: str | int, first: str | int) -> bool:
    """Whether an axis grows with that of the first input."""
    return axis == first or (isinstance(axis, str) and first in names_in(axis))


def _check_expressions(symbols: Mapping[str, int]) -> None:
    """Refuse a given size of `past + 1` that contradicts the one of `past`."""
    for text, size in symbols.items():
        due = size_of(text, {name: symbols[name] for name in names_in(text) if name in symbols})
        if due is not None and due != size:
            raise UserError(f"size {text}", f"must be {due}", size)


def _before(sizes: Sizes, axes: Mapping[str, str | int], asked: bool) -> dict[str, str] | None:
    """The shapes at the batch that the file fixes, or at another one where a batch was asked for.

    That is one image, or twice the batch where another axis may be half of it.

    Args:
        sizes: at the batch that was asked for.
        axes: the first axis of each input in the file; what follows from others is left to follow again.
        asked: whether there was one.
    """
    axis = next(iter(axes.values()))
    fixed = isinstance(axis, int) and axis > 0
    batch = axis if isinstance(axis, int) and fixed else 1
    if any(axes[name] != axis for name in sizes.batched):
        batch = 2 * sizes.batch
    if batch == sizes.batch or not (fixed or asked):
        return None
    return {
        name: ",".join(map(str, (batch, *shape[1:]) if name in sizes.batched else shape))
        for name, shape in sizes.shapes.items()
        if shape and (axes[name] == axis or name not in sizes.batched)
    }


def _first_axis(value: Any) -> str | int:
    """The size of the first axis, or its name; 0 if it has neither."""
    dims = value.type.tensor_type.shape.dim
    return (dims[0].dim_param or dims[0].dim_value) if dims else ""


def _forget_placeholders(graph: Any) -> None:
    """Open the axes that files mark as open by a size or name that is none: 0, -1, ?"""
    for node in graph.node:
        for inner in subgraphs(node):
            _forget_placeholders(inner)
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            named = dim.dim_param.casefold() not in _NO_NAMES and any(ch.isalnum() for ch in dim.dim_param)
            if not named and not _fixed(dim):
                dim.Clear()


def _fixed(dim: Any) -> bool:
    return bool(dim.HasField("dim_value")) and dim.dim_value not in (0, -1)


def _given(tensors: list[Any], shapes: Mapping[str, str]) -> dict[str, Shape]:
    names = [value.name for value in tensors]
    given = {}
    for name, text in shapes.items():
        target = name
        if name not in names and (not name or name.isdecimal()) and int(name or 0) < len(names):
            target = names[int(name or 0)]  # by position, from 0
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
