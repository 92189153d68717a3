"""Files that onnxruntime optimised or quantised: dibench's counts beside the shapes that onnxruntime runs.

    pip install onnxruntime                                    # and onnx
    python -m benchmarks.onnxruntime_files

The right value is computed here from the shapes of every operand in a run of the first file: a convolution
has (elements of the result) × (elements of a filter), a matrix product (elements of the result) × (summed
axis). Every file that onnxruntime makes of it must give the same sum.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dibench import models
from dibench.errors import UserError

LEVELS = {"basic": "ORT_ENABLE_BASIC", "extended": "ORT_ENABLE_EXTENDED", "all": "ORT_ENABLE_ALL"}


class Net:
    """A graph that grows node by node, with weights of random numbers."""

    def __init__(self, x: list[int]) -> None:
        self._random = np.random.default_rng(0)
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x)

    def weight(self, *shape: int) -> str:
        """The name of a weight of this shape."""
        return self.constant(self._random.normal(size=shape, scale=0.1).astype("float32"))

    def constant(self, values: Any) -> str:
        """The name of a tensor of these values."""
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node; returns the name of what it writes."""
        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [name], name=f"{op}_{name}", **attributes))
        return name

    def save(self, path: Path) -> Path:
        """Writes the graph; its result is what the last node writes."""
        y = helper.make_empty_tensor_value_info(self._nodes[-1].output[0])
        graph = helper.make_graph(self._nodes, "net", [self._x], [y], self._weights)
        opsets = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
        return path


def convolutions() -> Net:
    """Standard, depthwise, pointwise, grouped, behind a Pad, with odd numbers of channels; a classifier."""
    net = Net([2, 3, 33, 31])
    x = net.add("Pad", "x", net.constant(np.array([0, 0, 0, 0, 0, 0, 1, 1])))
    x = net.add("Relu", net.add("Conv", x, net.weight(20, 3, 3, 3), net.weight(20), strides=[2, 2]))
    x = net.add("Relu", net.add("Conv", x, net.weight(24, 20, 1, 1), net.weight(24)))
    low, high = (net.constant(np.float32(limit)) for limit in (0, 6))
    y = net.add("Conv", x, net.weight(24, 1, 3, 3), net.weight(24), pads=[1] * 4, group=24)
    x = net.add("Add", x, net.add("Clip", y, low, high))
    x = net.add("Conv", x, net.weight(16, 24, 1, 1), net.weight(16))
    x = net.add("Relu", net.add("Conv", x, net.weight(32, 4, 3, 3), net.weight(32), pads=[1] * 4, group=4))
    x = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    net.add("Gemm", x, net.weight(10, 32), net.weight(10), transB=1)
    return net


def transformer() -> Net:
    """One block: attention of 4 heads as exporters write it, and two products with GELU."""
    net = Net([2, 10, 64])

    def linear(x: str, width: int, to: int) -> str:
        return net.add("Add", net.add("MatMul", x, net.weight(width, to)), net.weight(to))

    def heads(x: str) -> str:
        split = net.add("Reshape", x, net.constant(np.array([0, 0, 4, 16])))
        return net.add("Transpose", split, perm=[0, 2, 1, 3])

    def norm(x: str) -> str:
        return net.add("LayerNormalization", x, net.weight(64), net.weight(64))

    q, k, v = (heads(linear("x", 64, 64)) for _ in range(3))
    scores = net.add("MatMul", q, net.add("Transpose", k, perm=[0, 1, 3, 2]))
    scores = net.add("Softmax", net.add("Div", scores, net.constant(np.float32(4))))
    mixed = net.add("Transpose", net.add("MatMul", scores, v), perm=[0, 2, 1, 3])
    mixed = linear(net.add("Reshape", mixed, net.constant(np.array([0, 0, 64]))), 64, 64)
    x = norm(net.add("Add", mixed, "x"))
    y = linear(x, 64, 128)
    erf = net.add("Erf", net.add("Div", y, net.constant(np.float32(2**0.5))))
    y = net.add(
        "Mul",
        net.add("Mul", y, net.add("Add", erf, net.constant(np.float32(1)))),
        net.constant(np.float32(0.5)),
    )
    linear(norm(net.add("Add", linear(y, 128, 64), x)), 64, 8)
    return net


def run_macs(path: Path) -> int:
    """Multiply-adds of a file of standard operators, from the shapes in a run by onnxruntime."""
    import onnxruntime

    proto = onnx.load(path)
    del proto.graph.output[:]
    written = [name for node in proto.graph.node for name in node.output]
    proto.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in written)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    x = np.zeros(session.get_inputs()[0].shape, "float32")
    shape = {name: value.shape for name, value in zip(written, session.run(None, {"x": x}), strict=True)}
    shape |= {"x": x.shape} | {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    total = 0
    for node in proto.graph.node:
        y = prod(shape[node.output[0]])
        if node.op_type == "Conv":
            total += y * prod(shape[node.input[1]][1:])
        elif node.op_type in ("MatMul", "Gemm"):
            total += y * shape[node.input[0]][-1]
    return total


def made(path: Path) -> Iterator[tuple[str, Path]]:
    """Files that onnxruntime makes of one: optimised, quantised, and both."""
    import onnxruntime
    from onnxruntime.quantization import QuantFormat, quantize_dynamic, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    class Zeros(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            size = [dim.dim_value for dim in onnx.load(path).graph.input[0].type.tensor_type.shape.dim]
            self._left = [{"x": np.ones(size, "float32")}]

        def get_next(self) -> dict[str, Any] | None:
            return self._left.pop() if self._left else None

    def file(name: str) -> Path:
        return path.with_name(f"{path.stem}-{name}.onnx")

    def optimised(source: Path, name: str, level: str) -> tuple[str, Path]:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[level])
        options.optimized_model_filepath = str(file(name))
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        return name, file(name)

    yield "as it is", path
    for level in LEVELS:
        yield optimised(path, level, level)
    quantize_dynamic(str(path), str(file("int8")))
    yield "int8, dynamic", file("int8")
    for form in QuantFormat:
        quantize_static(str(path), str(file(form.name)), Zeros(), quant_format=form)
        yield f"int8, {form.name}", file(form.name)
    bits = MatMulNBitsQuantizer(onnx.load(path), bits=4, block_size=32, is_symmetric=True)
    bits.process()
    bits.model.save_model_to_file(str(file("int4")))
    yield "int4", file("int4")
    for name in ("int8", *(form.name for form in QuantFormat), "int4"):
        for level in ("extended", "all"):
            yield optimised(file(name), f"{name}-{level}", level)


def main() -> None:
    """Print each file with what dibench counts in it."""
    with tempfile.TemporaryDirectory() as folder:
        for make in (convolutions, transformer):
            path = make().save(Path(folder) / f"{make.__name__}.onnx")
            right = run_macs(path)
            print(f"{make.__name__}: {right:,} multiply-adds by the shapes of a run")
            for name, file in made(path):
                operators = {node.op_type for node in onnx.load(file).graph.node if node.domain}
                try:
                    model = models.load(file)
                    says = f"{'equal' if model.macs_known == right else 'WRONG'} {model.coverage}"
                except UserError as error:
                    says = f"refused: {error}"
                print(f"  {name:16} {says} {' '.join(sorted(operators))}")


if __name__ == "__main__":
    main()
