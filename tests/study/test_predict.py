"""Predictions of networks: right totals, intervals that hold measurements, and what lies outside said so."""

from __future__ import annotations

import json
import math
import re
import time
from functools import cache
from typing import Any

import attrs
import numpy as np
import pytest
from study_frames import energy_of, measured, some_layers, table

from dibench import models, networks, study
from dibench.errors import UserError
from dibench.layer import Layer
from dibench.models import Model, NotCovered
from dibench.numbers import with_interval
from dibench.show import predicted_costs, terminal
from dibench.study.findings.fitted_model import PREDICTORS, FittedModel
from dibench.study.findings.plain import plain
from dibench.study.findings.prediction import Prediction, Predictions
from dibench.study.ladder.folds import make_folds
from dibench.study.ladder.ladder import make_clusterings
from dibench.study.ladder.models import data_of
from dibench.study.ladder.predictors import predictor_of
from dibench.study.ladder.rungs import Rung, fit_rung
from dibench.study.maths.components import variance_of_sum
from dibench.study.maths.inference import student_quantile
from dibench.study.use.costs import TERMS, layer_costs
from dibench.study.use.fitted_model import read_fitted_model
from dibench.study.use.predict import predict


@cache
def text_of_fit(noise: float = 0.2) -> str:
    return json.dumps(study.fit(measured(160, noise=noise), draws=99).to_json())


def figures(noise: float = 0.2) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(text_of_fit(noise))
    return made


def truth(found: Prediction) -> Any:
    """What each layer really costs."""
    return energy_of([one.layer for one in found.layers], alpha=0.2)


@pytest.mark.parametrize("model", ["di_weighted", "di_disjoint", "ai", "macs"])
def test_every_model_of_shapes_predicts_networks_it_has_not_seen(model: str) -> None:
    fit = read_fitted_model(figures(), model)
    found = predict([models.load(name) for name in ("resnet50", "mobilenet_v2")], fit)
    for one in found.predictions:
        assert one.total.low < truth(one).sum() < one.total.high
        assert one.unpredicted_operators == ()
        assert sum(layer.value for layer in one.layers) == pytest.approx(one.total.value, rel=1e-12)
        for layer in one.layers:
            assert sum(layer.terms.values()) == pytest.approx(layer.value, rel=1e-9)
            assert set(layer.terms) <= set(TERMS)
        parts = sum(part.value for part in one.by_operator.values())
        assert parts == pytest.approx(one.total.value)


def test_exact_rows_are_predicted_exactly() -> None:
    fit = read_fitted_model(figures(1e-7), "di_weighted")
    (found,) = predict([models.load("vgg16", batch=8)], fit).predictions
    assert found.total.value == pytest.approx(truth(found).sum(), rel=1e-5)
    assert found.per_inference.value == pytest.approx(found.total.value / 8)
    np.testing.assert_allclose([one.value for one in found.layers], truth(found), rtol=1e-5)


def fitted(seed: int, noise: float) -> FittedModel:
    """Of a fresh fit of weighted DI, without the bootstrap that predictions do not need."""
    frame = measured(120, seed=seed, noise=noise)
    data = data_of(frame, "energy_j")
    clusterings = make_clusterings(data, 9, seed)
    folds = make_folds(data, seed)
    rung = fit_rung("di_weighted", data, clusterings, folds)
    assert isinstance(rung, Rung)
    whole = figures()
    whole["calibration"]["models"]["di_weighted"] = plain(predictor_of(rung, data, clusterings, folds))
    return read_fitted_model(json.loads(json.dumps(whole)), "di_weighted")


def of_the_first_schema(made: dict[str, Any]) -> dict[str, Any]:
    """The same fit as the first version wrote it: one variance, one covariance, no number of the schema."""
    old: dict[str, Any] = json.loads(json.dumps(made))
    del old["schema"]
    for entry in filter(None, old["calibration"]["models"].values()):
        errors = {name: np.array(value) for name, value in entry.pop("errors").items() if name != "names"}
        variance = errors["variances"].sum()
        entry["covariance"] = np.tensordot(errors["variances"], errors["spreads"], 1).tolist()
        entry["residual_log"] = math.sqrt(variance)
        entry["degrees"] = 2 * variance**2 / errors["covariance"].sum()
    return old


