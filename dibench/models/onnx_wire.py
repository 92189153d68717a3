"""Reads an ONNX file without its weights: the protobuf messages, copied but for what tensors hold.

A model of gigabytes has a graph of kilobytes. The messages are walked by their length prefixes, and the
payload of every tensor of more than `KEPT` bytes is stepped over and never read. Small payloads stay: shapes
are computed from them. References to external data are dropped, so nothing outside the file can be opened,
whatever it names.

Source of the encoding: https://protobuf.dev/programming-guides/encoding; of the field numbers: onnx.proto.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from dibench.errors import UserError

KEPT = 4096
MOST_BYTES = 32 * 2**20  # of what is kept: the graph of a model of 100,000 nodes
MOST_FIELDS = 2_000_000
DEEPEST = 90  # messages within messages; protobuf itself stops at 100

WINDOW = 2**16  # bytes read at a time
_LONGEST_NUMBER = 10  # bytes
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DROP: Final = "drop"
_PAYLOAD: Final = "payload"

# What to do with a field by its number; a field not listed is copied as it is.
Schema = dict[int, "str | Schema"]
_TENSOR: Schema = {
    **dict.fromkeys((4, 5, 6, 7, 9, 10, 11), _PAYLOAD),  # float_data ... raw_data ... uint64_data
    **dict.fromkeys((12, 13, 14, 16), _DROP),  # doc_string, external_data, data_location, metadata_props
}
_SPARSE: Schema = {1: _TENSOR, 2: _TENSOR}
_GRAPH: Schema = {10: _DROP, 14: _DROP, 16: _DROP}
_ATTRIBUTE: Schema = {
    4: _PAYLOAD, 5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 13: _DROP, 22: _SPARSE, 23: _SPARSE,
}  # fmt: skip
_NODE: Schema = {5: _ATTRIBUTE, 6: _DROP, 9: _DROP, 10: _DROP}
_GRAPH.update({1: _NODE, 5: _TENSOR, 15: _SPARSE})
_FUNCTION: Schema = {7: _NODE, 8: _DROP, 11: _ATTRIBUTE, 14: _DROP}
# Training steps are no inference: dropped, with texts.
_MODEL: Schema = {6: _DROP, 7: _GRAPH, 14: _DROP, 20: _DROP, 25: _FUNCTION, 26: _DROP}


def without_weights(path: Path) -> bytes:
    """The file's ModelProto without the payload of large tensors, as bytes that protobuf can parse.

    Raises:
        UserError: it cannot be read, is cut off, is no protobuf message, or holds more than a graph can need.
    """
    try:
        # Without blocking: a pipe would be waited for.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise UserError("", "must be a file", where=path)
            if facts.st_size == 0:
                raise UserError("", "is empty", where=path)
            return _Reader(file.fileno()).message(0, facts.st_size, _MODEL, DEEPEST)
    except OSError as error:
        raise UserError("", f"cannot be read: {error.strerror}", where=path) from None
    except _WireError as error:
        raise UserError("", str(error), where=path) from None


class _WireError(Exception):
    """What is wrong, where in the file."""


class _Reader:
    def __init__(self, file: int) -> None:
        # Read, not mapped: a mapped page brings its neighbours, and they would count as memory.
        self._file = file
        self._window = b""
        self._begin = 0  # of the window in the file
        self._fields = 0
        self._kept = 0

    def message(self, at: int, end: int, schema: Schema, depth: int) -> bytes:
        """The message in [at, end), each field kept, dropped or read the same way."""
        if depth == 0:
            raise _WireError(f"must not nest deeper than {DEEPEST} messages: at byte {at}")
        out = bytearray()
        payload = self._payload(at, end) if schema is _TENSOR else 0
        while at < end:
            start = at
            number, wire, value, at = self._field(at, end)
            rule = schema.get(number)
            if rule == _DROP or (rule == _PAYLOAD and max(payload, at - start) > KEPT):
                continue
            if isinstance(rule, dict) and wire == _BYTES:
                inner = self.message(value, at, rule, depth - 1)
                out += _varint(number << 3 | _BYTES) + _varint(len(inner)) + inner
            else:
                self._kept += at - start
                if self._kept > MOST_BYTES:
                    raise _WireError(f"must have at most {MOST_BYTES >> 20} MB beside its weights")
                out += self._bytes(start, at)
        return bytes(out)

    def _payload(self, at: int, end: int) -> int:
        """Bytes of a tensor's payload fields together, packed or not."""
        total = 0
        while at < end:
            start = at
            number, _, _, at = self._field(at, end)
            if _TENSOR.get(number) == _PAYLOAD:
                total += at - start
        return total

    def _field(self, at: int, end: int) -> tuple[int, int, int, int]:
        """(number, wire type, where its bytes begin, where it ends) of the field at `at`."""
        self._fields += 1
        if self._fields > MOST_FIELDS:
            raise _WireError(f"must have at most {MOST_FIELDS} fields beside its weights")
        start = at
        tag, at = self._number(at, end)
        number, wire = tag >> 3, tag & 7
        value = at
        if wire == _VARINT:
            _, at = self._number(at, end)
        elif wire == _BYTES:
            length, value = self._number(at, end)
            at = value + length
        elif wire in (_FIXED32, _FIXED64):
            at += 4 if wire == _FIXED32 else 8
        if number == 0 or wire not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
            raise _WireError(f"is not an ONNX file: no protobuf field at byte {start}")
        if at > end:
            raise _WireError(f"is cut off or not an ONNX file: the field at byte {start} ends beyond {end}")
        return number, wire, value, at

    def _bytes(self, start: int, end: int) -> bytes:
        offset = start - self._begin
        if offset >= 0 and end - self._begin <= len(self._window):
            return self._window[offset : end - self._begin]
        return os.pread(self._file, end - start, start)

    def _number(self, at: int, end: int) -> tuple[int, int]:
        offset = at - self._begin
        if not 0 <= offset <= len(self._window) - _LONGEST_NUMBER:
            self._window, self._begin, offset = os.pread(self._file, WINDOW, at), at, 0
        window, value = self._window, 0
        for i in range(_LONGEST_NUMBER):
            if at + i >= end or offset + i >= len(window):
                raise _WireError(f"is cut off or not an ONNX file: a number at byte {at} has no end")
            byte = window[offset + i]
            value |= (byte & 127) << 7 * i
            if byte < 128:
                return value, at + i + 1
        raise _WireError(f"is not an ONNX file: a number of more than ten bytes at byte {at}")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
