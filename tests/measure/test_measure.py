"""Measuring promises: enough windows, a stop at the target or the budget, intervals that cover the truth."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_backend import replayed
from one_visit import measure_case
from scipy import stats

from dibench.intervals import mean_interval
from dibench.measure import windows
from dibench.measure.measurement import FEWEST_WINDOWS, measurement
from dibench.measure.settings import Settings
from dibench.measure.window import WindowVisit
from dibench.measure.windows import waited_s
from dibench.meters import Reading
from dibench.meters.none import NoMeter
from dibench.schema import Row


class Clock:
    """Seconds that pass only when a launch says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Launcher:
    """Launches of a known duration, times a noise for every batch of them."""

    def __init__(self, clock: Clock, launch_s: float, noise: Any = None) -> None:
        self.clock, self.launch_s, self.noise = clock, launch_s, noise
        self.batches: list[int] = []
        self.counts: dict[str, int] = {}
        self.cells: dict[str, Any] = {}

    def launch(self, n: int) -> float:
        factor = 1.0 if self.noise is None else next(self.noise)
        self.batches.append(n)
        self.clock.now += n * self.launch_s * factor
        return n * self.launch_s * factor

    def close(self) -> None:
        pass


class PowerMeter:
    """A sensor: joules are watts times seconds, and the watts have a noise of their own."""

    source = "rapl"
    has_variance = True
    period_s = 1e-3
    facts: dict[str, Any] = {}

    def __init__(self, watts: Any) -> None:
        self.watts = watts

    def window(self, run: Any, counts: Any, launches: int) -> Reading:
        seconds = run()
        return Reading(seconds, seconds * next(self.watts))


def ar1(rng: np.random.Generator, rho: float, spread: float) -> Any:
    """An endless AR(1) process of mean 1, standard deviation `spread` and lag-1 correlation rho."""
    innovation = spread * math.sqrt(1 - rho * rho)
    deviation = spread * rng.standard_normal()
    while True:
        yield max(1 + deviation, 0.01)
        deviation = rho * deviation + innovation * rng.standard_normal()


def test_a_quiet_case_is_measured_in_windows_of_at_least_ten_milliseconds() -> None:
    clock = Clock()
    launcher = Launcher(clock, 123e-6)
    found = measure_case(launcher, NoMeter(), Settings(), clock)
    assert found.status == "ok" and found.reason == ""
    assert found.windows >= FEWEST_WINDOWS
    assert found.time_s == pytest.approx(123e-6) and found.time_ci_s == pytest.approx(0, abs=1e-15)
    assert found.launches == sum(launcher.batches[-found.windows :])
    assert launcher.batches[-1] * 123e-6 >= 0.01
    assert found.energy_j is None and found.energy_ci_j is None and found.power_w is None


def test_warm_up_comes_first_and_is_not_counted() -> None:
    clock = Clock()
    noise = iter([50.0, 20.0, 5.0, *[1.0] * 100_000])  # cold pages: the first launches are slow
    launcher = Launcher(clock, 1e-3, noise)
    found = measure_case(launcher, NoMeter(), Settings(warm_up_s=0.1), clock)
    assert found.time_s == pytest.approx(1e-3)


def test_windows_are_twenty_periods_of_the_meter() -> None:
    clock = Clock()
    launcher = Launcher(clock, 1e-3)
    meter = PowerMeter(iter([40.0] * 1000))
    meter.period_s = 5e-3
    found = measure_case(launcher, meter, Settings(case_budget_s=60.0), clock)
    assert launcher.batches[-1] >= 100
    assert found.energy_j == pytest.approx(0.04)
    assert found.power_w == pytest.approx(40)


def test_a_clock_too_coarse_for_one_launch_does_not_stop_calibration() -> None:
    """A launch that takes no time at all by a clock of 1 ms ticks is batched until it does."""
    clock = Clock()
    launcher = Launcher(clock, 1e-6)
    fine = launcher.launch

    class Coarse:
        counts: dict[str, int] = {}
        cells: dict[str, Any] = {}

        def launch(self, n: int) -> float:
            return round(fine(n) * 1000) / 1000

        def close(self) -> None:
            pass

    found = measure_case(Coarse(), NoMeter(), Settings(), clock)
    assert found.status == "ok"
    assert found.time_s == pytest.approx(1e-6, rel=0.05)


def test_a_case_that_stays_noisy_is_flagged_with_target_and_reached() -> None:
    clock = Clock()
    launcher = Launcher(clock, 1e-3, ar1(np.random.default_rng(5), 0.0, 0.4))
    found = measure_case(launcher, NoMeter(), Settings(target=0.01, case_budget_s=1.0), clock)
    assert found.status == "flagged"
    assert (
        "target ±1%" in found.reason
        and "interval ±" in found.reason
        and f"from {found.windows} windows" in found.reason
    )
    assert found.time_ci_s is not None and found.time_ci_s > 0.01 * found.time_s
    assert clock.now <= 1.0 + 0.05


