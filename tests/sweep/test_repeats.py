"""What repeats tell: how kernels follow the machine's pace, what visits differ by, and rows that hold."""

from __future__ import annotations

import math
import re

import attrs
import numpy as np
import pytest
from numpy.random import Generator

from dibench.intervals import t_975
from dibench.measure.measurement import measurement
from dibench.measure.pace import Following
from dibench.measure.settings import Settings
from dibench.measure.window import Window, WindowVisit
from dibench.sweep.repeats import Repeated, Repeats, learn

SHARES = {"gemm": (0.8, 0.0), "stencil": (0.5, 0.3), "dot": (0.1, 0.9)}
"""Of the pace of arithmetic, and of that of loads and stores."""
USUAL_S = (4e-4, 2e-4)
ONE_PACE = (1.0, 1.0)
Paces = tuple[float, float]


@attrs.frozen
class Simulated(Repeated):
    """A case of which it is known how it follows the paces."""

    shares: Paces


def visit(random: Generator, shares: Paces, own: float, paces: Paces, level: float) -> WindowVisit:
    """Sixteen windows of 1 ms at those paces; `own` is their spread, `level` that of the whole visit."""
    times = 1e-3 * level * np.prod(np.power(paces, shares)) * np.exp(own * random.standard_normal(16))
    paces_s = np.array(USUAL_S) * paces * np.exp(0.02 * random.standard_normal((16, 2)))
    windows = (Window(1, t, None, 0.0, paces_s=tuple(p)) for t, p in zip(times, paces_s, strict=True))
    return WindowVisit(tuple(windows), varies=False)


def machine(
    random: Generator,
    *,
    visits: int,
    between: float,
    slowest: float,
    outliers: float = 0.0,
    apart: float = 0.0,
    number: int = 30,
) -> list[Simulated]:
    """Cases on a machine whose paces are, each for itself, up to half of `slowest` off the middle ones.

    Those of one kernel differ by `apart` in their shares.
    """
    cases: list[Simulated] = []
    for index in range(number):
        variant = list(SHARES)[index % 3]
        shares = SHARES[variant]
        if apart:
            shares = tuple(np.array(shares) + apart * random.standard_normal(2))
        made = []
        for _ in range(visits):
            arithmetic, memory = 1 + random.uniform(-0.5, 0.5, 2) * (slowest - 1)
            level = math.exp(between * random.standard_normal())
            level *= 1.5 if random.random() < outliers else 1.0
            made.append(visit(random, shares, 0.03, (arithmetic, memory), level))
        cases.append(Simulated(variant, made, visits, shares))
    return cases


@pytest.mark.parametrize("outliers", [0.0, 0.05])
def test_shares_are_learned_also_where_some_visits_were_disturbed_otherwise(outliers: float) -> None:
    random = np.random.default_rng(1)
    found = learn(machine(random, visits=3, between=0.03, slowest=1.5, outliers=outliers))
    for variant, shares in SHARES.items():
        told = found.follows[variant]
        for share, learned, sd in zip(shares, told.shares, told.share_sds, strict=True):
            assert learned == pytest.approx(share, abs=3 * sd)
            assert sd < 0.2
        assert told.usual_s == pytest.approx(0.875 * np.array(USUAL_S), rel=0.06), "of the quieter quarter"


def test_a_kernel_without_repeats_follows_as_the_others_do_and_is_less_well_known() -> None:
    random = np.random.default_rng(2)
    cases = machine(random, visits=4, between=0.03, slowest=1.5)
    found = learn([*cases, Repeated("other", [visit(random, (0.7, 0.0), 0.03, (1.2, 1.0), 1.0)], 1)])
    others = [found.follows[variant] for variant in SHARES]
    for probe, share in enumerate(found.follows["other"].shares):
        assert min(one.shares[probe] for one in others) < share < max(one.shares[probe] for one in others)
    sds = [max(one.share_sds) for one in others]
    assert min(found.follows["other"].share_sds) > 2 * max(sds)


def test_before_any_case_is_repeated_kernels_follow_as_they_usually_do() -> None:
    random = np.random.default_rng(11)
    cases = machine(random, visits=1, between=0.03, slowest=1.5)
    told = learn(cases).follows["gemm"]
    assert len(told.share_sds) == len(told.shares) == 2 and min(told.share_sds) >= 0.2
    own = measurement(cases[0].visits, attrs.evolve(Settings(), follows=told))
    assert own.time_ci_s is not None and own.time_ci_s > 0


@pytest.mark.parametrize("between", [0.01, 0.05])
def test_what_visits_differ_by(between: float) -> None:
    found = learn(machine(np.random.default_rng(3), visits=3, between=between, slowest=1.0))
    assert not found.follows, "a machine with one pace"
    own = 0.03 / 4  # of the mean of 16 windows
    assert set(found.between) == set(SHARES)
    for told in found.between.values():
        assert told == pytest.approx(t_975(24) * math.hypot(between, own), rel=0.35)


