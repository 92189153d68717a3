"""Writes standard ONNX nodes in place of one of onnxruntime's operators."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import onnx
from onnx import helper

_NEW = "dibench"
"""First word of the names of values that are written; a graph that has it already is not refused."""


class Writer:
    """Writes standard nodes in place of one node; each takes the node's name, so that products keep it."""

    def __init__(
        self, node: Any, number: int, ranks: Mapping[str, int], sizes: Mapping[str, tuple[int, ...]],
        four_bits: Collection[str] = (),
    ) -> None:  # fmt: skip
        self.node = node
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        self._prefix = f"{_NEW}/{node.output[0] if node.output else number}"
        self._ranks = ranks
        self._sizes = sizes
        self._four_bits = four_bits

    def input(self, index: int) -> str:
        """The name of an input that must be there."""
        name = self.optional(index)
        if not name:
            raise IndexError(index)
        return name

    def optional(self, index: int) -> str:
        """The name of an input, empty where it is left out."""
        return str(self.node.input[index]) if index < len(self.node.input) else ""

    def output(self, index: int) -> str:
        """The name of an output, empty where it is left out."""
        return str(self.node.output[index]) if index < len(self.node.output) else ""

    def number(self, attribute: str, usual: int | None = None) -> int:
        """An attribute that is a whole number."""
        value = self.attributes.get(attribute, usual)
        if value is None:
            raise KeyError(attribute)
        return int(value)

    def rank(self, name: str) -> int | None:
        """How many axes a value has, where the file says it."""
        return self._ranks.get(name)

    def sizes(self, name: str) -> tuple[int, ...]:
        """The shape of an initializer."""
        return self._sizes[name]

    def is_packed(self, name: str) -> bool:
        """Whether an initializer of few bits is stored in a wider type, several values in one element."""
        return name not in self._four_bits

    def add(self, op: str, inputs: Sequence[str], to: str = "", part: str = "", **attributes: Any) -> str:
        """Write a node; returns the name of its output: `to`, or a new one."""
        to = to or f"{self._prefix}/{len(self.nodes)}"
        name = f"{self.node.name or self.output(0)}{part}"
        self.nodes.append(helper.make_node(op, inputs, [to], name=name, **attributes))
        return to

    def keep(self) -> None:
        """Write the node as it is, to be listed; what it writes has other names."""
        kept = onnx.NodeProto()
        kept.CopyFrom(self.node)
        kept.output[:] = [name and f"{self._prefix}/{name}" for name in self.node.output]
        self.nodes.append(kept)

    def integers(self, values: Sequence[int] | int) -> str:
        """Write a constant of integers."""
        shape = [] if isinstance(values, int) else [len(values)]
        tensor = helper.make_tensor(
            "c", onnx.TensorProto.INT64, shape, [values] if isinstance(values, int) else list(values)
        )
        return self.add("Constant", [], value=tensor)

    def weight(self, shape: Sequence[int]) -> str:
        """A weight of this shape without values."""
        name = f"{self._prefix}/weight{len(self.weights)}"
        self.weights.append(onnx.TensorProto(name=name, dims=shape, data_type=onnx.TensorProto.FLOAT))
        return name

    def reshape(self, x: str, shape: Sequence[int], to: str = "") -> str:
        """Write a Reshape; 0 keeps the size of that axis, -1 takes what is left."""
        return self.add("Reshape", [x, self.integers(shape)], to)

    def transpose(self, x: str, perm: Sequence[int], to: str = "") -> str:
        """Write a Transpose."""
        return self.add("Transpose", [x], to, perm=list(perm))

    def take(self, x: str, axis: int, index: Sequence[int] | int) -> str:
        """Some indices of an axis, which goes where the index is one number."""
        return self.add("Gather", [x, self.integers(index)], axis=axis)

    def kept(self, *names: str) -> dict[str, Any]:
        """Those of the node's attributes that the standard operator has too."""
        return {name: self.attributes[name] for name in names if name in self.attributes}


Write = Callable[[Writer], None]
