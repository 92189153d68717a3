"""α of both forms of DI: estimate, test of a given value, and the interval of values not rejected."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench import intensity
from dibench.study.findings.estimate import UNKNOWN_ALPHA, Alpha, AlphaByFamily
from dibench.study.ladder.models import (
    FULL,
    Data,
    Terms,
    design,
    fixed_alpha,
    per_di_disjoint,
    per_di_disjoint_slope,
    weights_like_inputs,
)
from dibench.study.maths.bias_reduced import bias_reduced
from dibench.study.maths.estimate import LogFit, condition_number, fit_log
from dibench.study.maths.inference import (
    CROSSING,
    LEVEL,
    UNDECIDABLE,
    Clustering,
    Linearised,
    Test,
    accepted_span,
    classical_errors,
    deciding,
    effective_clusters,
    invert,
    student_quantile,
    wild_cluster_test,
)
from dibench.study.maths.minimise import BLOCK, LOOSE, minimise

FloatArray = NDArray[np.float64]

FAR = 100.0
"""Search limit for α: a walk that gets this far without a rejection found no bound."""

ROWS_OF_A_SEARCH = 5_000
"""Most rows of a grid search, taken at random: more rows find the same valley."""

ROWS_OF_AN_OPERATOR = 200

DISJOINT_TOLERANCE = 1e-12
"""Relative change of the sum of squares at which the search ends, so that α has all digits reported."""

GRID = np.linspace(0.0, 1.0, 21)
COARSE_GRID = np.linspace(0.0, 1.0, 11)


AlphaT = TypeVar("AlphaT", bound=Alpha)


def with_baseline(alpha: AlphaT, data: Data, terms: Terms = FULL) -> AlphaT:
    """The interval widened by the uncertainty of the idle power that was subtracted.

    The power is one number for all rows, so its error moves α as a whole. Fits with the power at both ends
    of its 95% interval show by how much; that is added in squares. If either fit has no α, there is no bound.
    """
    if alpha.value is None or not (data.baseline > 0).any():
        return alpha
    moved = []
    for sign in (-1.0, 1.0):
        y = data.y + sign * data.baseline
        value = WeightedAlpha(attrs.evolve(data, y=y), (), terms).value if (y > 0).all() else None
        if value is None:
            return attrs.evolve(alpha, ci_low=None, ci_high=None, unbounded=True)
        moved.append(abs(value - alpha.value))

    def end(bound: float | None, sign: float) -> float | None:
        if bound is None or alpha.value is None:
            return None
        return alpha.value + sign * math.hypot(bound - alpha.value, max(moved))

    return attrs.evolve(alpha, ci_low=end(alpha.ci_low, -1.0), ci_high=end(alpha.ci_high, 1.0))


@attrs.frozen
class ClusterTest:
    """A test by each clustering; of those that decide, the one with the largest p value counts."""

    by: dict[str, Test]
    deciding: tuple[str, ...] = ()

    @property
    def decisive(self) -> Test:
        """The test that counts; not a number if none could be made."""
        made = [self.by[name] for name in self.deciding if not math.isnan(self.by[name].p_value)]
        return max(made, key=lambda test: test.p_value) if made else UNDECIDABLE


def cluster_test(
    model: Linearised, clusterings: Sequence[Clustering], decide: Sequence[Clustering]
) -> ClusterTest:
    """The bootstrap test by each clustering, some of which decide."""
    by = {one.name: wild_cluster_test(model, one) for one in clusterings}
    return ClusterTest(by, tuple(one.name for one in decide))


def weights_and_inputs(data: Data, clusterings: Sequence[Clustering], terms: Terms = FULL) -> ClusterTest:
    """Test of e_w = e_x in `di_split` with e_y free: do weights and inputs differ, whatever outputs cost?

    Without a test if the rows are too few for the coefficients.
    """
    full = design("di_split", data, terms=terms)
    at = weights_like_inputs(data, terms)
    if len(data) <= len(full.names) + 1:
        return ClusterTest({})
    restricted = fit_log(at.columns, data.y, tolerance=LOOSE)
    direction = np.zeros(len(full.names))
    direction[full.names.index("e_w")], direction[full.names.index("e_x")] = 1.0, -1.0
    jacobian = full.columns / (at.columns @ restricted.parameters)[:, None]
    model = Linearised(jacobian, restricted.residuals, direction)
    return cluster_test(model, clusterings, deciding(model, clusterings))


class WeightedAlpha:
    """α = e_w/(e_w + e_a) of `di_weighted` on some rows, for given clusterings."""

    def __init__(self, data: Data, clusterings: Sequence[Clustering], terms: Terms = FULL) -> None:
        self.data = data
        self.clusterings = clusterings
        self.terms = terms
        self.full = design("di_weighted", data, terms=terms)
        self.w, self.a = self.full.names.index("e_w"), self.full.names.index("e_a")
        self.fit = fit_log(self.full.columns, data.y)
        self.condition = condition_number(self.fit.jacobian)
        self._jacobian = np.empty_like(self.full.columns)
        self._restricted = fixed_alpha(data, 0.5, terms)

    @property
    def value(self) -> float | None:
        """The estimate, not clipped to [0, 1]; None if both reuse terms together cost nothing."""
        e_w, e_a = self.fit.parameters[self.w], self.fit.parameters[self.a]
        return float(e_w / (e_w + e_a)) if e_w + e_a > 0 and self._identified() else None

    def test(self, alpha: float) -> ClusterTest:
        """Test of e_w·(1−α) = e_a·α; at α = ½ that is AI against DI."""
        at = self._restricted
        at.columns[:, at.names.index("s")] = alpha * self.data.weights + (1 - alpha) * self.data.activations
        restricted = fit_log(at.columns, self.data.y, near=self._near(at.names, alpha), tolerance=LOOSE)
        # Full columns at the restricted prediction: the same denominator, two columns where it had one.
        predicted = at.columns @ restricted.parameters
        np.divide(self.full.columns, predicted[:, None], out=self._jacobian)
        # Outputs may cost something else than inputs: that deviation from weighted DI is not chance.
        model = Linearised(
            self._jacobian,
            np.log(self.data.y / predicted),
            self._direction(alpha),
            misfit=self.data.outputs / predicted,
        )
        return cluster_test(model, self.clusterings, self._deciding)

    def estimate(self, precision: float = CROSSING) -> Alpha:
        """Estimate and 95% interval by inversion of the test, not clipped to [0, 1].

        Unknown if no value is rejected in either direction: an estimate would then mean nothing. `precision`
        of the interval's ends is that of `invert`.
        """
        value = self.value
        if value is None:
            return UNKNOWN_ALPHA
        found = invert(
            lambda alpha: self.test(alpha).decisive.p_value,
            value,
            self._step(value),
            lower=-FAR,
            upper=FAR,
            precision=precision,
        )
        if found.low is None and found.high is None:
            return UNKNOWN_ALPHA
        return Alpha(value, found.low, found.high, found.low is None or found.high is None)

    def lies_outside(self, span: tuple[float, float]) -> bool:
        """Whether the interval of `estimate` has both ends and lies outside a span, by two tests."""
        value, (low, high) = self.value, span
        if value is None or low <= value <= high:
            return False
        ends = (-FAR, low) if value < low else (high, FAR)
        return all(self.test(end).decisive.p_value < 1 - LEVEL for end in ends)

    def by_family(self, families: Clustering) -> AlphaByFamily:
        """Estimate and 95% interval that allow for any errors which rows of one family share.

        The interval inverts a t test by the jackknife over families: with few families of very unequal size
        it keeps the promise that the bootstrap breaks (docs/study.md). Not clipped, as `estimate`.
        """
        value, effective = self.value, effective_clusters(self._at_estimate, families)
        errors = bias_reduced(self.fit.jacobian, self.fit.residuals, families, jackknife=True)
        if value is None or errors is None:
            return AlphaByFamily(None, None, None, True, families.name, families.size, effective)

        def p_value(alpha: float) -> float:
            direction = self._direction(alpha)
            return errors.p_value(direction, float(direction @ self.fit.parameters))

        found = invert(p_value, value, self._step(value), lower=-FAR, upper=FAR)
        unbounded = found.low is None or found.high is None
        return AlphaByFamily(value, found.low, found.high, unbounded, families.name, families.size, effective)

    def effective_clusters(self) -> dict[str, float]:
        """Effective clusters of the direction that separates AI from DI, by clustering."""
        return {c.name: effective_clusters(self._at_estimate, c) for c in self.clusterings}

    @functools.cached_property
    def _at_estimate(self) -> Linearised:
        value = self.value
        direction = self._direction(0.5 if value is None else value)
        return Linearised(self.fit.jacobian, self.fit.residuals, direction)

    @functools.cached_property
    def _deciding(self) -> tuple[Clustering, ...]:
        """The clusterings that decide; the same at every α, or the interval would have jumps."""
        return deciding(self._at_estimate, self.clusterings)

    def _identified(self) -> bool:
        return len(self.data) > len(self.full.names) and self.condition < 1e8

    def _direction(self, alpha: float) -> FloatArray:
        direction = np.zeros(len(self.full.names))
        direction[self.w], direction[self.a] = 1 - alpha, -alpha
        return direction

    def _near(self, names: tuple[str, ...], alpha: float) -> FloatArray | None:
        """The restricted fit's start: the free fit, with the cost of weights and activations at the given α.

        It depends on α alone, so that a test does not depend on the tests before it.
        """
        known = dict(zip(self.full.names, self.fit.parameters.tolist(), strict=True))
        w, a = alpha, 1 - alpha
        both = (w * known["e_w"] + a * known["e_a"]) / (w * w + a * a)
        near = np.array([known.get(name, both) for name in names])
        return near if both > 0 else None

    def _step(self, value: float) -> float:
        """First step of the search for an interval's ends: the widest half-width by clusters."""
        direction = self._direction(value)
        robust = (bias_reduced(self.fit.jacobian, self.fit.residuals, one) for one in self.clusterings)
        widths = [one.half_width(direction) for one in robust if one is not None]
        half = max((width for width in widths if math.isfinite(width)), default=0.0)
        total = float(self.fit.parameters[self.w] + self.fit.parameters[self.a])
        return float(min(max(1.05 * half / total, 1e-6), 1.0))