def test_a_file_of_the_first_schema_predicts_the_same_but_knows_nothing_of_networks() -> None:
    made = figures()
    assert made["schema"] == 2
    old = of_the_first_schema(made)
    for first in (old, old | {"schema": 1}):
        fits = [read_fitted_model(one, "di_weighted") for one in (made, first)]
        new, before = (predict([models.load("alexnet")], fit) for fit in fits)
        for one, other in zip(new.predictions[0].layers, before.predictions[0].layers, strict=True):
            assert other.value == pytest.approx(one.value)
            # One variance has other degrees of freedom than the three that it is the sum of.
            assert [other.low, other.high] == pytest.approx([one.low, one.high], rel=0.01)
        assert before.predictions[0].total.value == pytest.approx(new.predictions[0].total.value)
        assert before.scatter.network is None


def test_a_file_of_a_later_version_is_refused() -> None:
    with pytest.raises(UserError, match=r"schema: must be 2 or less: .* fit the table again"):
        read_fitted_model(figures() | {"schema": 3}, "di_weighted")


@pytest.mark.parametrize(("field", "value"), [("degrees", 0), ("residual_log", 0.0), ("residual_log", None)])
def test_a_broken_file_of_the_first_schema_is_refused(field: str, value: Any) -> None:
    old = of_the_first_schema(figures())
    old["calibration"]["models"]["di_weighted"][field] = value
    with pytest.raises(UserError, match="is not what `fit` writes"):
        read_fitted_model(old, "di_weighted")


@pytest.mark.slow
def test_intervals_hold_the_measurements_of_unseen_layers_and_whole_networks() -> None:
    """95% intervals of 24 fits: layers one by one, and networks whose like shapes err alike."""
    noise, held, held_total, layers, totals = 0.3, 0, 0, 0, 0
    wanted = [models.load(name) for name in ("resnet50", "vgg16", "mobilenet_v2", "googlenet", "alexnet")]
    for seed in range(24):
        fit = fitted(seed, noise)
        rng = np.random.default_rng(1000 + seed)
        for one in predict(wanted, fit).predictions:
            shape = layer_costs([cost.layer for cost in one.layers], fit).shape
            real = truth(one) * np.exp(noise * rng.standard_normal(int(shape.max()) + 1)[shape])
            held += sum(cost.low < cell < cost.high for cost, cell in zip(one.layers, real, strict=True))
            held_total += one.total.low < real.sum() < one.total.high
            layers += len(real)
            totals += 1
    assert 0.93 <= held / layers <= 0.985
    assert held_total / totals >= 0.90  # 120 totals; 0.95 less 2.5 standard errors


def test_shared_errors_do_not_average_out_and_residuals_do() -> None:
    fit = read_fitted_model(figures(), "di_weighted")
    shapes = [layer.renamed(f"m/{number}") for number, layer in enumerate(some_layers(100, seed=5))]
    like = [networks.find("resnet50/layer1.0.conv2").renamed(f"m/{number}") for number in range(100)]

    def width(layers: list[Layer]) -> float:
        (found,) = predict([Model(name="m", batch=1, layers=tuple(layers))], fit).predictions
        return math.log(found.total.high / found.total.low)

    assert width(like) == pytest.approx(width(like[:1]))
    assert width(shapes) < 0.6 * np.median([width([layer]) for layer in shapes])


