"""Coefficients with intervals by leaving out one cluster at a time, and the share of one in two of them.

Intervals are jackknifed (CV3: Bell and McCaffrey 2002; MacKinnon, Nielsen and Webb 2023); that of a share is
Fieller's (1954), and is unbounded where the sum is not significantly different from zero.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dibench.study.findings.lattice import Slope

FloatArray = NDArray[np.float64]


def slope(value: float, half: float) -> Slope:
    """A value with the half-width of its interval; no bounds where that is not a number."""
    known = math.isfinite(half)
    low, high = (float(value - half), float(value + half)) if known else (None, None)
    return Slope(value=float(value), ci_low=low, ci_high=high)


def jackknife(jacobian: FloatArray, residuals: FloatArray, cluster: NDArray[Any]) -> FloatArray | None:
    """The covariance (k, k) of coefficients by leaving out one cluster after the other, CV3.

    The step of leaving out g is −(J′J − J_g′J_g)⁻¹·J_g′·r_g at the fit; V = (G−1)/G·Σ δ_g·δ_g′. None where
    the rest of some cluster cannot carry the coefficients.
    """
    length = np.linalg.norm(jacobian, axis=0)
    if not length.all() or not np.isfinite(length).all():
        return None
    scaled = jacobian / length
    gram = scaled.T @ scaled
    steps = []
    for label in np.unique(cluster):
        own = cluster == label
        rest = gram - scaled[own].T @ scaled[own]
        if np.linalg.cond(rest) > 1e10:
            return None
        steps.append(np.linalg.solve(rest, -scaled[own].T @ residuals[own]) / length)
    delta = np.array(steps)
    return np.asarray((len(delta) - 1) / len(delta) * delta.T @ delta)


def share(pair: FloatArray, variance: FloatArray, t: float) -> Slope | None:
    """α = e_w/(e_w + e_x) with Fieller's interval; None where the sum may be zero.

    The interval holds every α at which (1−α)·e_w − α·e_x lies within t of its standard error of zero.

    >>> share(np.array([1.0, 3.0]), np.zeros((2, 2)), 2.0)
    Slope(value=0.25, ci_low=0.25, ci_high=0.25)
    """
    total = float(pair.sum())
    if not math.isfinite(t) or total == 0:
        return None
    ww, xx, wx = variance[0, 0], variance[1, 1], variance[0, 1]
    # (e_w − α·s)² ≤ t²·(v_w − 2·α·c + α²·v_s), s the sum, c = cov(e_w, s).
    v_s, c = ww + xx + 2 * wx, ww + wx
    a = total**2 - t**2 * v_s
    b = float(pair[0]) * total - t**2 * c
    root = b**2 - a * (float(pair[0]) ** 2 - t**2 * ww)
    if a <= 0:
        return None
    half = math.sqrt(max(float(root), 0.0))
    return Slope(float(pair[0]) / total, float((b - half) / a), float((b + half) / a))