def test_launches_of_a_second_get_ten_windows_where_the_budget_allows() -> None:
    clock = Clock()
    found = measure_case(Launcher(clock, 1.0), NoMeter(), Settings(case_budget_s=15.0), clock)
    assert found.status == "ok" and found.windows >= FEWEST_WINDOWS
    assert clock.now <= 15.0


def test_launches_of_a_second_are_flagged_with_their_number_where_it_does_not() -> None:
    clock = Clock()
    found = measure_case(Launcher(clock, 1.0), NoMeter(), Settings(case_budget_s=6.0), clock)
    assert (found.status, found.windows) == ("flagged", 5)
    assert found.reason == "5 windows in the case budget of 6 s, 10 wanted"
    assert clock.now <= 6.0


def test_one_launch_beyond_the_budget_is_measured_once_and_has_no_interval() -> None:
    clock = Clock()
    found = measure_case(Launcher(clock, 9.0), NoMeter(), Settings(case_budget_s=2.0), clock)
    assert (found.status, found.windows, found.time_ci_s) == ("flagged", 1, None)
    assert found.time_s == 9.0


def test_calculated_energy_stops_on_time_and_has_no_interval() -> None:
    class Calculated(NoMeter):
        def window(self, run: Any, counts: Any, launches: int) -> Reading:
            return Reading(run(), launches * counts["macs_executed"] * 1e-12)

    clock = Clock()
    found = measure_case(
        Launcher(clock, 1e-3), Calculated(), Settings(), clock, counts={"macs_executed": 5000}
    )
    assert found.energy_j == pytest.approx(5e-9)
    assert found.energy_ci_j is None and found.status == "ok"


def test_a_noisy_sensor_keeps_a_case_going_though_its_time_is_quiet() -> None:
    def windows(spread: float) -> int:
        clock = Clock()
        watts = (40 * factor for factor in ar1(np.random.default_rng(3), 0.0, spread))
        settings = Settings(case_budget_s=600.0)
        found = measure_case(Launcher(clock, 1e-3), PowerMeter(watts), settings, clock)
        assert found.status == "ok"
        assert found.energy_j == pytest.approx(0.04, rel=0.04)
        return found.windows

    assert windows(0.2) > windows(0.001)


def test_windows_that_other_processes_disturbed_are_left_out() -> None:
    """Every fourth window lasts twice as long because a core was taken away, and the kernel says so."""
    clock, waiting = Clock(), [0.0]

    class Shared(Launcher):
        def launch(self, n: int) -> float:
            disturbed = len(self.batches) % 4 == 3
            seconds = super().launch(n)
            if disturbed:
                self.clock.now += seconds
                waiting[0] += seconds
            return seconds * (2 if disturbed else 1)

    found = measure_case(Shared(clock, 1e-3), NoMeter(), Settings(), clock, waited=lambda: waiting[0])
    assert found.status == "ok" and found.windows >= FEWEST_WINDOWS
    assert found.time_s == pytest.approx(1e-3)
    assert "windows left out: other processes had the cores" in found.reason


def test_a_machine_that_is_never_quiet_is_measured_and_flagged() -> None:
    clock, waiting = Clock(), iter(range(10**6))
    found = measure_case(
        Launcher(clock, 1e-3), NoMeter(), Settings(), clock, waited=lambda: float(next(waiting))
    )
    assert found.status == "flagged" and found.windows >= FEWEST_WINDOWS
    assert found.time_ci_s is not None and found.time_ci_s > 0.99 * found.time_s
    assert found.reason.startswith("interval ±100% from ")
    assert found.reason.endswith(
        f"; other processes had the cores in {found.windows} of {found.windows} windows"
    )


def test_a_little_waiting_in_every_window_widens_the_interval_and_no_more() -> None:
    """What the kernel reports is an amount: 1.5% of every window lost moves the time by no more than that."""
    clock = Clock()
    launcher = Launcher(clock, 1e-3)
    found = measure_case(launcher, NoMeter(), Settings(), clock, waited=lambda: 0.015 * clock.now)
    assert found.time_ci_s == pytest.approx(0.015 * found.time_s)
    assert found.status == "ok" and found.reason.startswith("other processes had the cores in ")


def test_windows_that_lasted_longer_without_a_report_are_left_out() -> None:
    """A hypervisor or a neighbour on the cache stretches windows, and the kernel knows nothing of it."""
    clock = Clock()
    rng = np.random.default_rng(2)
    noise = (f * (1.8 if n % 16 in (3, 4, 5) else 1.0) for n, f in enumerate(ar1(rng, 0.2, 0.005)))
    watts = iter([40.0] * 1000)
    found = measure_case(Launcher(clock, 1e-3, noise), PowerMeter(watts), Settings(), clock)
    assert found.status == "ok" and found.time_s == pytest.approx(1e-3, rel=0.005)
    assert found.energy_j == pytest.approx(0.04, rel=0.005) and found.power_w == pytest.approx(40)
    assert "windows left out: " in found.reason and found.reason.endswith(" stretched")


