"""Twins: found by their shapes, tested by sign flips as scipy does it, judged as the truth is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import study_frames
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from twin_frames import STANDARD, TALL, measured

from dibench.layer import Layer
from dibench.plan import shapes
from dibench.study.findings.estimate import Estimate
from dibench.study.findings.twins import Pairs, Twins
from dibench.study.maths.sign_flips import flips, holm
from dibench.study.questions import twins as study_twins
from dibench.study.questions.twins import MARGIN


def only(result: Twins | None, kind: str = "twins") -> Pairs:
    assert result is not None
    entry: Pairs
    (entry,) = getattr(result.decisive, kind)
    return entry


def test_equal_costs_are_equivalent_and_dear_weights_differ() -> None:
    alike = only(study_twins.twins(measured(STANDARD, noise=0.005)))
    assert (alike.decision, alike.pairs) == ("equivalent", 12)
    dear = only(study_twins.twins(measured(STANDARD, w=60.0, noise=0.005)))
    assert dear.decision == "differs"
    # By hand: the mean over the pairs of the log ratio, weight-heavy half over input-heavy half.
    logs = []
    for one, other in ((layer, shapes.twin(layer)) for layer in STANDARD):
        assert other is not None
        first, second = sorted((one, other), key=lambda half: half.weights)
        cost = [h.macs * 0.01 + 60 * h.weights + 20 * h.inputs + 5 * h.outputs for h in (second, first)]
        logs.append(math.log(cost[0] / cost[1]))
    assert dear.ratio == pytest.approx(math.exp(np.mean(logs)), rel=0.005)
    assert dear.ci_low is not None and dear.ci_low > 1
    cheap = only(study_twins.twins(measured(STANDARD, x=60.0, noise=0.005)))
    assert cheap.ci_high is not None and cheap.ci_high < 1


def test_few_or_noisy_pairs_decide_nothing() -> None:
    few = only(study_twins.twins(measured(STANDARD[:7], w=60.0)))
    assert (few.decision, few.reason) == ("undecided", "7 pairs, at least 8 are needed")
    noisy = only(study_twins.twins(measured(STANDARD, noise=0.3)))
    assert noisy.decision == "undecided"


def test_the_placebo_stands_beside_and_counts_that_differ_are_no_pair() -> None:
    frame = pd.concat(
        [measured(STANDARD, w=60.0), measured(TALL, shapes.transposed, seed=1)], ignore_index=True
    )
    frame["weight_reads"] = 100
    result = study_twins.twins(frame)
    placebo = only(result, "placebo")
    assert (placebo.decision, placebo.pairs, placebo.ratio) == ("equivalent", 12, 1.0)
    frame.loc[frame["H"] > frame["W"], "weight_reads"] = 101
    result = study_twins.twins(frame)
    assert result is not None
    assert result.decisive.placebo == ()
    assert result.not_exact == {"twins": 0, "placebo": 12}


def test_a_kernel_that_reads_more_in_one_half_is_no_comparison() -> None:
    frame = measured(STANDARD).assign(weight_reads=1000, input_reads=500)
    assert only(study_twins.twins(frame)).pairs == 12
    heavy = frame["K"] > 100
    swapped = frame.assign(weight_reads=np.where(heavy, 1000, 500), input_reads=np.where(heavy, 500, 1000))
    assert only(study_twins.twins(swapped)).pairs == 12
    uneven = study_twins.twins(frame.assign(input_reads=frame["K"]))
    assert uneven is not None
    assert (uneven.decisive.twins, uneven.not_exact["twins"]) == ((), 12)


def test_kernels_and_lane_mappings_are_kept_apart() -> None:
    frames = [measured(STANDARD, w=30.0, lanes="p"), measured(STANDARD, x=30.0, lanes="k")]
    result = study_twins.twins(pd.concat(frames, ignore_index=True))
    assert result is not None
    by_lanes = {entry.lanes: entry for entry in result.decisive.twins}
    assert set(by_lanes) == {"both", "p", "k"}
    ratios = [by_lanes[lanes].ratio or math.nan for lanes in ("p", "k")]
    assert math.prod(ratios) == pytest.approx(1.0)
    assert by_lanes["both"].ratio == pytest.approx(1.0)
    assert all(entry.pairs == 12 for entry in by_lanes.values()), "kernels of one pair are one pair"
    other = measured(STANDARD)
    other["variant"] = ["left", "right"] * 12
    assert study_twins.twins(other) is None, "halves under two kernels are no pair"


def test_without_energy_time_is_compared_and_said() -> None:
    frame = measured(STANDARD, w=60.0).assign(energy_source="none", energy_j=math.nan)
    result = study_twins.twins(frame)
    assert result is not None
    assert result.basis == "measured time (time_s)"
    assert set(result.responses) == {"time"}
    assert only(result).decision == "differs"
    assert result.to_json()["not_testable"].keys() == {"depthwise", "fc at N = 1"}


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 40), st.integers(1, 64),
       st.sampled_from([1, 3, 5]), st.sampled_from([1, 2, 4]))  # fmt: skip
def test_every_twin_of_the_generator_is_found(N: int, C: int, H: int, K: int, R: int, groups: int) -> None:
    layer = Layer(
        N=N, C=C * groups, H=H, W=H, K=K * groups, R=R, S=R, pad_h=R // 2, pad_w=R // 2, groups=groups
    )
    other = shapes.twin(layer)
    if other is None:
        return
    assert (other.weights, other.inputs) == (layer.inputs, layer.weights)
    assert (other.macs, other.outputs, other.ai) == (layer.macs, layer.outputs, layer.ai)
    assert (other.C, other.groups, other.R, other.S) == (layer.C, layer.groups, layer.R, layer.S)
    assert shapes.same_size(other)
    frame = study_frames.table([layer, other], [1.0, 2.0], variant="kernel")
    entry = only(study_twins.twins(frame))
    upper, lower = (2.0, 1.0) if other.weights > layer.weights else (1.0, 2.0)
    assert entry.ratio == pytest.approx(upper / lower)


@pytest.mark.parametrize("n", [3, 8, 11, 14, 30])
def test_the_sign_flip_test_is_scipys(n: int) -> None:
    rng = np.random.default_rng(n)
    difference = rng.standard_normal(n) * 0.02 + 0.01
    p = flips(difference).p_value
    expected = scipy.stats.permutation_test(
        (difference, np.zeros(n)), lambda a, b, axis: np.sum(a - b, axis=axis), vectorized=True,
        permutation_type="samples", n_resamples=2**n if n <= 14 else 200_000, rng=rng,
    )  # fmt: skip
    assert p == pytest.approx(expected.pvalue, abs=1e-12 if n <= 14 else 0.01)


@pytest.mark.parametrize("n", [8, 12, 20])
def test_the_interval_is_what_the_test_does_not_reject(n: int) -> None:
    difference = np.random.default_rng(n).standard_normal(n) + 0.5
    low, high = flips(difference).interval(0.95)
    assert low is not None and high is not None
    for inside in (low + 1e-3, high - 1e-3):
        assert flips(difference - inside).p_value > 0.049
    for outside in (low - 1e-3, high + 1e-3):
        assert flips(difference - outside).p_value < 0.055
    assert flips(difference[:5]).interval(0.95) == (None, None), "five signs bound nothing at 95%"


def test_the_interval_covers_and_false_alarms_are_rare() -> None:
    rng = np.random.default_rng(5)
    draws = rng.standard_t(4, (600, 10)) * 0.01
    hit = alarm = 0
    for difference in draws:
        low, high = flips(difference).interval(0.95)
        assert low is not None and high is not None
        hit += low <= 0 <= high
        alarm += flips(difference).p_value < 0.05
    assert hit >= 0.93 * len(draws)
    assert alarm <= 0.07 * len(draws)


@pytest.mark.parametrize("n", [8, 12, 20])
def test_equivalence_is_what_the_90_percent_interval_says(n: int) -> None:
    """Two one-sided tests at 5% accept a margin exactly where the 90% interval lies inside it."""
    one = flips(np.random.default_rng(n).standard_normal(n) * 0.01 + 0.003)
    low, high = one.interval(0.90)
    assert low is not None and high is not None
    edge = max(-low, high)
    assert one.p_within(edge * 1.02) <= 0.05 < one.p_within(edge * 0.98)


def test_one_of_four_operators_at_the_margin_rarely_passes_for_equivalent() -> None:
    """Each costs 3% more in one half, the margin itself: without Holm 18% of studies call one equivalent."""
    rng = np.random.default_rng(9)
    single = np.array([[flips(MARGIN + 0.01 * rng.standard_normal(12)).p_within(MARGIN) for _ in range(4)]
                       for _ in range(300)])  # fmt: skip
    assert (single < 0.05).mean() == pytest.approx(0.05, abs=0.02)
    assert (single.min(axis=1) < 0.05).mean() > 0.12
    adjusted = np.array([holm(list(study)) for study in single])
    assert (adjusted.min(axis=1) < 0.05).mean() <= 0.07


def test_equivalence_of_several_operators_is_adjusted() -> None:
    """The same pairs alone, and beside three operators that differ: the p value is four times as large."""
    alone = only(study_twins.twins(measured(STANDARD, noise=0.02)))
    assert alone.p_equivalent is not None
    beside = [measured(STANDARD, w=60.0, noise=0.005, seed=seed).assign(op=op, variant=op) for seed, op in
              enumerate(("grouped", "pointwise", "fc"), 1)]  # fmt: skip
    result = study_twins.twins(pd.concat([measured(STANDARD, noise=0.02), *beside], ignore_index=True))
    assert result is not None
    by_op = {entry.op: entry for entry in result.decisive.twins}
    assert by_op["standard"].p_equivalent == pytest.approx(min(1.0, 4 * alone.p_equivalent))
    assert by_op["fc"].p_equivalent == 1.0


def test_holm_is_statsmodels() -> None:
    p_values = np.random.default_rng(3).uniform(0, 0.2, 40).tolist()
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())
    assert math.isnan(holm([math.nan, 0.02])[0])


@pytest.mark.parametrize(
    ("w", "alpha", "said"),
    [(60.0, (0.7, 0.6, 0.8), "agrees"), (60.0, (0.3, 0.2, 0.4), "contradicts"),
     (20.0, (0.5, 0.48, 0.52), "agrees"), (60.0, (None, None, None), "no comparison")],
)  # fmt: skip
def test_fitted_alpha_is_held_against_the_twins(w: float, alpha: tuple[Any, ...], said: str) -> None:
    entry = only(study_twins.twins(measured(STANDARD, w=w, noise=0.003)))
    assert study_twins.agreement(entry, Estimate(*alpha)) == said
