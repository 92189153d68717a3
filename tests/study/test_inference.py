"""Does the test reject as often as it says, and does the interval cover? Known truth, real layer shapes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import pytest
import statsmodels.api as sm
from study_frames import disjoint_energy, distinct_layers, energy_of, some_layers, table

from dibench.study.ladder.alpha import DisjointAlpha, WeightedAlpha
from dibench.study.ladder.ladder import make_clusterings
from dibench.study.ladder.models import FULL, Data, Terms, data_of, design
from dibench.study.maths.estimate import fit_log
from dibench.study.maths.inference import (
    MOST_DRAWN,
    Clustering,
    Interval,
    Linearised,
    accepted_span,
    classical_errors,
    clustering,
    deciding,
    effective_clusters,
    invert,
    student_quantile,
    wild_cluster_test,
)

DRAWS = 299
NAIVE = Terms(launch=False, e0_per_operator=False)


def data_with(number: int, seed: int, **truth: Any) -> Data:
    layers = some_layers(number, seed)
    return data_of(table(layers, energy_of(layers, seed=seed, noise=0.1, **truth)), "energy_j")


def linear_example(rng: np.random.Generator, clusters: int = 8, rows: int = 5) -> tuple[Linearised, Any]:
    labels = np.repeat([f"c{i}" for i in range(clusters)], rows)
    x = np.column_stack([np.ones(len(labels)), rng.normal(size=(len(labels), 2))])
    y = x @ [1.0, 2.0, 0.3] + rng.normal(size=len(labels))
    direction = np.array([0.0, 0.0, 1.0])
    restricted = x[:, :2]  # under the hypothesis that the last coefficient is zero
    u = y - restricted @ np.linalg.lstsq(restricted, y, rcond=None)[0]
    return Linearised(x, u, direction), labels


def t_by_regression(model: Linearised, u: Any, member: Any) -> float:
    """The plain way: regress u on J, sum the sandwich over clusters."""
    j, c = model.jacobian, model.direction
    bread = np.linalg.inv(j.T @ j)
    delta = bread @ j.T @ u
    rest = u - j @ delta
    meat = sum(np.outer(s, s) for s in (j[member == g].T @ rest[member == g] for g in set(member)))
    return float(c @ delta / np.sqrt(c @ bread @ meat @ bread @ c))


def test_every_draw_equals_the_regression_it_stands_for() -> None:
    model, labels = linear_example(np.random.default_rng(2))
    clusters = clustering("c", labels, draws=199, seed=5)
    found = wild_cluster_test(model, clusters)
    observed = t_by_regression(model, model.residuals, clusters.member)
    assert found.statistic == pytest.approx(observed, rel=1e-9)
    drawn = [
        t_by_regression(model, v[clusters.member] * model.residuals, clusters.member)
        for v in clusters.weights
    ]
    reached = sum(abs(t) >= abs(observed) for t in drawn)
    assert found.p_value == pytest.approx((1 + reached) / 200)


def test_classical_errors_equal_statsmodels() -> None:
    """On a regression with an intercept and columns of very different size."""
    rng = np.random.default_rng(3)
    x = np.column_stack([np.ones(90), rng.normal(size=90) * 1e6, rng.uniform(1, 2, 90) * 1e-3])
    y = x @ [1.0, 2e-6, 300.0] + rng.standard_t(3, 90)
    expected = sm.OLS(y, x).fit()
    np.testing.assert_allclose(classical_errors(x, expected.resid), expected.bse, rtol=1e-9)


def test_every_draw_equals_statsmodels_on_the_same_signs() -> None:
    """Its cluster-robust t of the tested coefficient, small-sample factor left out as in ours."""
    model, labels = linear_example(np.random.default_rng(3))
    clusters = clustering("c", labels, draws=99, seed=5)
    g, n, k = clusters.size, *model.jacobian.shape
    factor = math.sqrt(g / (g - 1) * (n - 1) / (n - k))

    def t_of(u: Any) -> float:
        fitted = sm.OLS(u, model.jacobian).fit(cov_type="cluster", cov_kwds={"groups": clusters.member})
        return float(fitted.tvalues[2]) * factor

    found = wild_cluster_test(model, clusters)
    observed = t_of(model.residuals)
    assert found.statistic == pytest.approx(observed, rel=1e-9)
    drawn = [t_of(v[clusters.member] * model.residuals) for v in clusters.weights]
    reached = sum(abs(t) >= abs(observed) * (1 - 1e-9) for t in drawn)
    assert found.p_value == pytest.approx((1 + reached) / 100)


def test_all_sign_patterns_give_the_exact_distribution() -> None:
    """With every pattern of 2⁶ drawn once, p is the share of patterns whose |t| reaches the observed one."""
    model, labels = linear_example(np.random.default_rng(4), clusters=6)
    member = clustering("c", labels, draws=1, seed=0).member
    every = np.array(list(itertools.product([-1.0, 1.0], repeat=6)))
    found = wild_cluster_test(model, Clustering("c", member, every))
    observed = abs(t_by_regression(model, model.residuals, member))
    drawn = [abs(t_by_regression(model, v[member] * model.residuals, member)) for v in every]
    reached = sum(t >= observed * (1 - 1e-9) for t in drawn)
    assert found.p_value == pytest.approx((1 + reached) / 65)
    assert reached >= 2  # the observed pattern and its mirror image


def test_of_many_clusters_a_thousand_unions_are_drawn_and_each_cluster_lies_in_one() -> None:
    model, labels = linear_example(np.random.default_rng(5), clusters=2_500, rows=2)
    clusters = clustering("c", labels, draws=50, seed=2)
    assert clusters.size == 2_500 and clusters.weights.shape == (50, MOST_DRAWN)
    union = clusters.united.member
    assert len(np.unique(union)) == clusters.united.size == MOST_DRAWN
    assert len(set(zip(clusters.member, union, strict=True))) == clusters.size, "no cluster is torn"
    assert np.bincount(union).max() == 3 * 2, "all of them of two or three clusters of two rows"
    found = wild_cluster_test(model, clusters)
    assert found.statistic == pytest.approx(t_by_regression(model, model.residuals, union))
    assert effective_clusters(model, clusters) > MOST_DRAWN, "what carries an estimate is counted by cluster"


def test_a_test_by_unions_of_clusters_rejects_as_often_as_it_says() -> None:
    """Rows of a cluster share half of their variance; 5% of true hypotheses are rejected, within chance."""
    rng, rejected, tries = np.random.default_rng(6), 0, 400
    labels = np.repeat([f"c{i}" for i in range(1_500)], 2)
    clusters = clustering("c", labels, draws=199, seed=3)
    x = np.column_stack([np.ones(len(labels)), np.repeat(rng.normal(size=1_500), 2)])
    for _ in range(tries):
        y = np.repeat(rng.normal(size=1_500), 2) + rng.normal(size=len(labels))
        model = Linearised(x, y - y.mean(), np.array([0.0, 1.0]))
        rejected += wild_cluster_test(model, clusters).p_value <= 0.05
    assert 0.02 * tries < rejected < 0.085 * tries, "three standard deviations about 5%"


def test_weights_have_mean_zero_and_variance_one_and_are_webbs_when_clusters_are_few() -> None:
    few = clustering("c", np.array([str(i) for i in range(5)]), draws=20_000, seed=1).weights
    many = clustering("c", np.array([str(i) for i in range(40)]), draws=5_000, seed=1).weights
    np.testing.assert_allclose(np.unique(few**2), [0.5, 1.0, 1.5])
    np.testing.assert_array_equal(np.unique(many), [-1.0, 1.0])
    for weights in (few, many):
        assert weights.mean() == pytest.approx(0.0, abs=0.01)
        assert (weights**2).mean() == pytest.approx(1.0, abs=0.01)


def test_no_test_without_two_clusters_or_full_rank() -> None:
    model, labels = linear_example(np.random.default_rng(2))
    one = clustering("c", np.full(len(labels), "all"), draws=99, seed=0)
    assert math.isnan(wild_cluster_test(model, one).p_value)
    twice = Linearised(model.jacobian[:, [0, 1, 1]], model.residuals, model.direction)
    several = clustering("c", labels, draws=99, seed=0)
    assert math.isnan(wild_cluster_test(twice, several).p_value)
    assert effective_clusters(twice, several) == 0.0


def test_effective_clusters_count_equal_clusters_fully_and_a_dominant_one_as_one() -> None:
    labels = np.repeat([f"{i:02d}" for i in range(20)], 4)
    clusters = clustering("c", labels, draws=9, seed=0)
    # A mean over equal clusters rests on all 20; a slope that one row decides rests on one.
    flat = Linearised(np.ones((80, 1)), np.zeros(80), np.array([1.0]))
    assert effective_clusters(flat, clusters) == pytest.approx(20.0)
    x = np.ones((80, 1))
    x[7] = 1e4
    tilted = Linearised(x, np.zeros(80), np.array([1.0]))
    assert effective_clusters(tilted, clusters) == pytest.approx(1.0, abs=0.01)


def rejections(replications: int, terms: Terms, draws: int = DRAWS, **truth: Any) -> int:
    """How often AI is rejected at 5% where AI is true."""
    rejected = 0
    for seed in range(replications):
        data = data_with(120, seed, alpha=0.5, **truth)
        tested = WeightedAlpha(data, make_clusterings(data, draws, seed), terms).test(0.5)
        rejected += tested.decisive.p_value <= 0.05
    return rejected


@pytest.mark.parametrize("network_noise", [0.0, 0.1])
def test_true_ai_is_rejected_no_more_often_than_nominal(network_noise: float) -> None:
    """60 replications at 5%: more than 8 rejections have probability below 0.2% in a test of that size."""
    assert rejections(60, FULL, network_noise=network_noise) <= 8


def test_without_launch_and_e0_by_operator_true_ai_is_rejected_almost_always() -> None:
    """The same layers and α = ½, but operators differ in e0: the naive model blames the data type."""
    full = naive = 0
    naive_alpha = []
    for seed in range(20):
        layers = distinct_layers()
        dearer = {"standard": 1.0, "pointwise": 1.6, "depthwise": 4.0, "grouped": 2.5, "fc": 1.0}
        extra = np.array([3e-12 * one.macs * (dearer[one.op] - 1) for one in layers])
        noise = np.exp(0.1 * np.random.default_rng(seed).standard_normal(len(layers)))
        energy = (energy_of(layers, alpha=0.5, ratio=6.0, launch=3e6) + extra) * noise
        data = data_of(table(layers, energy), "energy_j")
        clusterings = make_clusterings(data, DRAWS, seed)
        full += WeightedAlpha(data, clusterings, FULL).test(0.5).decisive.p_value <= 0.05
        misled = WeightedAlpha(data, clusterings, NAIVE)
        naive += misled.test(0.5).decisive.p_value <= 0.05
        naive_alpha.append(misled.value)
    assert full <= 4  # of 20 at 5%: more has probability 0.3%
    assert naive >= 18
    assert all(alpha is not None and not 0.45 <= alpha <= 0.55 for alpha in naive_alpha)


@pytest.mark.slow
@pytest.mark.parametrize("network_noise", [0.0, 0.1])
@pytest.mark.parametrize("alpha", [0.0, 0.02, 0.2, 0.9, 1.0])
def test_a_true_alpha_is_rejected_no_more_often_than_nominal(alpha: float, network_noise: float) -> None:
    """50 replications at 5%: more than 8 rejections have probability below 0.1% in a test of that size."""
    rejected = 0
    for seed in range(50):
        data = data_with(150, seed, alpha=alpha, network_noise=network_noise)
        tested = WeightedAlpha(data, make_clusterings(data, DRAWS, seed)).test(alpha)
        rejected += tested.decisive.p_value <= 0.05
    assert rejected <= 8


@pytest.mark.slow
def test_the_interval_of_alpha_covers_the_truth() -> None:
    """60 replications at 95%: fewer than 52 (87%) covered have probability below 1%."""
    alpha, covered = 0.2, 0
    for seed in range(60):
        data = data_with(150, 100 + seed, alpha=alpha, network_noise=0.05)
        found = WeightedAlpha(data, make_clusterings(data, DRAWS, seed)).estimate()
        low = -math.inf if found.ci_low is None else found.ci_low
        high = math.inf if found.ci_high is None else found.ci_high
        covered += low <= alpha <= high
    assert covered >= 52


def test_the_interval_is_what_the_test_does_not_reject() -> None:
    data = data_with(150, 7, alpha=0.3)
    problem = WeightedAlpha(data, make_clusterings(data, 999, 0))
    found = problem.estimate()
    assert found.value is not None and found.ci_low is not None and found.ci_high is not None
    for bound, inward in ((found.ci_low, 1), (found.ci_high, -1)):
        assert problem.test(bound + inward * 0.01).decisive.p_value > 0.05
        assert problem.test(bound - inward * 0.01).decisive.p_value <= 0.05


def test_the_larger_p_value_decides_where_networks_are_few() -> None:
    data = data_with(150, 3, alpha=0.35, network_noise=0.15)
    problem = WeightedAlpha(data, make_clusterings(data, 999, 0))
    tested = problem.test(0.5)
    assert problem.effective_clusters()["network"] < 10
    assert set(tested.by) == set(tested.deciding) == {"layer", "network"}
    assert tested.decisive.p_value == max(test.p_value for test in tested.by.values())


def mean_of(groups: Mapping[str, Sequence[str]]) -> tuple[Linearised, tuple[Clustering, ...]]:
    """A mean of 60 rows, clustered by each of the labels."""
    model = Linearised(np.ones((60, 1)), np.random.default_rng(0).standard_normal(60), np.array([1.0]))
    clusterings = (clustering(name, np.array(own), draws=99, seed=0) for name, own in groups.items())
    return model, tuple(clusterings)


def test_networks_alone_decide_where_they_hold_all_layers_and_are_many() -> None:
    layer = [f"layer {row // 2}" for row in range(60)]
    network = [f"network {row // 4}" for row in range(60)]
    few = [f"network {row // 12}" for row in range(60)]
    crossed = [f"network {row % 15}" for row in range(60)]  # rows of one layer in two networks
    for coarse, expected in (
        (network, ["network"]),
        (few, ["layer", "network"]),
        (crossed, ["layer", "network"]),
    ):
        found = deciding(*mean_of({"layer": layer, "network": coarse}))
        assert [one.name for one in found] == expected
    (only,) = deciding(*mean_of({"layer": layer}))
    assert only.name == "layer"


def test_what_outputs_of_another_cost_explain_is_no_error_and_moves_no_estimate() -> None:
    """No noise, outputs at twice the inputs' cost: what weighted DI misses is the same each time."""
    layers = some_layers(150, 5)
    operands = np.array([(one.macs, one.weights, one.inputs, one.outputs) for one in layers]).T
    energy = 1e-12 * (np.array([1.0, 4.0, 6.0, 12.0]) @ operands)
    data = data_of(table(layers, energy), "energy_j")
    weighted = design("di_weighted", data)
    predicted = weighted.columns @ fit_log(weighted.columns, data.y).parameters
    jacobian, outputs = weighted.columns / predicted[:, None], data.outputs / predicted
    direction = np.array([{"e_w": 0.6, "e_a": -0.4}.get(name, 0.0) for name in weighted.names])
    model = Linearised(jacobian, np.log(data.y / predicted), direction)
    cleaned = attrs.evolve(model, misfit=outputs)
    assert cleaned.influence == pytest.approx(model.influence)
    unexplained = sm.OLS(model.residuals, np.column_stack([jacobian, outputs])).fit().resid
    assert cleaned.errors == pytest.approx(unexplained, abs=1e-6 * np.std(unexplained))
    assert np.std(cleaned.errors) < 0.5 * np.std(model.residuals)
    # A column of the model's own, or rows no more than columns, change nothing.
    assert attrs.evolve(model, misfit=jacobian[:, 0]).errors is model.residuals
    few = slice(0, jacobian.shape[1] + 1)
    small = Linearised(jacobian[few], model.residuals[few], direction, misfit=outputs[few])
    assert small.errors is small.residuals


