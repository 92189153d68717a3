"""Follows shapes through an ONNX graph node by node, with the integers that they are computed from.

ONNX's inference of a whole graph follows some of the operators from which exporters build shapes, also with
`data_prop=True`: onnx 1.23 leaves the heads of attention open where Equal and Where choose them, and the
windows of a Swin transformer behind Transpose and Clip (tests/models/test_onnx_shapes.py). What it leaves
open is followed here: one pass computes the small tensors of each node, then the shapes that it writes. An If
whose condition is such a tensor is replaced by the branch that it takes.
"""

from __future__ import annotations

from collections import ChainMap, deque
from collections.abc import Mapping, MutableMapping
from functools import cache
from typing import Any

import attrs
import onnx
import onnx.defs
import onnx.shape_inference
from onnx import helper, numpy_helper

from dibench.errors import UserError
from dibench.models.onnx_functions import STANDARD, renamed, standard_version, subgraphs, version_of
from dibench.models.onnx_text import clean, first_line
from dibench.models.onnx_values import array, results
from dibench.models.products import Shape


def follow(proto: Any) -> Followed:
    """The pass over a model whose shapes ONNX has inferred; it completes the graph in place."""
    followed = Followed(standard_version(proto), list(proto.opset_import), proto.ir_version)
    followed.graph(proto.graph, {}, {})
    return followed


@attrs.define
class Followed:
    """What one pass found: the small tensors of the main graph, and the first contradiction, if any."""

    version: int
    opsets: list[Any]
    ir_version: int
    values: MutableMapping[str, Any] = attrs.field(factory=dict)
    contradiction: str | None = None

    def graph(self, graph: Any, outer_types: Mapping[str, Any], outer_values: Mapping[str, Any]) -> None:
        """Complete the types of a graph and of the graphs inside its nodes."""
        types: MutableMapping[str, Any] = ChainMap(types_of(graph), outer_types)  # type: ignore[arg-type]
        values: MutableMapping[str, Any] = ChainMap({}, outer_values)  # type: ignore[arg-type]
        for tensor in graph.initializer:
            value = array(tensor)
            if value is not None:
                values[tensor.name] = value
        kept = []
        waiting = deque(graph.node)
        while waiting:
            node = waiting.popleft()
            taken = _taken(node, values)
            if taken is not None:
                waiting.extendleft(reversed(_spliced(graph, node, taken, types, values)))
                continue
            for inner in subgraphs(node):
                self.graph(inner, types, values)
            self._node(node, types, values)
            kept.append(node)
        _complete(graph, kept, types)
        if not outer_types:
            self.values = values

    def _node(self, node: Any, types: MutableMapping[str, Any], values: MutableMapping[str, Any]) -> None:
        if node.domain not in STANDARD:
            return
        version = version_of(node, self.version)
        if node.input or node.op_type == "Constant":
            found = results(node, values, lambda name: shape_of(types.get(name)), version)
            for name, value in found.items():
                values[name] = value
                if shape_of(types.get(name)) != value.shape:
                    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
                    types[name] = helper.make_tensor_type_proto(kind, value.shape)
        if all(shape_of(types.get(name)) is not None for name in node.output if name):
            return
        schema = _schema(node.op_type, version)
        if schema is None:
            return
        unknown = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)
        reads = {name: types.get(name, unknown) for name in node.input if name}
        data = {name: numpy_helper.from_array(values[name], name) for name in reads if name in values}
        try:
            opsets = self.opsets if version == self.version else [helper.make_opsetid("", version)]
            inferred = onnx.shape_inference.infer_node_outputs(
                schema, node, reads, data, opset_imports=opsets, ir_version=self.ir_version
            )
        except Exception as error:  # of the C++ code: InferenceError, ValueError, UnicodeDecodeError, ...
            if self.contradiction is None and all(shape_of(kind) is not None for kind in reads.values()):
                self.contradiction = first_line(error)
            return
        for name, kind in inferred.items():
            if name not in types or shape_of(kind) is not None:
                types[name] = kind


def types_of(graph: Any) -> dict[str, Any]:
    """The type of every value of a graph by its name, as far as the graph says it."""
    types = {value.name: value.type for value in (*graph.input, *graph.output, *graph.value_info)}
    for tensor in graph.initializer:
        types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
    for sparse in graph.sparse_initializer:
        types[sparse.values.name] = helper.make_tensor_type_proto(sparse.values.data_type, sparse.dims)
    return types


def shapes_of(graph: Any) -> dict[str, Shape | None]:
    """The shape of every value of a graph by its name, None where a size is open.

    Raises:
        UserError: a size is negative.
    """
    shapes = {name: shape_of(kind) for name, kind in types_of(graph).items()}
    for name, shape in shapes.items():
        if shape is not None and min(shape, default=0) < 0:
            raise UserError(f"value {clean(name)}", "must not have a negative size", shape)
    return shapes


def shape_of(kind: Any) -> Shape | None:
    """The shape in a type, None where a size is open."""
    if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    sizes = []
    for dim in kind.tensor_type.shape.dim:
        if not dim.HasField("dim_value"):
            return None
        sizes.append(dim.dim_value)
    return tuple(sizes)


def _complete(graph: Any, nodes: list[Any], types: Mapping[str, Any]) -> None:
    """Put nodes and types into the graph."""
    del graph.node[:]
    graph.node.extend(nodes)
    outputs = {value.name: value for value in graph.output}
    del graph.value_info[:]
    for node in nodes:
        for name in node.output:
            if name in outputs and name in types:
                outputs[name].type.CopyFrom(types[name])
            elif name and name in types:
                graph.value_info.add(name=name, type=types[name])


def _taken(node: Any, values: Mapping[str, Any]) -> Any | None:
    """The branch of an If whose condition is known."""
    if node.op_type != "If" or node.domain not in STANDARD or not node.input or node.input[0] not in values:
        return None
    condition = values[node.input[0]]
    if condition.size != 1:
        return None
    name = "then_branch" if bool(condition.ravel()[0]) else "else_branch"
    return next((attribute.g for attribute in node.attribute if attribute.name == name), None)


def _spliced(
    graph: Any, node: Any, branch: Any, types: MutableMapping[str, Any], values: MutableMapping[str, Any]
) -> list[Any]:
    """The nodes of a branch under names of their own, and what the If writes; weights go into the graph."""
    inside = [output for each in branch.node for output in each.output if output]
    inside += [tensor.name for tensor in branch.initializer]
    names = {name: f"{node.output[0]}/{name}" for name in inside}
    for tensor in branch.initializer:
        value = array(tensor)
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = names[tensor.name]
        if value is not None:
            values[names[tensor.name]] = value
    for name, kind in types_of(branch).items():
        types[names.get(name, name)] = kind
    nodes = [renamed(each, names) for each in branch.node]
    for outer, inner in zip(node.output, branch.output, strict=False):
        nodes.append(helper.make_node("Identity", [names.get(inner.name, inner.name)], [outer]))
    return nodes


@cache
def _schema(op: str, version: int) -> Any | None:
    try:
        return onnx.defs.get_schema(op, version, "")
    except Exception:  # not defined in this version
        return None
