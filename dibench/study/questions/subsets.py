"""How a correlation spreads over subsets of a fixed set of networks or layers, and how it must spread.

The set is fixed, so its subsets are not samples of a population. A sample correlation's Fisher z is, to
first order, a mean over its members of each one's influence; the mean of k members drawn without replacement
from n has (n−k)/(n−1) of the variance that k independent draws would give; and for bivariate normal data
that variance is 1/(k−3). So the spread over subsets is

    SD(z) ≈ √((n−k)/(n−1)) / √(k−3)

whatever the truth is; near k = n it is narrow because the subsets are then nearly the same. `curve` is this
line; `influence_curve` takes the influences of these very members in place of normal ones; `made_up_spread`
draws sets of n random points, with no network in them, and resamples those.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dibench.study.findings.generality import Distribution, MadeUp

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

FEWEST = 4
"""Members of a subset from which z has a spread."""

CHUNK = 2_000_000
"""Random numbers drawn at once: bounds memory whatever the number of members."""

MADE_UP_SETS = 40
BINS = 24
SHAPIRO_MOST = 5000
"""Shapiro and Wilk's approximation of p holds up to this many values (Royston 1995)."""
QUANTILES = np.linspace(0.01, 0.99, 99)


def draw(n: int, k: int, subsets: int, rng: np.random.Generator) -> Iterator[IntArray]:
    """Subsets of k of n members, without replacement and equally likely, as blocks of indices (some, k).

    `Generator.choice` draws one subset at a time.
    """
    block = max(1, CHUNK // n)
    for begin in range(0, subsets, block):
        keys = rng.random((min(block, subsets - begin), n), dtype=np.float32)
        yield np.argpartition(keys, k - 1, axis=1)[:, :k]


def correlations_over(members: IntArray, response: FloatArray, predictors: FloatArray) -> FloatArray:
    """Pearson's correlation of each predictor (m, n) with the response (n,) in each subset (s, k): (m, s).

    From sums over each subset, all subsets at once. Values are first centred on the whole set, so that no
    digits cancel.
    """
    k = members.shape[1]
    y = (response - response.mean())[members]
    mean_y, square_y = y.mean(axis=1), np.einsum("sk,sk->s", y, y)
    found = np.empty((len(predictors), len(members)))
    for number, predictor in enumerate(predictors):
        x = (predictor - predictor.mean())[members]
        mean_x = x.mean(axis=1)
        cross = np.einsum("sk,sk->s", x, y) - k * mean_x * mean_y
        square = (np.einsum("sk,sk->s", x, x) - k * mean_x**2) * (square_y - k * mean_y**2)
        with np.errstate(invalid="ignore", divide="ignore"):
            found[number] = np.clip(cross / np.sqrt(square), -1, 1)
    return found


def fisher(r: FloatArray) -> FloatArray:
    """Fisher's z = artanh r; infinite at ±1 becomes not a number."""
    with np.errstate(divide="ignore"):
        z = np.arctanh(r)
    return np.where(np.isfinite(z), z, np.nan)


def curve(n: int, k: int) -> float:
    """√((n−k)/(n−1)) / √(k−3): the spread of z over subsets that combinatorics alone gives.

    >>> round(curve(25, 10), 3)
    0.299
    """
    return math.sqrt((n - k) / (n - 1) / (k - 3))


def influence_curve(response: FloatArray, predictor: FloatArray, k: int) -> float:
    """`curve` by these members' influence on z, (x·y − r(x² + y²)/2) / (1 − r²), standardised."""
    y = (response - response.mean()) / response.std()
    x = (predictor - predictor.mean()) / predictor.std()
    r = float(np.mean(x * y))
    if 1 - r**2 < 1e-12:
        return math.nan
    influence = (x * y - r * (x**2 + y**2) / 2) / (1 - r**2)
    return float(influence.std()) * curve(len(y), k)


def made_up_spread(n: int, k: int, r: float, subsets: int, rng: np.random.Generator) -> MadeUp:
    """Draw sets of n bivariate normal points of correlation r, and resample k of each as of networks."""
    r = min(max(r, -0.999), 0.999)
    each = max(25, subsets // MADE_UP_SETS)
    spreads = []
    for _ in range(MADE_UP_SETS):
        x, e = rng.standard_normal((2, n))
        y = r * x + math.sqrt(1 - r**2) * e
        z = np.concatenate([correlations_over(m, y, x[None])[0] for m in draw(n, k, each, rng)])
        spreads.append(np.nanstd(fisher(z)))
    low, median, high = np.quantile(spreads, (0.05, 0.5, 0.95))
    return MadeUp(float(median), float(low), float(high))


def describe(values: FloatArray) -> Distribution | None:
    """The distribution of the finite values; None for fewer than 20 or all equal."""
    from scipy import stats

    values = values[np.isfinite(values)]
    if len(values) < 20 or float(np.ptp(values)) <= 1e-12 * float(np.abs(values).max()):
        return None
    shapiro = stats.shapiro(values[:SHAPIRO_MOST])
    low, median, high = np.quantile(values, (0.025, 0.5, 0.975))
    # Outliers count in the outermost bins, so that they do not squeeze all other values into one.
    inner = np.quantile(values, (0.002, 0.998))
    counts, edges = np.histogram(np.clip(values, *inner), bins=BINS)
    standard = (np.quantile(values, QUANTILES) - values.mean()) / values.std()
    return Distribution(
        n=len(values),
        mean=float(values.mean()),
        sd=float(values.std()),
        low=float(low),
        median=float(median),
        high=float(high),
        skew=float(stats.skew(values)),
        excess_kurtosis=float(stats.kurtosis(values)),
        shapiro_w=float(shapiro.statistic),
        shapiro_p=float(shapiro.pvalue),
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        normal_quantiles=tuple(stats.norm.ppf(QUANTILES).tolist()),
        quantiles=tuple(standard.tolist()),
    )
