"""The reuse lattice: coefficients, α and their intervals on synthetic lattices of known truth."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import study_frames

from dibench.layer import Layer
from dibench.study.maths.slopes import share
from dibench.study.questions import lattice as study_lattice

LAYER = Layer(N=64, C=256, H=32, W=32, K=256, R=1, S=1)
TRUTH = {"power": 120.0, "mac": 8.0, "weight": 20.0, "input": 60.0, "output": 90.0}  # W, pJ
RATES = {"mac": 0.05, "weight": 0.5, "input": 0.5, "output": 0.6}  # ps on all multiprocessors
BOXES = (*product((1, 8), (1, 8), (1, 256)), *product((1, 4), (1, 4), (8,)))
SHARES = (132, 66, 33)


def table(
    *,
    shares: Sequence[int] = SHARES,
    noise: float = 0.0,
    box_noise: float = 0.0,
    seed: int = 0,
    truth: dict[str, float] = TRUTH,
    lanes: str = "p",
    variants: Sequence[str] = ("output", "weight"),
) -> pd.DataFrame:
    """Every box on every share: time by RATES, joules by `truth`, lognormal errors of rows and of boxes."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for variant, (tile_p, tile_k, tile_c) in product(variants, BOXES):
        n = {"mac": LAYER.macs, "weight": LAYER.macs // tile_p, "input": LAYER.macs // tile_k,
             "output": 2 * LAYER.macs // tile_c}  # fmt: skip
        error = box_noise * rng.standard_normal()
        for sms in shares:
            time = 1e-12 * max(SHARES) / sms * sum(RATES[name] * n[name] for name in n)
            time *= np.exp(0.002 * rng.standard_normal())
            energy = truth["power"] * time + 1e-12 * sum(truth[name] * n[name] for name in n)
            rows.append(
                {"variant": variant, "tile_p": tile_p, "tile_k": tile_k, "tile_c": tile_c, "sms": sms,
                 "time": time, "energy": energy * np.exp(error + noise * rng.standard_normal()), **n}
            )  # fmt: skip
    made = pd.DataFrame(rows)
    cells = {name: made[name].to_numpy() for name in ("variant", "tile_p", "tile_k", "tile_c", "sms")}
    frame = study_frames.table([LAYER] * len(made), made["energy"], **cells)
    return frame.assign(
        time_s=made["time"],
        macs_executed=made["mac"],
        weight_reads=made["weight"],
        input_reads=made["input"],
        output_reads=made["output"] // 2,
        output_writes=made["output"] - made["output"] // 2,
        lanes=lanes,
        knobs="cache=cg;warps=8",
        backend="cuda",
        case_id=[f"{lanes}{number:015x}" for number in range(len(made))],
    )


def only(frame: pd.DataFrame) -> study_lattice.Lattice:
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


def anchor_rows(e_read: float, frame: pd.DataFrame) -> pd.DataFrame:
    """The L2 and FMA anchors on every share, e_read pJ a read, 8 pJ a multiply-add, 120 W."""
    rows = []
    for (name, reads, macs), sms in product((("anchor_l2", 1e10, 0.0), ("anchor_fma", 0.0, 1e11)), SHARES):
        time = 1e-3 * 132 / sms
        energy = 120 * time + 1e-12 * (e_read * reads + 8 * macs)
        rows.append({"op": "anchor", "variant": name, "sms": sms, "time_s": time, "energy_j": energy,
                     "input_reads": reads, "macs_executed": macs, "output_writes": 0.0,
                     "status": "ok", "energy_source": "rapl", "device": "card",
                     "backend": "cuda"})  # fmt: skip
    both = pd.concat([frame, pd.DataFrame(rows)], ignore_index=True)
    whole = ("tile_p", "tile_k", "tile_c", "sms", *study_lattice.COUNTS)
    return both.astype(dict.fromkeys(whole, "Int64"))


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
