"""Nonlinear least squares for many rows and few parameters: Levenberg and Marquardt on the normal equations.

The study fits the same few coefficients thousands of times: in the search for an interval's ends, in every
fold. SciPy's trust region decomposes the (n, k) Jacobian at each step; here a step costs one pass over the
rows and a (k, k) system. Tested against certified values of the NIST StRD sets, and against SciPy.

Sources: Marquardt (SIAM Journal on Applied Mathematics 1963); bounds by the projection of Bertsekas (SIAM
Journal on Control and Optimization 1982): a parameter at a bound and pushed beyond it stands still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Function = Callable[[FloatArray], FloatArray]
Bound = FloatArray | float

TIGHT = 1e-12
"""Relative change of the sum at which a minimum stands whose parameters are reported."""

LOOSE = 1e-7
"""The same for fits inside a search or a fold."""

STEPS = 200
LEAST_DAMPING, MOST_DAMPING = 1e-10, 1e12


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
    lower: Bound = -np.inf,
    upper: Bound = np.inf,
    tolerance: float = TIGHT,
) -> Solution:
    """The least sum of squares found from any of the starts.

    A residual that is not finite marks parameters outside the domain, which no step enters; only the starts
    must lie inside.

    Args:
        residual: parameters (k,) → residuals (n,).
        jacobian: parameters (k,) → derivatives (n, k).
        starts: parameters to begin at; one outside the domain is passed over.
        lower, upper: bounds of the parameters; a start is moved inside.
        tolerance: relative change of the sum at which a minimum stands.

    Raises:
        ValueError: no start lies inside the domain.
    """
    best: Solution | None = None
    with np.errstate(all="ignore"):
        for start in starts:
            at = np.clip(np.asarray(start, dtype=np.float64), lower, upper)
            residuals = residual(at)
            if not np.isfinite(residuals).all():
                continue
            found = _descend(
                Solution(at, residuals, jacobian(at)), residual, jacobian, lower, upper, tolerance
            )
            if tolerance <= TIGHT and ((found.parameters > lower) & (found.parameters < upper)).all():
                found = _polish(found, residual, jacobian)
            if best is None or found.rss < best.rss:
                best = found
    if best is None:
        raise ValueError("no start lies inside the domain")
    return best


def _descend(
    at: Solution, residual: Function, jacobian: Function, lower: Bound, upper: Bound, tolerance: float
) -> Solution:
    damping = 1e-4
    for _ in range(STEPS):
        gradient = at.residuals @ at.jacobian
        normal = at.jacobian.T @ at.jacobian
        beyond = (at.parameters <= lower) & (gradient >= 0) | (at.parameters >= upper) & (gradient <= 0)
        free = ~beyond & (np.diagonal(normal) > 0)
        if not free.any():
            break
        system, push = normal[np.ix_(free, free)], -gradient[free]
        before = at.rss
        while damping <= MOST_DAMPING:
            parameters = at.parameters.copy()
            try:
                parameters[free] += np.linalg.solve(system + damping * np.diag(np.diagonal(system)), push)
            except np.linalg.LinAlgError:
                damping *= 10
                continue
            parameters = np.clip(parameters, lower, upper)
            residuals = residual(parameters)
            after = float(residuals @ residuals)
            if after < before:  # false also where it is not a number
                break
            damping *= 10
        else:
            break
        at = Solution(parameters, residuals, jacobian(parameters))
        damping = max(damping / 10, LEAST_DAMPING)
        if before - after <= tolerance * after or after <= 1e-28 * len(residuals):
            break
    return at


def _polish(solution: Solution, residual: Function, jacobian: Function) -> Solution:
    """Full Gauss-Newton steps: sums stop changing at half the digits that parameters can have, and normal
    equations lose what a decomposition of the Jacobian keeps."""
    for _ in range(2):
        length = np.linalg.norm(solution.jacobian, axis=0)
        if not length.all() or len(solution.residuals) < len(length):
            return solution
        q, r = np.linalg.qr(solution.jacobian / length)
        size = np.abs(np.diagonal(r))
        if size.min() < 1e-12 * size.max():
            return solution
        parameters = solution.parameters - np.linalg.solve(r, q.T @ solution.residuals) / length
        residuals = residual(parameters)
        if not residuals @ residuals <= solution.rss:
            return solution
        solution = Solution(parameters, residuals, jacobian(parameters))
    return solution
