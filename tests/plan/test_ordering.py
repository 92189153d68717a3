"""The order of measuring: what the first round tells, and that no case is lost or measured twice."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dibench import networks
from dibench.intensity import OPERATORS
from dibench.layer import Layer
from dibench.plan import ordering
from dibench.plan.ordering import ALPHAS, LAUNCHES, PRIOR, RATIOS, Unit

RELATIVE_ERROR = 0.02  # of one measurement


@cache
def all_layers() -> tuple[Layer, ...]:
    shapes = networks.distinct(layer for name in networks.names() for layer in networks.load(name))
    return tuple(layer.with_batch(N) for N in (1, 8, 32) for layer in shapes)


def mean_log_det(rows: ordering.Floats) -> float:
    """Mean over scenarios of log det(PRIOR·1 + Σ x·xᵀ) for rows of shape (scenarios, picks, 9)."""
    information = np.einsum("spi,spj->sij", rows, rows) + PRIOR * np.eye(rows.shape[2])
    return float(np.linalg.slogdet(information)[1].mean())


@cache
def all_shares() -> ordering.Floats:
    return ordering.shares(ordering.regressors(all_layers()))


def first(count: int, seed: int) -> list[int]:
    layers = all_layers()
    units = [Unit(index, OPERATORS.index(layer.op)) for index, layer in enumerate(layers)]
    order = ordering.measuring_order(layers, units, seed)
    return [units[index].layer for index in order[:count]]


def sd_of_alpha(picks: list[int]) -> ordering.Floats:
    """Standard deviation of alpha in each scenario, by the delta method.

    The weighted form has e_x = e_y = e_a, so their two regressors are one; alpha = e_w/(e_w + e_a) has the
    gradient alpha·(1 - alpha)·(1, -1) in log e_w and log e_a.
    """
    rows = all_shares()[:, picks]
    rows = np.concatenate([rows[..., :6], rows[..., 6:7] + rows[..., 7:8], rows[..., 8:]], axis=2)
    information = np.einsum("spi,spj->sij", rows, rows) + PRIOR * np.eye(rows.shape[2])
    covariance = np.linalg.inv(information) * RELATIVE_ERROR**2
    alpha = np.repeat(ALPHAS, len(RATIOS) * len(LAUNCHES))
    spread = covariance[:, 5, 5] + covariance[:, 6, 6] - 2 * covariance[:, 5, 6]
    return np.asarray(alpha * (1 - alpha) * np.sqrt(spread))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_24_first_cases_tell_more_about_alpha_than_150_random_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours = sd_of_alpha(first(24, seed))
    of_150 = [sd_of_alpha(rng.choice(len(all_layers()), 150, replace=False).tolist()) for _ in range(40)]
    assert ours.mean() < np.median([sd.mean() for sd in of_150])
    assert ours.max() < np.median([sd.max() for sd in of_150])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_24_first_cases_have_more_information_than_any_of_many_random_24s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = all_shares()
    ours = mean_log_det(rows[:, first(24, seed)])
    random = [mean_log_det(rows[:, rng.choice(rows.shape[1], 24, replace=False)]) for _ in range(40)]
    assert ours > max(random)


def test_a_pick_raises_the_mean_log_determinant_by_its_gain() -> None:
    rows = all_shares()
    information = ordering._Information(ordering.regressors(all_layers()))
    picks: list[int] = []
    for pick in (0, 700, 1500, 30, 700):
        gain = float(information.gains()[pick])
        before = mean_log_det(rows[:, picks])
        picks.append(pick)
        information.add(pick)
        assert mean_log_det(rows[:, picks]) - before == pytest.approx(gain, rel=1e-6)


def test_shares_are_the_derivatives_of_log_energy() -> None:
    layer = Layer(N=2, C=8, H=6, W=6, K=4, R=3, S=3, pad_h=1, pad_w=1)
    share = ordering.shares(ordering.regressors([layer]))[0, 0]  # alpha 0.2, ratio 6, launch 1e4
    terms = [layer.macs, 0, 0, 0, 0, 1.2 * layer.weights, 4.8 * layer.inputs, 4.8 * layer.outputs, 1e4]
    assert share == pytest.approx(np.array(terms) / sum(terms))


def test_searching_a_tenth_of_the_layers_loses_little(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = mean_log_det(all_shares()[:, first(24, seed=1)])
    monkeypatch.setattr(ordering, "_CANDIDATES", 170)
    candidates = ordering._Information(ordering.regressors(all_layers())).candidates
    assert len(set(candidates.tolist())) == 170
    some = mean_log_det(all_shares()[:, first(24, seed=1)])
    assert some > everything - 9 * 0.2  # at most 20% more variance in each of nine parameters


def small_layers() -> list[Layer]:
    pointwise = [Layer(N=1, C=c, H=8, W=8, K=16, R=1, S=1) for c in range(1, 13)]
    return pointwise + [Layer.fc(N=2, C=64, K=k) for k in range(1, 13)]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 23), st.integers(0, 4), st.booleans()), min_size=1, max_size=120),
    st.integers(0, 2**32),
)
def test_the_order_is_a_permutation_that_its_seed_repeats(
    entries: list[tuple[int, int, bool]], seed: int
) -> None:
    units = [Unit(*entry) for entry in entries]
    order = ordering.measuring_order(small_layers(), units, seed)
    assert sorted(order) == list(range(len(units)))
    assert order == ordering.measuring_order(small_layers(), units, seed)
    assert sorted(ordering.measuring_order(small_layers(), units, seed + 1)) == sorted(order)


def test_rounds_hold_24_then_as_many_as_came_before() -> None:
    units = [Unit(index % 24, index % 5) for index in range(200)]
    order = ordering.measuring_order(small_layers(), units, seed=1)
    sequence = ordering._sequence(small_layers(), units, np.random.default_rng(1))
    assert len(order) == 200
    for begin, end in ((0, 24), (24, 48), (48, 96), (96, 192), (192, 200)):
        assert sorted(order[begin:end]) == sorted(sequence[begin:end]) != order[begin:end]


def test_a_second_seed_changes_the_order_inside_the_first_round() -> None:
    assert first(24, seed=1) != first(24, seed=2)


def test_kernels_that_do_not_inform_the_shape_models_come_only_with_the_random_picks() -> None:
    layers = small_layers()
    units = [Unit(index, kernel, informs=kernel == 0) for index in range(24) for kernel in range(5)]
    order = ordering.measuring_order(layers, units, seed=1)
    informing = sum(units[index].informs for index in order[:24])
    assert informing >= 12  # every D-optimal pick


@pytest.mark.parametrize("seed", range(5))
def test_stratified_picks_pass_over_strata_and_kernels_evenly(seed: int) -> None:
    stratum = np.repeat(np.arange(20), 30)
    kernel = np.tile(np.arange(5), 120)
    order = ordering.stratified(stratum, kernel, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(600))
    # Each pass takes one of every stratum, and the five kernels equally often.
    for start in range(0, 600, 20):
        one_pass = order[start : start + 20]
        assert sorted(stratum[one_pass].tolist()) == list(range(20))
        assert set(Counter(kernel[one_pass].tolist()).values()) == {4}


def test_strata_are_operator_by_quartile_of_weights_to_activations() -> None:
    layers = small_layers()
    stratum = ordering.strata(layers)
    assert Counter(stratum.tolist()) == dict.fromkeys(
        [OPERATORS.index(op) * 4 + quartile for op in ("pointwise", "fc") for quartile in range(4)], 3
    )
    assert stratum[0] < stratum[11]  # few input channels, few weights


def test_sentinels_stand_first_last_and_after_every_twenty() -> None:
    with_sentinels = ordering.with_sentinels(list(range(45)), "s")
    assert [i for i, entry in enumerate(with_sentinels) if entry == "s"] == [0, 21, 42, 48]
    assert [entry for entry in with_sentinels if entry != "s"] == list(range(45))
