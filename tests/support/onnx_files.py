"""Small ONNX models for tests, made with onnx.helper: networks from their tables, and graphs by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from dibench.layer import Layer


def value(name: str, shape: Sequence[int | str | None] | None, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def weight(name: str, shape: Sequence[int]) -> Any:
    """An initializer of that shape without its data, as a file stripped of weights has it."""
    return onnx.TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT)


def save(
    path: Path, nodes: Sequence[Any], inputs: Sequence[Any], weights: Sequence[Any] = (), **more: Any
) -> Path:
    """A model whose outputs are what the last node writes."""
    inner = more.pop("value_info", ())
    outputs = [value(name, None) for name in nodes[-1].output]
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, weights, value_info=inner)
    more.setdefault("opset_imports", [helper.make_opsetid("", 17)])
    path.write_bytes(helper.make_model(graph, **more).SerializeToString())
    return path


def from_table(path: Path, layers: Sequence[Layer], *, weights: bool = False) -> Path:
    """Every layer of a table as a node with an input of its own: shapes as published, no weights' values."""
    nodes, inputs, filters = [], [], []
    for i, layer in enumerate(layers):
        x, w, y = f"x{i}", f"w{i}", f"y{i}"
        name = layer.name.partition("/")[2]
        if layer.op == "fc":
            inputs.append(value(x, [layer.N, layer.C]))
            filters.append((w, [layer.K, layer.C]))
            nodes.append(helper.make_node("Gemm", [x, w], [y], name=name, transB=1))
            continue
        inputs.append(value(x, [layer.N, layer.C, layer.H, layer.W]))
        filters.append((w, [layer.K, layer.C // layer.groups, layer.R, layer.S]))
        ends = [
            max(0, (layer.P - 1) * layer.stride_h + layer.dil_h * (layer.R - 1) + 1 - layer.H - layer.pad_h),
            max(0, (layer.Q - 1) * layer.stride_w + layer.dil_w * (layer.S - 1) + 1 - layer.W - layer.pad_w),
        ]
        nodes.append(
            helper.make_node(
                "Conv",
                [x, w],
                [y],
                name=name,
                group=layer.groups,
                pads=[layer.pad_h, layer.pad_w, *ends],
                strides=[layer.stride_h, layer.stride_w],
                dilations=[layer.dil_h, layer.dil_w],
            )
        )
    if weights:
        return save(path, nodes, inputs, [weight(name, shape) for name, shape in filters])
    return save(path, nodes, [*inputs, *(value(name, shape) for name, shape in filters)])


def residual(path: Path, batch: int | str | None = "N") -> Path:
    """A graph with a branch: conv 3→8 stride 2, a 3x3 and a 1x1 conv added, pooled, a classifier of 10."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w0"], ["a"], name="stem", strides=[2, 2], auto_pad="SAME_UPPER"),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "w1"], ["c"], name="left", pads=[1, 1, 1, 1], group=2),
        node("Conv", ["b", "w2"], ["d"], name="right"),
        node("Add", ["c", "d"], ["e"]),
        node("GlobalAveragePool", ["e"], ["f"]),
        node("Flatten", ["f"], ["g"]),
        node("Gemm", ["g", "w3", "bias"], ["h"], name="fc", transB=1),
    ]
    weights = [
        weight("w0", [8, 3, 3, 3]), weight("w1", [8, 4, 3, 3]), weight("w2", [8, 8, 1, 1]),
        weight("w3", [10, 8]), weight("bias", [10]),
    ]  # fmt: skip
    return save(path, nodes, [value("x", [batch, 3, "H", "W"])], weights)


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, content: bytes) -> bytes:
    """A protobuf field that holds bytes or a message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def with_embedded_weights(path: Path, C: int, K: int) -> Path:
    """x[1,C]·w[C,K] with the float32 weights inside the file, as a hole that takes no disk."""
    save(path, [helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")], [value("x", [1, C])])
    graph = onnx.load_model_from_string(path.read_bytes()).graph.SerializeToString()
    size = 4 * C * K
    tensor = weight("w", [C, K]).SerializeToString() + varint(9 << 3 | 2) + varint(size)  # raw_data
    inside = varint(5 << 3 | 2) + varint(len(tensor) + size) + tensor  # initializer
    rest = helper.make_model(helper.make_graph([], "", [], []), opset_imports=[helper.make_opsetid("", 17)])
    rest.ClearField("graph")
    head = rest.SerializeToString() + varint(7 << 3 | 2) + varint(len(graph) + len(inside) + size)
    with path.open("wb") as file:
        file.write(head + graph + inside)
        file.truncate(file.tell() + size)
    return path


def with_external_weights(path: Path, C: int, K: int) -> Path:
    """x[1,C]·w[C,K] with the float32 weights in a file beside it, as a hole that takes no disk."""
    size = 4 * C * K
    w = onnx.TensorProto(name="w", dims=[C, K], data_type=TensorProto.FLOAT, data_location=1)
    for key, text in (("location", f"{path.stem}.bin"), ("offset", "0"), ("length", str(size))):
        w.external_data.add(key=key, value=text)
    with path.with_suffix(".bin").open("wb") as file:
        file.truncate(size)
    return save(path, [helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")], [value("x", [1, C])], [w])