def test_alpha_is_not_clipped() -> None:
    """Where a weight costs less than nothing, α is below zero and says so."""
    layers = some_layers(200, 1)
    energy = energy_of(layers, alpha=-0.02, ratio=20.0, noise=0.02)
    data = data_of(table(layers, energy), "energy_j")
    found = WeightedAlpha(data, make_clusterings(data, DRAWS, 0)).estimate()
    assert found.value is not None and found.ci_low is not None
    assert found.value < 0.02
    assert found.ci_low < 0


def test_reuse_that_costs_nothing_leaves_alpha_unknown_or_unbounded() -> None:
    data = data_with(150, 2, alpha=0.5, ratio=0.0)
    found = WeightedAlpha(data, make_clusterings(data, DRAWS, 0)).estimate()
    assert found.value is None or found.unbounded


@pytest.mark.parametrize("alpha", [0.1, 0.5])
def test_the_disjoint_interval_covers_the_truth(alpha: float) -> None:
    """20 replications at 95%: fewer than 16 covered have probability below 0.3%."""
    covered = 0
    for seed in range(20):
        layers = some_layers(150, seed)
        data = data_of(table(layers, disjoint_energy(layers, alpha=alpha, noise=0.1, seed=seed)), "energy_j")
        found = DisjointAlpha(data, make_clusterings(data, 9, 0)).estimate()
        assert found.ci_low is not None and found.ci_high is not None
        covered += found.ci_low <= alpha <= found.ci_high
    assert covered >= 16


