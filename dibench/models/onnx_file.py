"""An ONNX file as `onnx` reads it, without external data and then without its weights.

Measured with onnx 1.23 and protobuf 7.36: a model with 2 GB of external weights takes 47 MB, 38 of them the
library. One with its weights inside takes twice its size and 40 MB (1.9 GB: 3.75 GB), because `onnx` reads it
whole before protobuf copies it. So the weights go before anything else sees the model: shape inference and
inlining copy it several times more.
"""

from __future__ import annotations

import stat
from math import prod
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from dibench.errors import UserError
from dibench.models.formats import check_content
from dibench.models.onnx_nchwc import count_filters

KEPT = 512
"""Most elements of a tensor that is kept: shapes are computed from small tensors."""

MOST_TEXT = 4096
"""Most bytes of a text that is kept; the code that runtimes store in a model is longer."""

MOST_FILE_BYTES = 2**31 - 1
"""The most that protobuf parses."""

MOST_BYTES = 32 * 2**20
"""Most bytes that are kept: enough for the graph of a model of 100,000 nodes."""

MOST_NODES = 500_000

_PAYLOADS = (
    "float_data", "int32_data", "string_data", "int64_data", "raw_data", "double_data", "uint64_data",
)  # fmt: skip
_DROPPED = {"doc_string", "metadata_props", "external_data", "data_location", "training_info"}
"""Texts, training steps, and references to other files: nothing that a file names can be opened."""


def load(path: Path) -> Any:
    """The file's ModelProto without the payload of tensors of more than `KEPT` elements.

    Raises:
        UserError: it cannot be read, is cut off, is no ONNX file, or holds more than a graph can need.
    """
    check_size(path)
    try:
        check_content(path)
        proto = onnx.load(str(path), format="protobuf", load_external_data=False)
    except OSError as error:
        raise UserError("", f"cannot be read: {error.strerror}", where=path) from None
    except DecodeError:
        raise UserError(
            "", "is not an ONNX file, or is cut off: protobuf cannot parse it", where=path
        ) from None
    if len(proto.graph.node) > MOST_NODES:
        raise UserError("graph", f"must have at most {MOST_NODES} nodes", len(proto.graph.node), where=path)
    count_filters(proto.graph)
    _strip(proto)
    if proto.ByteSize() > MOST_BYTES:
        raise UserError("", f"must have at most {MOST_BYTES >> 20} MB beside its weights", where=path)
    return onnx.ModelProto.FromString(
        proto.SerializeToString()
    )  # protobuf frees a message whole or not at all


def check_size(path: Path) -> int:
    """Bytes of the file.

    Raises:
        UserError: it is no file, empty, or more than protobuf parses.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise UserError("", f"cannot be read: {error.strerror}", where=path) from None
    if not stat.S_ISREG(facts.st_mode):  # opening a pipe would block
        raise UserError("", "must be a file", where=path)
    if facts.st_size == 0:
        raise UserError("", "is empty", where=path)
    if facts.st_size > MOST_FILE_BYTES:
        rule = "must be smaller than 2 GB, as protobuf asks: keep its weights outside, as external data"
        raise UserError("", rule, f"{facts.st_size} bytes", where=path)
    return facts.st_size


def _strip(message: Any) -> None:
    """Clear what is large or names other files, in a message and those within it."""
    if isinstance(message, onnx.TensorProto):
        # Not by ListFields or ByteSize, which copy the payload.
        for name in (*_DROPPED, *(_PAYLOADS if prod(message.dims) > KEPT else ())):
            if name in message.DESCRIPTOR.fields_by_name:
                message.ClearField(name)
        return
    for field, value in message.ListFields():
        if field.name in _DROPPED or (field.name == "s" and len(value) > MOST_TEXT):
            message.ClearField(field.name)
        elif field.message_type is not None and field.message_type.name != "ValueInfoProto":
            for inner in [value] if hasattr(value, "ListFields") else value:
                _strip(inner)
