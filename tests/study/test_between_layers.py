"""What runs between the layers of networks: known truth in, known truth out, and honest intervals."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from study_frames import measured

from dibench import models, networks, study
from dibench.cli import main
from dibench.models import NotCovered
from dibench.schema import NETWORK
from dibench.study.findings.fitted_model import FittedModel
from dibench.study.table.network_rows import measured_models
from dibench.study.use.between_layers import Known, fit_known, predict_whole, whole_costs
from dibench.study.use.fitted_model import read_fitted_model
from dibench.study.use.predict import predict

FloatArray = NDArray[np.float64]
LAYERS, ELEMENTS, CALLS = 1.2, 2e-11, 4e-5
"""The truth: of the layers' sum, and joules for each output and each layer."""


@cache
def fit_json() -> str:
    return json.dumps(study.fit(measured(120), draws=99).to_json())


@pytest.fixture(scope="module")
def fit() -> FittedModel:
    return read_fitted_model(json.loads(fit_json()), "di_weighted")


def rows(fit: FittedModel, names: tuple[str, ...], **cells: Any) -> pd.DataFrame:
    """Whole networks at batch 1 and 8 that cost exactly the truth."""
    known = [models.load(name, batch=batch) for name in names for batch in (1, 8)]
    made = []
    for one, found in zip(known, predict(known, fit).predictions, strict=True):
        energy = LAYERS * found.total.value + CALLS * len(one.layers)
        energy += ELEMENTS * sum(layer.outputs for layer in one.layers)
        made.append({"name": one.name, "N": one.batch, "energy_j": energy})
        if one.image is not None:
            made[-1] |= dict(zip("CHW", one.image, strict=True))
    frame = pd.DataFrame(made).assign(
        op=NETWORK, device="card", dtype="fp32", status="ok", energy_source="rapl", backend="torch", **cells
    )
    return frame.astype(dict.fromkeys(("N", "C", "H", "W"), "Int64"))


def test_the_truth_is_found_and_a_network_does_not_tell_of_itself(fit: FittedModel) -> None:
    frame = rows(fit, networks.names())
    frame.loc[frame["name"] == "resnet50", "energy_j"] *= 3  # must not matter for resnet50 itself
    resnet = [models.load("resnet50", batch=batch) for batch in (1, 8)]
    found = whole_costs(predict(resnet, fit), measured_models(frame)[0], frame, fit)
    one, eight = found.predicted
    for whole in (one, eight):
        truth = frame.loc[(frame["name"] == "resnet50") & (frame["N"] == whole.batch), "energy_j"].item() / 3
        assert whole.total.value == pytest.approx(truth, rel=1e-4)
        assert sum(whole.terms.values()) == pytest.approx(whole.total.value)
        assert whole.factor.value == pytest.approx(truth / whole.layers.value, rel=1e-4)
    assert one.others == len(networks.names()) - 1
    assert one.measured == pytest.approx(3 * one.total.value, rel=1e-4)
    assert not one.inside
    assert one.terms["calls"] / one.total.value > eight.terms["calls"] / eight.total.value


def test_few_networks_tell_a_factor_only_and_fewer_nothing(fit: FittedModel) -> None:
    (alexnet,) = predict([models.load("alexnet")], fit).predictions
    some = ("resnet50", "vgg16", "mobilenet_v2", "squeezenet1_1", "densenet121")
    frame = rows(fit, some)
    predicted = predict([models.load("alexnet")], fit)
    (whole,) = whole_costs(predicted, measured_models(frame)[0], frame, fit).predicted
    assert list(whole.terms) == ["layers"]
    assert whole.factor.low < whole.factor.value < whole.factor.high
    assert whole.layers == alexnet.total
    few = rows(fit, some[:4])
    found = whole_costs(predicted, measured_models(few)[0], few, fit)
    assert (found.between, found.predicted) == (None, ())
    assert "4 measured networks" in found.reason
    resnets = rows(fit, ("resnet50", "resnet101", "resnet152_v2", "resnext50_32x4d", "resnext101_32x8d"))
    assert "1 family" in whole_costs(predicted, measured_models(resnets)[0], resnets, fit).reason


