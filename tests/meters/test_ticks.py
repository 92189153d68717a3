"""Power from what a sensor showed: exact on exact readings, silent about nothing, seeing what launches do."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest
from replay import HOPPER, Load, ReplayedClock
from simulated_gpu import SimulatedGpu

from dibench.meters.ticks import (
    MOST_WIDE,
    Power,
    counter_power,
    in_step,
    instant_power,
    sampled,
    settled,
    update_period_s,
)

T = np.arange(0.0, 4.0, 5e-3)
ALIKE: dict[str, Any] = {"launch_s": 1e-4, "averaging_s": 0.1}


def counter(watts: float = 400.0, period_s: float = 0.1, phase_s: float = 0.03) -> np.ndarray[Any, Any]:
    """What a counter shows that moves every period, at the times T."""
    return np.floor((T - phase_s) / period_s + 1e-9) * watts * period_s * 1e3 + 1e9


def power(found: Power | str) -> Power:
    assert isinstance(found, Power), found
    return found


def test_power_is_energy_between_ticks_over_time_between_ticks() -> None:
    found = power(counter_power(T, counter(), 0.5, 3.8, **ALIKE))
    assert found.power_w == pytest.approx(400.0, rel=2e-3)
    assert len(found.steps_w) == 32 and found.steps_w == pytest.approx([found.power_w] * 32)
    # Two edges, each anywhere in 5 ms: sd 5 ms/√12 each.
    assert found.tick**0.5 == pytest.approx(5e-3 * np.sqrt(2 / 12) / 3.2, rel=1e-6)


def test_a_reading_that_comes_late_does_not_look_like_a_change_of_power() -> None:
    late = (T > 2.0) & (T < 2.25)  # the sampler slept through two ticks
    found = power(counter_power(T[~late], counter()[~late], 0.5, 3.8, **ALIKE))
    assert found.power_w == pytest.approx(400.0, rel=2e-3) and found.change == 0
    assert found.half_width < 0.02


@pytest.mark.parametrize("begin_s", [0.5, 2.035], ids=["within the window", "as it begins"])
def test_a_reading_that_takes_long_does_not_make_its_neighbours_tick_late(begin_s: float) -> None:
    """It shows an instant within it: a tick 50 ms ago shows only in the next one, 5 ms later."""
    kept = (T < 1.982) | (T > 2.038)
    shown = np.where(
        abs(T - 2.04) < 1e-3, counter(phase_s=0.09)[np.searchsorted(T, 1.983)], counter(phase_s=0.09)
    )
    exact = power(counter_power(T, counter(phase_s=0.09), begin_s, 3.8, **ALIKE))
    found = power(counter_power(T[kept], shown[kept], begin_s, 3.8, **ALIKE))
    assert found.power_w == pytest.approx(400.0, rel=2e-3)
    assert found.half_width < 1.1 * exact.half_width and found.tick < 1.3 * exact.tick


def jittered(rng: np.random.Generator, by_s: float, period_s: float = 0.1) -> np.ndarray[Any, Any]:
    """A counter of 400 W with 1% of ripple whose ticks are seen up to `by_s` early or late."""
    ticks = np.arange(-0.5, 4.5, period_s) + rng.uniform(0, period_s)
    joules = np.cumsum(400 * period_s * (1 + 0.01 * rng.standard_normal(len(ticks))))
    shown = np.maximum.accumulate(ticks + rng.uniform(-by_s, by_s, len(ticks)))
    return 1e9 + 1e3 * joules[np.searchsorted(shown, T, side="right") - 1]


@pytest.mark.parametrize("by_s", [0.0, 0.01, 0.03])
def test_ticks_seen_early_or_late_hardly_move_power_and_its_interval_knows(by_s: float) -> None:
    """By neighbours' differences 30 ms make an interval of 19%, by first and last tick an error of 1%."""
    rng = np.random.default_rng(5)
    found = [power(counter_power(T, jittered(rng, by_s), 0.5, 3.5, **ALIKE)) for _ in range(100)]
    errors = np.array([one.power_w / 400.0 - 1 for one in found])
    halves = np.array([one.half_width for one in found])
    assert abs(errors.mean()) < 0.001 and errors.std() < 0.005
    assert np.mean(abs(errors) <= halves) >= 0.93
    assert np.median(halves) < 0.015 and np.mean(halves > MOST_WIDE) <= 0.02
    assert np.mean([one.change != 0 for one in found]) <= 0.02


def test_a_counter_that_catches_up_every_fifth_tick_is_no_jump() -> None:
    ticks = np.arange(0.0, 4.0, 0.02)
    joules = 400 * (ticks - 0.015 * (np.arange(len(ticks)) % 5 != 0))
    shown = 1e9 + 1e3 * joules[np.searchsorted(ticks, T, side="right") - 1]
    found = power(counter_power(T, shown, 0.5, 3.5, launch_s=1e-4, averaging_s=0.01, most_w=1000.0))
    assert found.power_w == pytest.approx(400.0, rel=2e-3)
    assert found.half_width < 0.02


def test_a_counter_that_begins_anew_or_jumps_gives_no_energy_but_a_reason() -> None:
    anew, jump = counter(), counter()
    anew[T > 2.0] -= 1e9
    jump[T > 2.0] += 5e6
    assert "went back from" in str(counter_power(T, anew, 0.5, 3.8, **ALIKE))
    assert "jumped by 5000 J in a tick of" in str(counter_power(T, jump, 0.5, 3.8, most_w=1000.0, **ALIKE))


