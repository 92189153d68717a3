"""Findings as plain values: what every `--json` writes. Nothing is computed here."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np

from dibench.layer import Layer
from dibench.study.findings import SCHEMA

PICO = 1e12
"""Costs of one element or multiply-add are told in pJ or ps."""

HIDDEN = {"plain": False}
"""Metadata of a field that JSON does not hold, such as a frame of rows: `attrs.field(metadata=HIDDEN)`."""

INLINE = {"plain": "inline"}
"""Metadata of a field whose own fields stand beside it in JSON, not below its name."""


def key(name: str) -> dict[str, str]:
    """Metadata of a field that JSON holds under another name."""
    return {"key": name}


def plain(value: Any) -> Any:
    """The value as dictionaries, lists, text, numbers and None: what is not finite becomes None.

    Of an attrs class every field, by its name; of a layer its name, operator and dimensions; of an array a
    list.

    >>> plain({"a": np.float64("nan"), "b": (np.int64(3), 0.5)})
    {'a': None, 'b': [3, 0.5]}
    """
    if isinstance(value, Layer):
        return {"name": value.name, "op": value.op, **value.dims, "transposed": value.transposed}
    if attrs.has(type(value)):
        return _fields(value)
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def _fields(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in attrs.fields(type(value)):
        how = field.metadata.get("plain", True)
        if how == "inline":
            found |= plain(getattr(value, field.name)) or {}
        elif how:
            found[field.metadata.get("key", field.name)] = plain(getattr(value, field.name))
    return found


class Result:
    """What a question found as a whole; JSON of it says by which `schema` it was written."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """Every figure as numbers, text, lists and mappings; what is not known is None, never NaN."""
        return {"schema": SCHEMA, **plain(self)}
