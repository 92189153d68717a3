"""Tests and intervals that hold when rows of one layer or one network err together.

The restricted wild cluster bootstrap-t: fit under the hypothesis, flip the residuals of whole clusters at
random, and see how often the t statistic is as large as the one observed. Sources: Cameron, Gelbach and
Miller, "Bootstrap-Based Improvements for Inference with Clustered Errors" (Review of Economics and
Statistics 2008); MacKinnon and Webb, "Wild Bootstrap Inference for Wildly Different Cluster Sizes" (Journal
of Applied Econometrics 2017); Webb's six-point weights (2014) for few clusters; the arrangement by
cluster sums of Roodman, MacKinnon, Nielsen and Webb, "Fast and Wild" (Stata Journal 2019).

Why not a library: wildboottest takes linear regressions only and gives no intervals; statsmodels, refitted
for each draw, gives the same p value in 480 times the time (`benchmarks/test_study_speed.py`).

For a nonlinear model all of it happens in the linear model at the restricted fit: residuals u on the
Jacobian J of log E (n, k). There the one-step estimate of the tested direction c is c′(J′J)⁻¹J′u, and a draw
of weights v_g replaces u by v_g·u within each cluster g.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.study.maths.labels import distinct
from dibench.study.maths.minimise import BLOCK, cholesky, triangle

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

DRAWS = 9_999
LEVEL = 0.95
CROSSING = 1e-3
"""Precision of an interval's end, as a share of the step that crosses it: finer than p from 9,999 draws."""

DRAWS_AT_ONCE = 512
ENOUGH_CLUSTERS = 10.0
"""Effective clusters that a test needs to hold its level; a fit with fewer does not decide."""

NOTHING_OF_ITS_OWN = 1e-6
"""Other columns explain a column up to rounding if less than this share of its length is left."""

NEARLY_ALL = 0.01
"""If others leave more than this share of a column's length, rounding does not matter."""

FEW_CLUSTERS = 12
"""With fewer clusters two-point weights have too few distinct draws; Webb's six points are used."""


MOST_DRAWN = 1_000
"""Signs of a draw. Of more clusters several share one: errors of rows in one cluster may be related in any
way or in none, so a test by a thousand unions is as valid, and takes no more memory and time than this."""


@attrs.frozen(eq=False)
class Clustering:
    """Which cluster each row is in, and the weights that every test of this clustering uses."""

    name: str
    member: IntArray
    """Cluster number of each row, from 0."""
    weights: FloatArray
    """(draws, clusters), or (draws, MOST_DRAWN) where they are more."""

    @functools.cached_property
    def size(self) -> int:
        """Number of clusters."""
        return int(self.member.max(initial=-1)) + 1

    @functools.cached_property
    def united(self) -> Clustering:
        """What is drawn: the clusters, or so many unions of them as there are weights.

        Clusters are dealt out at random, as neighbours by name may be alike.
        """
        drawn = self.weights.shape[1]
        if self.size <= drawn:
            return self
        union = np.random.default_rng(0).permutation(self.size) % drawn
        return Clustering(self.name, union[self.member], self.weights)

    @functools.cached_property
    def _order(self) -> tuple[IntArray, IntArray]:
        """Rows in the order of their clusters, and where each cluster begins."""
        order = np.argsort(self.member, kind="stable")
        begins = np.searchsorted(self.member[order], np.arange(self.size + 1))
        return order, begins.astype(np.intp)

    def sums(self, factor: FloatArray, rows: FloatArray) -> FloatArray:
        """Σ factor·row of each cluster: (n,) and (n, k) to (clusters, k)."""
        from scipy.sparse import csr_array

        order, begins = self._order
        picked = csr_array((factor[order], order, begins), shape=(self.size, len(factor)))
        return np.asarray(picked @ rows)

    def squares(self, rows: FloatArray) -> FloatArray:
        """Σ row·row′ of each cluster: (n, k) to (clusters, k, k)."""
        order, begins = self._order
        ordered, k = rows[order], rows.shape[1]
        made = np.empty((len(begins) - 1, k, k))
        for one, (begin, end) in enumerate(pairwise(begins.tolist())):  # a list would take as much again
            made[one] = ordered[begin:end].T @ ordered[begin:end]
        return made


