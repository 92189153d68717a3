"""How many filters a convolution has whose channels onnxruntime stored in blocks (its NCHWc layout).

onnxruntime rounds the number of filters up to a block of 8 or 16 and fills up with zeros; the file does not
keep the number. It follows from the zeros at the end, so it is read while the weights are still there.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx

from dibench.errors import UserError
from dibench.models.onnx_runtime import NCHWC

BLOCKS = (16, 8)


def count_filters(graph: Any) -> None:
    """Write the number of filters of each convolution in blocks into its attribute `channels`.

    Raises:
        UserError: the weights lie outside of the file.
    """
    nodes = [node for node in graph.node if node.domain == NCHWC and node.op_type == "Conv"]
    weights = {tensor.name: tensor for tensor in graph.initializer} if nodes else {}
    for node in nodes:
        tensor = weights.get(node.input[1]) if len(node.input) > 1 else None
        if tensor is None or len(tensor.dims) != 4 or min(tensor.dims) < 1:
            continue
        if not tensor.raw_data or len(tensor.raw_data) != 4 * prod(tensor.dims):
            raise UserError(
                f"node {node.name}", "has channels in blocks and its weights outside of the file, so that "
                "their number is not known: give the file from before onnxruntime optimised it"
            )  # fmt: skip
        node.attribute.append(onnx.helper.make_attribute("channels", _filters(tensor)))


def _filters(tensor: Any) -> int:
    """Filters that are not the zeros at the end; the right size of a block shows more of these.

    The order is [filters/block][channels][r][s][block], whether channels lie in blocks too or not.
    """
    values = np.frombuffer(tensor.raw_data, "<f4")
    empty = 0
    for block in BLOCKS:
        if tensor.dims[0] % block == 0:
            used = values.reshape(tensor.dims[0] // block, -1, block)[-1].any(axis=0)
            empty = max(empty, block - 1 - int(np.flatnonzero(used).max(initial=-1)))
    return int(tensor.dims[0] - empty)