def test_what_a_network_has_in_common_stays_in_its_total() -> None:
    """The same fit, had its networks more in common: single layers as before, totals less certain."""
    fit = read_fitted_model(figures(), "di_weighted")
    errors = fit.predictor.errors
    assert errors.names == ("row", "network", "family")
    variances = [0.04 * np.array(shares) for shares in ([1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.2, 0.3])]
    halves = []
    for one in variances:
        errors = attrs.evolve(errors, variances=one, spreads=0 * errors.spreads)
        own = attrs.evolve(fit, predictor=attrs.evolve(fit.predictor, errors=errors, unseen_log=0.2))
        (found,) = predict([models.load("resnet50")], own).predictions
        degrees = variance_of_sum(errors, np.array([1.0, 1.0, 1.0]))[1]
        layer = found.layers[0]
        assert math.log(layer.high / layer.low) / 2 == pytest.approx(student_quantile(float(degrees)) * 0.2)
        halves.append(math.log(found.total.high / found.total.low) / 2)
    # By hand: shapes of resnet50 that repeat err alike; half of the variance stays in any sum.
    amounts: dict[Any, float] = {}
    for cost in found.layers:
        amounts[cost.layer.shape] = amounts.get(cost.layer.shape, 0.0) + cost.value
    apart = sum(amount**2 for amount in amounts.values()) / found.total.value**2
    spread = math.expm1(0.02) + (math.expm1(0.04) - math.expm1(0.02)) * apart
    degrees = variance_of_sum(errors, np.array([apart, 1.0, 1.0]))[1]
    expected = student_quantile(float(degrees)) * math.sqrt(math.log1p(spread))
    assert halves[2] == pytest.approx(expected)
    assert min(halves[1:]) > halves[0]


def test_predictions_say_how_far_layers_and_networks_lie_from_the_fit() -> None:
    fit = read_fitted_model(figures(), "di_weighted")
    wanted = [models.load("resnet50")]
    found = predict(wanted, fit)
    assert found.scatter.layers == pytest.approx(0.2, rel=0.25) and found.scatter.network is not None
    text = terminal.text(predicted_costs.blocks(found, "fit.json", every=False))
    assert "around the fit" in text and "and stays in its total" in text
    frame = measured(120).assign(name="")
    nameless = read_fitted_model(study.fit(frame, draws=99).to_json(), "di_weighted")
    found = predict(wanted, nameless)
    assert found.scatter.network is None
    text = " ".join(terminal.text(predicted_costs.blocks(found, "fit.json", every=False)).split())
    assert "hold only if that is nothing" in text


def test_one_layer_alone_is_its_own_total() -> None:
    fit = read_fitted_model(figures(), "di_weighted")
    (found,) = predict([Model(name="m", batch=1, layers=(Layer.fc(N=1, C=512, K=1000),))], fit).predictions
    (cost,) = found.layers
    own = (cost.value, cost.low, cost.high)
    for total in (found.total, found.by_operator["fc"]):
        # Summed in another order: equal but for the last digits.
        assert (total.value, total.low, total.high) == pytest.approx(own, rel=1e-12)


def test_layers_outside_what_was_measured_say_how_far() -> None:
    fit = read_fitted_model(figures(), "di_weighted")
    most = fit.ranges["fc"]["weights"][1]
    big = Layer.fc(N=1, C=2**14, K=2**15)
    (found,) = predict(
        [Model(name="m", batch=1, layers=(big, networks.find("vgg16/classifier.3")))], fit
    ).predictions
    assert f"weights {big.weights / most:.3g}× above" in found.layers[0].outside
    assert found.layers[1].outside == ""


def test_an_operator_the_fit_has_not_seen_gets_no_number() -> None:
    layers = [layer for layer in some_layers(200, seed=2) if layer.op not in ("depthwise", "grouped")]
    frame = table(layers, energy_of(layers, alpha=0.2, noise=0.1))
    fit = read_fitted_model(study.fit(frame, draws=99).to_json(), "di_weighted")
    (found,) = predict([models.load("mobilenet_v2")], fit).predictions
    assert found.unpredicted_operators == ("depthwise",)
    assert all(one.known == (one.layer.op != "depthwise") for one in found.layers)
    assert found.total.value == pytest.approx(sum(one.value for one in found.layers if one.known))


