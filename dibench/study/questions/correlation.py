"""Correlations that share a variable: does AI or DI correlate better with one response?"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dibench.study.findings.networks import Contest, Correlations, Decision, Williams
from dibench.study.ladder.folds import FEWEST_FAMILIES
from dibench.study.maths.scores import pearson, spearman

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

BOOTSTRAP = 9_999

_ROUNDING = 1e-12
"""Variance of a draw, over the sum of squares of all networks, that may be rounding alone."""


def correlations(response: FloatArray, predictor: FloatArray) -> Correlations:
    """All four, over the networks whose predictor is known; both arrays (n,), positive."""
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


def williams(r12: float, r13: float, r23: float, n: int) -> Williams:
    """Test that variable 1 correlates equally with 2 and with 3, measured on the same n.

    t = (r12 − r13)·√((n−1)(1+r23) / (2|R|·(n−1)/(n−3) + r̄²·(1−r23)³)), |R| the determinant of the three
    correlations, r̄ the mean of r12 and r13. Sources: Williams, "The comparison of regression variables"
    (Journal of the Royal Statistical Society B 1959); Steiger, "Tests for comparing elements of a correlation
    matrix" (Psychological Bulletin 1980), equation 7, who recommends it. None for n ≤ 3 or predictors that
    are equal up to rounding. It takes networks as independent, which those of one family are not; hence the
    bootstrap over families beside it. SciPy has no such test.

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
    test = williams(r_di, r_ai, between, len(y))
    return Contest(
        n=len(y),
        families=len(names),
        r_ai=r_ai,
        r_di=r_di,
        r_between=between,
        difference=r_di - r_ai,
        ci_low=low,
        ci_high=high,
        width=None if low is None or high is None else high - low,
        williams=test,
        decision="undecided" if test.p_value is None or test.p_value >= 0.05 else decision(low, high),
    )


def decision(low: float | None, high: float | None) -> Decision:
    """Which is better, by the 95% interval of a difference that is above zero where DI is.

    >>> decision(0.01, 0.2), decision(-0.01, 0.2), decision(None, None)
    ('DI', 'undecided', 'undecided')
    """
    if low is None or high is None:
        return "undecided"
    return "DI" if low > 0 else "AI" if high < 0 else "undecided"


def _family_bootstrap(
    y: FloatArray, a: FloatArray, d: FloatArray, member: IntArray, families: int, *, seed: int, draws: int
) -> tuple[float | None, float | None]:
    """95% of r(y, d) − r(y, a) over draws of whole families with replacement, the same for both.

    By hand, because `scipy.stats.bootstrap` draws indices, which would first have to be counted into these
    weights: more code, and 7.6 ms where this takes 5.8 ms for 25 networks of 10 families.
    """
    if families < FEWEST_FAMILIES:
        return None, None
    rng = np.random.default_rng(seed)
    weight = rng.multinomial(families, np.full(families, 1 / families), size=draws)[:, member].astype(float)
    differences = weighted_pearson(y, d, weight) - weighted_pearson(y, a, weight)
    differences = differences[np.isfinite(differences)]
    # A draw of one family alone may have none: few in a million, but one in nine of three single networks.
    low, high = np.quantile(differences, (0.025, 0.975))
    return float(low), float(high)


def weighted_pearson(x: FloatArray, y: FloatArray, weight: FloatArray) -> FloatArray:
    """Pearson's correlation under each row of weights (draws, n); not a number where x or y is constant.

    From weighted sums of all draws at once; `numpy.cov` takes one row of weights at a time. What rounding
    leaves of the variance of a constant would make any number of it, infinity among them.

    >>> weights = np.array([[1.0, 1, 0], [0, 0, 2]])
    >>> weighted_pearson(np.array([1.0, 2, 3]), np.array([1.0, 2, 4]), weights).round(6)
    array([ 1., nan])
    """
    x, y = x - x.mean(), y - y.mean()
    total = weight.sum(axis=1)
    mean_x, mean_y = weight @ x / total, weight @ y / total
    cross = weight @ (x * y) / total - mean_x * mean_y
    square_x = weight @ x**2 / total - mean_x**2
    square_y = weight @ y**2 / total - mean_y**2
    constant = (square_x <= _ROUNDING * (x @ x)) | (square_y <= _ROUNDING * (y @ y))
    return np.asarray(cross / np.sqrt(np.where(constant, np.nan, square_x * square_y)))