def test_too_few_ticks_give_no_energy_but_a_reason() -> None:
    found = counter_power(T, counter(period_s=0.5), 0.5, 2.0, **ALIKE)
    assert found == "the energy counter moved 3 times in the window, 5 wanted"
    still = np.full_like(T, 7.0)
    assert "moved 0 times" in str(counter_power(T, still, 0.5, 3.5, **ALIKE))
    found = instant_power(T, still, 0.5, 0.8, period_s=0.1, **ALIKE)
    assert found == "power was read 41 times in 0.2 s, 5 updates wanted"


def test_power_that_stands_still_is_power_known_to_the_step_it_is_told_in() -> None:
    """487 W in whole watts: up to half a watt off, evenly."""
    found = power(instant_power(T, np.full_like(T, 487.0), 0.5, 3.5, period_s=0.1, **ALIKE))
    assert found.power_w == pytest.approx(487.0)
    assert found.tick**0.5 == pytest.approx(1.0 / 487.0 / np.sqrt(12))
    exact = power(instant_power(T, np.full_like(T, 487.213), 0.5, 3.5, period_s=0.1, **ALIKE))
    assert exact.tick < 1e-10


@pytest.mark.parametrize("period_s", [0.02, 0.1, 0.5])
def test_the_update_period_is_seen(period_s: float) -> None:
    t = np.arange(0.0, 12 * period_s, 1e-3)
    values = np.floor(t / period_s + 0.3)
    assert update_period_s(t, values) == pytest.approx(period_s, rel=0.01)
    assert update_period_s(t[: len(t) // 4], values[: len(t) // 4]) is None


def test_counter_and_power_have_periods_of_their_own() -> None:
    clock = ReplayedClock()
    gpu = SimulatedGpu(clock, attrs.evolve(HOPPER, counter_s=0.5, power_s=0.02, averaging_s=0.01))
    gpu.launch(Load(400.0), 8000)
    t = np.arange(1.0, 8.0, 2e-3)
    assert update_period_s(t, gpu.energies_mj(t).astype(float)) == pytest.approx(0.5, rel=0.01)
    assert update_period_s(t, gpu.instants_mw(t).astype(float)) == pytest.approx(0.02, rel=0.01)


def test_instant_power_leaves_out_what_was_averaged_before_the_window() -> None:
    """Idle until 1.0 s: the update at 1.05 s still averages idle, and the mean must not have it."""
    t = np.arange(0.0, 4.0, 5e-3)
    shown = 100.0 + 300.0 * np.clip((np.floor((t - 0.05) / 0.1) * 0.1 + 0.05 - 1.0) / 0.1, 0, 1) + 0.01 * T
    found = power(instant_power(t, shown, 1.0, 4.0, period_s=0.1, **ALIKE))
    assert found.power_w == pytest.approx(400.0, abs=0.1)


def test_long_launches_are_counted_whole() -> None:
    """Launches of 0.7 s, high then low: any other span than whole launches tells another power."""
    clock = ReplayedClock()
    card = attrs.evolve(HOPPER, ripple=0.0, between=0.0, overshoot=0.0, leakage_per_c=0.0, averaging_s=0.1)
    gpu = SimulatedGpu(clock, card)
    gpu.launch(Load(400.0, 0.7, contrast=0.3), 8)
    t = np.arange(0.7, 0.7 * 7.3, 5e-3)
    naive = gpu.energies_mj(np.array([0.7, 0.7 * 7.3]))
    assert abs(np.diff(naive)[0] * 1e-3 / (0.7 * 6.3) / 400.0 - 1) > 0.01
    found = power(
        counter_power(t, gpu.energies_mj(t).astype(float), 0.7, 0.7 * 7.3, launch_s=0.7, averaging_s=0.1)
    )
    assert found.power_w == pytest.approx(400.0, rel=3e-3)
    assert found.spread.variance**0.5 < 0.02, "what repeats with each launch is no noise"


def test_a_sensor_in_step_with_the_launches_is_told() -> None:
    at = np.arange(30) * 0.1
    assert in_step(at, 0.1, 0.025) > 0.8, "always the same quarter of a launch"
    assert in_step(at, 0.1, 0.1) < 1e-9, "the whole launch each time"
    assert in_step(at, 0.0137, 0.025) < 0.05
    assert in_step(at, 5e-6, 0.025) < 1e-3


def test_settling_is_seen_as_far_as_ten_samples_can_tell() -> None:
    rng = np.random.default_rng(1)
    quiet = 400 * (1 + 0.01 * rng.standard_normal((1000, 10)))
    steps = quiet + np.where(np.arange(10) >= 5, 12.0, 0.0)  # 3%: three times the ripple
    assert np.mean([settled(row) for row in quiet]) > 0.94
    assert np.mean([settled(row) for row in steps]) < 0.15
    assert not settled(quiet[0][:9])


@pytest.mark.parametrize("period_s", [0.02, 0.1])
def test_power_that_goes_on_changing_through_a_window_is_seen(period_s: float) -> None:
    rng = np.random.default_rng(2)

    def change(slope: float) -> float:
        ripple = 0.01 * np.repeat(rng.standard_normal(40), 20)
        joules = np.cumsum(400 * 5e-3 * (1 + ripple + slope * (T - 2)))
        shown = np.interp(np.floor(T / period_s) * period_s, T, joules) * 1e3
        return power(counter_power(T, shown, 0.5, 3.5, launch_s=1e-4, averaging_s=period_s)).change

    assert np.mean([change(0.0) != 0 for _ in range(100)]) <= 0.02
    assert np.mean([change(0.03) == pytest.approx(0.045, abs=0.02) for _ in range(50)]) > 0.9


def test_samples_at_regular_times_end_with_the_last_reading() -> None:
    assert sampled(np.array([0.0, 0.1, 0.2]), np.array([1.0, 2.0, 3.0]), 0.1).tolist() == [2.0, 3.0]
    assert sampled(np.array([]), np.array([]), 0.1).tolist() == []
