"""On a noisy machine a sweep says so, aims at what can be reached, and comes back to disturbed cases."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from fake_backend import QUICK, plan_of, sweep_of
from processes import environment, wait_for

from dibench import files
from dibench.cli.progress import Progress
from dibench.measure.measurement import measurement
from dibench.measure.settings import Settings
from dibench.measure.window import Window, WindowVisit
from dibench.plan import Case
from dibench.schema import Row
from dibench.sweep import record
from dibench.sweep.events import (
    CaseEnded,
    CaseRevisited,
    NoiseMeasured,
    RevisitsBegan,
    SweepBegan,
    VisitEnded,
)
from dibench.sweep.job import Sweep
from dibench.sweep.noise import TARGETS, measure_noise, reachable
from dibench.sweep.parts import read_part
from dibench.sweep.run import run_sweep
from dibench.sweep.worker import CaseResult, Setup

EXACT = attrs.evolve(QUICK, target=0.02, case_budget_s=0.2)


def noisy(names: list[str], **changes: Any) -> Sweep:
    return sweep_of(names, settings=EXACT, **changes)


def with_sentinel(name: str, cases: int, others: str = "quiet") -> Sweep:
    """A reference case of that name before so many others: a rough, a disturbed, and such as are named."""
    plan = plan_of([name, "rough", "never"] + [others] * (cases - 2))
    cases_of = (attrs.evolve(plan.cases[0], sentinel=True), *plan.cases[1:])
    return noisy([], plan=attrs.evolve(plan, cases=cases_of))


def rows_of(out: Path) -> dict[str, Row]:
    """By the layer's name, each case once."""
    return {row.name: row for row in record.written(out / record.TABLE)}


def visits_of(out: Path, case_id: str) -> list[WindowVisit]:
    lines = map(json.loads, (out / record.VISITS).read_text().splitlines())
    return [WindowVisit.from_json(line["visit"]) for line in lines if line["case_id"] == case_id]


class Repeats:
    """A device on which a case takes these windows, visit after visit, a second each."""

    def __init__(self, *visits: list[float]) -> None:
        self.visits, self.now = list(visits), 0.0

    def measure(self, case: Case, settings: Settings, upcoming: Sequence[Case] = ()) -> CaseResult:
        self.now += 1.0
        windows = tuple(Window(1, seconds, None, waited_s=0.0) for seconds in self.visits.pop(0))
        return CaseResult(case.row(), WindowVisit(windows, varies=False))

    def peaks(self) -> dict[str, Any]:
        raise NotImplementedError

    @property
    def setup(self) -> Setup:
        raise NotImplementedError


def spread(mean: float, half: float) -> list[float]:
    """Sixteen windows within that share of the mean, in an order without correlation."""
    return [mean * (1 + half * (index * 7 % 16 - 7.5) / 7.5) for index in range(16)]


@pytest.mark.parametrize(("half", "target"), [(0.01, 0.02), (0.12, 0.03), (0.5, 0.15)])
def test_repeats_tell_what_can_be_reached(half: float, target: float) -> None:
    device = Repeats(*(spread(1 + 0.003 * visit, half) for visit in range(5)))
    noise = measure_noise(device, plan_of(["a"]).cases[0], Settings(), 60.0, lambda: device.now)
    assert noise is not None and noise.repeats == 5 and noise.disturbed == 0.0
    assert noise.spread == pytest.approx(0.006, rel=0.1), "the repeats lie up to 0.6% from the middle one"
    assert noise.target == target


def test_what_repeats_differ_by_widens_intervals_until_visits_make_up_for_it() -> None:
    """Five repeats 3% apart, each good to 0.5%: a row of one visit is not known to 0.5%."""
    device = Repeats(*(spread(1 + 0.03 * visit, 0.01) for visit in range(5)))
    noise = measure_noise(device, plan_of(["a"]).cases[0], Settings(), 60.0, lambda: device.now)
    assert noise is not None and 0.08 < noise.between < 0.2 and noise.visits == 2
    assert noise.target == reachable(noise.between / math.sqrt(2), 0.02) > 0.02
    settings = Settings(between=noise.between)
    visit = WindowVisit(tuple(Window(1, seconds, None, 0.0) for seconds in spread(1.0, 0.01)), varies=False)
    widths = [measurement([visit] * visits, settings).reached for visits in (1, 4)]
    assert widths[0] == pytest.approx(noise.between, rel=0.05)
    assert widths[1] == pytest.approx(noise.between / 2, rel=0.05)
    assert "visits differ by" in measurement([visit], settings).reason


