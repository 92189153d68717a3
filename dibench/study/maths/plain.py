"""Figures as plain values: what `to_json` of every analysis is made of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

PICO = 1e12
"""Costs of one element or multiply-add are told in pJ or ps."""


def plain(value: Any) -> Any:
    """The value with NumPy's types made Python's, and what is not finite made None.

    >>> plain({"a": np.float64("nan"), "b": (np.int64(3), 0.5)})
    {'a': None, 'b': [3, 0.5]}
    """
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