def with_a_part(macs: int | None) -> Model:
    """VGG-16 and one operation more that is no layer."""
    part = NotCovered(name="m/up", op="ConvTranspose", reason="transposed convolution", macs=macs)
    return attrs.evolve(models.load("vgg16"), name="m", not_covered=(part,))


def told(found: Predictions) -> str:
    return " ".join(terminal.text(predicted_costs.blocks(found, "fit.json", every=False)).split())


def test_a_partial_total_is_the_least_that_a_network_costs_and_is_compared_with_nothing() -> None:
    fit = read_fitted_model(figures(), "di_weighted")
    whole = models.load("vgg16")
    found = predict([with_a_part(3 * whole.macs), whole], fit)
    part, full = found.predictions
    assert part.total == full.total  # of the same layers
    assert (part.covered.partial, part.covered.share_of_macs) == (True, 0.25)
    assert (full.covered.partial, full.covered.share_of_macs) == (False, 1.0)
    figures_of = [(one["share_of_macs"], one["partial"]) for one in found.to_json()["predictions"]]
    assert figures_of == [(0.25, True), (1.0, False)]
    text = told(found)
    least = with_interval(part.per_inference, "J")
    assert text.count(f"≥ {least}, 25% of MACs") == 2, "in total and side by side"
    assert "no layer, 75% of MACs not covered" in text
    assert "m is predicted in part: 25% of MACs" in text and "Not compared: m." in text
    assert re.search(r"relative per MAC m 1 .* – – vgg16 1 .* –", text), "nothing is relative to a part"
    assert "≥" not in told(predict([whole], fit))


def test_a_total_is_partial_where_the_fit_lacks_an_operator_or_multiply_adds_are_not_known() -> None:
    layers = [layer for layer in some_layers(200, seed=2) if layer.op != "pointwise"]
    frame = table(layers, energy_of(layers, alpha=0.2, noise=0.1))
    fit = read_fitted_model(study.fit(frame, draws=99).to_json(), "di_weighted")
    network = models.load("mobilenet_v2")
    (lacking,) = predict([network], fit).predictions
    predicted = sum(layer.macs for layer in network.layers if layer.op != "pointwise")
    assert lacking.covered.share_of_macs == predicted / network.macs < 0.15
    (unknown,) = predict([with_a_part(None)], read_fitted_model(figures(), "di_weighted")).predictions
    assert unknown.covered.partial and unknown.covered.share_of_macs == 1.0
    assert "≥" in told(predict([with_a_part(None)], read_fitted_model(figures(), "di_weighted")))
    assert unknown.covered.text == "an unknown share of MACs"


def test_a_transposed_convolution_costs_what_the_convolution_costs_whose_gradient_it_is() -> None:
    fit = read_fitted_model(figures(), "di_weighted")
    forward = networks.find("resnet50/layer2.0.conv2")
    back = attrs.evolve(forward, transposed=True)
    found = predict([Model(name="m", batch=1, layers=(forward, back))], fit)
    (one,) = found.predictions
    assert one.layers[0].value == one.layers[1].value and not one.covered.partial
    assert "1 transposed convolution, 50% of what is predicted, modelled by its gradient's" in told(found)


def test_figures_of_a_part_say_so() -> None:
    fit = read_fitted_model(figures(), "di_weighted")
    network = with_a_part(3 * models.load("vgg16").macs)
    drawn = predicted_costs.figures(predict([network, models.load("vgg16")], fit))
    assert [one.title.endswith(", 25% of MACs") for one in drawn] == [True, True, False, False, False]
    shown = drawn[-1].draw()
    assert shown is not None
    labels = [label.get_text() for label in shown.figure.axes[0].get_yticklabels()]
    assert labels == ["≥ m, batch 1, 25% of MACs", "vgg16, batch 1"]


