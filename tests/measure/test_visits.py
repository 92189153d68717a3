"""Visits to a metered GPU: what a row says of them, and that its intervals cover the truth."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from replay import AMPERE, DESKTOP, HOPPER, PASCAL, VOLTA, Card, Load, Process
from visit_rig import LOAD, Rig, assert_good

from dibench.meters.gpu_sensor import ACTIVITY


@pytest.mark.parametrize("card", [HOPPER, AMPERE, DESKTOP, VOLTA, PASCAL], ids=lambda card: str(card.name))
def test_a_row_says_everything_and_is_right(card: Card) -> None:
    rig = Rig(card)
    load = Load(0.7 * card.limit_w, 2e-4)
    row = rig.row(load, visits=3)
    assert_good(row, rig.truth(load))
    assert row["visits"] == 3 and row["windows"] >= 3 * 4 and row["launches"] >= 3 * 3.0 / 2e-4
    assert row["time_s"] == pytest.approx(2e-4, rel=1e-2) and row["time_ci_s"] < 0.01 * row["time_s"]
    assert row["energy_source"] == "simulated"
    assert row["meter_period_s"] == pytest.approx(card.counter_s or card.power_s, rel=0.02)
    assert row["idle_power_w"] == pytest.approx(card.idle_w, rel=0.1)
    assert row["active_idle_power_w"] == pytest.approx(card.active_idle_w, rel=0.1)
    above = row["energy_j"] - row["active_idle_power_w"] * row["time_s"]
    assert row["energy_above_active_idle_j"] == pytest.approx(above)
    assert row["energy_above_idle_j"] > row["energy_above_active_idle_j"]
    budget = [row[f"ci_{part}_j"] for part in ("tick", "spread", "drift")]
    assert row["energy_ci_j"] == pytest.approx(np.hypot.reduce(budget))
    assert 0 < row["ci_baseline_j"] < 0.02 * row["energy_j"]
    assert row["clock_events"] == "" and row["sm_clock_mhz"] == pytest.approx(card.clock_mhz, rel=0.02)
    assert row["temp_end_c"] >= 30
    assert (row["memory_power_w"] is not None) == (card.memory_w is not None)
    assert all((row[name] is not None) == card.gpm for name in ACTIVITY)
    if card.counter_s is not None:
        assert row["energy_alt_j"] == pytest.approx(row["energy_j"], rel=0.02)


def test_what_the_cards_own_counters_say_stands_in_the_row_per_visit_not_per_launch() -> None:
    rig = Rig()
    load = attrs.evolve(LOAD, dram_bandwidth_pct=50.0, fp32_pct=80.0, tensor_pct=10.0, occupancy_pct=60.0)
    visits = [rig.visit(load) for _ in range(2)]
    row = rig.cells(visits, 4)
    assert {name: row[name] for name in ACTIVITY} == pytest.approx(
        {"dram_bandwidth_pct": 50.0, "fp32_pct": 80.0, "tensor_pct": 10.0, "occupancy_pct": 60.0}, abs=0.1
    )
    assert row["memory_power_w"] == pytest.approx(100.0 * 2 / 3, abs=0.01)
    lacking = attrs.evolve(visits[0], counters={"dram_bandwidth_pct": 50.0})
    assert rig.cells([lacking, visits[1]], 1)["fp32_pct"] is None, "not the mean of one visit of two"


def test_zeus_reads_the_same_windows_beside_ours() -> None:
    """A window of 3.15 s holds 31 ticks of 100 ms or 32: off by up to 3%, right on average."""
    rig = Rig(beside=True)
    rows = [rig.row(Load(500.0, 0.045)) for _ in range(12)]
    ratios = [row["zeus_power_w"] / row["power_w"] for row in rows]
    assert all(abs(ratio - 1) < 0.04 for ratio in ratios) and np.ptp(ratios) > 0.01
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.012)
    assert "beside" in rig.meter.facts and Rig().row()["zeus_power_w"] is None


def test_instances_share_a_launch() -> None:
    rig = Rig()
    visit = rig.visit()
    one, four = (rig.cells([visit], instances) for instances in (1, 4))
    for cell in ("time_s", "energy_j", "energy_ci_j", "energy_above_idle_j", "ci_tick_j", "energy_alt_j"):
        assert four[cell] == pytest.approx(one[cell] / 4)
    assert four["power_w"] == one["power_w"] and four["launches"] == one["launches"]


def test_the_facts_say_what_was_found() -> None:
    facts = Rig().meter.facts
    assert facts["counter_period_s"] == pytest.approx(0.1, rel=0.01) == facts["power_period_s"]
    assert facts["estimator"] == "energy counter" and facts["share_of_period_seen"] == 0.25
    assert "5% to 13%" in facts["gain"] and "of a CPU core" in facts["reading"]
    assert Rig(PASCAL).meter.facts["estimator"] == "instant power"


def test_idle_power_is_that_of_a_gpu_at_rest() -> None:
    """One that comes to rest while it is looked at is looked at again; one that never does, says so."""
    woken = Rig(processes=[Process(1, "waking", 40.0, 0.0, 2.0)])
    rested = Rig()
    assert woken.meter.idle is not None and rested.meter.idle is not None
    assert woken.meter.idle.power_w == pytest.approx(rested.meter.idle.power_w, rel=0.02)
    assert "idle_unknown" not in woken.meter.facts and "idle_unknown" not in rested.meter.facts
    restless = Rig(processes=[Process(n, "waking", 10.0, n, 30.0) for n in range(30)])
    assert restless.meter.facts["idle_unknown"] == "the GPU's power did not come to rest in 20 s"
    row = restless.row()
    assert row["energy_above_idle_j"] is None and row["idle_power_w"] is None
    assert "energy above idle is not known: the GPU's power did not come to rest" in row["reason"]
    assert row["energy_above_active_idle_j"] is not None


def test_power_may_be_asked_for_where_there_is_a_counter() -> None:
    rig = Rig(source="nvml_power")
    row = rig.row()
    assert_good(row, rig.truth())
    assert row["energy_source"] == "nvml_power"


@pytest.mark.parametrize("launch_s", [5e-6, 0.0123, 0.37, 2.0])
def test_kernels_of_microseconds_and_of_seconds(launch_s: float) -> None:
    rig = Rig()
    load = Load(450.0, launch_s, contrast=0.2)
    row = rig.row(load)
    assert_good(row, rig.truth(load))
    assert row["launches"] == pytest.approx(max(3.0 / launch_s, 2), rel=0.7)


def test_intervals_cover_through_the_whole_loop() -> None:
    """Fewer cases than test_budget.py, but every line that a real GPU would run."""
    covered = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        card = attrs.evolve(HOPPER, ripple=float(rng.uniform(0.005, 0.02)), between=0.003)
        rig = Rig(card, seed=seed)
        for _ in range(3):
            rig.visit(group="sentinel")
        for number in range(8):
            load = Load(float(rng.uniform(300, 650)), float(np.exp(rng.uniform(np.log(5e-6), np.log(0.5)))))
            row = rig.row(load, group=f"case {number}")
            covered.append(abs(row["energy_j"] - rig.truth(load)) <= row["energy_ci_j"])
    assert np.mean(covered) >= 0.93
