"""More rows tell more, and how much is known beforehand: verdicts on growing prefixes of a real plan."""

from __future__ import annotations

import numpy as np
import pytest
from study_frames import distinct_layers, energy_of, table

from benchmarks import study_power
from benchmarks.study_power import Point, every_row, run
from dibench.layer import Layer
from dibench.study.ladder.folds import make_folds
from dibench.study.ladder.ladder import compare, make_clusterings
from dibench.study.ladder.models import data_of
from dibench.study.use.power import LAYERS, power


def decisions(alpha: float, noise: float, seed: int, prefixes: tuple[int, ...]) -> list[str]:
    """The verdict on the first so many layers of the `networks` plan."""
    layers = study_power.planned()
    energy = energy_of(layers, alpha=alpha, noise=noise, seed=seed)
    found = []
    for rows in prefixes:
        data = data_of(table(layers[:rows], energy[:rows]), "energy_j")
        found.append(compare(data, make_clusterings(data, 199, 0), make_folds(data)).verdict.decision)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.2, 0.35])
def test_the_networks_plan_reaches_a_verdict_and_keeps_it(alpha: float) -> None:
    """It said undecided on all rows, "8.2 effective networks, 10 needed", and took back a DI of 200."""
    assert decisions(alpha, 0.02, 1, (200, 400, 1716)) == ["DI"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_more_rows_never_take_back_what_is_right(seed: int) -> None:
    """At ±20% a row: once DI, always DI."""
    found = decisions(0.3, 0.1, seed, (40, 70, 100, 200, 400))
    assert set(found) <= {"DI", "undecided"} and found[-1] == "DI"
    assert found == sorted(found, reverse=True)  # undecided, …, DI


def test_power_is_computed_as_simulated() -> None:
    """100 studies: standard error 5% at most."""
    for point in (Point(100, 0.35, "iid", 0.1), Point(100, 0.6, "iid", 0.1), Point(50, 0.2, "iid", 0.1)):
        found = run(point, 100, draws=199)
        assert found.di == pytest.approx(found.computed, abs=0.15), point


def test_errors_that_families_share_make_no_wrong_verdict() -> None:
    """At the margin's end, where a verdict would be wrong most often: 2.5% of 200, and 3 standard errors."""
    found = run(Point(400, 0.45, "family", 0.1), 200, draws=199)
    assert found.di + found.ai <= 0.06


def test_a_plan_reaches_further_with_more_layers_and_smaller_errors() -> None:
    reaches = power(study_power.planned()).reaches
    assert sorted({one.layers for one in reaches}) == [*LAYERS, 1716]
    ends = {
        error: np.array([(one.below, one.above) for one in reaches if one.error == error], dtype=float)[1:]
        for error in (0.02, 0.1)
    }
    for own in ends.values():
        assert np.diff(own[:, 0]).min() >= -0.01 and np.diff(own[:, 1]).max() <= 0.01
    assert (ends[0.1][:, 0] < ends[0.02][:, 0]).all() and (ends[0.02][:, 0] < 0.45).all()
    assert (ends[0.1][:, 1] > ends[0.02][:, 1]).all() and (ends[0.02][:, 1] > 0.55).all()


def test_layers_that_cannot_tell_alpha_reach_nothing() -> None:
    fc = [Layer.fc(N=1, C=64, K=k) for k in range(8, 200)]  # M is a multiple of W
    few = list(distinct_layers()[:10])
    family = [layer for layer in distinct_layers() if layer.name.startswith("vgg")]
    for layers in (fc, few, family):
        assert all(one.below is one.above is None for one in power(layers).reaches)


def test_every_row_of_the_plan_counts_once() -> None:
    assert len(every_row()) == 1716
