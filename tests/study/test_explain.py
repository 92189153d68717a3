"""What a change of design saves: the difference of two true costs, with an interval that holds it."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import attrs
import numpy as np
import pytest
from study_frames import energy_of, measured, some_layers, table

from dibench import models, networks, study
from dibench.layer import Layer
from dibench.models import Model, NotCovered
from dibench.show import explained, terminal
from dibench.study.findings.fitted_model import Components, FittedModel
from dibench.study.findings.plain import plain
from dibench.study.ladder.folds import make_folds
from dibench.study.ladder.ladder import make_clusterings
from dibench.study.ladder.models import data_of
from dibench.study.ladder.predictors import predictor_of
from dibench.study.ladder.rungs import Rung, fit_rung
from dibench.study.maths.inference import student_quantile
from dibench.study.use.costs import layer_costs
from dibench.study.use.explain import CONSTANT, explain
from dibench.study.use.fitted_model import read_fitted_model
from dibench.study.use.predict import predict
from dibench.study.use.redesign import EVERYWHERE, changes, separable


@cache
def text_of_fit(noise: float) -> str:
    return json.dumps(study.fit(measured(160, noise=noise), draws=99).to_json())


def fitted(noise: float) -> FittedModel:
    return read_fitted_model(json.loads(text_of_fit(noise)), "di_weighted")


def cost(layers: Any) -> float:
    return float(energy_of(list(layers), alpha=0.2).sum())


@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d", "mobilenet_v2", "googlenet", "vgg16"])
def test_changes_keep_what_the_rest_of_the_network_sees(name: str) -> None:
    layers = networks.load(name)
    found = changes(layers)
    assert found
    for change in found:
        removed = [layers[row] for row in change.removed]
        assert len(set(change.removed)) == len(change.removed)
        assert {layer.shape for layer in change.added} != {layer.shape for layer in removed}
        if change.where == EVERYWHERE:
            continue
        first, last = removed[0], removed[-1]
        assert (change.added[0].C, change.added[0].H, change.added[0].W) == (first.C, first.H, first.W)
        assert (change.added[-1].K, change.added[-1].P, change.added[-1].Q) == (last.K, last.P, last.Q)


def test_knobs_fit_the_layers_they_turn() -> None:
    knobs = {name: {change.knob for change in changes(networks.load(name))} for name in networks.names()}
    assert knobs["vgg16"] == {"groups", "depthwise-separable"}
    assert knobs["resnet50"] == {"groups", "pointwise groups", "depthwise-separable", "bottleneck width"}
    assert "group size" in knobs["resnext50_32x4d"]
    assert "bottleneck width" in knobs["mobilenet_v2"]
    stem = networks.load("resnet50")[0]
    assert separable(stem) is None  # three colours are not split by channels


def test_a_transposed_convolution_is_not_redesigned() -> None:
    turned = [attrs.evolve(layer, transposed=True) for layer in networks.load("resnet50")]
    assert changes(turned) == []


def test_a_saving_is_the_difference_of_the_true_costs() -> None:
    fit = fitted(1e-7)
    network = models.load("resnext50_32x4d", batch=8)
    found = explain(network, fit, batches=[models.load("resnext50_32x4d", batch=b) for b in (1, 32)])
    possible = {(one.knob, one.setting, one.where): one for one in changes(network.layers)}
    for saving in found.savings:
        if saving.knob == "batch":
            other = models.load("resnext50_32x4d", batch=int(saving.setting.split()[0]))
            true = cost(network.layers) / 8 - cost(other.layers) / other.batch
        else:
            change = possible[saving.knob, saving.setting, saving.where]
            removed = [network.layers[row] for row in change.removed]
            true = (cost(removed) - cost(change.added)) / 8
            macs = sum(layer.macs for layer in change.added) - sum(layer.macs for layer in removed)
            assert saving.macs == pytest.approx(1 + macs / network.macs)
        assert saving.saved.value == pytest.approx(true, rel=1e-4)
        assert saving.share == pytest.approx(true / (cost(network.layers) / 8), rel=1e-4)
    assert len(found.savings) + found.changes_that_save_nothing == len(possible) + 2


def test_errors_of_the_two_predictions_are_correlated() -> None:
    """Without residuals the interval is that of Δz·θ: narrower than if the two totals erred apart."""
    fit = fitted(0.2)
    errors = fit.predictor.errors
    covariance = 0.01 * errors.spreads[0]
    alone = Components(("row",), np.array([0.01]), np.array([[2e-6]]), errors.spreads[:1])
    fit = attrs.evolve(fit, predictor=attrs.evolve(fit.predictor, errors=alone, unseen_log=0.0))
    network = models.load("resnet50")
    found = explain(network, fit)
    (one,) = [
        s for s in found.savings if (s.knob, s.setting, s.where) == ("bottleneck width", "3/4", EVERYWHERE)
    ]
    (change,) = [
        c
        for c in changes(network.layers)
        if (c.knob, c.setting, c.where) == (one.knob, one.setting, one.where)
    ]
    kept = [layer for row, layer in enumerate(network.layers) if row not in change.removed]
    after = Model(name="after", batch=1, layers=(*kept, *change.added))
    before, narrower = predict([network, after], fit).predictions
    slopes = [layer_costs(model.layers, fit).gradient.sum(axis=0) for model in (network, after)]
    slope = slopes[0] - slopes[1]
    deviation = float(np.sqrt(slope @ covariance @ slope))
    assert (one.saved.high - one.saved.low) / 2 == pytest.approx(student_quantile(100) * deviation)
    apart = np.hypot(before.total.high - before.total.low, narrower.total.high - narrower.total.low)
    assert one.saved.high - one.saved.low < 0.5 * apart


@pytest.mark.slow
def test_intervals_of_savings_hold_what_measuring_would_give() -> None:
    noise, held, number = 0.25, 0, 0
    network = models.load("resnet50")
    for seed in range(12):
        frame = measured(120, seed=seed, noise=noise)
        data = data_of(frame, "energy_j")
        clusterings = make_clusterings(data, 9, seed)
        folds = make_folds(data, seed)
        rung = fit_rung("di_weighted", data, clusterings, folds)
        assert isinstance(rung, Rung)
        whole = json.loads(text_of_fit(0.2))
        whole["calibration"]["models"]["di_weighted"] = plain(predictor_of(rung, data, clusterings, folds))
        fit = read_fitted_model(whole, "di_weighted")
        rng = np.random.default_rng(seed + 500)
        errors: dict[tuple[int, ...], float] = {}

        def measured_cost(layers: Any, errors: Any = errors, rng: Any = rng) -> float:
            factor = [np.exp(errors.setdefault(one.shape, noise * rng.standard_normal())) for one in layers]
            return float(energy_of(list(layers), alpha=0.2) @ np.array(factor))

        possible = {(one.knob, one.setting, one.where): one for one in changes(network.layers)}
        for saving in explain(network, fit).savings:
            change = possible[saving.knob, saving.setting, saving.where]
            removed = [network.layers[row] for row in change.removed]
            real = measured_cost(removed) - measured_cost(change.added)
            held += saving.saved.low < real < saving.saved.high
            number += 1
    assert 0.92 <= held / number <= 0.99


def test_dominant_terms_and_launch() -> None:
    fit = fitted(1e-7)
    small = Layer.fc(N=1, C=8, K=8)
    wide = Layer.fc(N=1, C=4096, K=4096)
    deep = networks.find("resnet50/layer1.0.conv2")
    found = explain(Model(name="m", batch=1, layers=(small, wide, deep)), fit)
    # 3 pJ per MAC and 12 pJ per weight, of which fc has as many; a launch of 1 µJ.
    assert list(found.dominant) == ["launch", "weights", "MACs"]


def with_power(response: str) -> FittedModel:
    """30 W of constant power: time is 1 ps a MAC, 2 ps an element, 5 µs a launch; noise on neither."""
    layers = some_layers(160, seed=3)
    time = np.array([m.macs + 2 * (m.weights + m.activations) + 5e6 for m in layers]) * 1e-12
    dynamic = energy_of(layers, alpha=0.2)
    frame = table(layers, dynamic + 30 * time * (response == "energy_j"))
    frame = frame.rename(columns={"energy_j": response})
    frame["time_s"] = time
    frame["idle_power_w"], frame["active_idle_power_w"] = 30.0, 30.0
    return read_fitted_model(study.fit(frame, draws=99).to_json(), "di_weighted")


@pytest.mark.parametrize("response", ["energy_j", "energy_above_idle_j", "energy_above_active_idle_j"])
def test_constant_power_is_a_term_of_its_own(response: str) -> None:
    fit = with_power(response)
    network = models.load("mobilenet_v2")
    found = explain(network, fit)
    time = np.array([m.macs + 2 * (m.weights + m.activations) + 5e6 for m in network.layers]) * 1e-12
    np.testing.assert_allclose(found.terms[CONSTANT], 30 * time, rtol=1e-3)
    np.testing.assert_allclose(
        found.terms["MACs"], [3e-12 * layer.macs for layer in network.layers], rtol=1e-3
    )
    gross = np.add.reduce(list(found.terms.values()))
    np.testing.assert_allclose(gross, energy_of(network.layers, alpha=0.2) + 30 * time, rtol=1e-3)


def test_an_operator_the_fit_lacks_makes_a_change_unpredictable() -> None:
    layers = [layer for layer in some_layers(300, seed=2) if layer.op in ("standard", "pointwise", "fc")]
    frame = table(layers, energy_of(layers, alpha=0.2, noise=0.1))
    fit = read_fitted_model(study.fit(frame, draws=99).to_json(), "di_weighted")
    found = explain(models.load("vgg16"), fit)
    assert found.savings == ()
    assert set(found.changes_not_predictable) == {"grouped", "depthwise"}


def test_of_a_part_only_changes_of_its_layers_are_told_and_no_share() -> None:
    fit, whole = fitted(0.2), models.load("resnet50")
    part = NotCovered(name="m/up", op="ConvTranspose", reason="transposed convolution", macs=whole.macs)
    other = attrs.evolve(fit, origin=attrs.evolve(fit.origin, dtype="fp16"))
    batches = [models.load("resnet50", batch=8)]
    full = explain(whole, fit, batches=batches, dtypes=[other])
    half = explain(attrs.evolve(whole, not_covered=(part,)), fit, batches=batches, dtypes=[other])
    assert {one.knob for one in full.savings} - {one.knob for one in half.savings} == {"batch"}
    assert (full.whole_network_changes_left_out, half.whole_network_changes_left_out) == (0, 2)
    of_layers = [one for one in full.savings if one.knob != "batch"]
    for one, same in zip(half.savings, of_layers, strict=True):
        assert (one.knob, one.where, one.saved, one.share) == (same.knob, same.where, same.saved, None)
        assert same.macs is not None and one.macs == pytest.approx((1 + same.macs) / 2)
    told = " ".join(terminal.text(explained.blocks(half, "fit.json", every=False)).split())
    assert "≥ " in told and "50% of MACs per inference" in told
    assert "No saving by batch or data type: they also change what is not predicted" in told
    assert "The whole network" not in told


def test_a_data_type_whose_fit_lacks_an_operator_saves_nothing() -> None:
    layers = [layer for layer in some_layers(300, seed=2) if layer.op != "depthwise"]
    frame = table(layers, energy_of(layers, alpha=0.2, noise=0.1))
    lacking = read_fitted_model(study.fit(frame, draws=99).to_json(), "di_weighted")
    other = attrs.evolve(lacking, origin=attrs.evolve(lacking.origin, dtype="fp16"))
    found = explain(models.load("mobilenet_v2"), fitted(0.2), dtypes=[other])
    assert not [one for one in found.savings if one.knob == "dtype"]
    assert found.changes_not_predictable["depthwise"] == 1