def clustering(name: str, labels: NDArray[Any], *, draws: int, seed: int) -> Clustering:
    """Clusters of equal labels with mean-zero, variance-one weights: Rademacher's, or Webb's when few."""
    clusters, member = distinct(labels)
    rng = np.random.default_rng(seed)
    shape = (draws, min(len(clusters), MOST_DRAWN))
    if len(clusters) < FEW_CLUSTERS:
        points = np.sqrt([0.5, 1.0, 1.5])
        weights = rng.choice(np.concatenate([points, -points]), size=shape)
    else:
        weights = rng.choice(np.array([-1.0, 1.0]), size=shape)
    return Clustering(name, member, weights)


@attrs.frozen(eq=False)
class Linearised:
    """The model at a restricted fit: its full Jacobian, the residuals there, the direction to test.

    A model that is not exact misses each row by the same amount however often the row is measured. Counted as
    errors of clusters, these misses make intervals too wide: Abadie, Imbens and Zheng, "Inference for
    Misspecified Models with Fixed Regressors" (Journal of the American Statistical Association 2014). So what
    a column `misfit` (n,) explains beyond the Jacobian is not counted as error. The estimate and the
    influence of each row do not change.
    """

    jacobian: FloatArray
    residuals: FloatArray
    direction: FloatArray
    misfit: FloatArray | None = None

    @functools.cached_property
    def triangle(self) -> FloatArray | None:
        """R (k, k) of J = QR; None where J has not full rank."""
        return triangle_of(self.jacobian)

    @functools.cached_property
    def influence(self) -> FloatArray | None:
        """a = J(J′J)⁻¹c (n,) of each row on the tested direction."""
        r = self.triangle
        if r is None:
            return None
        return np.asarray(self.jacobian @ np.linalg.solve(r, np.linalg.solve(r.T, self.direction)))

    @functools.cached_property
    def beside(self) -> FloatArray | None:
        """The misfit's column made orthogonal to the Jacobian, at length 1.

        None without one, where it has nothing of its own, or with rows too few.
        """
        r, (n, k) = self.triangle, self.jacobian.shape
        if self.misfit is None or r is None or n <= k + 1:
            return None
        own = self.misfit
        for _ in range(2):
            before = np.linalg.norm(own)
            own = own - self.jacobian @ np.linalg.solve(r, np.linalg.solve(r.T, self.jacobian.T @ own))
            if np.linalg.norm(own) > NEARLY_ALL * before:
                break  # otherwise rounding left some of it: subtract once more
        length = np.linalg.norm(own)
        return own / length if length > NOTHING_OF_ITS_OWN * np.linalg.norm(self.misfit) else None

    @functools.cached_property
    def errors(self) -> FloatArray:
        """The residuals (n,) less what the misfit explains."""
        own = self.beside
        return self.residuals if own is None else self.residuals - own * float(own @ self.residuals)


def triangle_of(jacobian: FloatArray) -> FloatArray | None:
    """R (k, k) with R′R = J′J; None where J has not full rank or no row more than columns.

    From J′J where the columns are far from collinear, else by decomposing J itself.
    """
    n, k = jacobian.shape
    square = jacobian.T @ jacobian
    length = np.sqrt(np.diagonal(square))
    if n <= k or not length.all() or not np.isfinite(length).all():
        return None
    r = cholesky(square / np.outer(length, length))
    if r is not None:
        return np.asarray(r * length)
    r = triangle((jacobian[first : first + BLOCK] / length for first in range(0, n, BLOCK)), k)
    diagonal = np.abs(np.diagonal(r))
    return None if diagonal.min() < 1e-9 * diagonal.max() else r * length


@attrs.frozen
class Test:
    """A bootstrap test: t statistic, two-sided p value."""

    statistic: float
    p_value: float


UNDECIDABLE = Test(math.nan, math.nan)


