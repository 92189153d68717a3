"""The small tensors from which an ONNX graph builds its shapes, computed by ONNX's reference implementation.

Exporters write the shape of a reshape as a little program of its own: Shape, Gather, Div, Clip, Transpose,
Where, Concat. Any operator that only moves or computes numbers may stand there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from dibench.models.products import Shape

MOST_ELEMENTS = 256
"""Most elements of a tensor that is computed."""

OPERATORS = frozenset({
    "Abs", "Add", "And", "ArgMax", "ArgMin", "Cast", "CastLike", "Ceil", "Clip", "Compress", "Concat",
    "ConstantOfShape", "CumSum", "Div", "Equal", "Exp", "Expand", "EyeLike", "Flatten", "Floor", "Gather",
    "GatherElements", "GatherND", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Log",
    "Max", "Mean", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "OneHot", "Or", "Pad", "Pow", "Range",
    "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape",
    "Round", "ScatterElements", "ScatterND", "Shape", "Sign", "Size", "Slice", "Split", "Sqrt", "Squeeze",
    "Sub", "Sum", "Tile", "TopK", "Transpose", "Trilu", "Unique", "Unsqueeze", "Where", "Xor",
})  # fmt: skip


def array(tensor: Any) -> Any | None:
    """A small tensor of the file; None if it is large or its payload was dropped."""
    if prod(tensor.dims) > MOST_ELEMENTS:
        return None
    try:
        return numpy_helper.to_array(tensor)
    except Exception:  # external, or broken
        return None


def constant(node: Any) -> Any | None:
    """The value of a Constant node, if it is small."""
    for attribute in node.attribute:
        if attribute.name == "value":
            return array(attribute.t)
        if attribute.name in ("value_int", "value_ints", "value_float", "value_floats"):
            value = onnx.helper.get_attribute_value(attribute)
            kind = np.int64 if attribute.name.startswith("value_int") else np.float32
            return np.array(value, kind) if np.size(value) <= MOST_ELEMENTS else None
    return None


def results(
    node: Any, values: Mapping[str, Any], shape_of: Callable[[str], Shape | None], opset: int
) -> dict[str, Any]:
    """The node's outputs by name, as arrays; none if they are unknown or too large to be a shape."""
    if node.op_type == "Constant":
        value = constant(node)
        return {} if value is None else {node.output[0]: value}
    if node.op_type in ("Shape", "Size"):
        shape = shape_of(node.input[0])
        if shape is None:
            return {}
        ends = {attribute.name: attribute.i for attribute in node.attribute}
        part = np.array(shape[ends.get("start", 0) : ends.get("end", len(shape))], np.int64)
        return {node.output[0]: part if node.op_type == "Shape" else np.array(prod(shape), np.int64)}
    if node.op_type not in OPERATORS or not all(name in values for name in node.input if name):
        return {}
    inputs = [values[name] if name else None for name in node.input]
    try:
        if _elements(node, inputs) > MOST_ELEMENTS:
            return {}
        found = _evaluated(_plain(node), opset, tuple(map(_frozen, inputs)))
    except Exception:  # the node contradicts itself: ONNX's inference says how
        return {}
    return {
        name: one for name, one in zip(node.output, found, strict=False) if name and one.size <= MOST_ELEMENTS
    }


def _elements(node: Any, inputs: list[Any]) -> int:
    """How many elements the result has at most, where the numbers themselves say it; else 0."""
    if node.op_type == "ConstantOfShape":
        return int(prod(np.ravel(inputs[0]).tolist()))
    if node.op_type == "Expand":
        return int(inputs[0].size * prod(max(1, size) for size in np.ravel(inputs[1]).tolist()))
    if node.op_type == "Tile":
        return int(inputs[0].size * prod(np.ravel(inputs[1]).tolist()))
    if node.op_type == "OneHot":
        return int(inputs[0].size) * int(np.ravel(inputs[1])[0])
    if node.op_type == "Range":
        start, limit, step = (float(each) for each in inputs)
        return max(0, int((limit - start) / step) + 1)
    if node.op_type == "Pad" and len(inputs) > 1:
        most = max(inputs[0].shape, default=1) + int(np.abs(inputs[1]).sum())
        return int(most ** inputs[0].ndim)
    return 0


def _plain(node: Any) -> bytes:
    """The node with names by position: nodes that compute the same are evaluated by one evaluator."""
    plain = onnx.NodeProto(op_type=node.op_type, attribute=node.attribute)
    plain.input.extend(f"i{i}" if name else "" for i, name in enumerate(node.input))
    plain.output.extend(f"o{i}" for i in range(len(node.output)))
    return bytes(plain.SerializeToString())


_Frozen = tuple[bytes, Any, Shape] | None


def _frozen(value: Any) -> _Frozen:
    """An array as something that can be looked up: its bytes, type and shape."""
    return None if value is None else (value.tobytes(), value.dtype, value.shape)


@lru_cache(maxsize=4096)  # the blocks of a transformer compute the same shapes again and again
def _evaluated(node: bytes, opset: int, inputs: tuple[_Frozen, ...]) -> list[Any]:
    feeds = {
        f"i{i}": np.ndarray(each[2], each[1], bytearray(each[0]))
        for i, each in enumerate(inputs)
        if each is not None
    }
    return [np.asarray(one) for one in _evaluator(node, opset).run(None, feeds)]


@lru_cache(maxsize=1024)
def _evaluator(node: bytes, opset: int) -> Any:
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(onnx.NodeProto.FromString(node), opsets={"": opset})