def test_measuring_the_noise_ends_in_time() -> None:
    device = Repeats(*[spread(1.0, 0.01)] * 5)
    noise = measure_noise(device, plan_of(["a"]).cases[0], Settings(), 3.4, lambda: device.now)
    assert noise is not None and noise.repeats == 3 and device.now == 3.0


@pytest.mark.slow
def test_a_noisy_machine_is_said_first_and_the_target_follows(tmp_path: Path) -> None:
    sweep, events = with_sentinel("rough", cases=45, others="rough"), list[Any]()
    run_sweep(sweep, tmp_path, on_event=events.append)
    told = [index for index, event in enumerate(events) if isinstance(event, NoiseMeasured)]
    assert told == [1], "after what is measured, before the first case"
    noise = events[1].noise
    assert noise.target in TARGETS and events[1].asked == 0.02
    manifest = files.read_json_object(tmp_path / "manifest.json")
    assert manifest is not None and manifest["noise"] == attrs.asdict(noise)
    assert manifest["identity"]["target"] == 0.02
    assert "target ±2%" not in rows_of(tmp_path)["rough"].reason
    # Resumed: the same sweep, with the target it began with.
    again: list[Any] = []
    run_sweep(sweep, tmp_path, on_event=again.append)
    assert not any(isinstance(event, NoiseMeasured) for event in again)
    resumed = files.read_json_object(tmp_path / "manifest.json")
    assert resumed is not None and resumed["noise"] == manifest["noise"]
    assert "target ±2%" not in rows_of(tmp_path)["rough"].reason


@pytest.mark.slow
def test_the_target_is_what_cases_reach_whatever_the_reference_case_told(tmp_path: Path) -> None:
    run_sweep(with_sentinel("rough", cases=45), tmp_path)
    manifest = files.read_json_object(tmp_path / "manifest.json")
    assert manifest is not None and manifest["noise"]["target"] > manifest["windows"]["target"] == 0.02
    assert "target ±2%" in rows_of(tmp_path)["rough"].reason


@pytest.mark.slow
def test_a_target_that_was_asked_for_is_kept(tmp_path: Path) -> None:
    run_sweep(attrs.evolve(with_sentinel("rough", cases=45), keep_target=True), tmp_path)
    manifest = files.read_json_object(tmp_path / "manifest.json")
    assert manifest is not None and manifest["noise"]["target"] == 0.02 < manifest["noise"]["reached"]


def test_noise_is_not_measured_where_that_would_be_out_of_proportion(tmp_path: Path) -> None:
    events: list[Any] = []
    run_sweep(with_sentinel("never", cases=30), tmp_path / "few", on_event=events.append)
    deadline = time.monotonic() + 6.0  # of which 5% are less than two case budgets
    run_sweep(with_sentinel("never", 45), tmp_path / "short", deadline=deadline, on_event=events.append)
    assert not any(isinstance(event, NoiseMeasured) for event in events)


@pytest.mark.slow
def test_disturbed_cases_are_visited_again_when_all_others_have_a_row(tmp_path: Path) -> None:
    events: list[Any] = []
    names = ["restless a", "quiet", "never", "restless b", "last"]
    summary = run_sweep(noisy(names), tmp_path, on_event=events.append)
    ended = [index for index, event in enumerate(events) if isinstance(event, CaseEnded)]
    began = [index for index, event in enumerate(events) if isinstance(event, RevisitsBegan)]
    assert len(ended) == 5 and max(ended) < min(began)
    assert [events[index].cases for index in began] == [3, 1, 1]
    assert (summary.revisited, summary.came_good, summary.ended) == (3, 2, "complete")
    rows_first = {each.case.layer.name: each.row for each in events if isinstance(each, CaseEnded)}
    widths = {name: (row.time_ci_s or 0.0) / (row.time_s or 1.0) for name, row in rows_first.items()}
    first = [event.case.layer.name for event in events if isinstance(event, CaseRevisited)][:3]
    assert [widths[name] for name in first] == sorted((widths[name] for name in first), reverse=True)
    rows = rows_of(tmp_path)
    assert {name: (row.status, row.visits) for name, row in rows.items()} == {
        "restless a": ("ok", 2),
        "quiet": ("ok", 1),
        "never": ("flagged", 4),
        "restless b": ("ok", 2),
        "last": ("ok", 1),
    }
    assert rows["restless a"].time_s == pytest.approx(1e-3, rel=0.01)
    manifest = files.read_json_object(tmp_path / "manifest.json")
    assert manifest is not None and manifest["rows"] == {"ok": 4, "flagged": 1}
    assert (manifest["sessions"][0]["revisited"], manifest["sessions"][0]["came_good"]) == (3, 2)
    assert len(read_part(tmp_path).rows) == 5, "and it can be merged"


