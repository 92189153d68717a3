"""Known truth on real layer shapes: the campaign of benchmarks/study_truth.py, a seeded part of it."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from benchmarks import study_truth as truth
from dibench.study.ladder.alpha import WeightedAlpha, weights_and_inputs
from dibench.study.ladder.folds import families_of
from dibench.study.ladder.ladder import make_clusterings
from dibench.study.ladder.models import design, fixed_alpha

SEEDS = 400
HARD = [  # those that came out lowest of the whole campaign, and one of each kind
    truth.Scenario("network", "large", 2.0, 0.02, 60.0),
    truth.Scenario("network", "none", 1.0, 0.5, 4.0),
    truth.Scenario("layer", "large", 1.0, 0.0, 60.0),
    truth.Scenario("heavy", "large", 2.0, 0.9, 60.0),
    truth.Scenario("iid", "none", 1.0, 1.0, 4.0),
    truth.Scenario("iid", "none", 2.0, 0.9, 60.0),  # 99.7% unless misfit is told from errors
    truth.Scenario("family", "none", 1.0, 0.9, 4.0),
]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", HARD, ids=str)
def test_the_truth_is_accepted_as_often_as_promised(scenario: truth.Scenario) -> None:
    """93% or more, and 95 ± 1.5% with ten clusters. 400 seeds miss these bounds by chance below 1%."""
    found = truth.run(scenario, SEEDS, draws=199)
    assert found.covered >= 0.90 or scenario.noise == "family"
    assert found.by_family >= 0.90
    assert found.neither <= 0.075  # 5%, and 2.3 standard errors
    if found.effective >= 10:
        assert found.covered <= 0.985
    if found.split_rejected is not None and scenario.outputs == 1.0:
        assert found.split_rejected <= 0.095  # 6.5%, and 2.4 standard errors


@pytest.mark.parametrize("scenario", HARD, ids=str)
def test_many_fits_at_once_are_the_studys_fits(scenario: truth.Scenario) -> None:
    log_y = next(truth.seeds_of(scenario, 0, 6))
    data, alpha = truth.rows(), truth.pseudo_true(scenario)
    clusterings = make_clusterings(data, 99, 0)
    for columns in (design("di_weighted", data).columns, fixed_alpha(data, alpha).columns):
        _, _, converged = truth.fits(columns, log_y)
        assert converged.all()
    fast = truth.alpha_rejected(data, alpha, log_y, clusterings)
    by_family = truth.family_rejected(data, alpha, log_y)
    told = truth.split_rejected(data, log_y, clusterings)
    for number, y in enumerate(np.exp(log_y)):
        own = attrs.evolve(data, y=y)
        problem = WeightedAlpha(own, clusterings)
        tested = problem.test(alpha)
        assert (tested.decisive.p_value <= truth.LEVEL) == fast[number]
        held = problem.by_family(families_of(own))
        assert held.ci_low is not None and held.ci_high is not None
        assert (held.ci_low <= alpha <= held.ci_high) != by_family[number]
        assert (weights_and_inputs(own, clusterings).decisive.p_value <= truth.LEVEL) == told[number]


def test_errors_are_as_large_as_they_are_said_to_be() -> None:
    clusterings = (*make_clusterings(truth.rows(), 1, 0), families_of(truth.rows()))
    for noise in truth.NOISES:
        drawn = np.array(
            [truth.errors(noise, np.random.default_rng(seed), clusterings) for seed in range(300)]
        )
        assert drawn.std() == pytest.approx(truth.SPREAD, rel=0.1), noise
        by_network = [drawn[:, clusterings[1].member == g].mean(axis=1).std() for g in range(5)]
        assert bool(min(by_network) > 0.07) == (noise in ("network", "family"))
