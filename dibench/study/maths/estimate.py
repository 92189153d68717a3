"""The log-scale fit of the study: log y = log(Z·θ) + ε, with θ free or held at or above zero."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.study.maths.minimise import BLOCK, TIGHT, Blocks, cholesky, minimise, triangle

FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]

ROWS_OF_A_START = 2_000
"""A starting point is found on at most so many rows, taken at random."""


@attrs.frozen(eq=False)
class LogFit:
    """log y = log(Z·θ) + ε, least squares on ε."""

    parameters: FloatArray
    """θ in the units of y per unit of each column of Z."""
    rss: float
    """Residual sum of squares of log y."""
    columns: FloatArray = attrs.field(repr=False)
    response: FloatArray = attrs.field(repr=False)

    @property
    def residuals(self) -> FloatArray:
        """log y − log(Z·θ)."""
        return np.asarray(np.log(self.response / (self.columns @ self.parameters)))

    @property
    def jacobian(self) -> FloatArray:
        """∂log(Z·θ)/∂θ = Z / (Z·θ)."""
        return np.asarray(self.columns / (self.columns @ self.parameters)[:, None])


def fit_log(
    columns: FloatArray,
    response: FloatArray,
    *,
    rows: Mask | None = None,
    nonnegative: bool = False,
    near: FloatArray | None = None,
    tolerance: float = TIGHT,
) -> LogFit:
    """Fit log y = log(Z·θ) + ε by least squares over θ with Z·θ > 0.

    It starts from the non-negative least squares fit of relative errors and, for a tight fit, also from equal
    shares of the response for every column.

    Args:
        columns: Z (n, k), non-negative.
        response: y (n,), positive.
        rows: (n,) fit these rows only; the result's rows are all of them.
        nonnegative: keep θ ≥ 0; otherwise θ is free as long as Z·θ stays positive.
        near: a θ close to the solution; if it lies inside the domain, the only start.
        tolerance: as of `minimise`.
    """
    lower = 0.0 if nonnegative else -np.inf
    blocks = _blocks(columns, response, rows)
    found = None
    if near is not None:
        try:
            found = minimise(blocks, [near], lower=lower, tolerance=tolerance)
        except ValueError:  # outside the domain
            found = None
    if found is None:
        starts = _starts(columns, response, rows)
        found = minimise(
            blocks, starts if tolerance <= TIGHT else starts[:1], lower=lower, tolerance=tolerance
        )
    return LogFit(found.parameters, found.rss, columns, response)


def _blocks(columns: FloatArray, response: FloatArray, rows: Mask | None) -> Blocks:
    """log(Z·θ/y) and Z/(Z·θ), block by block: of all rows without a second array of Z's size."""
    parts = [slice(first, first + BLOCK) for first in range(0, len(response), BLOCK)]
    chosen = None
    if rows is not None:  # picked once, not at every step
        chosen = [(columns[part][rows[part]], response[part][rows[part]]) for part in parts]

    def blocks(theta: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
        for z, y in chosen or ((columns[part], response[part]) for part in parts):
            predicted = z @ theta
            yield np.log(predicted / y), z / predicted[:, None]

    return blocks


def _starts(columns: FloatArray, response: FloatArray, rows: Mask | None) -> list[FloatArray]:
    """The least squares fit of relative errors, and equal shares; only those inside the domain."""
    from scipy.optimize import nnls

    used = columns if rows is None else columns[rows]
    y = response if rows is None else response[rows]
    scale = (1 / y) @ np.abs(used) / len(y)
    scale[scale == 0] = 1.0
    # A column with negative entries (α far outside [0, 1]) could take a start out of the domain.
    safe = np.where((used >= 0).all(axis=0), 1.0 / columns.shape[1], 0.0)
    few = len(y) <= ROWS_OF_A_START
    sample = slice(None) if few else np.random.default_rng(0).choice(len(y), ROWS_OF_A_START, replace=False)
    q, r = np.linalg.qr(used[sample] / y[sample, None] / scale)
    try:
        fitted = nnls(r, q.sum(axis=0))[0]
    except RuntimeError:  # nnls gives up after its iterations
        return [safe / scale]
    starts = (start / scale for start in (0.98 * fitted + 0.02 * safe, safe))
    return [start for start in starts if (used @ start > 0).all()]


def condition_number(jacobian: FloatArray) -> float:
    """Condition number of a Jacobian whose columns are scaled to unit length; infinite where one is zero.

    Source: Belsley, Kuh and Welsch 1980, who call over 30 harmful.

    >>> condition_number(np.array([[1.0, 0.0], [0.0, 1000.0]]))
    1.0
    """
    n, k = jacobian.shape
    normal = jacobian.T @ jacobian
    length = np.sqrt(np.diagonal(normal))
    if n < k or not length.all():
        return float("inf")
    factor = cholesky(normal / np.outer(length, length))
    if factor is not None:
        return float(np.linalg.cond(factor))
    r = triangle((jacobian[first : first + BLOCK] for first in range(0, n, BLOCK)), k)
    length = np.linalg.norm(r, axis=0)
    return float(np.linalg.cond(r / length)) if length.all() else float("inf")
