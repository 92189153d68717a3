"""Finds the convolutions and products of an ONNX graph whose shapes are known.

Every value is one of three kinds. A *weight* is in the file, or computed from weights alone. A *table* is
computed from weights and from the sizes of inputs (positions, masks, queries that are expanded to the batch).
Everything else is an activation. A product of two weights, or of two tables, is no layer: it is the same in
every inference, and runtimes compute it once. A table beside a weight is what the weight is applied to;
beside an activation it is the weight.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import attrs
import onnx
import onnx.defs

from dibench.errors import UserError
from dibench.layer import Layer
from dibench.models.onnx_functions import STANDARD, subgraphs
from dibench.models.onnx_moves import Axes, Padded, copies, distinct, padding, uncopied
from dibench.models.onnx_products import PRODUCTS, WITHOUT_PRODUCT, NodeOperands, UnknownShapeError
from dibench.models.onnx_shapes import shapes_of
from dibench.models.onnx_text import clean
from dibench.models.products import Shape, Uncovered, sizes_text

_RANDOM = (
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
)


@attrs.frozen
class Found:
    """A convolution or product in the graph: the name and operator of its node, and the layer that it is.

    `grows` says whether it reads what the batch of the inputs determines.
    """

    name: str
    op: str
    result: Layer | Uncovered | UnknownShapeError
    grows: bool = True


@attrs.define
class _Kinds:
    """The kind of each value: `weights`, `tables`, or activations; `batched` ones depend on the batch."""

    weights: set[str]
    tables: set[str] = attrs.field(factory=set)
    batched: set[str] = attrs.field(factory=set)

    def inside(self, graph: Any) -> _Kinds:
        """Those of a graph inside a node."""
        return _Kinds(self.weights | held(graph), set(self.tables), set(self.batched))

    def learn(self, node: Any) -> None:
        """The kind of what a node writes."""
        reads = [name for name in node.input if name]
        if any(name in self.batched for name in reads):
            self.batched.update(node.output)
        if node.op_type in _RANDOM or (not reads and node.op_type != "Constant"):
            return
        if all(name in self.weights for name in reads):
            self.weights.update(node.output)
        elif node.op_type in ("Shape", "Size") or all(
            name in self.weights or name in self.tables for name in reads
        ):
            self.tables.update(node.output)

    def weights_among(self, names: Sequence[str]) -> list[bool] | None:
        """Which inputs of a node are its weights; None if it computes the same in every inference."""
        reads = {name for name in names if name}
        if reads <= self.weights or reads <= self.tables:
            return None
        fixed = self.weights if reads <= self.weights | self.tables else self.weights | self.tables
        return [name in fixed for name in names]


class Walk:
    """Finds convolutions and products in a model whose shapes are inferred.

    Args:
        proto: the model.
        weights: its inputs that are weights.
        batched: its inputs whose first axis is the batch.
        values: small tensors that are known, by name.
        resized: whether sizes that the file fixes were changed.
    """

    def __init__(
        self, proto: Any, weights: Collection[str] = (), batched: Collection[str] = (),
        values: Mapping[str, Any] | None = None, resized: bool = False,
    ) -> None:  # fmt: skip
        self._graph = proto.graph
        self._kinds = _Kinds(held(proto.graph) | missing(proto.graph) | set(weights), batched=set(batched))
        self._values = values or {}
        self._resized = resized
        self._opsets = {opset.domain: opset.version for opset in proto.opset_import}

    def found(self) -> Iterator[Found]:
        """The convolutions and products of the model, in order.

        Raises:
            UserError: a node contradicts itself, or fixes a shape that does not fit.
        """
        yield from self._in(self._graph, {}, self._kinds, inside="")

    def _in(
        self, graph: Any, outer: Mapping[str, Shape | None], kinds: _Kinds, inside: str
    ) -> Iterator[Found]:
        """Those of one graph. `inside` says why those inside a node are no layers."""
        shapes = {**outer, **shapes_of(graph)}
        padded: dict[str, Padded] = {}
        copied: dict[str, Axes] = {}
        elements: dict[str, int] = {}
        for node in graph.node:
            for inner in subgraphs(node):
                why = inside or f"inside {node.op_type}, which may run it never or many times"
                yield from self._in(inner, shapes, kinds.inside(inner), why)
            kinds.learn(node)
            if node.op_type == "Reshape":
                _check_reshape(node, shapes, self._resized)
            before = padding(node, shapes, self._values, padded)
            if before is not None:
                padded[node.output[0]] = before
            axes = copies(node, shapes, copied)
            if any(axes):
                copied[node.output[0]] = axes
            once = distinct(node, shapes, elements)
            if once is not None:
                elements[node.output[0]] = once
            yield from self._node(node, shapes, kinds, padded, copied, elements, inside)

    def _node(
        self, node: Any, shapes: Mapping[str, Shape | None], kinds: _Kinds, padded: Mapping[str, Padded],
        copied: Mapping[str, Axes], elements: Mapping[str, int], inside: str,
    ) -> Iterator[Found]:  # fmt: skip
        domain = "" if node.domain in STANDARD else node.domain
        product = PRODUCTS.get((domain, node.op_type))
        if product is None and self.knows(domain, node.op_type):
            return
        name, op = _name(node, kinds), clean(node.op_type)
        if product is None:
            where = f" of {clean(domain)}" if domain else ""
            yield Found(name, op, Uncovered(f"unknown operator{where}: it may multiply"))
            return
        weights = kinds.weights_among(node.input)
        if weights is None:
            return
        operands = NodeOperands(
            {attribute.name: _value(attribute) for attribute in node.attribute},
            [
                uncopied(shapes.get(each), copied.get(each, ()) if weight else ())
                for each, weight in zip(node.input, weights, strict=True)
            ],
            [shapes.get(each) for each in node.output],
            weights,
            [bool(each) for each in node.input],
            padded.get(node.input[0]),
            [elements.get(each) for each in node.input],
        )
        try:
            product_of = product(operands)
            results: Sequence[Layer | Uncovered | UnknownShapeError] = (
                [product_of] if isinstance(product_of, (Layer, Uncovered)) else product_of
            )
        except UnknownShapeError as unknown:
            results = [Uncovered(inside) if inside else unknown]
        except (IndexError, KeyError, AttributeError, TypeError, ValueError):
            raise UserError(f"node {name}", f"must have the inputs and attributes of {op}") from None
        except UserError as error:
            raise UserError(f"node {name}", str(error)) from None
        grows = any(each in kinds.batched for each in node.input)
        for result in results:
            listed = Uncovered(inside, result.macs) if inside and isinstance(result, Layer) else result
            yield Found(name, op, listed, grows)

    def knows(self, domain: str, op: str) -> bool:
        """Whether ONNX defines an operator, or it is known to have no product."""
        if (domain, op) in WITHOUT_PRODUCT:
            return True
        version = self._opsets.get(domain, self._opsets.get(domain or "ai.onnx", 1))
        try:
            return bool(onnx.defs.has(op, max(1, version), domain)) or bool(onnx.defs.has(op, domain))
        except (TypeError, ValueError, RuntimeError, OverflowError):
            return False


def held(graph: Any) -> set[str]:
    """Values that the graph holds as tensors, dense or sparse."""
    dense = {tensor.name for tensor in graph.initializer}
    return dense | {tensor.values.name for tensor in graph.sparse_initializer}


def missing(graph: Any) -> set[str]:
    """Values that nodes read and nothing writes: weights that were stripped from the file."""
    known = {output for node in graph.node for output in node.output}
    known |= {value.name for value in graph.input} | held(graph)
    return {name for node in graph.node for name in node.input if name and name not in known}


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


def _name(node: Any, kinds: _Kinds) -> str:
    """The name of the weight, `layer1.0.conv1`, if the file kept the module's; else the name of the node."""
    for read in node.input:
        text = clean(read)
        if read in kinds.weights and text.endswith(".weight"):
            return text.removesuffix(".weight")
    return clean(node.name or (node.output[0] if node.output else node.op_type)).strip("/")


def _value(attribute: Any) -> Any:
    kinds = {1: "f", 2: "i", 3: "s", 6: "floats", 7: "ints", 8: "strings"}
    if attribute.type not in kinds:
        return None
    value = getattr(attribute, kinds[attribute.type])
    return list(value) if attribute.type in (6, 7, 8) else value
