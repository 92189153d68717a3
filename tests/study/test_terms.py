"""What the fit tells apart beyond α: inputs from outputs, accesses, idle power, gross energy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from study_frames import E0_PJ, LAUNCH_PJ, some_layers, table

from dibench.study import fit
from dibench.study.ladder.alpha import WeightedAlpha, weights_and_inputs, with_baseline
from dibench.study.ladder.ladder import make_clusterings
from dibench.study.ladder.models import data_of

DRAWS = 299


def priced(
    number: int, e_w: float, e_x: float, e_y: float, noise: float = 0.05, seed: int = 1
) -> pd.DataFrame:
    """Joules above active idle from prices in pJ of each operand."""
    layers = some_layers(number, seed)
    rng = np.random.default_rng(seed)
    exact = [
        E0_PJ * one.macs + e_w * one.weights + e_x * one.inputs + e_y * one.outputs + LAUNCH_PJ
        for one in layers
    ]
    return table(layers, np.array(exact) * 1e-12 * np.exp(noise * rng.standard_normal(number)))


def test_the_split_finds_each_operands_price() -> None:
    found = fit(priced(300, 60.0, 20.0, 40.0, noise=0.02), draws=DRAWS).to_json()
    prices = found["models"]["di_split"]["coefficients"]
    for name, truth in {"e_w": 60.0, "e_x": 20.0, "e_y": 40.0}.items():
        assert prices[name]["ci_low"] < truth < prices[name]["ci_high"]
        assert prices[name]["value"] == pytest.approx(truth, rel=0.2)
    assert found["test_weights_vs_inputs"]["p_value"] <= 0.01


@pytest.mark.parametrize(("e_x", "differ"), [(60.0, False), (20.0, True)])
def test_weights_against_inputs_whatever_outputs_do(e_x: float, differ: bool) -> None:
    """Where only outputs are cheap AI is wrong, and yet weights and inputs cost the same: it says so."""
    result = fit(priced(400, 60.0, e_x, 5.0, noise=0.02), draws=DRAWS)
    found = result.to_json()
    assert (found["test_weights_vs_inputs"]["p_value"] < 0.05) is differ
    if found["verdict"] == "DI":
        assert ("the data type matters" in found["verdict_text"]) is differ
        assert ("outputs differ" in found["verdict_text"]) is not differ
    else:
        assert not differ


def test_the_test_of_weights_against_inputs_has_its_size() -> None:
    """60 replications at 5%: more than 8 rejected have probability below 0.7%."""
    rejected = 0
    for seed in range(60):
        data = data_of(priced(120, 60.0, 60.0, 20.0, noise=0.1, seed=seed), "energy_j")
        tested = weights_and_inputs(data, make_clusterings(data, 199, seed))
        rejected += tested.decisive.p_value < 0.05
    assert rejected <= 8


def with_accesses(frame: pd.DataFrame, box: tuple[int, int]) -> pd.DataFrame:
    """As a kernel whose weight and input reads serve so many multiply-adds."""
    macs = frame[["N", "K", "P", "Q", "C", "R", "S"]].astype(float).prod(axis=1) / frame["groups"].astype(
        float
    )
    return frame.assign(
        macs_executed=macs.round(), weight_reads=(macs / box[0]).round(), input_reads=(macs / box[1]).round(),
        output_reads=0, output_writes=(frame["N"] * frame["K"] * frame["P"] * frame["Q"]).astype(float),
    )  # fmt: skip


def test_accesses_explain_the_rows_of_all_kernels() -> None:
    """Three kernels on the same layers, told apart by nothing but what they access."""
    tables = []
    for box, variant in (((1, 4), "narrow"), ((4, 1), "wide"), ((2, 2), "square")):
        frame = with_accesses(priced(150, 1.0, 1.0, 1.0), box).assign(variant=variant)
        frame["case_id"] = [f"{variant}{number}" for number in range(len(frame))]
        cost = 3.0 * frame["macs_executed"] + 9.0 * frame["weight_reads"] + 4.0 * frame["input_reads"]
        frame["energy_j"] = (cost + 20.0 * frame["output_writes"] + 1e6) * 1e-12
        tables.append(frame)
    both = pd.concat(tables, ignore_index=True)
    found = fit(both, draws=DRAWS).to_json()
    assert found["models"]["effective"]["n"] == 450 and found["rows_used"] == 150
    assert found["models"]["effective"]["mape"] < 1e-3
    prices = found["models"]["effective"]["coefficients"]
    assert prices["e_w"]["value"] == pytest.approx(9.0, rel=1e-2)
    assert prices["e_w"]["unit"] == "pJ/weight read"
    assert found["models"]["effective"]["aicc"] is None, "other rows: not to be compared"


def test_without_counted_accesses_it_says_so() -> None:
    found = fit(priced(60, 60.0, 40.0, 40.0), draws=99).to_json()["models"]["effective"]
    assert found["reason"] == "the table counts no accesses" and found["mape"] is None


def above_idle(frame: pd.DataFrame, idle_w: float, ci_w: float, wrong_w: float = 0.0) -> pd.DataFrame:
    """Energy above an idle power that is known within ci_w and is wrong by wrong_w."""
    time_s = frame["time_s"].to_numpy(float)
    clean = frame["energy_j"].to_numpy(float)
    return frame.assign(
        energy_j=clean + idle_w * time_s,
        energy_above_active_idle_j=clean - wrong_w * time_s,
        active_idle_power_w=idle_w + wrong_w,
        ci_baseline_j=ci_w * time_s,
    )


@pytest.mark.slow
def test_what_is_not_known_of_idle_power_widens_alpha() -> None:
    frame = priced(200, 60.0, 40.0, 40.0, noise=0.02)
    frame["time_s"] = frame["energy_j"] / 60.0 * np.random.default_rng(0).uniform(0.5, 2.0, len(frame))
    exact, vague = (
        fit(above_idle(frame, 30.0, ci), draws=DRAWS).to_json()["alpha"]["weighted"] for ci in (0.0, 3.0)
    )
    assert exact["value"] == vague["value"]
    assert vague["ci_high"] - vague["ci_low"] > 1.02 * (exact["ci_high"] - exact["ci_low"])
    wrong = fit(above_idle(frame, 30.0, 3.0, wrong_w=3.0), draws=DRAWS).to_json()["alpha"]["weighted"]
    half = (vague["ci_high"] - vague["ci_low"]) / 2
    assert abs(wrong["value"] - exact["value"]) <= half, (
        "an error at its bound moves α by no more than was said"
    )


@pytest.mark.slow
def test_gross_energy_is_told_apart() -> None:
    frame = priced(200, 60.0, 40.0, 40.0, noise=0.02)
    frame["time_s"] = frame["energy_j"] / 60.0 * np.random.default_rng(0).uniform(0.5, 2.0, len(frame))
    rows: dict[str, Any] = fit(above_idle(frame, 30.0, 0.1), draws=DRAWS).to_json()
    assert rows["response"] == "energy_above_active_idle_j"
    for name in ("gross", "gross_with_power"):
        assert rows["sensitivity"][name]["alpha"]["value"] is not None
    assert rows["sensitivity"]["gross"]["alpha"]["value"] != rows["alpha"]["weighted"]["value"]
    assert "gross" not in fit(frame, draws=99).to_json()["sensitivity"], "gross is the response already"


def test_a_baseline_that_ruins_the_fit_leaves_no_bound() -> None:
    data = data_of(above_idle(priced(80, 60.0, 40.0, 40.0), 30.0, 1e9), "energy_above_active_idle_j")
    found = with_baseline(WeightedAlpha(data, make_clusterings(data, 99, 0)).estimate(), data)
    assert found.value is not None and found.unbounded
    assert found.ci_low is found.ci_high is None
