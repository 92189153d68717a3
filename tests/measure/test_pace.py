"""A machine that gets slower for seconds, without a report: times are stated at its usual pace."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from dibench.measure.measurement import measurement
from dibench.measure.pace import Following, Pace, pace_of_cores
from dibench.measure.settings import Settings
from dibench.measure.window import Window, WindowVisit
from dibench.measure.windows import visit_in_windows
from dibench.meters.none import NoMeter

LAUNCH_S, PROBE_S, SHARE = 1e-3, 3e-4, 0.5
KNOWN = Following(usual_s=(PROBE_S,), shares=(SHARE,), share_sds=(0.0,))


class Machine:
    """The probe is slower by `slow(now)`, launches by the root of that; nothing else reports it."""

    cells: dict[str, Any] = {}
    counts: dict[str, int] = {}

    def __init__(self, slow: Callable[[float], float]) -> None:
        self.slow, self.now, self.probes = slow, 0.0, 0

    def launch(self, n: int) -> float:
        return self._run(n * LAUNCH_S * self.slow(self.now) ** SHARE)

    def probe(self) -> float:
        self.probes += 1
        return self._run(PROBE_S * self.slow(self.now))

    def _run(self, seconds: float) -> float:
        self.now += seconds
        return seconds

    def close(self) -> None:
        pass


def visit(machine: Machine, target: float = 0.02) -> WindowVisit:
    pace = Pace(machine.probe)
    return visit_in_windows(machine, NoMeter(), Settings(target=target), lambda: machine.now, pace=pace)


@pytest.mark.parametrize("slower", [0.8, 1.0, 1.2, 1.5])
def test_a_visit_that_lies_in_a_spell_is_stated_at_the_usual_pace(slower: float) -> None:
    found = visit(Machine(lambda now: slower))
    blind = measurement([found], Settings())
    assert blind.status == "ok" and blind.time_s == pytest.approx(LAUNCH_S * slower**SHARE)
    told = measurement([found], Settings(follows=KNOWN))
    assert told.status == "ok" and told.time_s == pytest.approx(LAUNCH_S)
    which = "slower" if slower > 1 else "faster"
    percent = 100 * abs(slower**SHARE - 1)
    said = f"the machine was {percent:.0f}% {which} for this kernel than usual: time allows for it"
    assert told.reason == ("" if slower == 1 else said)


def test_a_spell_that_begins_within_a_visit_is_left_out_with_its_pace() -> None:
    machine = Machine(lambda now: 1.5 if now > 0.3 else 1.0)
    told = measurement([visit(machine, target=0.0)], Settings(follows=KNOWN))
    assert told.time_s == pytest.approx(LAUNCH_S, rel=0.005)


def test_a_pace_that_changes_all_the_time_leaves_the_time_in_the_interval() -> None:
    """As a core's clock does, from one tenth of a second to the next; windows across a change mislead."""
    told = measurement(
        [visit(Machine(lambda now: 1.5 if int(now / 0.1) % 2 else 1.0))], Settings(follows=KNOWN)
    )
    assert told.time_s == pytest.approx(LAUNCH_S, rel=0.01) and told.time_ci_s is not None
    assert abs(told.time_s - LAUNCH_S) <= told.time_ci_s


def test_the_interval_holds_how_badly_the_share_is_known() -> None:
    """2.31 · 0.1 · ln 1.5 = ±9.4%."""
    found = visit(Machine(lambda now: 1.5))
    unsure = Settings(follows=Following(usual_s=(PROBE_S,), shares=(SHARE,), share_sds=(0.1,)))
    told = measurement([found], unsure)
    assert told.time_s == pytest.approx(LAUNCH_S)
    assert told.reached == pytest.approx(0.0935, abs=0.001) and told.status == "flagged"


@pytest.mark.parametrize(("near", "says"), [(8, True), (5, False)])
def test_windows_far_from_the_usual_pace_are_left_out_where_enough_others_remain(
    near: int, says: bool
) -> None:
    """This case follows the pace by 0.9, its kernel by 0.5: windows far off mislead by 12 to 24%."""
    paces = [1.0] * near + [math.exp(0.3 + 0.3 * i / 23) for i in range(24)]
    windows = [
        Window(1, LAUNCH_S * pace**0.9 * (0.96 + 0.04 * (i % 3)), None, 0.0, paces_s=(PROBE_S * pace,))
        for i, pace in enumerate(paces)
    ]
    unsure = Settings(follows=Following(usual_s=(PROBE_S,), shares=(SHARE,), share_sds=(0.2,)))
    told = measurement([WindowVisit(tuple(windows), varies=False)], unsure)
    assert ("24 far from the machine's usual pace" in told.reason) == says
    assert (told.windows == near) == says
    assert (abs(told.time_s / LAUNCH_S - 1) < 0.02) == says and told.time_ci_s is not None
    assert abs(told.time_s - LAUNCH_S) <= told.time_ci_s, "the interval holds the error either way"


def test_windows_of_which_the_pace_is_not_known_are_left_as_they_are() -> None:
    windows = tuple(Window(1, 1.5e-3, None, 0.0) for _ in range(16))
    found = measurement([WindowVisit(windows, varies=False)], Settings(follows=KNOWN))
    assert found.time_s == pytest.approx(1.5e-3) and found.reason == ""


def test_visits_of_an_older_file_have_no_pace() -> None:
    told = WindowVisit((Window(3, 1e-3, None, 0.0),), varies=False)
    written = told.to_json()
    del written["windows"]["paces_s"]
    written["windows"]["pace_s"] = [3e-4]  # of one probe, no longer asked
    assert WindowVisit.from_json(written) == told


def test_a_probe_that_was_kept_from_the_cores_is_launched_again() -> None:
    times, waits = iter([1.0, 5.0, 5.0, 1.0, 1.1]), iter([0.0, 4.0, 4.0, 4.0])
    assert Pace(lambda: next(times)).now_s(lambda: next(waits)) == (1.0,)


def test_asking_costs_few_percent() -> None:
    machine = Machine(lambda now: 1.0)
    visit(machine, target=0.0)
    assert machine.probes * PROBE_S < 0.04 * machine.now


def test_this_machine_has_a_pace() -> None:
    pace = pace_of_cores()
    assert pace is not None
    paces_s = pace.now_s()
    assert len(paces_s) == 2 and all(1e-6 < pace_s < 1.0 for pace_s in paces_s)
