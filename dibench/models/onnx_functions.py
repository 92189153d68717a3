"""Writes the bodies of a model's own functions in place of their calls.

A function may be written for another version of the standard operators than the graph that calls it, and so
may the functions that it calls. `onnx.inliner` needs every type for that and gives up on weights (onnx 1.23).
Here each node keeps the version that it was written for, in its field `overload`, which only calls use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import onnx
from onnx import helper

from dibench.errors import UserError
from dibench.models.onnx_file import MOST_NODES
from dibench.models.onnx_text import clean

STANDARD = ("", "ai.onnx")
"""Names of the standard domain."""

_DEEPEST = 50
_Key = tuple[str, str, str]


def inline(proto: Any) -> None:
    """Put the bodies of a model's functions in place of their calls.

    Raises:
        UserError: a function calls itself, or the result would have more than MOST_NODES nodes.
    """
    if proto.functions:
        _check_size(proto)
        functions = _Functions({_key(each): each for each in proto.functions}, standard_version(proto))
        functions.write_into(proto.graph, functions.version)
        del proto.functions[:]


def standard_version(proto: Any) -> int:
    """The version of the standard operators that a model, or function, is written for."""
    return max((int(each.version) for each in proto.opset_import if each.domain in STANDARD), default=1)


def version_of(node: Any, usual: int) -> int:
    """The version of the standard operators that a node is written for."""
    said = clean(node.overload)  # bytes where it is no UTF-8
    return int(said) if said.isdecimal() and len(said) < 5 else usual


def subgraphs(node: Any) -> Iterator[Any]:
    """The graphs inside a node: branches and bodies of loops."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def all_nodes(body: Any) -> Iterator[Any]:
    """The nodes of a body and of the graphs inside its nodes."""
    for node in body:
        yield node
        for graph in subgraphs(node):
            yield from all_nodes(graph.node)


def renamed(node: Any, names: Mapping[str, str]) -> Any:
    """A copy of a node that reads and writes other names, also in the graphs inside it."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for each in (copy.input, copy.output):
        each[:] = [names.get(name, name) for name in each]
    for inner in subgraphs(copy):
        own = {output for each in inner.node for output in each.output}
        own |= {value.name for value in inner.input} | {tensor.name for tensor in inner.initializer}
        outside = {old: new for old, new in names.items() if old not in own}
        nodes = [renamed(each, outside) for each in inner.node]
        del inner.node[:]
        inner.node.extend(nodes)
        for value in inner.output:
            value.name = outside.get(value.name, value.name)
    return copy


@attrs.define
class _Functions:
    bodies: Mapping[_Key, Any]
    version: int
    calls: int = 0

    def write_into(self, graph: Any, version: int) -> None:
        """Replace the calls in a graph whose nodes are written for this version."""
        nodes = [written for node in graph.node for written in self._written(node, version)]
        del graph.node[:]
        graph.node.extend(nodes)

    def _written(self, node: Any, version: int) -> Iterator[Any]:
        """The node, or the nodes of the function that it calls."""
        function = self.bodies.get(_key(node))
        if function is None:
            for inner in subgraphs(node):
                self.write_into(inner, version)
            node.overload = "" if version == self.version else str(version)
            yield node
            return
        self.calls += 1
        inside = standard_version(function)
        given = {each.name: each for each in (*function.attribute_proto, *node.attribute)}
        names = self._names(function, node)
        for each in function.node:
            copy = renamed(each, names)
            copy.name = "/".join(part for part in (node.name, each.name) if part)
            _fill(copy, given)
            yield from self._written(copy, inside)
        for formal, actual in zip(function.output, node.output, strict=False):
            if formal in function.input and actual:  # it hands an input through
                yield helper.make_node("Identity", [names[formal]], [actual])

    def _names(self, function: Any, call: Any) -> dict[str, str]:
        """What each name of a function's body is called in this call of it."""
        names = {
            output: f"{function.name}.{self.calls}/{output}"
            for each in function.node
            for output in each.output
            if output
        }
        names |= {
            formal: actual for formal, actual in zip(function.output, call.output, strict=False) if actual
        }
        actual = [*call.input, *[""] * len(function.input)]
        return names | dict(zip(function.input, actual, strict=False))


def _key(item: Any) -> _Key:
    """Of a call, or of the function that is called."""
    return item.domain, item.op_type if hasattr(item, "op_type") else item.name, item.overload


def _fill(node: Any, given: Mapping[str, Any]) -> None:
    """Give a node of a function the attributes of the call, also in the graphs inside it."""
    kept = []
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            kept.append(attribute)
        elif attribute.ref_attr_name in given:
            filled = onnx.AttributeProto()
            filled.CopyFrom(given[attribute.ref_attr_name])
            filled.name = attribute.name
            kept.append(filled)
    del node.attribute[:]
    node.attribute.extend(kept)
    for inner in subgraphs(node):
        for each in inner.node:
            _fill(each, given)


def _check_size(proto: Any) -> None:
    """Refuse functions that call themselves, and more nodes than may be written."""
    bodies = {_key(each): each.node for each in proto.functions}
    sizes: dict[_Key, int] = {}

    def nodes(body: Any, above: tuple[_Key, ...]) -> int:
        total = 0
        for node in all_nodes(body):
            key = _key(node)
            if key in above:
                raise UserError(f"function {key[1]}", "must not call itself")
            if key in bodies and key not in sizes:
                if len(above) > _DEEPEST:
                    raise UserError("functions", f"must not nest deeper than {_DEEPEST}")
                sizes[key] = nodes(bodies[key], (*above, key))
            total += sizes.get(key, 1)
            if total > MOST_NODES:
                raise UserError("graph", f"must have at most {MOST_NODES} nodes with its functions inlined")
        return total

    nodes(proto.graph.node, ())
