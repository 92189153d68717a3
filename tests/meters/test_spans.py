"""Spans of somebody else's code: their interval holds the true joules, or there are none, and why."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import pytest
from fake_nvml import FakeNvml
from hypothesis import given, settings
from hypothesis import strategies as st
from powercap import Machine
from replay import AMPERE, DESKTOP, HOPPER, PASCAL, VOLTA, Card, Fault, Load, ReplayedClock
from simulated_gpu import SimulatedGpu

from dibench.errors import UserError
from dibench.meters import nvml
from dibench.meters.gpu_sensor import NO_PERMISSION, NOT_SUPPORTED, Clock
from dibench.meters.gpu_spans import GpuSpans
from dibench.meters.rapl import RaplMeter
from dibench.meters.rapl_spans import RaplSpans
from dibench.meters.spans import Metered, NoSpans, SpanMeter


class Processor:
    """A powercap tree on a clock of its own: two packages with DRAM, 110 W together."""

    WATTS = 110.0

    def __init__(self, root: Path, range_uj: int = Machine.RANGE_UJ) -> None:
        self.machine = Machine(root)
        self.machine.RANGE_UJ = range_uj
        for path in root.rglob("max_energy_range_uj"):
            path.write_text(f"{range_uj}\n")
        self.timers: list[tuple[float, float, Callable[[], object]]] = []
        self.clock: Clock = self
        self.spans = RaplSpans(RaplMeter.open(root, self.machine.clock), self)

    def now(self) -> float:
        return self.machine.now

    def sleep(self, seconds: float) -> None:
        """Time passes, and what is due meanwhile is done at its time."""
        end = self.machine.now + seconds
        while self.timers and min(self.timers)[0] < end:
            due, period_s, do = self.timers.pop(self.timers.index(min(self.timers)))
            self.machine.pass_time(due - self.machine.now)
            do()
            self.timers.append((due + period_s, period_s, do))
        self.machine.pass_time(end - self.machine.now)

    @contextlib.contextmanager
    def every(self, period_s: float, do: Callable[[], None]) -> Iterator[None]:
        self.timers.append((self.machine.now, period_s, do))
        yield
        self.timers.clear()

    def draw(self, times: float) -> None:
        """All counters run so many times as fast from now on."""
        ticks = int(self.machine.now * 1000 + 1e-6)
        for counter, (watts, start_uj) in self.machine.watts.items():
            name = (counter.parent / "name").read_text().strip()
            new_w = {"core": 30.0, "dram": 5.0}.get(name, 50.0) * times
            start_uj += round(ticks * (watts - new_w) * 1000)
            self.machine.watts[counter] = new_w, start_uj

    def counter(self, zone: str) -> Path:
        return self.machine.root / zone / "energy_uj"


@pytest.fixture
def processor(tmp_path: Path) -> Processor:
    return Processor(tmp_path)


def span(meter: SpanMeter, work: Callable[[], object]) -> Metered:
    mark = meter.begin()
    work()
    return meter.end(mark)


def test_joules_of_the_packages_and_their_memory_once(processor: Processor) -> None:
    found = span(processor.spans, lambda: processor.clock.sleep(2.0))
    assert found.time_s == pytest.approx(2.0) and not found.reason
    assert found.energy_j == pytest.approx(2.0 * processor.WATTS, rel=1e-3)
    assert found.energy_ci_j == pytest.approx(2 * 1e-3 * processor.WATTS, rel=0.25)


@settings(max_examples=10, deadline=None)
@given(
    seconds=st.floats(0.02, 0.5),
    before=st.sampled_from([0.1, 1.0, 2.0]),
    phase_s=st.floats(0, 2e-3),
)
def test_the_interval_holds_the_truth_whatever_the_machine_drew_before(
    seconds: float, before: float, phase_s: float
) -> None:
    with TemporaryDirectory() as root:
        processor = Processor(Path(root))
        processor.draw(before)
        processor.clock.sleep(0.01 + phase_s)
        mark = processor.spans.begin()
        processor.draw(1.0)
        processor.clock.sleep(seconds)
        found = processor.spans.end(mark)
        assert found.energy_j is not None and found.energy_ci_j is not None
        assert abs(found.energy_j - seconds * processor.WATTS) <= found.energy_ci_j + 1e-4


def test_a_short_span_says_how_rough_and_a_shorter_one_has_no_joules(processor: Processor) -> None:
    rough = span(processor.spans, lambda: processor.clock.sleep(5e-3))
    assert rough.energy_j is not None and rough.energy_ci_j is not None
    assert abs(rough.energy_j - 5e-3 * processor.WATTS) <= rough.energy_ci_j
    assert "is short for this sensor" in rough.reason and "repeats in one block" in rough.reason
    none = span(processor.spans, lambda: processor.clock.sleep(1e-3))
    assert (none.energy_j, none.energy_ci_j) == (None, None)
    assert "too short: the processor's counters update every" in none.reason


def test_hours_of_wraps_add_up(tmp_path: Path) -> None:
    processor = Processor(tmp_path, range_uj=20_000_000_000)  # at 50 W a wrap takes 400 s
    found = span(processor.spans, lambda: processor.clock.sleep(900.0))
    assert found.energy_j == pytest.approx(900.0 * processor.WATTS, rel=1e-4), found.reason


def test_a_counter_that_begins_anew_spoils_the_spans_it_lies_in_and_no_other(processor: Processor) -> None:
    outer = processor.spans.begin()
    processor.clock.sleep(1.0)
    inner = processor.spans.begin()
    processor.clock.sleep(20.0)
    counter = processor.counter("intel-rapl:0")
    processor.machine.watts[counter] = 50.0, round(-processor.machine.now * 50e6)
    processor.clock.sleep(1.0)
    spoilt = [processor.spans.end(inner), processor.spans.end(outer)]
    assert all(one.energy_j is None and "a reset?" in one.reason for one in spoilt)
    after = span(processor.spans, lambda: processor.clock.sleep(1.0))
    assert after.energy_j == pytest.approx(processor.WATTS, rel=2e-3)


@pytest.mark.parametrize("edge", ["begin", "end"])
def test_a_counter_that_cannot_be_read_at_an_edge_leaves_no_joules(processor: Processor, edge: str) -> None:
    counter = processor.counter("intel-rapl:1")
    shown = counter.read_text()
    counter.write_text("?\n") if edge == "begin" else None
    mark = processor.spans.begin()
    counter.write_text(shown)
    processor.clock.sleep(0.5)
    counter.write_text("?\n") if edge == "end" else None
    found = processor.spans.end(mark)
    assert found.energy_j is None and "energy_uj cannot be read" in found.reason
    assert found.time_s == pytest.approx(0.5)


def test_a_counter_that_stands_still_is_told(processor: Processor) -> None:
    counter = processor.counter("intel-rapl:0")
    processor.machine.watts[counter] = 0.0, int(counter.read_text())
    found = span(processor.spans, lambda: processor.clock.sleep(0.5))
    assert found.energy_j is None and found.reason == "package-0 did not change in 500 ms"


def test_spans_nest_and_overlap(processor: Processor) -> None:
    first = processor.spans.begin()
    processor.clock.sleep(1.0)
    second = processor.spans.begin()
    processor.clock.sleep(1.0)
    one = processor.spans.end(first)
    processor.clock.sleep(2.0)
    two = processor.spans.end(second)
    assert one.energy_j == pytest.approx(2.0 * processor.WATTS, rel=1e-3)
    assert two.energy_j == pytest.approx(3.0 * processor.WATTS, rel=1e-3)


def test_without_a_sensor_there_are_seconds_and_the_reason() -> None:
    clock = ReplayedClock()
    found = span(NoSpans("no sensor here", clock), lambda: clock.sleep(3.0))
    assert found == Metered(3.0, reason="no sensor here")


# -- a GPU


def graphics(card: Card, source: str = "auto", **how: object) -> tuple[SimulatedGpu, ReplayedClock, GpuSpans]:
    """A card whose power does not grow with temperature, so that the truth is that of `Load.joules`."""
    clock = ReplayedClock()
    gpu = SimulatedGpu(clock, attrs.evolve(card, leakage_per_c=0.0), seed=3, **how)  # type: ignore[arg-type]  # what the test says
    gpu.open_context()
    clock.sleep(2.0)
    sensor = nvml.find(nvml.gpus(FakeNvml([gpu])), gpu.uuid)
    return gpu, clock, GpuSpans(sensor, clock, source)


def assert_holds(found: Metered, truth_j: float, widest: float) -> None:
    assert found.energy_j is not None and found.energy_ci_j is not None, found.reason
    assert abs(found.energy_j - truth_j) <= found.energy_ci_j
    assert found.energy_ci_j <= widest * found.energy_j


@pytest.mark.parametrize("card", [HOPPER, AMPERE, DESKTOP, VOLTA, PASCAL], ids=lambda card: card.name)
@pytest.mark.parametrize("source", ["auto", "nvml_power"])
def test_the_interval_holds_what_launches_took(card: Card, source: str) -> None:
    gpu, _, spans = graphics(card, source)
    assert spans.source == ("nvml_power" if source != "auto" or card is PASCAL else "nvml_counter")
    load = Load(0.6 * card.limit_w, 1e-3)
    found = span(spans, lambda: gpu.launch(load, 8_000))
    assert_holds(found, 8_000 * load.joules(card), 0.2)
    assert found.time_s == pytest.approx(8.0, rel=0.01)


def test_idling_before_and_work_that_stops_early_are_inside_the_interval() -> None:
    gpu, clock, spans = graphics(HOPPER)
    load = Load(500.0, 1e-3)

    def work() -> None:
        clock.sleep(1.03)
        gpu.launch(load, 2_000)
        gpu.rest()
        clock.sleep(0.56)

    found = span(spans, work)
    assert_holds(found, 2_000 * load.joules(HOPPER) + 1.59 * HOPPER.active_idle_w, 0.25)


def test_a_span_between_two_ticks_has_no_joules() -> None:
    gpu, _, spans = graphics(DESKTOP)
    found = span(spans, lambda: gpu.launch(Load(200.0, 1e-3), 200))
    assert found.energy_j is None
    assert "is too short: the GPU's energy counter was" in found.reason and "repeat it" in found.reason


def test_a_counter_reset_inside_is_told() -> None:
    gpu, clock, spans = graphics(HOPPER, counter_steps=[(7.0, -900_000)])
    found = span(spans, lambda: gpu.launch(Load(500.0, 1e-3), 10_000))
    assert found.energy_j is None and "went back from" in found.reason and "a reset?" in found.reason
    after = span(spans, lambda: clock.sleep(5.0))
    assert after.energy_j is not None


def test_a_gpu_that_cannot_be_read_at_the_end_keeps_its_seconds() -> None:
    _, clock, spans = graphics(HOPPER, faults=[Fault(NO_PERMISSION, begin_s=4.0)])
    found = span(spans, lambda: clock.sleep(5.0))
    assert found.energy_j is None and found.time_s == pytest.approx(5.0)
    assert found.reason.startswith("NVML: this user may not read it")


def test_power_that_was_not_read_for_seconds_is_told() -> None:
    fault = Fault(NO_PERMISSION, begin_s=4.0, end_s=6.0)
    _, clock, spans = graphics(HOPPER, "nvml_power", faults=[fault])
    found = span(spans, lambda: clock.sleep(8.0))
    assert found.energy_j is None and "could not be read for 2.0" in found.reason


def test_a_gpu_without_such_a_reading_refuses_and_names_what_works() -> None:
    with pytest.raises(UserError, match="nvml_power works here"):
        graphics(PASCAL, "nvml_counter")
    with pytest.raises(UserError, match="does not offer the reading"):
        graphics(PASCAL, faults=[Fault(NOT_SUPPORTED)])


def test_what_was_seen_does_not_grow_with_the_span() -> None:
    """Power ripples: the interval of a long span is narrower than that of a short one, relative to it."""
    card = attrs.evolve(HOPPER, ripple=0.1)
    widths = []
    for launches in (5_000, 40_000):
        gpu, _, spans = graphics(card)
        load = Load(500.0, 1e-3)
        found = span(spans, partial(gpu.launch, load, launches))
        assert_holds(found, launches * load.joules(card), 0.2)
        assert found.energy_j and found.energy_ci_j
        widths.append(found.energy_ci_j / found.energy_j)
    assert widths[1] < widths[0] / 2