def test_invert_finds_both_ends_and_says_where_there_is_none() -> None:
    def p_value(at: float) -> float:
        return math.erfc(abs(at - 0.3) / 0.1 / math.sqrt(2))

    found = invert(p_value, 0.3, 0.05, lower=-100, upper=100)
    assert found.low == pytest.approx(0.3 - 0.1959964, abs=1e-4)
    assert found.high == pytest.approx(0.3 + 0.1959964, abs=1e-4)
    assert invert(lambda at: 1.0, 0.3, 0.05, lower=-100, upper=100) == Interval(None, None)
    assert invert(lambda at: p_value(at) if at > 0.3 else 1.0, 0.3, 0.05, lower=-100, upper=100).low is None


def test_accepted_span_reaches_over_a_rejected_hill() -> None:
    def excess(at: float) -> float:
        return min(abs(at - 0.2), abs(at - 0.8)) - 0.1  # two valleys: 0.1 to 0.3 and 0.7 to 0.9

    found = accepted_span(excess, 0.2, np.linspace(0, 1, 21))
    assert found.low == pytest.approx(0.1, abs=1e-3)
    assert found.high == pytest.approx(0.9, abs=1e-3)
    assert accepted_span(lambda at: at - 0.5, 0.2, np.linspace(0, 1, 21)).low is None


def test_student_quantile_of_the_table() -> None:
    assert student_quantile(1) == pytest.approx(12.706, abs=1e-3)
    assert student_quantile(24) == pytest.approx(2.064, abs=1e-3)


def test_a_criterion_that_answers_differently_when_asked_again_gives_a_bound() -> None:
    """As a fit that begins at the last one's solution may, in its last digits."""
    asked: set[float] = set()

    def excess(at: float) -> float:
        again = at in asked
        asked.add(at)
        return -1e-12 if again and at == 0.5 else at - 0.5 + 1e-12

    found = accepted_span(excess, 0.2, np.linspace(0, 1, 21))
    assert found.high == pytest.approx(0.5, abs=1e-3)
