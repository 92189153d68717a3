"""The whole fit on made-up measurements: what it finds, what it says, and that its JSON is complete."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from study_frames import distinct_layers, energy_of, measured, some_layers, table

import dibench
from dibench.layer import Layer
from dibench.study import Fit, fit

DRAWS = 299
FIGURES = {"n", "r2", "mape", "pearson", "spearman", "rmse_log"}


def fitted(frame: pd.DataFrame, **options: Any) -> dict[str, Any]:
    return fit(frame, draws=DRAWS, **options).to_json()


@pytest.fixture(scope="module")
def energy_fit() -> Fit:
    """All 572 shapes, α = 0.2, ten percent of noise."""
    layers = distinct_layers()
    return fit(table(layers, energy_of(layers, alpha=0.2, noise=0.1, seed=1)), draws=DRAWS)


@pytest.fixture(scope="module")
def energy_json(energy_fit: Fit) -> dict[str, Any]:
    return energy_fit.to_json()


def test_it_finds_the_truth_and_decides_for_di(energy_fit: Fit, energy_json: dict[str, Any]) -> None:
    alpha = energy_json["alpha"]["weighted"]
    assert alpha["ci_low"] < 0.2 < alpha["ci_high"]
    assert alpha["value"] == pytest.approx(0.2, abs=0.1)
    assert energy_json["verdict"] == "DI"
    assert energy_json["verdict_text"].startswith("DI. For measured energy the data type matters")
    assert energy_json["test_ai_vs_di"]["p_value"] <= 0.01
    coefficients = energy_json["models"]["di_weighted"]["coefficients"]
    truth = {"e_w": 12.0, "e_a": 48.0, "e0[standard]": 3.0, "e0[pointwise]": 3.0, "e_launch": 1e6}
    for name, value in truth.items():
        found = coefficients[name]
        assert found["ci_low"] < value < found["ci_high"], name
    assert coefficients["e_w"]["unit"] == "pJ/weight"
    usual = np.exp(np.log(energy_fit.used["energy_j"] / energy_fit.used["time_s"]).mean())
    assert energy_json["models"]["time"]["coefficients"]["power"]["value"] == pytest.approx(usual)


def test_the_ladder_is_ordered_as_the_truth_demands(energy_json: dict[str, Any]) -> None:
    models = energy_json["models"]
    held_out = {name: model["held_out"]["rmse_log"] for name, model in models.items()}
    assert held_out["di_weighted"] < held_out["ai"] < held_out["macs"]
    # Ten percent of noise is what no model can predict.
    assert held_out["di_weighted"] == pytest.approx(0.1, abs=0.02)
    assert models["di_weighted"]["aicc"] < models["ai"]["aicc"] < models["macs"]["aicc"]
    assert models["di_weighted"]["mape"] == pytest.approx(0.1 * math.sqrt(2 / math.pi), rel=0.2)


def test_the_json_has_every_key_and_no_nan(energy_json: dict[str, Any]) -> None:
    json.dumps(energy_json, allow_nan=False)
    assert energy_json["rows"] == energy_json["rows_used"] == 572
    assert energy_json["excluded"] == {}
    assert energy_json["response"] == "energy_j"
    assert energy_json["energy_source"] == ["rapl"]
    assert energy_json["evidence"] is True
    assert energy_json["pipeline_check"] is None
    ladder = ["macs", "time", "ai", "di_weighted", "di_disjoint", "di_split", "di_occupancy", "di_capacity"]
    assert list(energy_json["models"]) == [*ladder, "effective"]
    for model in energy_json["models"].values():
        assert set(model) >= FIGURES | {"k", "aicc", "held_out", "coefficients", "below_zero", "reason"}
        assert set(model["held_out"]) == FIGURES
    for form in ("weighted", "disjoint"):
        assert set(energy_json["alpha"][form]) == {"value", "ci_low", "ci_high", "unbounded"}
    assert set(energy_json["test_ai_vs_di"]) >= {"statistic", "p_value", "by", "draws"}
    assert set(energy_json["test_ai_vs_di"]["by"]) == {"layer", "network"}
    assert set(energy_json["by_operator"]) == {"standard", "depthwise", "pointwise", "grouped", "fc"}
    assert sum(own["n"] for own in energy_json["by_operator"].values()) == 572
    assert set(energy_json["sensitivity"]) == {"without_launch", "one_e0", "without_launch_and_one_e0"}
    assert energy_json["folds"]["by"] == "family"
    assert len(energy_json["folds"]["names"]) == 10


def test_held_out_figures_compare_models_on_the_same_rows(energy_json: dict[str, Any]) -> None:
    shapes = {name: model for name, model in energy_json["models"].items() if name != "effective"}
    numbers = {model["held_out"]["n"] for model in shapes.values() if model["reason"] is None}
    assert len(numbers) == 1
    assert numbers.pop() <= 572


def test_the_frame_holds_rows_and_predictions(energy_fit: Fit) -> None:
    frame = energy_fit.to_frame()
    assert len(frame) == 572
    ratio = frame["predicted_di_weighted"] / frame["energy_j"]
    assert np.log(ratio).std() == pytest.approx(0.1, rel=0.1)
    assert (frame["held_out_ai"] > 0).all()


def test_held_out_rows_do_not_influence_their_own_prediction() -> None:
    """Families that see a tenfold cost are predicted by what the others learned."""
    layers = some_layers(200, 3)
    energy = energy_of(layers, alpha=0.4)
    vgg = np.array([one.name.startswith("vgg") for one in layers])
    assert vgg.sum() >= 3
    frame = fit(table(layers, np.where(vgg, 10 * energy, energy)), draws=DRAWS).to_frame()
    apart = frame["held_out_di_weighted"][vgg] / (10 * energy[vgg])
    np.testing.assert_allclose(apart, 0.1, rtol=0.1)


def test_ai_is_the_verdict_where_ai_is_true_and_data_are_exact_enough() -> None:
    result = fitted(measured(200, alpha=0.5, ratio=60.0, noise=0.01))
    assert result["verdict"] == "AI"
    assert result["alpha"]["weighted"]["value"] == pytest.approx(0.5, abs=0.02)


def test_time_leads_where_energy_is_modelled_and_the_check_is_marked() -> None:
    result = fitted(measured(150).assign(energy_source="model"))
    assert result["response"] == "time_s"
    assert result["evidence"] is False
    assert result["energy_source"] == ["model"]
    assert result["basis"].startswith("Measured time")
    assert "not energy" in result["verdict_text"]
    assert result["models"]["time"]["r2"] is None
    assert result["models"]["time"]["reason"] == "time is what is explained here"
    assert result["models"]["ai"]["coefficients"]["e"]["unit"] == "ps/element"
    check = result["pipeline_check"]
    assert check["response"] == "energy_j"
    assert check["evidence"] is False
    assert check["basis"].startswith("PIPELINE CHECK")
    assert check["verdict_text"].startswith("No evidence")


def test_simulated_energy_is_never_called_measured() -> None:
    result = fitted(measured(60).assign(energy_source="simulated"))
    assert result["evidence"] is False
    assert result["basis"].startswith("PIPELINE CHECK. Simulated energy")
    assert result["verdict_text"].startswith("No evidence")
    assert "measured" not in json.dumps([result["basis"], result["verdict_text"]])


@pytest.mark.slow
def test_the_same_rows_give_the_same_figures_in_any_order() -> None:
    frame = measured(80)
    shuffled = frame.sample(frac=1, random_state=1).reset_index(drop=True)
    one, other = fitted(frame), fitted(shuffled)
    assert fitted(frame) == one
    assert other["alpha"]["weighted"]["value"] == pytest.approx(one["alpha"]["weighted"]["value"], rel=1e-6)
    assert other["test_ai_vs_di"]["p_value"] == pytest.approx(one["test_ai_vs_di"]["p_value"])


def test_a_coefficient_below_zero_is_reported() -> None:
    """Above idle, a tiny layer can cost less than nothing per launch."""
    layers = [layer for layer in some_layers(150, 2) if layer.macs > 5e6]
    energy = energy_of(layers, alpha=0.3, launch=-5e6)
    result = fitted(table(layers, energy))
    di = result["models"]["di_weighted"]
    assert di["below_zero"] == ["e_launch"]
    assert di["coefficients"]["e_launch"]["value"] == pytest.approx(-5e6, rel=1e-3)


def test_fully_connected_layers_at_one_batch_tell_nothing() -> None:
    layers = [Layer.fc(1, 64 * i, 1000 + 17 * (i * i % 31), name=f"net{i}/fc") for i in range(1, 40)]
    result = fitted(table(layers, energy_of(layers, alpha=0.3, noise=0.05)))
    assert result["verdict"] == "undecided"
    assert any("single batch size" in reason for reason in result["reasons"])
    assert result["alpha"]["weighted"] == {"value": None, "ci_low": None, "ci_high": None, "unbounded": True}
    for name in ("di_weighted", "di_split"):
        assert result["models"][name]["below_zero"] == []
        assert all(one["value"] is None for one in result["models"][name]["coefficients"].values())


def alike() -> pd.DataFrame:
    """18 layers of two families: terms too alike."""
    layers = [one for one in distinct_layers() if one.name.startswith(("vgg", "alexnet"))]
    return table(layers, energy_of(layers, alpha=0.3, noise=0.05))


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (measured(12), "too few rows"),
        (alike(), "cannot tell the terms apart"),
        (measured(150, seed=3, ratio=0.0), "rule out no value"),
        (
            table(some_layers(150, 3), energy_of(some_layers(150, 3), alpha=0.3, noise=3.0)),
            "rule out no value",
        ),
    ],
    ids=["few rows", "alike", "reuse is free", "loud"],
)
def test_rows_that_cannot_tell_give_a_reason_and_no_number_that_looks_like_an_answer(
    frame: pd.DataFrame, why: str
) -> None:
    found = fit(frame, draws=DRAWS)
    result = found.to_json()
    assert result["verdict"] == "undecided"
    assert why in "; ".join(result["reasons"])
    assert result["determined"] is result["reliable"] is False
    nothing = {"value": None, "ci_low": None, "ci_high": None, "unbounded": True}
    assert result["alpha"] == {"weighted": nothing, "disjoint": nothing}
    assert result["alpha_by_family"].items() >= nothing.items()
    assert all(one == {"alpha": nothing, "p_value": None} for one in result["sensitivity"].values())
    for test in ("test_ai_vs_di", "test_weights_vs_inputs"):
        tests = [result[test], *result[test]["by"].values()]
        assert all(one["statistic"] is one["p_value"] is None for one in tests)
    for own in result["by_operator"].values():
        assert own["reliable"] is False
    assert "not to be relied on" in dibench.fit(frame, draws=DRAWS).full().summary()


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 12])
def test_few_rows_are_undecided_and_never_an_exception(rows: int) -> None:
    result = fitted(measured(rows))
    json.dumps(result, allow_nan=False)
    assert result["verdict"] == "undecided"
    assert result["reasons"][0].startswith(f"too few rows: {rows},")


@pytest.mark.parametrize("nonsense", [0.0, -1.0])
def test_a_time_that_is_none_leaves_out_the_model_that_needs_it(nonsense: float) -> None:
    frame = measured(40)
    frame.loc[7, "time_s"] = nonsense
    result = fitted(frame)
    assert result["models"]["time"]["reason"] == "1 rows have no time_s above zero"
    assert result["models"]["di_weighted"]["n"] == 40


def test_rows_without_time_or_names_are_fitted_too() -> None:
    """What the contract asks of anybody's tool, and no more."""
    frame = measured(100).drop(columns=["time_s", "device", "case_id", "name"])
    result = fitted(frame)
    assert result["models"]["time"]["reason"] == "100 rows have no time_s above zero"
    assert result["folds"]["by"] == "layer"
    assert set(result["test_ai_vs_di"]["by"]) == {"layer"}
    assert result["alpha"]["weighted"]["value"] is not None


@pytest.mark.slow
def test_a_frame_that_pandas_read_gives_the_same_figures() -> None:
    """Dimensions as decimals and missing names, as a notebook has them."""
    frame = measured(60)
    loose = frame.astype(dict.fromkeys(("N", "C", "K", "groups"), float))
    loose["name"] = loose["name"].astype(object)
    assert fitted(loose) == fitted(frame)
    loose.loc[3, "K"] = float("nan")
    assert fitted(loose)["excluded"] == {"counts contradict the dimensions": 1}


def test_a_constant_response_has_no_correlation_and_no_verdict() -> None:
    result = fitted(measured(60).assign(energy_j=1e-3))
    assert result["verdict"] == "undecided"
    assert result["models"]["macs"]["r2"] is None
    assert result["models"]["macs"]["pearson"] is None
