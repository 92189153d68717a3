"""Spells in which others have the cores: such a visit is made again; and what visits tell is used.

The crew is in this process, its clock is nobody's: a visit takes no time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest
from fake_backend import plan_of, sweep_of

from dibench import files
from dibench.backends.base import Device
from dibench.measure.pace import Following, Pace
from dibench.measure.settings import Settings
from dibench.measure.window import Window, WindowVisit
from dibench.measure.windows import visit_in_windows
from dibench.meters.base import MeterFacts
from dibench.meters.none import NoMeter
from dibench.plan import Case
from dibench.sweep import record
from dibench.sweep.crew import Opening
from dibench.sweep.events import Event, VisitEnded
from dibench.sweep.job import Sweep
from dibench.sweep.run import run_sweep
from dibench.sweep.worker import CaseResult, Setup

Behaviour = Callable[[Case, int], WindowVisit]


class Machine:
    """A crew of one device, whose visits are what `behaves` says of the case and the number of the visit."""

    setup = Setup(Device("fake device", "fake-0", {}), MeterFacts("none", None, {}, in_visits=False))

    def __init__(self, behaves: Behaviour) -> None:
        self.behaves, self.visited = behaves, list[str]()
        self.targets = list[float]()
        self.devices = [self]

    def measure(self, case: Case, settings: Settings, upcoming: Sequence[Case] = ()) -> CaseResult:
        number = Counter(self.visited)[case.case_id]
        self.visited.append(case.case_id)
        self.targets.append(settings.target)
        return CaseResult(attrs.evolve(case.row(), energy_source="none"), self.behaves(case, number))

    def peaks(self) -> dict[str, Any]:
        return {}

    def joined(self) -> Sequence[Machine]:
        return ()

    def refused(self) -> Sequence[str]:
        return ()

    def replacement(self, why: str) -> Sequence[Machine]:
        raise AssertionError(why)

    def remove(self, device: object) -> None:
        raise AssertionError("no device is lost")

    def close(self) -> None:
        pass


def windows(times_s: Sequence[float], *, taken: bool = False) -> WindowVisit:
    """`taken`: others had the cores for half of each, and the visit ended early."""
    made = tuple(Window(1, t, None, t / 2 if taken else 0.0) for t in times_s)
    return WindowVisit(made, varies=False, lost=taken)


def in_a_spell(*which: tuple[str, int]) -> Behaviour:
    """Quiet windows of 1 ms, but others have the cores at these visits of the layers of these names."""

    def behaves(case: Case, number: int) -> WindowVisit:
        if (case.layer.name, number) in which or (case.layer.name, -1) in which:
            return windows([2e-3] * 4, taken=True)
        return windows([1e-3 * (1 + 1e-4 * (i % 3)) for i in range(16)])

    return behaves


def run(
    monkeypatch: pytest.MonkeyPatch, out: Path, sweep: Sweep, behaves: Behaviour
) -> tuple[Machine, list[Event]]:
    machine, events = Machine(behaves), list[Event]()

    def crew(opening: Opening, devices: Sequence[str]) -> Machine:
        return machine

    monkeypatch.setattr("dibench.sweep.run.LocalCrew", crew)
    run_sweep(sweep, out, on_event=events.append)
    return machine, events


def test_a_visit_in_which_others_had_the_cores_is_made_again_after_other_cases(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ["taken once"] + [f"quiet {i}" for i in range(20)]
    sweep = sweep_of(names, settings=Settings())
    machine, events = run(monkeypatch, tmp_path, sweep, in_a_spell(("taken once", 0)))
    first = sweep.plan.cases[0].case_id
    places = [place for place, case_id in enumerate(machine.visited) if case_id == first]
    assert places == [0, 13], "after twelve others"
    lost = [event for event in events if isinstance(event, VisitEnded)]
    assert [(event.case.case_id, event.number, event.lost) for event in lost] == [(first, 0, True)]
    rows = {row.name: row for row in record.written(tmp_path / record.TABLE)}
    assert {row.status for row in rows.values()} == {"ok"} and len(rows) == 21
    assert (rows["taken once"].visits, rows["quiet 3"].visits) == (2, 1)
    assert rows["taken once"].time_s == pytest.approx(1e-3, rel=1e-3)
    assert "other processes had the cores in 4" in rows["taken once"].reason


def test_a_case_that_is_always_taken_gets_a_flagged_row_and_the_sweep_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sweep = sweep_of(["always taken", "quiet"], settings=Settings())
    _, events = run(monkeypatch, tmp_path, sweep, in_a_spell(("always taken", -1)))
    ended = [event for event in events if isinstance(event, VisitEnded)]
    assert len(ended) == 3, "three visits do not count, the fourth does whatever it finds"
    rows = {row.name: row for row in record.written(tmp_path / record.TABLE)}
    assert rows["always taken"].status == "flagged" and rows["quiet"].status == "ok"


def test_a_killed_sweep_makes_the_visit_again_that_did_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sweep = sweep_of(["taken once", "quiet"], settings=Settings())

    def killed(case: Case, number: int) -> WindowVisit:
        if case.layer.name == "quiet":
            raise KeyboardInterrupt
        return in_a_spell(("taken once", 0))(case, number)

    run(monkeypatch, tmp_path, sweep, killed)
    assert not list(record.written(tmp_path / record.TABLE)), "nothing is known of a case from a spell alone"
    machine, _ = run(monkeypatch, tmp_path, sweep, in_a_spell())
    assert sorted(machine.visited) == sorted(case.case_id for case in sweep.plan.cases)


def test_a_sweep_learns_on_the_way_how_far_visits_agree_and_asks_no_more_of_windows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Visits differ by 4%, repeats of the reference case by 12%: the target of a visit follows the former."""
    random = np.random.default_rng(1)

    def behaves(case: Case, number: int) -> WindowVisit:
        level = math.exp((0.12 if case.sentinel else 0.04) * random.standard_normal())
        return windows([1e-3 * level * (1 + 1e-3 * random.standard_normal()) for _ in range(16)])

    plan = plan_of(["reference"] + ["other"] * 59)
    cases = (attrs.evolve(plan.cases[0], sentinel=True), *plan.cases[1:])
    sweep = sweep_of([], plan=attrs.evolve(plan, cases=cases), settings=Settings())
    machine, _ = run(monkeypatch, tmp_path, sweep, behaves)
    assert machine.targets[20] > 2 * 1.96 * 0.04, "of the reference case alone"
    assert machine.targets[100] == pytest.approx(1.96 * 0.04, rel=0.3)
    manifest = files.read_json_object(tmp_path / "manifest.json")
    assert manifest is not None and manifest["windows"]["target"] in (0.05, 0.07)
    rows = [row for row in record.written(tmp_path / record.TABLE) if not row.sentinel]
    assert np.mean([row.status == "ok" for row in rows]) > 0.9
    hits = [abs((row.time_s or 0.0) - 1e-3) <= (row.time_ci_s or 0.0) for row in rows]
    assert np.mean(hits) >= 0.93


