"""The log-scale fit of the study: log y = log(Z·θ) + ε, with θ free or held at or above zero."""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.study.minimise import TIGHT, minimise

FloatArray = NDArray[np.float64]

ROWS_OF_A_START = 10_000
"""A start needs no more rows than this, evenly spread."""


@attrs.frozen
class LogFit:
    """log y = log(Z·θ) + ε, least squares on ε."""

    parameters: FloatArray
    """θ in the units of y per unit of each column of Z."""
    residuals: FloatArray
    """log y − log(Z·θ)."""
    jacobian: FloatArray
    """∂log(Z·θ)/∂θ = Z / (Z·θ)."""

    @property
    def rss(self) -> float:
        """Residual sum of squares of log y."""
        return float(self.residuals @ self.residuals)


def fit_log(
    columns: FloatArray,
    response: FloatArray,
    *,
    nonnegative: bool = False,
    near: FloatArray | None = None,
    tolerance: float = TIGHT,
) -> LogFit:
    """Fit log y = log(Z·θ) + ε by least squares over θ with Z·θ > 0.

    Columns are divided by y and by their mean, so that every parameter is the share of the response that
    its column explains: of order one, whatever the units. Starts are the non-negative least squares fit of
    relative errors and, for a tight fit, equal shares.

    Args:
        columns: Z (n, k), non-negative.
        response: y (n,), positive.
        nonnegative: keep θ ≥ 0; without it θ is free as far as Z·θ stays positive.
        near: a θ close to the solution, tried alone where it lies inside the domain.
        tolerance: as of `minimise`.
    """
    relative = columns / response[:, None]
    scale = np.abs(relative).mean(axis=0)
    scale[scale == 0] = 1.0
    relative = relative / scale

    def residual(share: FloatArray) -> FloatArray:
        return np.asarray(np.log(relative @ share))

    def jacobian(share: FloatArray) -> FloatArray:
        return np.asarray(relative / (relative @ share)[:, None])

    lower = 0.0 if nonnegative else -np.inf
    starts = [] if near is None else [np.maximum(near * scale, lower)]
    if not starts or not (relative @ starts[0] > 0).all():
        starts = _starts(relative) if tolerance <= TIGHT else _starts(relative)[:1]
    found = minimise(residual, jacobian, starts, lower=lower, tolerance=tolerance)
    return LogFit(found.parameters / scale, -found.residuals, found.jacobian * scale)


def _starts(relative: FloatArray) -> list[FloatArray]:
    from scipy.optimize import nnls

    n, k = relative.shape
    every = max(1, n // ROWS_OF_A_START)
    # A column with negative entries (α far outside [0, 1]) could carry a start out of the domain.
    safe = np.where((relative >= 0).all(axis=0), 1.0 / k, 0.0)
    q, r = np.linalg.qr(relative[::every])
    try:
        fitted = nnls(r, q.sum(axis=0))[0]
    except RuntimeError:  # nnls gives up after its iterations
        return [safe]
    starts = (0.98 * fitted + 0.02 * safe, safe)
    return [start for start in starts if (relative @ start > 0).all()]


def condition_number(jacobian: FloatArray) -> float:
    """Condition number of a Jacobian whose columns are scaled to unit length; infinite where one is zero.

    Source: Belsley, Kuh and Welsch 1980, who call over 30 harmful.

    >>> condition_number(np.array([[1.0, 0.0], [0.0, 1000.0]]))
    1.0
    """
    length = np.linalg.norm(jacobian, axis=0)
    if not length.all() or jacobian.shape[0] < jacobian.shape[1]:
        return float("inf")
    return float(np.linalg.cond(jacobian / length))