class DisjointAlpha:
    """α of `di_disjoint` on some rows, profiled on [0, 1], where it is defined; coefficients ≥ 0."""

    def __init__(self, data: Data, clusterings: Sequence[Clustering], terms: Terms = FULL) -> None:
        self.data = data
        self.clusterings = clusterings
        self.terms = terms
        self.value, self.fit = profile_disjoint(data, GRID, terms=terms)
        self.jacobian = self._jacobian()
        self.condition = condition_number(self.jacobian)

    def estimate(self) -> Alpha:
        """Estimate and 95% interval from the profile likelihood, widened for clustered errors.

        An α is in the interval if (RSS(α) − RSS(α̂)) / s² ≤ t²·λ, with λ ≥ 1 the ratio of the cluster-robust
        to the classical variance of α̂ and t by its degrees of freedom (`maths.bias_reduced`); of the
        clusterings that decide, as they do for the weighted form, the one with the largest product (the
        adjusted likelihood ratio of Rotnitzky and Jewell, Biometrika 1990). A bootstrap by scores does not
        work: the profile has several valleys, and the score is zero at each.
        """
        n, k = self.jacobian.shape
        widening = self._widening()
        if widening is None or n <= k:
            return UNKNOWN_ALPHA
        allowed = self.fit.rss / (n - k) * widening
        at = design("di_disjoint", self.data, self.value, self.terms)
        columns, k_column = at.columns, at.names.index("k")

        def excess(alpha: float) -> float:
            columns[:, k_column] = per_di_disjoint(self.data, alpha)
            near = self.fit.parameters
            fit = fit_log(columns, self.data.y, nonnegative=True, near=near, tolerance=LOOSE)
            return float(fit.rss - self.fit.rss - allowed)

        found = accepted_span(excess, self.value, GRID)
        if found.low is None and found.high is None:
            return UNKNOWN_ALPHA
        low = 0.0 if found.low is None else found.low
        high = 1.0 if found.high is None else found.high
        return Alpha(self.value, low, high, found.low is None or found.high is None)

    def _widening(self) -> float | None:
        """The largest t²·λ of the clusterings that decide; None if α has no variance, as k is zero."""
        classical = classical_errors(self.jacobian, self.fit.residuals)[-1]
        direction = np.eye(self.jacobian.shape[1])[-1]
        model = Linearised(self.jacobian, self.fit.residuals, direction)
        products = []
        for clusters in deciding(model, self.clusterings) if classical > 0 else ():
            robust = bias_reduced(self.jacobian, self.fit.residuals, clusters)
            error = math.nan if robust is None else robust.error(direction)
            if robust is not None and math.isfinite(error):
                t = student_quantile(robust.degrees(direction))
                products.append(t**2 * max(1.0, error / classical) ** 2)
        return max(products, default=None)

    def _jacobian(self) -> FloatArray:
        """∂log E / ∂(θ, α); the column of α is zero if k is."""
        at = design("di_disjoint", self.data, self.value, self.terms)
        k = self.fit.parameters[at.names.index("k")]
        slope = k * per_di_disjoint_slope(self.data, self.value) / (at.columns @ self.fit.parameters)
        return np.column_stack([self.fit.jacobian, slope])


