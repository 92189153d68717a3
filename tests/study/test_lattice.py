"""The reuse lattice: coefficients, α and their intervals on synthetic lattices of known truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import study_frames
from lattice_frames import LAYER, RATES, SHARES, TRUTH, anchor_rows, table

from dibench.study.findings.lattice import Lattice
from dibench.study.maths.slopes import share
from dibench.study.questions import lattice as study_lattice


def only(frame: pd.DataFrame) -> Lattice:
    found = study_lattice.lattice(frame)
    assert found is not None
    (one,) = found.lattices
    return one


def test_exact_rows_give_the_truth_back() -> None:
    one = only(table())
    assert (one.level, one.lanes, one.boxes, one.shares) == ("L2, warm", "p", 24, (33, 66, 132))
    assert one.operands_bytes == 4 * (LAYER.weights + LAYER.inputs + LAYER.outputs)
    for name in ("power", "weight", "input", "output"):
        assert one.coefficients[name].value == pytest.approx(TRUTH[name], rel=1e-6)
    assert one.coefficients["mac/output"].value == pytest.approx(TRUTH["mac"], rel=1e-6)
    assert one.alpha is not None
    assert one.alpha.value == pytest.approx(20 / 80)
    assert one.reason == ""


def test_without_dilution_power_hides_in_the_slopes_and_it_is_said() -> None:
    noisy = table(noise=0.01)
    diluted, whole = only(noisy), only(noisy[noisy["sms"] == 132])
    assert diluted.coefficients["weight"].value == pytest.approx(TRUTH["weight"], rel=0.1)
    # Power times time adds 120 W · 0.5 ps = 60 pJ to the 20 pJ of a weight: four times too much.
    assert whole.coefficients["weight"].value == pytest.approx(4 * TRUTH["weight"], rel=0.1)
    assert whole.alpha is not None and diluted.alpha is not None
    assert (whole.alpha.ci_low or 0) > 0.3 > diluted.alpha.value
    assert "power times time hides in the slopes" in whole.reason
    assert diluted.reason == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "box_noise", "truth"),
    [(0.01, 0.0, TRUTH), (0.005, 0.02, TRUTH), (0.02, 0.0, TRUTH | {"weight": 40.0, "input": 40.0}),
     (0.01, 0.01, TRUTH | {"weight": 0.5})],
)  # fmt: skip
def test_intervals_cover(noise: float, box_noise: float, truth: dict[str, float]) -> None:
    alpha = truth["weight"] / (truth["weight"] + truth["input"])
    draws, hits = 250, dict.fromkeys(("alpha", "power", "weight", "input", "output", "mac/output"), 0)
    frame = table(truth=truth)
    rng = np.random.default_rng(7)
    prepared = frame.assign(level="L2", box=study_lattice._boxes(frame))
    boxes, member = np.unique(prepared["box"], return_inverse=True)
    for _ in range(draws):
        error = noise * rng.standard_normal(len(frame)) + box_noise * rng.standard_normal(len(boxes))[member]
        one = study_lattice.fit_lattice(
            prepared.assign(energy_j=frame["energy_j"] * np.exp(error)), "energy_j", energy=True
        )
        assert one is not None and one.alpha is not None
        for name, slope in {**one.coefficients, "alpha": one.alpha}.items():
            true = alpha if name == "alpha" else truth[name.partition("/")[0]]
            if name in hits:
                assert slope.ci_low is not None and slope.ci_high is not None
                hits[name] += slope.ci_low <= true <= slope.ci_high
    assert min(hits.values()) >= 0.93 * draws, {name: count / draws for name, count in hits.items()}


@pytest.mark.parametrize(("e_read", "agrees"), [(65.0, True), (40.0, False)])
def test_anchors_are_held_against_the_lattice(e_read: float, agrees: bool) -> None:
    found = study_lattice.lattice(anchor_rows(e_read, table(noise=0.002)))
    assert found is not None
    assert found.anchors["anchor_l2"].value == pytest.approx(e_read, rel=1e-6)
    assert found.anchors["anchor_fma"].value == pytest.approx(8.0, rel=1e-6)
    checks = {check.what: check for check in found.lattices[0].checks}
    assert checks["L2 read against anchor_l2"].agrees is agrees
    assert checks["multiply-add against anchor_fma"].agrees
    assert checks["L2 read in the range of published figures"].expected == (60.0, 200.0)


def test_lane_mappings_and_levels_stay_apart() -> None:
    other = table(lanes="k", truth=TRUTH | {"weight": 60.0, "input": 20.0})
    cold = table().assign(knobs="cache=cg;warps=8;cold=1", case_id=[f"c{i:015x}" for i in range(72)])
    found = study_lattice.lattice(pd.concat([table(), other, cold], ignore_index=True))
    assert found is not None
    alphas = {(one.level, one.lanes): one.alpha.value for one in found.lattices if one.alpha is not None}
    assert alphas == pytest.approx(
        {("L2, warm", "p"): 0.25, ("L2, warm", "k"): 0.75, ("L2, cold", "p"): 0.25}, rel=1e-4
    )


def test_without_energy_the_slopes_are_of_time_and_one_share() -> None:
    frame = table(shares=SHARES).assign(energy_source="none", energy_j=np.nan)
    found = study_lattice.lattice(frame)
    assert found is not None
    assert (found.kind, found.basis) == ("time", "measured time (time_s)")
    (one,) = found.lattices
    assert one.shares == (132,)
    assert one.coefficients["weight"].value == pytest.approx(RATES["weight"], rel=0.05)
    assert all("published" not in check.what for check in one.checks)


def test_a_slope_below_zero_is_no_cost_and_said() -> None:
    one = only(table(truth=TRUTH | {"mac": -20.0}, noise=0.002))
    assert one.reason.startswith("mac/output, mac/weight fitted below zero: costs that add up do not")


def test_what_is_no_lattice_is_none() -> None:
    assert study_lattice.lattice(study_frames.measured(40)) is None
    few = table()
    assert study_lattice.lattice(few[few["tile_c"] == 8]) is None
    same = table().assign(weight_reads=LAYER.macs)
    assert study_lattice.lattice(same) is None


def test_fieller_has_no_end_where_the_sum_is_not_told_from_zero() -> None:
    assert share(np.array([1.0, 1.0]), np.eye(2) * 4, 2.0) is None
    # Fieller's interval against the definition: the hypothesis at either end lies t errors from the estimate.
    pair, variance, t = np.array([2.0, 5.0]), np.array([[0.2, 0.05], [0.05, 0.3]]), 2.1
    found = share(pair, variance, t)
    assert found is not None
    for end in (found.ci_low, found.ci_high):
        assert end is not None
        direction = np.array([1 - end, -end])
        assert abs(direction @ pair) == pytest.approx(t * np.sqrt(direction @ variance @ direction))
    assert found.value == pytest.approx(2 / 7)


def test_json_is_plain() -> None:
    import json

    found = study_lattice.lattice(anchor_rows(60.0, table(noise=0.01)))
    assert found is not None
    values = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert values["unit"] == "pJ"
    assert set(values["lattices"][0]["coefficients"]) == {
        "power", "weight", "input", "output", "mac/output", "mac/weight"
    }  # fmt: skip