def test_a_visit_that_lay_in_one_burst_is_told_by_the_next() -> None:
    """Its windows agree, so it looks like a slower case until another visit is undisturbed."""

    def visit(factor: float) -> WindowVisit:
        clock = Clock()
        noise = (factor * f for f in ar1(np.random.default_rng(4), 0.0, 0.01))
        return windows.visit_in_windows(Launcher(clock, 1e-3, noise), NoMeter(), Settings(), clock)

    disturbed, quiet = visit(1.6), visit(1.0)
    assert measurement([disturbed], Settings()).time_s == pytest.approx(1.6e-3, rel=0.01)
    both = measurement([disturbed, quiet], Settings())
    assert both.status == "ok" and both.time_s == pytest.approx(1e-3, rel=0.01)
    assert both.reason == "1 of 2 visits left out: disturbed or far off"


def test_steal_is_read_for_the_cores_that_we_may_run_on(tmp_path: Path) -> None:
    ours = sorted(os.sched_getaffinity(0))
    stat = tmp_path / "stat"
    lines = ["cpu  9 9 9 9 9 9 9 999 0 0", *(f"cpu{core} 1 0 1 1 0 0 0 50 0 0" for core in ours)]
    stat.write_text("\n".join([*lines, "cpu987 1 0 1 1 0 0 0 7000 0 0", "intr 12 0", ""]))
    assert windows._stolen_s(stat) == pytest.approx(len(ours) * 50 / os.sysconf("SC_CLK_TCK"))
    assert windows._stolen_s(tmp_path / "hidden") == 0.0


def test_four_undisturbed_windows_are_better_than_fifty_disturbed_ones() -> None:
    """On a crowded machine most windows last three times as long; the few others tell the time."""
    clock, waiting = Clock(), [0.0]

    class Crowded(Launcher):
        def launch(self, n: int) -> float:
            seconds = super().launch(n)
            if len(self.batches) % 12:
                self.clock.now += 2 * seconds
                waiting[0] += 2 * seconds
                return 3 * seconds
            return seconds

    found = measure_case(Crowded(clock, 1e-3), NoMeter(), Settings(), clock, waited=lambda: waiting[0])
    assert found.status == "flagged" and 4 <= found.windows < FEWEST_WINDOWS
    assert found.time_s == pytest.approx(1e-3)
    assert "10 wanted" in found.reason and "windows left out: other processes had the cores" in found.reason


def test_waiting_is_told_by_the_kernel_and_only_grows() -> None:
    before = waited_s()
    assert 0.0 <= before <= waited_s()


def test_cells_are_per_instance() -> None:
    found = measure_case(replayed([1e-3]), NoMeter(), Settings(case_budget_s=0.05, warm_up_s=0.0))
    row = found.into(Row(instances=4))
    assert row.time_s == pytest.approx(found.time_s / 4)
    assert row.launches == found.launches
    assert row.energy_j is None


def test_the_quantile_is_students() -> None:
    """Windows without correlation and a negative estimate of it: the textbook's t-interval."""
    values = [1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 1.0, 3.0]
    mean, half_width = mean_interval(values)
    expected = stats.t.ppf(0.975, 9) * stats.sem(values)
    assert mean == 2.0
    assert half_width == pytest.approx(expected)


def test_three_windows_say_nothing_about_their_spread() -> None:
    assert mean_interval([1.0, 2.0, 3.0]) == (2.0, None)


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.2, 0.35, 0.5])
def test_the_interval_covers_the_truth_stopping_rule_included(rho: float) -> None:
    """At least 93% of seeded cases whose windows are correlated; the naive rule is far below (next test)."""
    assert _coverage(rho, naive=False) >= 0.93


def test_the_naive_rule_does_not() -> None:
    """Looking after every window, treating windows as independent: why the rule is as it is."""
    assert _coverage(0.5, naive=True) < 0.85


def _coverage(rho: float, *, naive: bool) -> float:
    rng = np.random.default_rng(2008)
    settings = Settings(target=0.02, case_budget_s=1.5, warm_up_s=0.0)
    covered = []
    for spread in (0.005, 0.03, 0.06, 0.1):
        for _ in range(250):
            noise = ar1(rng, rho, spread)
            mean, half_width = _naive(noise) if naive else _measured(noise, settings)
            covered.append(abs(mean - 1) <= half_width)
    return float(np.mean(covered))


def _measured(noise: Any, settings: Settings) -> tuple[float, float]:
    clock = Clock()
    found = measure_case(Launcher(clock, 0.0100001, noise), NoMeter(), settings, clock)
    assert found.time_ci_s is not None
    return found.time_s / 0.0100001, found.time_ci_s / 0.0100001


def _naive(noise: Any) -> tuple[float, float]:
    values = [next(noise) for _ in range(9)]
    while True:
        values.append(next(noise))
        half_width = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
        if half_width <= 0.02 * np.mean(values) or len(values) >= 150:
            return float(np.mean(values)), half_width