def profile_disjoint(data: Data, grid: FloatArray, *, terms: Terms = FULL) -> tuple[float, LogFit]:
    """α of the least residual sum of squares of `di_disjoint`, and the fit there, coefficients ≥ 0.

    A grid finds the deepest valley, on a sample if rows are many; from there all coefficients and α descend
    together on all rows.
    """
    some = sample(data)
    near: FloatArray | None = None
    best: tuple[float, float, FloatArray] | None = None
    for alpha in grid.tolist():
        columns = design("di_disjoint", some, alpha, terms).columns
        fit = fit_log(columns, some.y, nonnegative=True, near=near, tolerance=LOOSE)
        near = fit.parameters
        if best is None or fit.rss < best[0]:
            best = fit.rss, alpha, near
    assert best is not None
    alpha, theta, rss = _descend_disjoint(data, best[1], best[2], terms)
    return alpha, LogFit(theta, rss, design("di_disjoint", data, alpha, terms).columns, data.y)


def sample(data: Data) -> Data:
    """Random rows, with some of every operator; all rows if they are not many."""
    if len(data) <= ROWS_OF_A_SEARCH:
        return data
    random = np.random.default_rng(0)
    kept = [random.choice(len(data), ROWS_OF_A_SEARCH, replace=False)]
    for op in intensity.OPERATORS:
        own = np.flatnonzero(data.op == op)
        kept.append(random.choice(own, min(len(own), ROWS_OF_AN_OPERATOR), replace=False))
    chosen = np.zeros(len(data), dtype=bool)
    chosen[np.concatenate(kept)] = True
    return data.only(chosen)


