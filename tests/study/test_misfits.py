"""Studies whose model is wrong: the campaign of benchmarks/study_misfits.py, a seeded part of it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import study_misfits as misfits
from dibench.study.ladder.adequacy import adequacy
from dibench.study.ladder.models import data_of


@pytest.mark.slow
@pytest.mark.parametrize("scenario", misfits.MISFITS, ids=str)
def test_nothing_wrong_is_confirmed_from_a_model_that_misses(scenario: misfits.Scenario) -> None:
    """At N = 1, and at N = 1, 8 and 32 together; the command counts many more."""
    for seed in range(2):
        told = misfits.answer(misfits.study(scenario, seed), seed)
        assert not told.wrong(scenario.alpha), told


@pytest.mark.parametrize("scenario", misfits.TRUE_MODELS, ids=str)
def test_a_true_model_is_never_called_inadequate(scenario: misfits.Scenario) -> None:
    """Although its rows state three quarters of their errors on average."""
    for seed in range(20):
        found = adequacy(data_of(misfits.study(scenario, seed), "energy_j"))
        assert found.adequate and found.miss is not None and found.miss < 0.02
        assert found.rows_error == pytest.approx(0.03 / 1.96, rel=0.05)


@pytest.mark.parametrize("scenario", misfits.MISFITS, ids=str)
def test_every_misfit_is_what_it_says(scenario: misfits.Scenario) -> None:
    """The same joules as AI where the misfit does not apply, others where it does, none at or below zero."""
    on = misfits.cases()
    joules = scenario.joules(on, scenario.size, np.random.default_rng(0))
    apart = joules / on.joules()
    assert (joules > 0).all() and np.ptp(apart) > 0.01
    if scenario.name.startswith("cache 10"):
        assert np.allclose(apart[on.megabytes <= 10], 1) and (apart[on.megabytes > 10] > 1).all()
    if scenario.name.startswith(("occupancy", "power")):
        assert np.allclose(apart[on.fill == 1], 1) and (np.abs(apart[on.fill < 1] - 1) > 0).all()
