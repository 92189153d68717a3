"""Idle is idle: what loaded the card a moment ago, in this process or another, does not count as rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
from fake_nvml import FakeNvml
from replay import HOPPER, Card, Load, ReplayedClock
from simulated_gpu import SimulatedGpu
from visit_rig import LOAD, Prepared

from dibench.measure.metering import Metering
from dibench.meters import nvml
from dibench.meters.baseline import Baseline, baseline_since
from dibench.meters.gpu import GpuMeter
from dibench.meters.gpu_sensor import NOT_SUPPORTED, SensorError
from dibench.meters.sampler import Readings
from dibench.sweep.crew import idle_of

CARD = attrs.evolve(HOPPER, idle_w=75.0, active_idle_w=119.0, leakage_per_c=0.0, between=0.0)
CHILD_S = 4.0


class Loaded(SimulatedGpu):
    """A card that children loaded until `until_s`; then it draws more than at idle for a while."""

    after_w: Callable[[Any], Any]
    """Watts above idle by the seconds since the load ended."""
    clock_up_s = 0.0
    sees_clock = True
    until_s = 0.0

    def load(self, times: int) -> None:
        for _ in range(times):
            self.launch(Load(480.0), round(1e3 * CHILD_S))
            self.until_s = self._clock.now()
            self.rest()
            self._clock.sleep(0.5)  # a new interpreter

    def _profile(self, edges: Any) -> Any:
        shape = super()._profile(edges)
        if self._load.power_w > self._resting or self._resting > self.card.idle_w:
            return shape
        middles = (edges[1:] + edges[:-1]) / 2
        return shape + self.after_w(middles - self.until_s) / self._load.power_w

    def sm_mhz(self) -> int:
        if not self.sees_clock:
            raise SensorError(NOT_SUPPORTED, "sm_mhz")
        up = self.until_s > 0 and self._clock.now() < self.until_s + self.clock_up_s
        return self.card.clock_mhz if up else super().sm_mhz()


def plateau(seconds: float) -> Callable[[Any], Any]:
    return lambda age: 44.0 * (age < seconds)


def decay(seconds: float) -> Callable[[Any], Any]:
    return lambda age: 44.0 * np.exp(-age / seconds)


def measured(
    after_w: Callable[[Any], Any],
    clock_up_s: float = 0.0,
    *,
    seed: int = 0,
    loads: int = 2,
    sees_clock: bool = True,
    source: str = "auto",
    card: Card = CARD,
    kind: type[Loaded] = Loaded,
) -> tuple[GpuMeter, float]:
    """A meter that has measured idle power after that, and the seconds it took."""
    clock = ReplayedClock()
    gpu = kind(clock, card, seed=seed)
    gpu.after_w, gpu.clock_up_s, gpu.sees_clock = after_w, clock_up_s, sees_clock
    clock.sleep(1.0)
    gpu.load(loads)
    meter = GpuMeter(nvml.gpus(FakeNvml([gpu]))[0], clock, source)
    begin = clock.now()
    meter.measure_idle()
    return meter, clock.now() - begin


@pytest.mark.slow
@pytest.mark.parametrize("source", ["nvml_counter", "nvml_power"])
@pytest.mark.parametrize(
    ("after_w", "clock_up_s"),
    [(plateau(3.0), 3.0), (plateau(6.0), 6.0), (plateau(8.0), 8.0), (decay(1.0), 3.0), (decay(3.0), 3.0)],
    ids=["clocks up 3 s", "clocks up 6 s", "clocks up 8 s", "decay of 3 s", "decay of 3 s, slow"],
)
def test_idle_after_a_load_is_waited_for(
    after_w: Callable[[Any], Any], clock_up_s: float, source: str
) -> None:
    widths = []
    for seed in range(2):
        meter, took_s = measured(after_w, clock_up_s, seed=seed, source=source)
        assert meter.idle is not None and took_s <= 20.25, meter.no_idle
        assert abs(meter.idle.power_w - 75.0) <= min(max(meter.idle.ci_w, 0.5), 1.5)
        widths.append(meter.idle.ci_w)
    assert min(widths) < 3.0, (
        "one slow decay in eight still changes by 1.5 W, twice of which the interval has"
    )


@pytest.mark.slow
def test_a_decay_of_twelve_seconds_is_not_idle_before_it_has_ended() -> None:
    """After 20 s it still loses a watt in two seconds: what can be said is that idle is not known."""
    for seed in range(2):
        meter, took_s = measured(decay(12.0), 3.0, seed=seed)
        assert took_s <= 20.25
        if meter.idle is not None:
            assert abs(meter.idle.power_w - 75.0) <= meter.idle.ci_w
        else:
            assert meter.no_idle == "the GPU's power did not come to rest in 20 s"


@pytest.mark.slow
@pytest.mark.parametrize("idle_mhz", [1200, 1980], ids=["above half", "locked"])
def test_a_clock_that_rests_above_half_of_its_highest_has_an_idle_power(idle_mhz: int) -> None:
    """It never had one: the clock was held against half of the highest."""
    card = attrs.evolve(CARD, idle_mhz=idle_mhz)
    for after_w, loads in ((plateau(0.0), 0), (decay(3.0), 2)):
        meter, took_s = measured(after_w, loads=loads, card=card)
        assert meter.idle is not None and took_s <= 40.25, meter.no_idle
        assert abs(meter.idle.power_w - 75.0) <= max(meter.idle.ci_w, 0.5) < 2.0
        assert meter.facts["idle_clock_mhz"] == idle_mhz


@pytest.mark.slow
@pytest.mark.parametrize("up_s", [12.0, 25.0])
def test_a_clock_that_a_load_left_up_for_long_is_not_taken_for_one_that_rests_there(up_s: float) -> None:
    meter, took_s = measured(plateau(up_s), up_s)
    assert meter.idle is not None and took_s == pytest.approx(up_s - 0.5 + 5.0, abs=1.0)
    assert meter.idle.power_w == pytest.approx(75.0, rel=0.02)
    assert meter.facts["idle_clock_mhz"] == CARD.idle_mhz


@pytest.mark.slow
def test_a_clock_that_comes_down_in_steps_is_waited_for() -> None:
    class Stepwise(Loaded):
        def sm_mhz(self) -> int:
            age_s = self._clock.now() - self.until_s
            return 1980 if age_s < 4.0 else 1400 if age_s < 16.0 else 345

    meter, _ = measured(lambda age: 44.0 * (age < 4.0) + 20.0 * (age < 16.0), kind=Stepwise)
    assert meter.idle is not None and meter.idle.power_w == pytest.approx(75.0, rel=0.02)


@pytest.mark.slow
def test_power_that_never_rests_has_no_idle_however_long_it_is_looked_at() -> None:
    for idle_mhz, longest_s in ((345, 20.0), (1200, 40.0)):
        meter, took_s = measured(lambda age: 2.0 * age, card=attrs.evolve(CARD, idle_mhz=idle_mhz))
        assert meter.idle is None and took_s <= longest_s + 0.25
        assert meter.no_idle == f"the GPU's power did not come to rest in {longest_s:.0f} s"
        assert meter.facts["idle_unknown"] == meter.no_idle and meter.facts["idle_power_w"] is None


@pytest.mark.parametrize("sees_clock", [True, False])
def test_a_quiet_card_takes_five_seconds_and_ten_without_its_clock(sees_clock: bool) -> None:
    for seed in range(3):
        meter, took_s = measured(plateau(0.0), loads=0, seed=seed, sees_clock=sees_clock)
        assert took_s <= (6.0 if sees_clock else 11.0)
        assert meter.idle is not None
        assert abs(meter.idle.power_w - 75.0) <= max(meter.idle.ci_w, 0.5) < 3.0


def test_a_plateau_that_no_clock_tells_is_outlasted() -> None:
    meter, _ = measured(plateau(6.0), sees_clock=False)
    assert meter.idle is not None and meter.idle.power_w == pytest.approx(75.0, rel=0.02)


def started(card: Card, **how: Any) -> tuple[GpuMeter, SimulatedGpu]:
    clock = ReplayedClock()
    gpu = SimulatedGpu(clock, card, **how)
    clock.sleep(0.5)
    meter = GpuMeter(nvml.gpus(FakeNvml([gpu]))[0], clock, "nvml_counter")
    gpu.open_context()
    meter.start(gpu.busy)
    return meter, gpu


def test_active_idle_is_read_by_the_estimator_of_the_rows_so_that_its_gain_cancels() -> None:
    """A counter that shows 7% less shows so of load and of active idle."""
    low = attrs.evolve(CARD, counter_gain=0.93)
    meter, _ = started(low)
    assert meter.active_idle.settled
    assert meter.active_idle.power_w == pytest.approx(0.93 * 119.0, rel=0.01)


@pytest.mark.slow
def test_active_idle_is_at_rest_for_a_sensor_that_averages_too() -> None:
    """An average of a second wanders slowly: in two seconds that looked like a trend one time in eight."""
    settled = []
    for seed in range(4):
        card = attrs.evolve(HOPPER, counter_averaging_s=1.0, averaging_s=1.0)
        meter, gpu = started(card, seed=100 + seed)
        found = [meter.active_idle, *(meter.measure_active_idle(gpu.busy) for _ in range(5))]
        settled += [one.settled for one in found]
    assert sum(settled) >= 23


def test_a_counter_told_in_joules_is_at_rest_although_most_of_its_blocks_are_equal() -> None:
    """The median difference of neighbours was 0, so that one step more or less looked like a trend."""
    card = attrs.evolve(HOPPER, step_w=1.0, step_j=1.0)
    for seed in (3, 4):
        meter, _ = started(card, seed=seed)
        assert meter.active_idle.settled, seed


def test_active_idle_that_is_not_at_rest_flags_rows_until_it_is_measured_again() -> None:
    class Cooling(SimulatedGpu):
        """At rest it loses ten watts a second, for a time."""

        until_s = 0.0

        def _profile(self, edges: Any) -> Any:
            left_s = np.maximum(self.until_s - (edges[1:] + edges[:-1]) / 2, 0.0)
            return super()._profile(edges) + (10.0 * left_s / 119.0 if self._load.power_w == 119.0 else 0.0)

    meter, gpu = started(CARD)
    gpu.__class__ = Cooling
    gpu.until_s = gpu._clock.now() + 20.0  # type: ignore[attr-defined] # of Cooling
    metering = Metering(meter, gpu.busy)
    meter.active_idle = meter.measure_active_idle(gpu.busy)
    assert not meter.active_idle.settled
    (reason,) = metering.visit(Prepared(gpu, LOAD)).reasons
    assert reason.startswith("active idle power was not at rest at ")
    with gpu.busy():
        gpu._clock.sleep(30.0)
    visit = metering.visit(Prepared(gpu, LOAD))
    assert visit.active_idle.settled and visit.active_idle.power_w == pytest.approx(119.0, rel=0.02)


@pytest.mark.slow
def test_idle_that_another_process_measured_is_taken_over() -> None:
    first, _ = measured(plateau(0.0), loads=0)
    unknown, _ = measured(lambda age: 2.0 * age)
    second = GpuMeter(SimulatedGpu(ReplayedClock(), CARD), ReplayedClock(), "auto")
    second.take_idle(first.facts)
    assert second.idle == first.idle and second.no_idle == ""
    assert set(idle_of(first.facts)["idle"]) == {"energy_mj", "instant_mw"}, (
        "load may show that rows are by power"
    )
    second.take_idle(unknown.facts)
    assert second.idle is None and second.no_idle == unknown.no_idle


@pytest.mark.parametrize("by_counter", [True, False])
@pytest.mark.parametrize(
    "watts",
    [
        lambda t: np.where(t < 4.5, 200 + 20 * t, 140.0),
        lambda t: np.where(t < 4.0, 230 + 10 * t, 225.0),
        lambda t: 250 - 10 * np.abs(t - 2.5),
        lambda t: 200 + 20 * t,
    ],
    ids=["drops in the last half second", "drops in the last second", "rises and falls", "rises"],
)
def test_power_that_rises_is_not_at_rest_whatever_it_does_then(
    watts: Callable[[Any], Any], by_counter: bool
) -> None:
    """A straight line through all of it may have no slope: 248 ± 39 W were called settled."""
    t = np.arange(0.0, 5.0, 0.005)
    tick = np.floor(t / 0.1 + 1e-9)

    def found(power: Callable[[Any], Any]) -> Baseline:
        shown = power(0.1 * tick + 0.05) * (
            1 + 0.005 * np.random.default_rng(1).normal(size=50)[tick.astype(int)]
        )
        counted_mj = 1e3 * np.concatenate([[0.0], np.cumsum(0.1 * shown[::20])])[tick.astype(int)]
        one = baseline_since(Readings(t, counted_mj, t, shown, (), (), ()), 0.0, by_counter=by_counter)
        assert one is not None
        return one

    assert not found(watts).settled
    assert found(lambda t: 75.0 + 0.0 * t).settled