def test_a_kernel_that_differs_more_has_wider_rows() -> None:
    random = np.random.default_rng(6)
    cases = machine(random, visits=3, between=0.01, slowest=1.0)
    restless = [
        visit(random, (0.7, 0.0), 0.01, ONE_PACE, level) for level in np.exp(0.1 * random.standard_normal(20))
    ]
    found = learn([*cases, Repeated("restless", restless, 20), Repeated("unknown", restless[:1], 1)])
    assert found.between["restless"] == pytest.approx(t_975(23) * 0.1, rel=0.4)
    assert max(found.between[variant] for variant in SHARES) < 0.4 * found.between["restless"]
    assert found.between["gemm"] < found.between["unknown"] < found.between["restless"]


def test_visits_made_because_a_case_was_disturbed_do_not_widen_the_rows_of_others() -> None:
    random = np.random.default_rng(5)
    cases = machine(random, visits=2, between=0.02, slowest=1.0)
    again = [visit(random, (0.7, 0.0), 0.03, ONE_PACE, level) for level in (1.0, 1.1, 1.3, 1.2)]
    with_revisits = [*cases, Repeated("dot", again, 1)]
    assert learn(with_revisits).between == pytest.approx(learn(cases).between)


def test_too_few_repeats_tell_nothing() -> None:
    random = np.random.default_rng(4)
    assert learn([]) == Repeats()
    assert learn(machine(random, visits=1, between=0.1, slowest=1.0)) == Repeats()


@pytest.mark.parametrize("visits", [2, 3])
@pytest.mark.parametrize(
    ("slowest", "outliers", "apart"),
    [(1.0, 0.0, 0.0), (1.5, 0.0, 0.0), (1.5, 0.03, 0.0), (1.5, 0.0, 0.2), (1.9, 0.0, 0.3)],
)
def test_rows_cover_the_machine_at_its_usual_pace(
    visits: int, slowest: float, outliers: float, apart: float
) -> None:
    """As a sweep states them, 30 cases at a time; what goes wrong without: spells pass for slow cases."""
    hits, blind = [], []
    for seed in range(20):
        random = np.random.default_rng(seed)
        cases = machine(random, visits=visits, between=0.04, slowest=slowest, outliers=outliers, apart=apart)
        found = learn(cases)
        for case in cases:
            settings = Settings(between=found.between[case.variant], follows=found.follows.get(case.variant))
            told = measurement(case.visits, settings)
            follows = settings.follows
            usual = np.ones(2) if follows is None else np.array(follows.usual_s) / USUAL_S
            truth_s = 1e-3 * np.prod(usual**case.shares)
            hits.append(abs(told.time_s - truth_s) <= (told.time_ci_s or 0.0))
            raw = measurement(case.visits, Settings())
            blind.append(abs(raw.time_s / 1e-3 - 1) <= (raw.time_ci_s or 0.0) / raw.time_s)
    assert np.mean(hits) >= 0.93
    if slowest > 1:
        assert np.mean(blind) < 0.8


@pytest.mark.parametrize("visits", [2, 3, 4])
def test_visits_that_differ_make_wide_rows_also_where_no_repeats_tell(visits: int) -> None:
    """A small sweep: no sentinels, no noise measured first. The shortest visit is not the answer."""
    random, hits, bias = np.random.default_rng(8), [], []
    for _ in range(300):
        made = [
            visit(random, (0.7, 0.0), 0.002, ONE_PACE, math.exp(0.02 * random.standard_normal()))
            for _ in range(visits)
        ]
        told = measurement(made, Settings())
        hits.append(abs(told.time_s / 1e-3 - 1) <= (told.time_ci_s or 0.0) / told.time_s)
        bias.append(told.time_s / 1e-3 - 1)
    assert np.mean(hits) >= 0.93
    assert abs(np.mean(bias)) < 0.004


def test_reasons_count_every_window_once() -> None:
    """Two windows of sixteen were disturbed by report, ten others stretched: fewer than four are left."""
    times = [1e-3] * 3 + [1e-3 * (3 + 0.1 * i) for i in range(13)]
    windows = tuple(Window(1, t, None, 0.5 * t if i < 2 or i > 13 else 0.0) for i, t in enumerate(times))
    reason = measurement([WindowVisit(windows, varies=False)] * 2, Settings()).reason
    for left_out, of in re.findall(r"(\d+) of (\d+) windows left out", reason):
        assert int(left_out) < int(of)


def test_many_sentinels_do_not_cost_pairs_of_all() -> None:
    random = np.random.default_rng(9)
    many = [
        visit(random, (0.7, 0.0), 0.01, ONE_PACE, math.exp(0.02 * random.standard_normal()))
        for _ in range(600)
    ]
    few = learn([Repeated("dot", many[::10], 60)]).between["dot"]
    assert learn([Repeated("dot", many, 600)]).between["dot"] == pytest.approx(few)


def test_joules_hold_how_far_the_pace_was_from_the_usual() -> None:
    windows = tuple(
        Window(1, 1.2e-3, 1.2 * (1 + 0.001 * (i % 2)), 0.0, paces_s=(1.5 * 4e-4,)) for i in range(16)
    )
    follows = Following(usual_s=(4e-4,), shares=(0.45,), share_sds=(0.0,))
    told = measurement([WindowVisit(windows, varies=True)], Settings(follows=follows))
    assert told.energy_j == pytest.approx(1.2, rel=0.01) and told.energy_ci_j is not None
    assert 1.2 - told.energy_ci_j < 1.0
    assert told.time_s == pytest.approx(1e-3, rel=0.01)
