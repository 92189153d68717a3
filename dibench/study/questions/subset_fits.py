"""α and the error of fit in thousands of subsets of rows, without thousands of fits.

At the fit to all rows, each row has its own J′J, J′u and u² (J its row of the Jacobian of log E, u its
residual). One Gauss–Newton step from the common estimate needs only their sums over a subset, so a subset
costs a product of matrices: 10,000 subsets of 100 layers take 1 s, where full fits take 53 s. One step is
not the subset's own fit; a few subsets are fitted in full, and say how far off it is.
"""

from __future__ import annotations

import math

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.study.ladder.models import Data, design
from dibench.study.maths.estimate import fit_log

FloatArray = NDArray[np.float64]


@attrs.frozen
class Fits:
    """The rows of all members, and what fits of AI and of weighted DI to them say of any subset."""

    data: Data
    ai: StepStatistics | None
    di: StepStatistics | None
    """Both None where the rows are too few."""

    def of(self, rows: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """α, error of AI and error of DI in subsets (s, n) of zeros and ones."""
        if self.ai is None or self.di is None:
            nothing: FloatArray = np.full(len(rows), np.nan)
            return nothing, nothing, nothing
        parameters, error_di = self.di.one_step(rows)
        return self.di.alpha(parameters), self.ai.one_step(rows)[1], error_di

    def alpha(self) -> float | None:
        """Of weighted DI on all rows."""
        return None if self.di is None else float(self.di.alpha(self.di.parameters[None])[0])


def fits_of(data: Data) -> Fits:
    """Fit AI and weighted DI to all rows."""
    return Fits(data, step_statistics("ai", data), step_statistics("di_weighted", data))


@attrs.frozen
class StepStatistics:
    """A model's fit to all rows, and what each row adds to a subset's sums."""

    names: tuple[str, ...]
    parameters: FloatArray
    length: FloatArray
    """Norms by which the columns of J are divided, so that steps are of order one."""
    rows: FloatArray
    """(n, k·k + k + 2): J′J, J′u, u², 1."""

    def one_step(self, member: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Parameters (s, k) and root mean square log residual (s,) of subsets (s, n) of zeros and ones.

        Directions in which a subset has no row keep the common estimate. Both are not a number for a subset
        of no more rows than parameters.
        """
        k = len(self.names)
        sums = member @ self.rows
        square = sums[:, : k * k].reshape(-1, k, k)
        moment = sums[:, k * k : k * k + k]
        step = np.einsum("skl,sl->sk", np.linalg.pinv(square, rcond=1e-10, hermitian=True), moment)
        rss, count = sums[:, -2] - np.einsum("sk,sk->s", step, moment), sums[:, -1]
        enough = count > k
        parameters = np.where(enough[:, None], self.parameters + step / self.length, np.nan)
        error = np.sqrt(np.maximum(rss, 0) / np.maximum(count, 1))
        return parameters, np.where(enough, error, np.nan)

    def alpha(self, parameters: FloatArray) -> FloatArray:
        """α of `di_weighted` parameters (s, k); not a number where both reuse terms add nothing."""
        e_w, e_a = (parameters[:, self.names.index(name)] for name in ("e_w", "e_a"))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(e_w + e_a > 0, e_w / (e_w + e_a), np.nan)


def step_statistics(model: str, data: Data) -> StepStatistics | None:
    """Fit a model to all rows; None if they are too few."""
    at = design(model, data)
    n, k = at.columns.shape
    if n <= k + 1:
        return None
    fit = fit_log(at.columns, data.y)
    length = np.linalg.norm(fit.jacobian, axis=0)
    j = fit.jacobian / length
    rows = np.column_stack(
        [
            np.einsum("nk,nl->nkl", j, j).reshape(n, k * k),
            j * fit.residuals[:, None],
            fit.residuals**2,
            np.ones(n),
        ]
    )
    return StepStatistics(at.names, fit.parameters, length, rows)


def refitted_alpha(data: Data, member: FloatArray) -> FloatArray:
    """α of `di_weighted`, fitted in full to each subset (s, n), to compare one step with."""
    found = np.full(len(member), np.nan)
    for number, rows in enumerate(member > 0):
        own = data.only(rows)
        at = design("di_weighted", own)
        if len(own) <= len(at.names):
            continue
        theta = fit_log(at.columns, own.y).parameters
        e_w, e_a = theta[at.names.index("e_w")], theta[at.names.index("e_a")]
        found[number] = e_w / (e_w + e_a) if e_w + e_a > 0 else math.nan
    return found