def test_nothing_predicted_is_refused_and_not_zero() -> None:
    layers = [layer for layer in some_layers(200, seed=2) if layer.op == "fc"]
    frame = table(layers, energy_of(layers, alpha=0.2, noise=0.1))
    no_conv = read_fitted_model(study.fit(frame, draws=99).to_json(), "macs")
    only = attrs.evolve(models.load("resnet50"), layers=networks.load("resnet50")[:3])
    with pytest.raises(
        UserError, match=r"resnet50: must have a layer that the fit can predict: .* pointwise"
    ):
        predict([only], no_conv)
    fit = read_fitted_model(figures(), "ai")
    with pytest.raises(UserError, match="m: must have a layer to predict: 1 not covered, such as ConvTra"):
        predict([attrs.evolve(with_a_part(5), layers=())], fit)
    with pytest.raises(UserError, match="m: must have a layer to predict: it has no convolution and no prod"):
        predict([Model(name="m", batch=1, layers=())], fit)


@pytest.mark.slow
def test_four_times_as_many_networks_take_about_four_times_as_long() -> None:
    """Beside each other in one run: what is quadratic would take sixteen times."""
    fit = read_fitted_model(figures(), "di_weighted")

    def seconds(batches: range) -> float:
        wanted = [models.load(name, batch=batch) for batch in batches for name in networks.names()]
        begin = time.process_time()
        assert len(predict(wanted, fit).predictions) == len(wanted)
        return time.process_time() - begin

    few = seconds(range(1, 11))
    assert seconds(range(11, 51)) < 8 * few


def spoil(path: str, value: Any) -> dict[str, Any]:
    """A fit with another value at `a/b/c`."""
    made = figures()
    *folders, last = path.split("/")
    at: Any = made
    for name in folders:
        at = at[int(name) if isinstance(at, list) else name]
    at[int(last) if isinstance(at, list) else last] = value
    return made


DI = "calibration/models/di_weighted"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("calibration", 3, "is not what `fit` writes"),
        ("calibration/models", {}, "fitted model di_weighted: is not in this fit"),
        (DI, None, "is not in this fit"),
        ("schema", 0, "schema: must be 2 or less: a later dibench"),
        (f"{DI}/values", [1.0], "values: must be"),
        (f"{DI}/values/0", math.nan, "values: must be finite"),
        (f"{DI}/values/0", None, "must be numbers"),
        (f"{DI}/values/0", "1", "must be numbers"),
        (f"{DI}/values/0", -1.0, "must not be below zero"),
        (f"{DI}/errors/spreads/0/0", [1.0], "is not what `fit` writes"),
        (f"{DI}/errors/spreads/0/0/1", 1e9, "spreads: must be a covariance"),
        (f"{DI}/errors/covariance/0/0", math.inf, "covariance: must be a covariance"),
        (f"{DI}/errors/variances/0", -1.0, "variances: must not be below zero"),
        (f"{DI}/errors/variances", [0.1], "variances: must be 3 numbers"),
        (f"{DI}/unseen_log", math.inf, "unseen_log: must be from 0 to 10"),
        ("calibration/ranges/fc", {}, "is not what `fit` writes"),
        ("setting", None, "is not what `fit` writes"),
    ],
)
def test_a_broken_fit_is_refused_by_field(path: str, value: Any, words: str) -> None:
    with pytest.raises(UserError) as refusal:
        read_fitted_model(spoil(path, value), "di_weighted", where="fit.json")
    assert words in str(refusal.value)
    assert str(refusal.value).startswith("fit.json: ")


def test_json_that_is_no_fit_is_refused() -> None:
    with pytest.raises(UserError, match="write the file with `fit … --json FILE`"):
        read_fitted_model({}, "di_weighted")


def test_a_model_that_needs_more_than_shapes_is_refused() -> None:
    with pytest.raises(UserError, match="--model: must be one of " + ", ".join(PREDICTORS)):
        read_fitted_model(figures(), "time")
