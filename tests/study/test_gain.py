"""A sensor's declared gain accuracy: in every interval of joules, in nothing that does not depend on it."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_frames import energy_of, measured, some_layers, table

from dibench import models, study
from dibench.errors import UserError
from dibench.schema import NETWORK
from dibench.show import origin
from dibench.show.blocks import Block, Sentence
from dibench.study.findings.fitted_model import FittedModel
from dibench.study.table.gain import with_gain
from dibench.study.table.rows import select
from dibench.study.use.explain import explain
from dibench.study.use.fitted_model import read_fitted_model
from dibench.study.use.predict import predict

ACCURACY = 0.05


@cache
def fits() -> tuple[study.Fit, study.Fit]:
    """The same rows without and with a declared accuracy of 5%."""
    frame = measured(90, noise=0.1).assign(energy_source="external:wall-meter")
    return study.fit(frame, draws=99), study.fit(declared(frame), draws=99)


def declared(frame: Any, percent: float = 100 * ACCURACY) -> Any:
    return frame.assign(gain_accuracy_pct=percent)


def loaded(fit: study.Fit) -> FittedModel:
    return read_fitted_model(json.loads(json.dumps(fit.to_json())), "di_weighted")


def widened(value: float, end: float, side: int) -> float:
    """By hand: half-widths of the logarithm, as squares."""
    return value * math.exp(side * math.sqrt(math.log(end / value) ** 2 + math.log(1 + ACCURACY) ** 2))


ends = st.floats(-1e3, 1e3).filter(lambda value: value == 0 or abs(value) > 1e-6)


@given(value=ends, below=st.floats(0, 1e3), above=st.floats(0, 1e3), accuracy=st.floats(1e-6, 0.99))
def test_an_interval_with_the_gain_holds_the_one_without_and_the_gain_alone(
    value: float, below: float, above: float, accuracy: float
) -> None:
    low, high = value - below, value + above
    wide_low, wide_high = with_gain(value, low, high, accuracy)
    tiny = 1e-9 * (abs(value) + below + above)
    assert wide_low <= low + tiny and high - tiny <= wide_high
    alone = sorted((value / (1 + accuracy), value * (1 + accuracy)))
    assert wide_low <= alone[0] + tiny and alone[1] - tiny <= wide_high
    if low * value > 0:
        assert wide_low * value >= 0, "a cost that is above zero at any gain stays so"
    assert with_gain(value, low, high, None) == (low, high)


def test_coefficients_hold_it_and_what_no_gain_moves_does_not() -> None:
    without, with_it = fits()
    assert (without.gain_accuracy, with_it.gain_accuracy) == (None, ACCURACY)
    seen = 0
    for name, model in without.models.items():
        assert with_it.models[name].scores == model.scores and with_it.models[name].held_out == model.held_out
        for term, before in model.coefficients.items():
            after = with_it.models[name].coefficients[term]
            assert after.value == before.value
            if before.value is None or before.ci_low is None or before.ci_high is None:
                continue
            if before.ci_low > 0:
                seen += 1
                assert after.ci_low == pytest.approx(widened(before.value, before.ci_low, -1))
                assert after.ci_high == pytest.approx(widened(before.value, before.ci_high, 1))
    assert seen >= 8
    for same in (
        "alpha",
        "alpha_by_family",
        "test_ai_vs_di",
        "verdict",
        "reasons",
        "sensitivity",
        "adequacy",
    ):
        assert getattr(with_it, same) == getattr(without, same), same


def test_a_sensor_off_by_what_is_declared_is_covered_where_it_was_not() -> None:
    layers = some_layers(120, seed=3)
    joules = 1.04 * energy_of(layers, alpha=0.5, launch=0.0, noise=0.003)
    truth = energy_of([*models.load("resnet50").layers], alpha=0.5, launch=0.0).sum()
    for percent, covered in ((None, False), (5.0, True)):
        frame = table(layers, joules, energy_source="external:wall-meter", gain_accuracy_pct=percent)
        total = predict([models.load("resnet50")], loaded(study.fit(frame, draws=99))).predictions[0].total
        assert (total.low <= truth <= total.high) == covered


def test_predictions_and_savings_hold_it_and_shares_do_not() -> None:
    (before, after) = (explain(models.load("resnet50"), loaded(fit)) for fit in fits())
    for name in ("total", "per_inference"):
        a, b = (getattr(one.prediction, name) for one in (before, after))
        assert (b.value, b.low) == (a.value, pytest.approx(widened(a.value, a.low, -1)))
        assert b.high == pytest.approx(widened(a.value, a.high, 1))
    for a, b in zip(before.prediction.layers, after.prediction.layers, strict=True):
        assert b.value == a.value and b.high == pytest.approx(widened(a.value, a.high, 1))
    assert [one.share for one in after.savings] == [one.share for one in before.savings]
    assert [one.certain for one in after.savings] == [one.certain for one in before.savings]
    wider = [b.saved.high > a.saved.high for a, b in zip(before.savings, after.savings, strict=True)]
    assert wider and all(wider)


@pytest.mark.parametrize(("off", "inside"), [(1.0, True), (1.2, False)])
def test_a_network_measured_by_the_same_sensor_is_judged_without_its_gain(off: float, inside: bool) -> None:
    """The gain is in both, so it excuses no difference between them."""
    network, fit = models.load("resnet50"), loaded(fits()[1])
    sensed = predict([network], loaded(fits()[0])).predictions[0].total
    at = sensed.value + off * (sensed.high - sensed.value)
    rows = table(some_layers(1, seed=1), [at], op=NETWORK, name="resnet50", N=1, C=3, H=224, W=224)
    rows["energy_source"] = "external:wall-meter"
    found = predict([network], fit, measured=rows)
    assert [one.inside for one in found.measured_networks] == [inside]


def test_time_has_no_gain() -> None:
    frame = declared(measured(60).assign(energy_source="none", energy_j=math.nan))
    assert select(frame).gain_accuracy is None
    assert select(declared(measured(60).assign(energy_source="model"))).gain_accuracy is None


@pytest.mark.parametrize("wrong", [-1.0, 100.0, 250.0])
def test_what_no_sensor_can_have_is_refused_with_its_row(wrong: float) -> None:
    frame = declared(measured(10))
    frame.loc[7, "gain_accuracy_pct"] = wrong
    rule = r"^row 7: gain_accuracy_pct: must be a percentage from 0 to below 100, or empty \(got "
    with pytest.raises(UserError, match=rule):
        select(frame)


def test_a_fit_file_with_an_impossible_accuracy_is_refused() -> None:
    figures = json.loads(json.dumps(fits()[1].to_json()))
    for wrong in (1.5, -0.1, "much", True):
        with pytest.raises(UserError, match="fitted model: is not what `fit` writes"):
            read_fitted_model({**figures, "gain_accuracy": wrong}, "ai")
    del figures["gain_accuracy"]
    assert read_fitted_model(figures, "ai").origin.gain_accuracy is None, "a file from before there was one"


def test_screen_and_predictions_say_whose_word_it_is() -> None:
    without, with_it = fits()
    first = [fit.basis for fit in (without, with_it)]
    assert first[0] == "Measured energy (energy_j, external:wall-meter), accuracy of its gain not declared."
    assert first[1].endswith("gain ±5% (declared, not measured by dibench) included in intervals of joules.")
    told = [_text(origin.introduction(loaded(fit).origin, "fit.json")[1]) for fit in (without, with_it)]
    assert told[0].startswith("No accuracy is declared for the sensor's gain; intervals of joules do not")
    assert told[1].startswith("The sensor's gain is declared good to ±5% and was not measured by dibench;")


def _text(block: Block) -> str:
    assert isinstance(block, Sentence)
    return block.text