@pytest.mark.slow
def test_a_row_is_made_of_the_windows_of_all_visits(tmp_path: Path) -> None:
    """Never of the visit that looks best."""
    run_sweep(noisy(["restless", "never"]), tmp_path)
    for row in rows_of(tmp_path).values():
        visits = visits_of(tmp_path, row.case_id)
        assert len(visits) == row.visits
        pooled = measurement(visits, EXACT)
        assert (row.time_s, row.time_ci_s, row.reason) == (pooled.time_s, pooled.time_ci_s, pooled.reason)
        assert len(visits[0].windows) < 40, "the first visit ended early"


@pytest.mark.slow
def test_a_disturbed_row_says_so_and_the_next_command_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_sweep(noisy(["never", "quiet"]), tmp_path)
    assert "windows in 4 visits, target ±2%" in rows_of(tmp_path)["never"].reason
    assert rows_of(tmp_path)["never"].visits == 4
    monkeypatch.setenv("FAKE_CALM", "1")
    summary = run_sweep(noisy(["never", "quiet"]), tmp_path)
    assert (summary.measured, summary.revisited) == (0, 1)
    row = rows_of(tmp_path)["never"]
    assert row.visits is not None and row.visits > 4


@pytest.mark.slow
def test_a_case_that_fails_on_a_noisy_machine_is_not_visited_again(tmp_path: Path) -> None:
    sweep = with_sentinel("rough", cases=45)
    failing = attrs.evolve(sweep.plan.cases[5], layer=attrs.evolve(sweep.plan.cases[5].layer, name="memory"))
    cases = (*sweep.plan.cases[:5], failing, *sweep.plan.cases[6:])
    summary = run_sweep(attrs.evolve(sweep, plan=attrs.evolve(sweep.plan, cases=cases)), tmp_path)
    assert summary.statuses["failed"] == 1 and summary.left == 0
    assert rows_of(tmp_path)["memory"].visits is None
    assert {row.visits for row in rows_of(tmp_path).values() if row.name == "quiet"} == {2}


@pytest.mark.slow
def test_no_time_left_means_no_revisits(tmp_path: Path) -> None:
    run_sweep(noisy(["never"] * 3), tmp_path, deadline=time.monotonic() + 0.5 + 1.0)
    before = (tmp_path / "sweep.csv").read_bytes()
    again = run_sweep(noisy(["never"] * 3), tmp_path, deadline=time.monotonic())
    assert (again.ended, again.revisited, again.measured) == ("time budget", 0, 0)
    assert (tmp_path / "sweep.csv").read_bytes() == before


def test_sentinels_that_differ_send_the_sweep_to_every_case_again(tmp_path: Path) -> None:
    """All windows of a visit stretched alike look like a slower case, until another visit is made."""
    plan = plan_of(["quiet", "slowed", "quiet", "slowed", "quiet", "slowed", "quiet"])
    cases = (*plan.cases[:2], *(attrs.evolve(case, sentinel=True) for case in plan.cases[2:]))
    summary = run_sweep(noisy([], plan=attrs.evolve(plan, cases=cases)), tmp_path)
    assert (summary.revisited, summary.statuses) == (7, {"ok": 7})
    rows = list(record.written(tmp_path / "sweep.csv"))
    assert {row.visits for row in rows} == {2}
    assert [row.time_s for row in rows] == pytest.approx([1e-3] * 7)