def _descend_disjoint(
    data: Data, alpha: float, theta: FloatArray, terms: Terms
) -> tuple[float, FloatArray, float]:
    """α in [0, 1], θ ≥ 0 and the residual sum of squares of the nearest minimum."""
    at = design("di_disjoint", data, alpha, terms)
    k = at.names.index("k")
    rows = np.column_stack([at.columns, np.zeros(len(data))])
    per_weight, per_activation = 1 / data.weights, 1 / data.activations

    def blocks(parameters: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
        now = float(parameters[-1])
        for first in range(0, len(data), BLOCK):
            block = slice(first, first + BLOCK)
            z, w, a = rows[block], per_weight[block], per_activation[block]
            z[:, k] = 1 / (now * w + (1 - now) * a)  # M/DI, and its derivative by α
            z[:, -1] = parameters[k] * z[:, k] ** 2 * (a - w)
            predicted = z[:, :-1] @ parameters[:-1]
            yield np.log(predicted / data.y[block]), z / predicted[:, None]

    found = minimise(
        blocks,
        [np.append(theta, alpha)],
        lower=0.0,
        upper=np.append(np.full(len(theta), np.inf), 1.0),
        tolerance=DISJOINT_TOLERANCE,
    )
    return float(found.parameters[-1]), np.asarray(found.parameters[:-1]), found.rss