def test_rows_are_ok_up_to_what_nine_of_ten_cases_reach_and_the_wide_ones_are_measured_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Windows of a quarter of the cases spread by 25%, those of the others by 3%; visits differ by 1%."""
    random = np.random.default_rng(2)

    def behaves(case: Case, number: int) -> WindowVisit:
        level = math.exp((0.03 if case.sentinel else 0.01) * random.standard_normal())
        spread = 0.25 if case.layer.name == "restless" else 0.03
        return windows([1e-3 * level * math.exp(spread * random.standard_normal()) for _ in range(16)])

    plan = plan_of(["reference"] + ["restless", "other", "other", "other"] * 15)
    cases = (attrs.evolve(plan.cases[0], sentinel=True), *plan.cases[1:])
    sweep = sweep_of([], plan=attrs.evolve(plan, cases=cases), settings=Settings())
    machine, _ = run(monkeypatch, tmp_path, sweep, behaves)
    manifest = files.read_json_object(tmp_path / "manifest.json")
    assert manifest is not None and machine.targets[-1] < 0.08 < manifest["windows"]["target"] <= 0.2
    rows = [row for row in record.written(tmp_path / record.TABLE) if not row.sentinel]
    assert np.mean([row.status == "ok" for row in rows]) >= 0.9
    made = Counter(machine.visited)
    again = {
        name: np.mean([made[r.case_id] for r in rows if r.name == name]) for name in ("restless", "other")
    }
    assert again["restless"] == 5 and again["other"] < 4
    hits = [abs((row.time_s or 0.0) - 1e-3) <= (row.time_ci_s or 0.0) for row in rows]
    assert np.mean(hits) >= 0.93


@pytest.mark.parametrize(("gives_up", "made"), [(True, 4), (False, 100)])
def test_a_visit_in_a_spell_ends_early_where_the_sweep_comes_back(gives_up: bool, made: int) -> None:
    now = [0.0]

    class Prepared:
        counts: dict[str, int] = {}
        cells: dict[str, Any] = {}

        def launch(self, n: int) -> float:
            now[0] += n * 0.01
            return n * 0.01

        def close(self) -> None:
            pass

    settings = Settings(warm_up_s=0.0, gives_up=gives_up)
    found = visit_in_windows(
        Prepared(), NoMeter(), settings, lambda: now[0], waited=lambda: 0.5 * now[0], counts={}
    )
    assert abs(len(found.windows) - made) <= 3 * (not gives_up)
    assert found.lost == gives_up


@pytest.mark.parametrize(("burst_s", "lost"), [(0.3, False), (5.0, True)])
def test_a_visit_waits_for_the_end_of_a_burst_but_not_of_a_long_spell(burst_s: float, lost: bool) -> None:
    """Others have half of the cores until then; a burst is over sooner than two other cases are prepared."""
    now, budget_s = [0.0], 1.0

    def launch(n: int) -> float:
        taken = 2.0 if now[0] < burst_s else 1.0
        now[0] += n * 0.001 * taken
        return n * 0.001 * taken

    prepared = SimpleNamespace(launch=launch, counts={}, cells={}, close=lambda: None)
    settings = Settings(gives_up=True, case_budget_s=budget_s)
    found = visit_in_windows(
        prepared, NoMeter(), settings, lambda: now[0], waited=lambda: 0.5 * min(now[0], burst_s)
    )
    assert found.lost == lost and len(found.windows) == (4 if lost else 16)
    assert now[0] < burst_s + 0.3 if not lost else now[0] < 0.6 * budget_s + 0.1
    assert not any(window.disturbed for window in found.windows) or lost


@pytest.mark.parametrize(("slower", "lost"), [(1.0, False), (1.1, False), (2.0, True)])
def test_a_visit_at_a_pace_that_says_little_ends_early(slower: float, lost: bool) -> None:
    """At twice the usual seconds, shares that are known to 0.2 leave ±27%."""
    follows = Following(usual_s=(1e-4,), shares=(0.5,), share_sds=(0.2,))
    settings = Settings(warm_up_s=0.0, target=0.05, gives_up=True, follows=follows)
    prepared = SimpleNamespace(launch=lambda n: n * 0.01, counts={}, cells={}, close=lambda: None)
    found = visit_in_windows(prepared, NoMeter(), settings, counts={}, pace=Pace(lambda: slower * 1e-4))
    assert (found.lost, len(found.windows)) == (lost, 4 if lost else 16)
    assert WindowVisit.from_json(found.to_json()) == found