def test_networks_that_cannot_be_used_are_named(fit: FittedModel) -> None:
    frame = rows(fit, networks.names()[:12])
    unknown = frame.iloc[:1].assign(name="mine")
    known, words = measured_models(pd.concat([frame, unknown], ignore_index=True))
    assert len(known) == 24
    assert words == ("mine: is no network that the program knows",)
    part = NotCovered(name="mul", op="bmm", reason="a product of two activations", macs=7)
    known[0] = attrs.evolve(known[0], not_covered=(part,))
    found = whole_costs(predict(known[1:2], fit), known, frame, fit)
    assert [words[:16] for words in found.not_used] == ["alexnet, batch 1"]
    assert found.between is not None
    assert (found.between.networks, found.between.measurements) == (12, 23)


@cache
def terms() -> tuple[NDArray[np.str_], NDArray[np.str_], NDArray[np.intp], FloatArray]:
    """The 25 networks at two batches: names, families, batches, and what costs are made of."""
    every = [models.load(name, batch=batch) for name in networks.names() for batch in (1, 8)]
    made = [
        (
            sum(1e-11 * one.macs + 5e-11 * one.weights + 2e-10 * one.activations for one in network.layers),
            sum(layer.outputs for layer in network.layers),
            len(network.layers),
        )
        for network in every
    ]
    names = np.array([one.name for one in every])
    families = np.array([networks.family(one.name) for one in every])
    return names, families, np.array([one.batch for one in every]), np.array(made, dtype=np.float64)


def simulated(seed: int, *, row: float, network: float, family: float) -> Known:
    """Measured networks with errors of rows, networks and families, as standard deviations of log cost."""
    rng = np.random.default_rng(seed)
    names, families, batch, made = terms()
    error = row * rng.standard_normal(len(names))
    for labels, spread in ((names, network), (families, family)):
        distinct, member = np.unique(labels, return_inverse=True)
        error = error + spread * rng.standard_normal(len(distinct))[member]
    return Known(names, batch, families, made, made @ np.array([1.1, 6e-10, 3e-5]) * np.exp(error))


@pytest.mark.parametrize(
    "errors",
    [
        {"row": 0.05, "network": 0.1, "family": 0.0},
        {"row": 0.05, "network": 0.05, "family": 0.15},
    ],
)
def test_intervals_hold_for_a_family_that_was_not_measured(errors: dict[str, float]) -> None:
    held, widths = [], []
    for seed in range(40):
        known = simulated(seed, **errors)
        for family in np.random.default_rng(seed).choice(np.unique(known.family), 2, replace=False):
            out = known.family == family
            _, low, high = predict_whole(known.terms[out], fit_known(known.only(~out)))
            held.append(((low <= known.cost[out]) & (known.cost[out] <= high)).mean())
            widths.append(np.log(high / low).mean())
    assert np.mean(held) >= 0.93, "95%, less the luck of 80 families"
    true_width = 2 * 1.96 * np.linalg.norm(list(errors.values()))
    assert np.median(widths) <= 1.6 * true_width, "and not by being too wide"


def test_predict_shows_the_whole_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, table_path = tmp_path / "fit.json", tmp_path / "networks.csv"
    path.write_text(fit_json())
    frame = rows(read_fitted_model(json.loads(fit_json()), "di_weighted"), networks.names())
    frame.reindex(columns=[*measured(3), "backend"]).to_csv(table_path, index=False)
    arguments = ["predict", "resnet50", "--fit", str(path), "--measured", str(table_path)]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "resnet50, batch 1, the whole network: " in said
    assert "from 24 other networks" in said
    assert "of 50 lie inside the 95% interval" in said
    with pytest.raises(SystemExit):
        main([*arguments, "--json"])
    whole = json.loads(capsys.readouterr().out)["whole"]
    assert whole["between"]["networks"] == 25
    assert whole["predicted"][0]["total"]["low"] < whole["predicted"][0]["total"]["high"]