@pytest.mark.parametrize("end", ["crash", "memory"])
def test_a_revisit_that_fails_takes_nothing_away(tmp_path: Path, end: str) -> None:
    summary = run_sweep(noisy([f"again {end}", "quiet"]), tmp_path)
    rows = rows_of(tmp_path)
    row = rows[f"again {end}"]
    assert (row.status, row.visits, summary.revisited) == ("flagged", 1, 0)
    assert row.time_s is not None and summary.left == 0


@pytest.mark.slow
def test_killed_while_revisiting_the_first_rows_stand_and_the_next_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real process and SIGKILL: one case is revisited, the other is in the middle of it."""
    out, names = tmp_path / "out", ["restless", "quiet", "again gated"]
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(out), json.dumps(names)],
        env=environment(FAKE_GATE=str(tmp_path / "never-there")),
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(
            lambda: (
                (out / record.VISITS).exists() and len((out / record.VISITS).read_bytes().splitlines()) == 4
            ),
            60.0,
        )
    finally:
        program.send_signal(signal.SIGKILL)
        program.wait()
    rows = rows_of(out)
    assert {name: (row.status, row.visits) for name, row in rows.items()} == {
        "restless": ("flagged", 1),
        "quiet": ("ok", 1),
        "again gated": ("flagged", 1),
    }
    monkeypatch.setenv("FAKE_CALM", "1")
    summary = run_sweep(noisy(names), out)
    assert (summary.measured, summary.revisited, summary.came_good) == (0, 1, 1)
    assert {name: (row.status, row.visits) for name, row in rows_of(out).items()} == {
        "restless": ("ok", 2),
        "quiet": ("ok", 1),
        "again gated": ("ok", 2),
    }


PROGRAM = """
import json, sys
from pathlib import Path
import attrs
from fake_backend import QUICK, sweep_of
from dibench.sweep.run import run_sweep
exact = attrs.evolve(QUICK, target=0.02, case_budget_s=0.2)
run_sweep(sweep_of(json.loads(sys.argv[2]), settings=exact), Path(sys.argv[1]))
"""


def test_a_quiet_sweep_is_as_before(tmp_path: Path) -> None:
    events: list[Any] = []
    sweep = with_sentinel("quiet", cases=45)
    quiet = attrs.evolve(
        sweep.plan, cases=tuple(one for one in sweep.plan.cases if one.layer.name == "quiet")
    )
    summary = run_sweep(attrs.evolve(sweep, plan=quiet), tmp_path, on_event=events.append)
    assert (summary.revisited, summary.statuses) == (0, {"ok": 44})
    assert events[1].noise.target == 0.02 and not any(isinstance(event, RevisitsBegan) for event in events)
    assert all(row.visits == 1 and row.reason == "" for row in record.written(tmp_path / "sweep.csv"))


def test_a_disturbed_visit_makes_the_bar_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    case = with_sentinel("quiet", cases=1).plan.cases[0]
    with Progress(None) as progress:
        progress.show(SweepBegan("machine", "none", total=2, finished=0, steps=2))
        for _ in range(3):
            progress.show(VisitEnded(case, 1, 1, lost=True))
        (task,) = progress._bar.tasks
    assert (task.completed, task.total) == (3, 5), "three visits are over, two are left"


@pytest.mark.slow
def test_the_user_sees_noise_and_revisits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(None) as progress:
        run_sweep(with_sentinel("rough", cases=45), tmp_path / "free", on_event=progress.show)
    told = capsys.readouterr().err
    assert "noise: the same case repeats within ±" in told
    assert "each case is visited 2 times, aiming at ±" in told and "% instead of ±2%; " in told
    assert "those that miss it are measured again at the end" in told
    assert told.index("noise: ") < told.index("[1/91]"), "45 cases twice, the reference case once"
    with Progress(None) as progress:
        kept = attrs.evolve(with_sentinel("rough", cases=45), keep_target=True)
        run_sweep(kept, tmp_path / "kept", on_event=progress.show)
    told = capsys.readouterr().err
    assert "aiming at ±2%; those that miss it" in told
    assert "measured again, the most disturbed first" in told
