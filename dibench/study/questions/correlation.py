"""Correlations that share a variable: how AI and DI, both against one response, are told apart."""

from __future__ import annotations

import math

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.study.ladder.folds import FEWEST_FAMILIES
from dibench.study.maths.scores import pearson, spearman

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

BOOTSTRAP = 9_999


@attrs.frozen
class Correlations:
    """A predictor against the response over n networks; None where it cannot be computed."""

    n: int
    pearson_log: float | None
    """Of the logarithms: both span decades, and a raw correlation is the largest networks'."""
    pearson: float | None
    spearman: float | None
    kendall: float | None
    """Kendall's tau-b."""


def correlations(response: FloatArray, predictor: FloatArray) -> Correlations:
    """All four over the networks where the predictor is known; both arrays (n,), positive."""
    from scipy.stats import kendalltau

    known = np.isfinite(response) & np.isfinite(predictor)
    y, x = response[known], predictor[known]
    if len(y) < 3:
        return Correlations(len(y), None, None, None, None)
    values = (
        pearson(np.log(y), np.log(x)),
        pearson(y, x),
        spearman(y, x),
        float(kendalltau(y, x).statistic),
    )
    return Correlations(len(y), *(value if math.isfinite(value) else None for value in values))


@attrs.frozen
class Williams:
    """Williams' t for r12 against r13, with n − 3 degrees of freedom, two-sided p."""

    t: float | None
    p_value: float | None


def williams(r12: float, r13: float, r23: float, n: int) -> Williams:
    """Test that variable 1 correlates equally with 2 and with 3, measured on the same n.

    t = (r12 − r13)·√((n−1)(1+r23) / (2|R|·(n−1)/(n−3) + r̄²·(1−r23)³)), |R| the determinant of the three
    correlations, r̄ the mean of r12 and r13. Sources: Williams, "The comparison of regression variables"
    (Journal of the Royal Statistical Society B 1959); Steiger, "Tests for comparing elements of a correlation
    matrix" (Psychological Bulletin 1980), equation 7, who recommends it. None for n ≤ 3 or predictors that
    are the same up to rounding. It takes networks as independent; those of one family are not, so the
    bootstrap over families stands beside it.

    >>> found = williams(0.80, 0.72, 0.89, 26)  # Howell, Statistical Methods for Psychology, 6th ed., p. 262
    >>> round(found.t, 2), round(found.p_value, 3)
    (1.36, 0.187)
    """
    from scipy.stats import t as student

    if n <= 3 or not all(map(math.isfinite, (r12, r13, r23))):
        return Williams(None, None)
    determinant = 1 - r12**2 - r13**2 - r23**2 + 2 * r12 * r13 * r23
    mean = (r12 + r13) / 2
    below = 2 * (n - 1) / (n - 3) * determinant + mean**2 * (1 - r23) ** 3
    if below <= 1e-15:
        return Williams(None, None)
    t = (r12 - r13) * math.sqrt((n - 1) * (1 + r23) / below)
    return Williams(t, float(2 * student.sf(abs(t), n - 3)))


@attrs.frozen
class Contest:
    """AI against a form of DI as predictors of one response over the same networks, on logarithms."""

    n: int
    families: int
    r_ai: float
    r_di: float
    r_between: float
    """Correlation of the two predictors."""
    williams: Williams
    ci_low: float | None
    ci_high: float | None
    """95% percentile interval of r_di − r_ai by a paired bootstrap over families."""

    @property
    def difference(self) -> float:
        """r_di − r_ai: above zero where DI correlates better."""
        return self.r_di - self.r_ai

    @property
    def width(self) -> float | None:
        """Width of the bootstrap's interval."""
        return None if self.ci_low is None or self.ci_high is None else self.ci_high - self.ci_low

    @property
    def decision(self) -> str:
        """`DI` or `AI` where both the interval and Williams' test (5%) exclude no difference."""
        p = self.williams.p_value
        if self.ci_low is None or self.ci_high is None or p is None or p >= 0.05:
            return "undecided"
        return "DI" if self.ci_low > 0 else "AI" if self.ci_high < 0 else "undecided"


def contest(
    response: FloatArray,
    ai: FloatArray,
    di: FloatArray,
    family: NDArray[np.str_],
    *,
    seed: int,
    draws: int = BOOTSTRAP,
) -> Contest | None:
    """Compare two predictors of a response; None for fewer than four networks that have both."""
    known = np.isfinite(response) & np.isfinite(ai) & np.isfinite(di)
    if int(known.sum()) < 4:
        return None
    y, a, d = (np.log(values[known]) for values in (response, ai, di))
    r_ai, r_di, between = pearson(y, a), pearson(y, d), pearson(a, d)
    if not all(map(math.isfinite, (r_ai, r_di, between))):
        return None
    names, member = np.unique(family[known], return_inverse=True)
    low, high = _family_bootstrap(y, a, d, member, len(names), seed=seed, draws=draws)
    n = len(y)
    return Contest(n, len(names), r_ai, r_di, between, williams(r_di, r_ai, between, n), low, high)


def _family_bootstrap(
    y: FloatArray, a: FloatArray, d: FloatArray, member: IntArray, families: int, *, seed: int, draws: int
) -> tuple[float | None, float | None]:
    """95% of r(y, d) − r(y, a) when whole families are drawn with replacement, networks paired throughout."""
    if families < FEWEST_FAMILIES:
        return None, None
    rng = np.random.default_rng(seed)
    weight = rng.multinomial(families, np.full(families, 1 / families), size=draws)[:, member].astype(float)
    differences = weighted_pearson(y, d, weight) - weighted_pearson(y, a, weight)
    differences = differences[np.isfinite(differences)]
    # Draws of one family twice over and nothing else have no correlation; they are a few in a million.
    low, high = np.quantile(differences, (0.025, 0.975))
    return float(low), float(high)


def weighted_pearson(x: FloatArray, y: FloatArray, weight: FloatArray) -> FloatArray:
    """Pearson's correlation under each row of weights (draws, n), from weighted sums.

    >>> weighted_pearson(np.array([1.0, 2, 3]), np.array([1.0, 2, 4]), np.array([[1.0, 1, 0]])).round(6)
    array([1.])
    """
    x, y = x - x.mean(), y - y.mean()
    total = weight.sum(axis=1)
    mean_x, mean_y = weight @ x / total, weight @ y / total
    cross = weight @ (x * y) / total - mean_x * mean_y
    square_x = weight @ x**2 / total - mean_x**2
    square_y = weight @ y**2 / total - mean_y**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(cross / np.sqrt(square_x * square_y))
