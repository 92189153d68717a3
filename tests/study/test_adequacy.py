"""Lack of fit: rows' own errors, the miss beyond them, and that no answer comes from a model that misses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from study_frames import distinct_layers, energy_of, some_layers, table

from dibench.study import fit
from dibench.study.findings.claims import REFUTED, UNDECIDED
from dibench.study.ladder.adequacy import MISS_MARGIN, adequacy, followed, judge
from dibench.study.ladder.alpha import WeightedAlpha
from dibench.study.ladder.beside import suited, terms_beside
from dibench.study.ladder.models import FULL, Data, data_of
from dibench.study.questions.claims import claims
from dibench.study.questions.whole_networks import networks_of
from dibench.study.table.row_errors import NO_REPEATS, Repeats, repeats, row_errors

NOISE = 0.02


def layers_at(number: int, seed: int) -> list[Any]:
    """Layers of the 25 networks at two batch sizes, each under a name of its own."""
    return [layer.with_batch(batch) for layer in some_layers(number, seed) for batch in (1, 8)]


def measured(layers: Any, exact: Any, *, seed: int = 0, noise: float = NOISE, **cells: Any) -> Any:
    """Rows with errors of 2% that state ±4%, each layer a network of its own."""
    energy = exact * np.exp(noise * np.random.default_rng(seed).standard_normal(len(layers)))
    return table(layers, energy, name="", energy_ci_j=1.96 * noise * energy, **cells)


def beyond(layers: Any, cache_mb: float, factor: float) -> Any:
    """Weights and activations cost 20 pJ each; activations more where a layer is beyond a cache."""
    large = np.array([4e-6 * (one.weights + one.activations) > cache_mb for one in layers])
    extra = np.array([20e-12 * one.activations for one in layers]) * (factor - 1)
    alike = energy_of(layers, alpha=0.5, ratio=40 / 3)
    return alike + np.where(large, extra, 0.0)


def data(frame: Any) -> Data:
    return data_of(frame, "energy_j")


def test_a_step_at_the_cache_is_not_taken_for_a_data_type() -> None:
    layers = layers_at(150, 0)
    frame = measured(layers, beyond(layers, 10.0, 3.0))
    found = fit(frame, draws=199)
    assert found.verdict == found.conclusion == "not adequate" and not found.reliable
    assert found.adequacy.adequate is False and found.adequacy.beside == ""
    assert found.adequacy.miss is not None and 0.1 < found.adequacy.miss < 0.2
    assert found.adequacy.rows_error == pytest.approx(NOISE, rel=0.01)
    assert "misses by 1" in found.answer and "good to 2.0%" in found.answer
    assert found.adequacy.follows[0].name == "footprint" and "residuals follow footprint" in found.reasons[0]
    assert {claim.answer for claim in claims(found, networks_of(frame))} == {UNDECIDED}
    assert found.beside["capacity"].cache_bytes == pytest.approx(10e6, rel=0.2)


def test_without_the_rows_intervals_the_same_rows_are_not_judged() -> None:
    layers = layers_at(100, 1)
    frame = measured(layers, beyond(layers, 10.0, 3.0)).drop(columns="energy_ci_j")
    found = adequacy(data(frame))
    assert found.adequate is None and found.miss is None and found.residual is not None
    assert suited(data(frame), terms_beside(data(frame)))[0] == FULL


@pytest.mark.parametrize("alpha", [0.2, 0.35, 0.5, 0.8])
def test_a_true_model_stays_adequate_although_rows_state_half_their_errors(alpha: float) -> None:
    layers = layers_at(150, 2)
    frame = measured(layers, energy_of(layers, alpha=alpha), seed=4)
    frame["energy_ci_j"] /= 2
    found = adequacy(data(frame))
    assert found.adequate and found.miss == pytest.approx(0.017, abs=0.003)


def test_a_miss_below_the_margin_does_not_kill_a_right_verdict_in_a_large_table() -> None:
    layers = [layer.with_batch(batch) for layer in distinct_layers() for batch in (1, 8, 32)]
    own = np.random.default_rng(0).standard_normal(len(layers))
    exact = energy_of(layers, alpha=0.2) * np.exp(0.015 * own)
    error, names = np.full(len(layers), 0.001), np.array([str(one.shape) for one in layers])
    found = judge(np.log(exact / energy_of(layers, alpha=0.2)), error, 8, names)
    assert found.adequate and found.miss == pytest.approx(0.015, rel=0.05) and found.p_value is not None


def test_at_the_margin_five_in_a_hundred_are_called_inadequate() -> None:
    """Rows of a layer share its miss; errors of rows differ, stated as they are."""
    rng = np.random.default_rng(3)
    layer = np.repeat(np.arange(60), 3).astype(str)
    error = rng.uniform(0.01, 0.06, 180)
    found = [
        judge(
            error * rng.standard_normal(180) + np.repeat(MISS_MARGIN * rng.standard_normal(60), 3),
            error,
            0,
            layer,
        )
        for _ in range(2000)
    ]
    assert np.mean([one.adequate is False for one in found]) == pytest.approx(0.05, abs=0.015)


def test_nothing_is_said_where_rows_are_few_or_their_errors_unknown() -> None:
    layer = np.arange(12).astype(str)
    for error in (np.full(12, 0.01), np.full(12, np.nan)):
        found = judge(np.full(12, 0.3), error, 8, layer)
        assert (found.adequate, found.miss, found.p_value) == (None, None, None)


def test_errors_of_rows_are_their_intervals_in_standard_deviations() -> None:
    layers = some_layers(4, 0)
    frame = table(layers, np.ones(4), energy_ci_j=[0.0196, 0.0392, np.nan, 0.0])
    frame = frame.assign(time_s=0.02, time_ci_s=0.001)
    assert row_errors(frame, "energy_j", NO_REPEATS)[:2] == pytest.approx([0.01, 0.02], rel=1e-3)
    assert np.isnan(row_errors(frame, "energy_j", NO_REPEATS)[2:]).all()
    assert row_errors(frame, "time_s", NO_REPEATS) == pytest.approx(np.full(4, 0.05 / 1.96), rel=1e-3)
    above = frame.assign(energy_above_idle_j=0.5)
    assert row_errors(above, "energy_above_idle_j", NO_REPEATS)[0] == pytest.approx(0.02, rel=1e-3)
    # Student's quantile of an error budget with 8 degrees of freedom is 2.306.
    budgeted = row_errors(frame.assign(ci_drift_j=0.001), "energy_j", NO_REPEATS)
    assert budgeted[0] == pytest.approx(0.0196 / 2.306, rel=1e-3)


def test_repeats_that_lie_further_apart_than_rows_state_count_for_all_rows() -> None:
    frame = table(some_layers(4, 0), np.ones(4), energy_ci_j=0.0196)
    wider = row_errors(frame, "energy_j", Repeats(0.05**2, 20))
    assert wider == pytest.approx(np.full(4, 0.05), rel=1e-3)
    assert row_errors(frame, "energy_j", Repeats(0.005**2, 20)) == pytest.approx(np.full(4, 0.01), rel=1e-3)
    assert row_errors(frame, "energy_j", Repeats(0.05**2, 4)) == pytest.approx(np.full(4, 0.01), rel=1e-3)
    unstated = row_errors(frame.drop(columns="energy_ci_j"), "energy_j", Repeats(0.05**2, 20))
    assert unstated == pytest.approx(np.full(4, 0.05))


def test_repeats_are_pooled_within_cases_and_copies_are_no_repeats() -> None:
    import pandas as pd

    layers = some_layers(3, 0)
    one = table(layers, np.array([1.0, 5.0, 9.0]))
    other = table(layers[:2], np.array([math.e, 5.0]))
    found = repeats(pd.concat([one, other, one]), "energy_j")
    # Two values one e-fold apart: variance ½ with one degree of freedom; equal copies fall out.
    assert found.df == 1 and found.variance == pytest.approx(0.5)
    assert repeats(one, "energy_j") == NO_REPEATS


def test_residuals_follow_a_step_and_a_kind_and_nothing_by_chance() -> None:
    rng = np.random.default_rng(1)
    size, kind, other = rng.random(400), rng.choice(["a", "b"], 400), rng.random(400)
    noise = 0.02 * rng.standard_normal(400)
    found = followed(noise + 0.1 * (size > 0.8), {"size": size, "kind": kind, "other": other})
    assert [one.name for one in found] == ["size"] and 0.5 < found[0].share < 1
    by_kind = followed(noise + 0.05 * (kind == "a"), {"size": size, "kind": kind, "other": other})
    assert [one.name for one in by_kind] == ["kind"] and by_kind[0].p_value < 1e-6
    assert followed(noise, {"size": size, "kind": kind, "other": other}) == ()


def test_where_a_term_repairs_the_model_ai_and_di_are_compared_beside_it() -> None:
    """Weights and activations cost alike, all more beyond the cache: AI is true beside `capacity`."""
    layers = distinct_layers()
    large = np.array([4e-6 * (one.weights + one.activations) > 2.0 for one in layers])
    exact = energy_of(layers, alpha=0.5, ratio=40 / 3)
    more = np.array([40e-12 * (one.weights + one.activations) for one in layers])
    frame = measured(layers, exact + np.where(large, more, 0.0), seed=2)
    found = fit(frame, draws=199)
    assert found.adequacy.beside == "capacity" and found.adequacy.adequate
    assert found.adequacy.plain_miss is not None and found.adequacy.plain_miss > 0.1
    assert found.conclusion == "alike" and "beside capacity" in found.answer
    told = {claim.name: claim for claim in claims(found, networks_of(frame))}
    assert told["data types"].answer == REFUTED
    assert all(told[name].answer == UNDECIDED for name in ("operators", "whole networks", "generality"))
    cost = found.models["di_capacity"].coefficients["e_beyond"]
    assert cost.value == pytest.approx(40, rel=0.05) and cost.unit == "pJ/element beyond the cache"
    assert found.models["di_occupancy"].reason == "the table has no grids (columns blocks, sms)"


def test_idle_multiprocessors_are_a_term_where_the_table_has_grids() -> None:
    layers = layers_at(150, 6)
    blocks = np.array([max(1, one.outputs // 4096) for one in layers])
    waves = blocks / 264
    idle = np.array([one.macs for one in layers]) * 1e-13 * (np.ceil(waves) / waves - 1)
    exact = energy_of(layers, alpha=0.2) + idle
    rows = data(measured(layers, exact, blocks=blocks, sms=np.minimum(blocks, 132)))
    terms, found = suited(rows, terms_beside(rows))
    assert terms.wave == 264 and terms.cache is None and found.beside == "occupancy"
    assert WeightedAlpha(rows, (), terms).value == pytest.approx(0.2, abs=0.02)
    assert found.plain_miss is not None and found.plain_miss > 10 * (found.miss or 0.0)
