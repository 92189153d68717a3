"""The library's costs beside ours: the true ratio, its interval, and fits that do not go together."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import attrs
import pytest
from study_frames import energy_of, measured, some_layers, table

from dibench import models, study
from dibench.errors import UserError
from dibench.models import NotCovered
from dibench.show import predicted_costs, terminal
from dibench.study.findings.fitted_model import FittedModel
from dibench.study.use.fitted_model import read_fitted_model
from dibench.study.use.library import predict_beside
from dibench.study.use.predict import predict

OVER_OURS = 0.6
"""What the library takes of what our kernels take, on every layer."""


@cache
def text_of_fit(backend: str, noise: float) -> str:
    frame = measured(160, noise=noise, seed=len(backend))
    frame["energy_j"] *= OVER_OURS if backend == "torch" else 1.0
    return json.dumps(study.fit(frame.assign(backend=backend), draws=99).to_json())


def fitted(backend: str, noise: float = 0.15) -> FittedModel:
    return read_fitted_model(json.loads(text_of_fit(backend, noise)), "di_weighted")


def told(found: Any) -> str:
    return " ".join(terminal.text(predicted_costs.blocks(found, "fit.json", every=False)).split())


def test_exact_rows_give_the_exact_ratio() -> None:
    networks = [models.load("mobilenet_v2", batch=8), models.load("vgg16")]
    found = predict_beside(networks, fitted("cpu", 1e-7), fitted("torch", 1e-7))
    assert found.library is not None and found.library.origin.backend == "torch"
    for ours, theirs in zip(found.predictions, found.library.beside, strict=True):
        assert theirs.prediction.total.value == pytest.approx(OVER_OURS * ours.total.value, rel=1e-5)
        assert theirs.ratio is not None
        for ratio in (theirs.ratio, *theirs.ratio_by_operator.values()):
            assert ratio.value == pytest.approx(OVER_OURS, rel=1e-4)
        assert theirs.ratio_by_operator.keys() == ours.by_operator.keys()


def test_a_ratio_has_the_errors_of_both_fits_and_no_gain_of_their_sensor() -> None:
    network = models.load("resnet50")
    fits = fitted("cpu"), fitted("torch")
    gained = [attrs.evolve(fit, origin=attrs.evolve(fit.origin, gain_accuracy=0.3)) for fit in fits]
    (one,) = predict_beside([network], *fits).library.beside  # type: ignore[union-attr]  # it was given
    (other,) = predict_beside([network], *gained).library.beside  # type: ignore[union-attr]
    assert one.ratio == other.ratio
    assert one.ratio is not None and one.ratio.low < OVER_OURS < one.ratio.high
    squares = []
    for fit in fits:
        total = predict([network], fit).predictions[0].total
        squares.append(math.log(total.high / total.low) ** 2)
    width = math.log(one.ratio.high / one.ratio.low)
    assert max(squares) < width**2 == pytest.approx(sum(squares), rel=0.01)


def test_a_partial_total_has_no_ratio_and_its_operators_have() -> None:
    layers = [layer for layer in some_layers(200, seed=2) if layer.op != "depthwise"]
    frame = table(layers, energy_of(layers, alpha=0.2, noise=0.1)).assign(backend="torch")
    lacking = read_fitted_model(study.fit(frame, draws=99).to_json(), "di_weighted")
    network = models.load("mobilenet_v2")
    found = predict_beside([network], fitted("cpu"), lacking)
    assert found.library is not None
    (one,) = found.library.beside
    assert one.ratio is None and set(one.ratio_by_operator) == {"standard", "pointwise", "fc"}
    text = told(found)
    assert "No ratio of a partial total" in text
    assert "the library's fit has no rows of depthwise" in text
    assert "93% of MACs" in text and "not in the fit" in text
    part = NotCovered(name="m/x", op="bmm", reason="of two activations", macs=network.macs)
    of_part = predict_beside([attrs.evolve(network, not_covered=(part,))], fitted("cpu"), fitted("torch"))
    assert of_part.library is not None and of_part.library.beside[0].ratio is None
    assert told(of_part).count("50% of MACs") >= 3, "ours in two tables, the library's in one"


def test_several_networks_have_a_line_each_and_json_has_all_of_it() -> None:
    networks = [models.load(name, batch=batch) for name in ("resnet50", "vgg16") for batch in (1, 8)]
    found = predict_beside(networks, fitted("cpu"), fitted("torch"))
    text = told(found)
    assert text.count("library / ours") == 1 and "vgg16, batch 8" in text
    library = found.to_json()["library"]
    assert (library["backend"], len(library["beside"])) == ("torch", 4)
    for one in library["beside"]:
        assert one["ratio"]["low"] < one["ratio"]["value"] < one["ratio"]["high"]
        assert {"network", "batch", "total", "per_inference", "share_of_macs", "partial"} <= one.keys()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"device": "another card"},
            r"must have the device of --fit, card \(got 'another card'\)",
        ),
        ({"dtype": "fp16"}, "--library: must have the dtype of --fit, fp32"),
        ({"response": "time_s"}, "--library: must have the response of --fit, energy_j"),
        ({"energy_source": ("model",)}, "--library: must have the energy_source of --fit, rapl"),
        ({"backend": "cpu"}, "--library: must be a fit of rows of PyTorch's library"),
    ],
)
def test_fits_that_do_not_go_together_are_refused(changed: dict[str, Any], words: str) -> None:
    library = fitted("torch")
    other = attrs.evolve(library, origin=attrs.evolve(library.origin, **changed))
    with pytest.raises(UserError, match=words):
        predict_beside([models.load("vgg16")], fitted("cpu"), other)


def test_times_go_together_whatever_gave_the_joules() -> None:
    """Sweeps of our kernels may model joules, those of the library have none: seconds are seconds."""
    ours, library = (
        attrs.evolve(fit, origin=attrs.evolve(fit.origin, response="time_s", energy_source=(source,)))
        for fit, source in ((fitted("cpu"), "model"), (fitted("torch"), "none"))
    )
    found = predict_beside([models.load("vgg16")], ours, library)
    assert found.library is not None and "Time per inference through our kernels" in told(found)


def test_the_library_alone_is_a_fit_like_another() -> None:
    with pytest.raises(UserError, match="--fit: must be a fit of our kernels"):
        predict_beside([models.load("vgg16")], fitted("torch"), fitted("torch"))
    text = told(predict([models.load("vgg16")], fitted("torch")))
    assert "fitted on card (PyTorch's library, fp32, rapl; fit.json)" in text
