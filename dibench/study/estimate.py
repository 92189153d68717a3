"""Nonlinear least squares: the one minimiser of the study, and the log-scale fit that stands on it.

Source: scipy.optimize.least_squares (trust region reflective, Branch, Coleman and Li 1999). Tested against
certified values of the NIST StRD nonlinear regression sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Function = Callable[[FloatArray], FloatArray]

TIGHT = 1e-12
"""Relative change of sum, step and gradient at which a minimum stands whose parameters are reported."""

LOOSE = 1e-7
"""The same for fits inside a search or a fold, and beside a bound, which is approached more slowly."""


@attrs.frozen
class Solution:
    """A minimum of ½·Σ residual²: parameters, residuals and Jacobian there."""

    parameters: FloatArray
    residuals: FloatArray
    jacobian: FloatArray

    @property
    def rss(self) -> float:
        """Residual sum of squares."""
        return float(self.residuals @ self.residuals)


def minimise(
    residual: Function,
    jacobian: Function,
    starts: Iterable[FloatArray],
    *,
    nonnegative: bool = False,
    tolerance: float = TIGHT,
) -> Solution:
    """The least sum of squares found from any of the starts.

    A residual that is not finite marks parameters outside the domain: the trust region shrinks there, so
    only the starts must lie inside.

    Args:
        residual: parameters (k,) → residuals (n,).
        jacobian: parameters (k,) → derivatives (n, k).
        starts: parameters to begin at; one outside the domain is passed over.
        nonnegative: keep every parameter at or above zero.
        tolerance: relative change of sum, step and gradient at which a minimum stands.

    Raises:
        ValueError: no start lies inside the domain.
    """
    from scipy.optimize import least_squares

    best: Solution | None = None
    low = 0.0 if nonnegative else -np.inf
    for start in starts:
        with np.errstate(all="ignore"):
            if not np.isfinite(residual(start)).all():
                continue
            found = least_squares(
                residual,
                start,
                jacobian,
                bounds=(low, np.inf),
                x_scale="jac",
                ftol=tolerance,
                xtol=tolerance,
                gtol=tolerance,
                max_nfev=200,
            )
        solution = Solution(found.x, found.fun, np.asarray(found.jac))
        if tolerance <= TIGHT and not nonnegative:
            solution = _polish(solution, residual, jacobian)
        if best is None or solution.rss < best.rss:
            best = solution
    if best is None:
        raise ValueError("no start lies inside the domain")
    return best


def _polish(solution: Solution, residual: Function, jacobian: Function) -> Solution:
    """One full Gauss-Newton step: sums stop changing at half the digits that parameters can have."""
    length = np.linalg.norm(solution.jacobian, axis=0)
    if not length.all():
        return solution
    step = np.linalg.lstsq(solution.jacobian / length, -solution.residuals, rcond=None)[0] / length
    parameters = solution.parameters + step
    with np.errstate(all="ignore"):
        residuals = residual(parameters)
    if not residuals @ residuals <= solution.rss:
        return solution
    return Solution(parameters, residuals, jacobian(parameters))


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

    warm = near is not None and (relative @ (near * scale) > 0).all()
    if warm and near is not None:
        starts = [near * scale]
    else:
        starts = _starts(relative) if tolerance <= TIGHT else _starts(relative)[:1]
    found = minimise(residual, jacobian, starts, tolerance=tolerance)
    if nonnegative and (found.parameters < 0).any():
        found = minimise(residual, jacobian, _starts(relative)[:1], nonnegative=True, tolerance=LOOSE)
        # The trust region approaches a bound from inside; what explains nothing measurable is at it.
        share = np.where(found.parameters < 1e-6, 0.0, found.parameters)
        if (relative @ share > 0).all():
            found = Solution(share, residual(share), jacobian(share))
    return LogFit(found.parameters / scale, -found.residuals, found.jacobian * scale)


def _starts(relative: FloatArray) -> list[FloatArray]:
    from scipy.optimize import nnls

    n, k = relative.shape
    # A column with negative entries (α far outside [0, 1]) could carry a start out of the domain.
    safe = np.where((relative >= 0).all(axis=0), 1.0 / k, 0.0)
    try:
        fitted = nnls(relative, np.ones(n))[0]
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
