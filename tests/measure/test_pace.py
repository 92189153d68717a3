"""What others take of the machine without a report, told by a small launch of our own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from dibench.measure import pace as pace_module
from dibench.measure.pace import Pace, pace_of_cores
from dibench.measure.settings import Settings
from dibench.measure.windows import measurement, visit_in_windows
from dibench.meters.none import NoMeter

LAUNCH_S, PROBE_S = 1e-3, 3e-4


class Machine:
    """Launches and probe are slower by `slow(now)`; nothing else reports it."""

    cells: dict[str, Any] = {}
    counts: dict[str, int] = {}

    def __init__(self, slow: Callable[[float], float]) -> None:
        self.slow, self.now, self.probes = slow, 0.0, 0

    def launch(self, n: int) -> float:
        return self._run(n * LAUNCH_S)

    def probe(self) -> float:
        self.probes += 1
        return self._run(PROBE_S)

    def _run(self, quiet_s: float) -> float:
        seconds = quiet_s * self.slow(self.now)
        self.now += seconds
        return seconds

    def close(self) -> None:
        pass

    def calm_pace(self) -> Pace:
        """The machine's pace, after a calm while."""
        slow, self.slow = self.slow, lambda now: 1.0
        pace = Pace(self.probe, lambda: self.now)
        for _ in range(30):
            pace.taken()
        self.slow, self.now = slow, 0.0
        return pace


@pytest.fixture(autouse=True)
def sleeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace_module, "_AGAIN_S", 0.0)  # the replayed clock passes by the probes


def visited(machine: Machine, pace: Pace | None, target: float = 0.02) -> Any:
    settings = Settings(target=target)
    visit = visit_in_windows(machine, NoMeter(), settings, lambda: machine.now, pace=pace)
    return measurement([visit], settings)


def test_windows_in_a_spell_that_nobody_reports_are_left_out() -> None:
    machine = Machine(lambda now: 1.5 if 0.06 < now < 0.5 else 1.0)
    found = visited(machine, machine.calm_pace())
    assert found.status == "ok" and found.time_s == pytest.approx(LAUNCH_S)
    assert "left out: other processes had the cores" in found.reason


def test_a_visit_waits_for_calm() -> None:
    """Without the probe, a spell that is longer than the visit passes for a slower case."""
    machine = Machine(lambda now: 1.5 if now < 0.24 else 1.0)
    blind = visited(Machine(machine.slow), None)
    assert blind.status == "ok" and blind.time_s > 1.3 * LAUNCH_S
    found = visited(machine, machine.calm_pace())
    assert found.time_s == pytest.approx(LAUNCH_S) and found.status == "ok"
    assert "left out" not in found.reason


def test_where_calm_never_comes_the_interval_holds_what_others_took() -> None:
    machine = Machine(lambda now: 1.5)
    found = visited(machine, machine.calm_pace())
    assert found.status == "flagged"
    assert found.time_s - found.time_ci_s <= LAUNCH_S, "a third was taken"
    assert machine.now < 1.8 * Settings().case_budget_s, "and waiting for calm has an end"


def test_a_machine_whose_probe_differs_by_a_tenth_is_calm() -> None:
    machine = Machine(lambda now: 1.0 + 0.1 * math.sin(now * 40) ** 2)
    pace = machine.calm_pace()
    assert [pace.taken() for _ in range(50)] == [0.0] * 50


def test_asking_costs_few_percent() -> None:
    machine = Machine(lambda now: 1.0)
    pace = machine.calm_pace()
    before = machine.probes
    visited(machine, pace, target=0.0)
    assert (machine.probes - before) * PROBE_S < 0.04 * machine.now


def test_this_machine_has_a_pace() -> None:
    pace = pace_of_cores()
    assert pace is not None and 0 <= pace.taken() < 1
