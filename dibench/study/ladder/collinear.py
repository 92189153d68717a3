"""Which terms of weighted DI the rows cannot tell apart: condition number, and whose variance it inflates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from dibench.study.findings.collinear import Collinear
from dibench.study.ladder.models import Data

FloatArray = NDArray[np.float64]

LARGEST_CONDITION = 30.0
"""Belsley, Kuh and Welsch, Regression Diagnostics (1980), call more harmful."""

_MOST_OF_IT = 0.5


def collinear(names: Sequence[str], jacobian: FloatArray, condition: float, data: Data) -> Collinear:
    """Of the fit with these coefficients; the Jacobian is (n, k)."""
    harmful = not condition <= LARGEST_CONDITION
    return Collinear(
        condition=condition if math.isfinite(condition) else None,
        terms=dependent(names, jacobian) if harmful else (),
        correlations={
            f"{first} and {second}": _correlation(a, b)
            for (first, a), (second, b) in combinations(
                (("M", data.macs), ("W", data.weights), ("A", data.activations)), 2
            )
        },
    )


def dependent(names: Sequence[str], jacobian: FloatArray) -> tuple[str, ...]:
    """Coefficients with more than half of their variance in singular values that are a thirtieth of the
    largest or less, columns at unit length; fewer than two are none.

    >>> x = np.arange(1.0, 9.0)
    >>> dependent(["a", "b", "c"], np.column_stack([x, x + 1e-6 * x**2, (x - 4) ** 2]))
    ('a', 'b')
    """
    length = np.linalg.norm(jacobian, axis=0)
    if len(jacobian) < len(names) or not length.all():
        return ()
    _, s, rows = np.linalg.svd(jacobian / length, full_matrices=False)
    s = np.maximum(s, 1e-15 * s[0])
    parts = (rows / s[:, None]) ** 2  # (singular values, coefficients)
    share = parts[s[0] / s > LARGEST_CONDITION].sum(axis=0) / parts.sum(axis=0)
    found = tuple(name for name, own in zip(names, share.tolist(), strict=True) if own > _MOST_OF_IT)
    return found if len(found) > 1 else ()


def _correlation(a: FloatArray, b: FloatArray) -> float | None:
    if len(a) < 3 or not (np.ptp(a) > 0 and np.ptp(b) > 0):
        return None
    return float(np.corrcoef(a, b)[0, 1])
