"""The replayed GPU behaves as documented: ticks, averaging, clocks, temperature, ripple, cap, failures."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest
from replay import (
    AMPERE,
    DESKTOP,
    HOPPER,
    PASCAL,
    VOLTA,
    Card,
    Fault,
    Load,
    Process,
    ReplayedClock,
)
from simulated_gpu import SimulatedGpu

from dibench.meters import NAMES
from dibench.meters.gpu_sensor import LOST, NO_PERMISSION, TIMEOUT, SensorError

QUIET = attrs.evolve(HOPPER, ripple=0.0, between=0.0, overshoot=0.0, leakage_per_c=0.0)


def running(card: Card, load: Load, seconds: float, seed: int = 0, **options: Any) -> SimulatedGpu:
    gpu = SimulatedGpu(ReplayedClock(), card, seed=seed, **options)
    gpu.launch(load, round(seconds / load.launch_s))
    return gpu


@pytest.mark.parametrize("card", [HOPPER, AMPERE, DESKTOP, VOLTA], ids=lambda card: str(card.name))
def test_the_counter_moves_in_ticks_of_its_period(card: Card) -> None:
    gpu = running(card, Load(250.0), 6.0)
    t = np.arange(2.0, 6.0, 1e-3)
    changes = t[1:][np.diff(gpu.energies_mj(t)) > 0]
    assert card.counter_s is not None
    assert np.diff(changes) == pytest.approx(card.counter_s, abs=1.1e-3)


def test_ticks_hold_the_true_joules() -> None:
    load = Load(500.0, 1e-3)
    gpu = running(QUIET, load, 10.0)
    before, after = gpu.energies_mj(np.array([2.0, 8.0]))
    launches = 6.0 / load.launch_s
    assert (after - before) / 1e3 == pytest.approx(launches * load.joules(QUIET), rel=1e-3)


def test_instant_power_sees_a_quarter_of_the_time_on_hopper() -> None:
    """A load of 100 ms launches, each half high and half low, is locked to the sensor: it reads wrong."""
    load = Load(400.0, 0.1, contrast=0.5)
    readings = []
    for seed in range(20):
        gpu = running(QUIET, load, 3.0, seed)
        readings.append(gpu.instants_mw(np.arange(1.0, 3.0, 0.1)).mean() / 1e3)
    assert max(readings) > 550 and min(readings) < 250
    whole = attrs.evolve(QUIET, averaging_s=0.1)
    assert running(whole, load, 3.0).instants_mw(np.arange(1.0, 3.0, 0.1)).mean() / 1e3 == pytest.approx(400)


def test_the_average_rises_over_a_second() -> None:
    clock = ReplayedClock()
    gpu = SimulatedGpu(clock, QUIET)
    clock.sleep(3.0)
    gpu.launch(Load(600.0), 500)
    assert gpu.instant_mw() == 600_000
    assert 280_000 < gpu.average_mw() < 400_000


def test_clocks_settle_three_seconds_after_load_starts() -> None:
    clock = ReplayedClock()
    gpu = SimulatedGpu(clock, attrs.evolve(HOPPER, ripple=0.0, leakage_per_c=0.0, between=0.0))
    clock.sleep(1.0)
    load = Load(600.0)
    seconds, clocks = [], []
    for _ in range(50):
        seconds.append(gpu.launch(load, 100))
        clocks.append(gpu.sm_mhz())
    assert np.ptp(seconds[:10]) > 0.02 * 0.1
    assert seconds[31:] == pytest.approx([0.1] * 19, rel=1e-9)
    assert min(clocks[:10]) < 1960 and set(clocks[31:]) == {1980}


def test_energy_grows_by_a_fifth_of_a_percent_per_degree() -> None:
    card = attrs.evolve(HOPPER, ripple=0.0, between=0.0, overshoot=0.0, thermal_s=1e9)

    def watts(start_c: float) -> float:
        gpu = running(card, Load(500.0), 5.0, start_c=start_c)
        before, after = gpu.energies_mj(np.array([1.0, 5.0]))
        return float(after - before)

    assert watts(70.0) / watts(60.0) == pytest.approx(1.02, abs=2e-4)


def test_temperature_follows_power_and_is_told_in_whole_degrees() -> None:
    gpu = running(attrs.evolve(QUIET, leakage_per_c=0.002), Load(600.0), 200.0)
    assert gpu.temperature_c() == pytest.approx(30 + 0.06 * 600 * 1.012, abs=1.0)
    assert gpu.temperature_c() == round(gpu.temperature_c())


@pytest.mark.parametrize(("ripple", "rho"), [(0.005, 0.0), (0.02, 0.5)])
def test_ripple_has_its_spread_and_its_correlation(ripple: float, rho: float) -> None:
    card = attrs.evolve(QUIET, ripple=ripple, rho=rho)
    gpu = running(card, Load(500.0), 400.0)
    watts = gpu.instants_mw(np.arange(1.0, 400.0, 0.1)) / 500e3
    assert np.std(watts) == pytest.approx(ripple, rel=0.15)
    if card.averaging_s == 0.025:  # a quarter of the updates straddle two steps
        assert np.corrcoef(watts[1:], watts[:-1])[0, 1] == pytest.approx(rho, abs=0.1)


def test_what_ripples_in_the_counter_does_not_in_power() -> None:
    """They shared one ripple, so that each confirmed what the other showed by chance."""
    gpu = running(attrs.evolve(QUIET, ripple=0.01, rho=0.9, averaging_s=0.1), Load(500.0), 400.0)
    t = np.arange(2.0, 400.0, 0.1)
    counted, drawn = np.diff(gpu.energies_mj(t)) / 0.1, gpu.instants_mw(t[1:])
    assert np.std(counted) == pytest.approx(5e3, rel=0.3) and np.std(drawn) == pytest.approx(5e3, rel=0.3)
    assert abs(np.corrcoef(counted, drawn)[0, 1]) < 0.2


def test_a_capped_load_is_slower_says_so_and_costs_less() -> None:
    load = Load(900.0, 1e-3)
    gpu = running(QUIET, load, 5.0)
    assert gpu.clock_events() == 0x4 and gpu.sm_mhz() < 1980
    assert gpu.instant_mw() == pytest.approx(700_000, rel=1e-3)
    assert load.joules(QUIET) < 900.0 * 1e-3
    assert Load(600.0).slowdown(QUIET) == 1.0


def test_failures_come_on_demand() -> None:
    clock = ReplayedClock()
    gpu = SimulatedGpu(clock, faults=[Fault(TIMEOUT, 1.0, 2.0, "energy_mj"), Fault(LOST, 5.0)])
    assert gpu.energy_mj() > 0
    clock.sleep(1.5)
    with pytest.raises(SensorError, match="did not answer"):
        gpu.energy_mj()
    assert gpu.instant_mw() > 0
    clock.sleep(1.0)
    assert gpu.energy_mj() > 0
    with pytest.raises(SensorError, match="fell off the bus"):
        gpu.launch(Load(300.0), 5000)
    refused = SimulatedGpu(ReplayedClock(), faults=[Fault(NO_PERMISSION)])
    with pytest.raises(SensorError, match="may not read it: ask the administrator"):
        refused.energy_mj()
    with pytest.raises(SensorError, match="update the driver"):
        SimulatedGpu(ReplayedClock(), PASCAL).energy_mj()


def test_the_counter_can_begin_anew_and_jump() -> None:
    gpu = running(HOPPER, Load(300.0), 6.0, counter_steps=[(2.0, -2_000_000), (4.0, 5_000_000)])
    e = gpu.energies_mj(np.array([1.95, 2.05, 3.95, 4.05]))
    assert e[1] < e[0] and e[3] - e[2] > 4_000_000


def test_another_process_appears_draws_power_and_is_listed() -> None:
    clock = ReplayedClock()
    gpu = SimulatedGpu(clock, QUIET, processes=[Process(4711, "python", 90.0, 2.0)])
    clock.sleep(1.5)
    assert gpu.processes() == {} and gpu.instant_mw() == pytest.approx(80_000)
    clock.sleep(1.5)
    assert gpu.processes() == {4711: "python"} and gpu.instant_mw() == pytest.approx(170_000)


def test_work_is_done_every_so_often_while_launches_run_and_two_gpus_share_the_time() -> None:
    clock = ReplayedClock()
    one, other = SimulatedGpu(clock, QUIET, uuid="GPU-a"), SimulatedGpu(clock, QUIET, uuid="GPU-b")
    seen: list[tuple[int, int]] = []
    with clock.every(0.01, lambda: seen.append((one.instant_mw(), other.instant_mw()))):
        one.launch(Load(500.0), 1000)
    one.launch(Load(500.0), 1000)
    assert len(seen) == pytest.approx(101, abs=1)
    assert seen[-1] == (500_000, 80_000)


def test_the_same_seed_replays_the_same_readings() -> None:
    t = np.arange(0.0, 5.0, 0.01)
    once, again, other = (running(HOPPER, Load(400.0), 5.0, seed).energies_mj(t) for seed in (1, 1, 2))
    assert (once == again).all() and (once != other).any()


def test_nobody_gets_the_replayed_gpu_by_asking_for_auto() -> None:
    assert "simulated" not in NAMES


def seen(card: Card, **options: Any) -> tuple[Any, Any]:
    """When ticks of a steady load were seen between 2 and 6 s, and what the counter showed then, J."""
    gpu = running(card, Load(500.0), 8.0, **options)
    t = np.arange(2.0, 6.0, 1e-3)
    shown = gpu.energies_mj(t) * 1e-3
    after = np.flatnonzero(np.diff(shown)) + 1
    return t[after], shown[after]


def test_ticks_may_jitter_with_their_energy_or_be_shown_late_with_that_of_before() -> None:
    kinds: list[dict[str, Any]] = [{"jitter_s": 0.03}, {"late_s": 0.06}]
    for unkind in kinds:
        at, joules = seen(attrs.evolve(QUIET, averaging_s=0.1, **unkind))
        apart, each = np.diff(at), np.diff(joules)
        assert 0.02 < apart.std() < 0.04 and apart.mean() == pytest.approx(0.1, rel=0.03)
        assert each.mean() / apart.mean() == pytest.approx(500.0, rel=0.03)
        straying = np.std(each - 500 * apart) / 50
        assert straying < 0.03 if "jitter_s" in unkind else straying > 0.2


def test_a_counter_may_hold_back_until_it_catches_up() -> None:
    _, joules = seen(attrs.evolve(QUIET, counter_s=0.02, averaging_s=0.1, catches_up=5))
    each = np.diff(joules).reshape(-1)[: 5 * 39].reshape(39, 5).mean(axis=0)
    assert sorted(each) == pytest.approx([5.0, 5.0, 5.0, 5.0, 30.0], rel=0.01)


def test_counter_and_power_may_lag_and_average() -> None:
    def shows(**unkind: Any) -> tuple[float, float]:
        clock = ReplayedClock()
        gpu = SimulatedGpu(clock, attrs.evolve(QUIET, averaging_s=0.1, **unkind))
        clock.sleep(5.0)
        gpu.launch(Load(580.0), 4000)
        late = gpu.energies_mj(np.array([5.0, 9.0])) * 1e-3
        return float(np.diff(late)[0]), float(gpu.instants_mw(np.array([5.9]))[0]) * 1e-3

    kind_j, kind_w = shows()
    assert kind_j == pytest.approx(4 * 580, rel=0.03) and kind_w == 580
    lagging_j, _ = shows(counter_lag_s=1.5)
    assert kind_j - lagging_j == pytest.approx(1.5 * 500, rel=0.02)
    averaging_j, _ = shows(counter_averaging_s=2.0)
    assert kind_j - averaging_j == pytest.approx(0.95 * 500, rel=0.02)
    assert shows(power_lag_s=1.0)[1] == 80


def test_power_and_energy_may_be_told_in_coarse_steps() -> None:
    gpu = running(attrs.evolve(HOPPER, step_w=1.0, step_j=1.0), Load(500.3), 6.0)
    t = np.arange(2.0, 6.0, 1e-2)
    assert not (gpu.instants_mw(t) % 1000).any() and not (gpu.energies_mj(t) % 1000).any()


def test_calls_may_take_long_without_holding_launches_up() -> None:
    clock = ReplayedClock()
    gpu = SimulatedGpu(clock, attrs.evolve(QUIET, call_s=0.012))
    at: list[float] = []

    def read() -> None:
        gpu.instant_mw()
        at.append(clock.now())

    with clock.every(5e-3, read):
        assert gpu.launch(Load(500.0), 1000) == pytest.approx(1.0, rel=0.05)
    assert np.diff(at) == pytest.approx(0.012)
    before = clock.now()
    gpu.instant_mw()
    assert clock.now() - before == pytest.approx(0.012)