def wild_cluster_test(model: Linearised, clusters: Clustering) -> Test:
    """Restricted wild cluster bootstrap-t of the hypothesis under which the residuals were computed.

    t = c′δ̂ / √(Σ_g (Σ_{i∈g} a_i·r_i)²), with influence a = J(J′J)⁻¹c, residuals r after the one step, and the
    small-sample factor left out of both sides. p = (1 + #{|t*| ≥ |t|}) / (1 + draws). Not a number with
    fewer than two clusters or where J has not full rank.
    """
    clusters = clusters.united
    r, influence = model.triangle, model.influence
    if r is None or influence is None or clusters.size < 2:
        return UNDECIDABLE
    sums = _cluster_sums(model, clusters, r, influence)
    observed = float(_t_statistics(np.ones((1, clusters.size)), *sums)[0])
    drawn = np.concatenate(
        [
            _t_statistics(clusters.weights[first : first + DRAWS_AT_ONCE], *sums)
            for first in range(0, len(clusters.weights), DRAWS_AT_ONCE)
        ]
    )
    if not math.isfinite(observed):
        return UNDECIDABLE
    # A draw of equal signs reproduces the observed |t| up to rounding and counts as reaching it.
    reached = int(np.count_nonzero(np.abs(drawn) >= abs(observed) * (1 - 1e-9)))
    return Test(observed, (1 + reached) / (1 + len(drawn)))


def _cluster_sums(
    model: Linearised, clusters: Clustering, r: FloatArray, influence: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Per cluster: Σ a·u (G,), Σ q·u (G, k), Σ a·q (G, k), q the rows of JR⁻¹: all that a draw needs.

    The column of a misfit is one more column of q.
    """
    inverse = np.asarray(np.linalg.inv(r), dtype=np.float64)
    moment = np.asarray(clusters.sums(model.errors, model.jacobian) @ inverse)
    leverage = np.asarray(clusters.sums(influence, model.jacobian) @ inverse)
    score = np.asarray(moment @ (inverse.T @ model.direction))
    if model.beside is not None:
        own = model.beside[:, None]
        moment = np.hstack([moment, clusters.sums(model.errors, own)])
        leverage = np.hstack([leverage, clusters.sums(influence, own)])
    return score, moment, leverage


def _t_statistics(
    weights: FloatArray, score: FloatArray, moment: FloatArray, leverage: FloatArray
) -> FloatArray:
    """t of each draw: numerator Σ v_g·s_g; variance Σ_g (v_g·s_g − p_g′δ)² with δ = Σ v_g·m_g.

    The square is multiplied out, so that a draw costs G·k operations and no (draws, G) array is made.
    """
    delta, cross = np.hsplit(weights @ np.hstack([moment, score[:, None] * leverage]), 2)
    variance = weights**2 @ score**2 + (delta * (delta @ (leverage.T @ leverage) - 2 * cross)).sum(axis=1)
    floor = 1e-12 * float(score @ score)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((weights @ score) / np.sqrt(np.maximum(variance, floor)))


def effective_clusters(model: Linearised, clusters: Clustering) -> float:
    """How many clusters of equal weight the tested direction rests on: (Σγ_g)² / Σγ_g², γ_g = Σ_{i∈g} a_i².

    That is G* = G/(1 + Γ) of Carter, Schnepel and Steigerwald (Review of Economics and Statistics 2017) for
    errors independent within clusters. Zero where the direction cannot be estimated.
    """
    influence = model.influence
    if influence is None:
        return 0.0
    share = np.bincount(clusters.member, influence**2, minlength=clusters.size)
    return float(share.sum() ** 2 / (share @ share))


def deciding(model: Linearised, clusterings: Sequence[Clustering]) -> tuple[Clustering, ...]:
    """The clusterings whose largest p value counts.

    The coarsest alone, if it has enough clusters and the clusters of all others lie within its own, as it
    then allows for their errors too; otherwise all. (With enough clusters the coarsest covers 95% and the
    largest of two p values 96 to 97%; with few, the coarsest alone covers down to 92% and the largest 93.5%.)
    """
    coarsest = min(clusterings, key=lambda one: one.size)
    alone = all(_within(one, coarsest) for one in clusterings)
    if alone and effective_clusters(model, coarsest) >= ENOUGH_CLUSTERS:
        return (coarsest,)
    return tuple(clusterings)


def _within(fine: Clustering, coarse: Clustering) -> bool:
    """Whether each fine cluster lies in one coarse cluster."""
    one_of = np.zeros(fine.size, dtype=np.intp)
    one_of[fine.member] = coarse.member
    return bool((one_of[fine.member] == coarse.member).all())


def classical_errors(jacobian: FloatArray, residuals: FloatArray) -> FloatArray:
    """Standard errors (k,) for independent errors of one variance: √diag(s²·(J′J)⁻¹), s² = RSS/(n−k).

    Not a number without full rank or degrees of freedom.
    """
    n, k = jacobian.shape
    r = triangle_of(jacobian)
    if r is None:
        return np.full(k, np.nan)
    spread = np.linalg.norm(np.linalg.inv(r), axis=1)
    return np.asarray(spread * math.sqrt(float(residuals @ residuals) / (n - k)))


@attrs.frozen
class Interval:
    """A confidence interval; a bound is None where no value that far out is rejected."""

    low: float | None
    high: float | None


def invert(
    p_value: Callable[[float], float],
    value: float,
    step: float,
    *,
    lower: float,
    upper: float,
    level: float = LEVEL,
    precision: float = CROSSING,
) -> Interval:
    """The values that the test does not reject, walked outward from the estimate.

    Steps grow until the test rejects, then the crossing is found to `precision` of the last step. A bound is
    None if the walk reaches `lower` or `upper` without a rejection.
    """

    distance = _distance_from_rejection(p_value, level)

    def bound(direction: int, end: float) -> float | None:
        inner, at, width = value, value, step
        while True:
            at = at + direction * width
            if (end - at) * direction <= 0:
                at = end
            if distance(at) > 0:
                return _crossing(distance, inner, at, precision)
            if at == end:
                return None
            inner, width = at, width if inner == value else 2 * width

    return Interval(bound(-1, lower), bound(1, upper))


def accepted_span(excess: Callable[[float], float], value: float, grid: FloatArray) -> Interval:
    """The span of a bounded range that a criterion does not reject: scanned, as there may be several valleys.

    Args:
        excess: positive where a value is rejected, continuous.
        value: the estimate, not rejected.
        grid: increasing, over the whole range. A bound is None where the end of the grid is not rejected.
    """
    excess = functools.cache(excess)  # see `_distance_from_rejection`
    points = np.union1d(grid, [value])
    inside = [at for at in points.tolist() if at == value or excess(at) <= 0]
    low, high = inside[0], inside[-1]
    below, above = points[points < low], points[points > high]
    return Interval(
        _crossing(excess, low, float(below[-1])) if len(below) else None,
        _crossing(excess, high, float(above[0])) if len(above) else None,
    )


def _distance_from_rejection(p_value: Callable[[float], float], level: float) -> Callable[[float], float]:
    """|z| of the p value less the critical |z|: positive where rejected, nearly linear in the value.

    A test that cannot be made rejects nothing. Each value is computed once.
    """

    @functools.cache
    def distance(at: float) -> float:
        p = p_value(at)
        return -1.0 if math.isnan(p) else _normal_quantile(p) - _normal_quantile(1 - level)

    return distance


def _crossing(
    distance: Callable[[float], float], inside: float, outside: float, precision: float = CROSSING
) -> float:
    from scipy.optimize import brentq

    if distance(inside) >= 0:  # the estimate itself is rejected: it lies at the bound up to rounding
        return inside
    tolerance = max(precision * abs(outside - inside), 1e-12)
    return float(brentq(distance, inside, outside, xtol=tolerance, maxiter=40))


def _normal_quantile(p: float) -> float:
    """|z| with two-sided p value p."""
    from scipy.special import ndtri

    return float(-ndtri(max(min(p, 1.0), 1e-300) / 2))


def student_quantile(degrees: float, level: float = LEVEL) -> float:
    """Two-sided quantile of Student's t.

    >>> round(student_quantile(10), 3)
    2.228
    """
    return float(student_quantiles(np.array(degrees), level))


def student_quantiles(degrees: FloatArray, level: float = LEVEL) -> FloatArray:
    """Two-sided quantiles of Student's t for each of the degrees of freedom."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(degrees, (1 + level) / 2))
