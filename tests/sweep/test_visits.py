"""Sweeps of a metered GPU, replayed: visits minutes apart, one row per case, nothing lost."""

from __future__ import annotations

import itertools
import json
import math
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pandas as pd
import pytest
import replayed_device
from fake_backend import sweep_of
from processes import HERE, environment
from replay import REFERENCE_C, ReplayedClock
from replayed_plans import plan_of, replayed
from simulated_gpu import SimulatedGpu

from dibench import files
from dibench.backends import Device
from dibench.errors import UserError
from dibench.measure import instrument
from dibench.measure.settings import Settings
from dibench.meters.base import MeterFacts
from dibench.meters.baseline import Baseline
from dibench.meters.gpu import GpuMeter
from dibench.plan import Plan, ordering
from dibench.sweep import record
from dibench.sweep.crew import LocalDevice, Opening
from dibench.sweep.events import CaseEnded, VisitEnded
from dibench.sweep.run import run_sweep
from dibench.sweep.visit_book import Entry, VisitBook
from dibench.sweep.worker import Setup
from dibench.table import read_csv


def read(out: Path) -> pd.DataFrame:
    return read_csv(out / "sweep.csv")


def check_truth(out: Path, plan: Plan) -> None:
    """Known joules, at the temperature of the rows, lie in the intervals of nineteen rows in twenty."""
    frame, manifest = read(out), files.read_json_object(out / "manifest.json")
    assert manifest is not None
    leakage_per_c = replayed_device.CARD.leakage_per_c
    warmer = 1 + leakage_per_c * (manifest["reference_c"] - REFERENCE_C)  # active idle power grows as much
    cases = {case.case_id: case for case in plan.cases}
    beyond = 0
    for row in frame.to_dict("records"):
        case = cases[str(row["case_id"])]
        truth = warmer * replayed_device.truth_j(case) / case.instances
        half = math.hypot(row["energy_ci_j"], row["ci_baseline_j"])
        beyond += abs(row["energy_above_active_idle_j"] - truth) > half
    assert beyond <= 1 + len(frame) // 20


def test_a_sweep_in_visits(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, visits=3, per_op=2)
    events: list[Any] = []
    summary = run_sweep(replayed(plan), tmp_path / "out", on_event=events.append)
    frame = read(tmp_path / "out")
    assert summary.ended == "complete" and summary.left == 0 and len(frame) == len(plan.cases)
    assert set(frame["energy_source"]) == {"simulated"} and (frame["status"] != "failed").all()
    wanted = {case.case_id: case.visits for case in plan.cases}
    assert dict(zip(frame["case_id"], frame["visits"], strict=True)) == wanted
    for column in (
        "energy_j",
        "energy_alt_j",
        "energy_above_idle_j",
        "ci_tick_j",
        "ci_spread_j",
        "ci_drift_j",
    ):
        assert (frame[column] > 0).all()
    assert (frame["temp_start_c"] > 20).all() and (frame["fp32_pct"] > 0).all()
    memory_w = 100.0 * (1 + 0.02 * frame["dram_bandwidth_pct"].to_numpy()) / 3
    assert frame["memory_power_w"].to_numpy() == pytest.approx(memory_w, rel=0.01)
    check_truth(tmp_path / "out", plan)
    # Visits of a case are apart: others lie between them.
    order = [event.case.case_id for event in events if isinstance(event, VisitEnded)]
    assert all(first != second for first, second in itertools.pairwise(order))
    manifest = files.read_json_object(tmp_path / "out" / "manifest.json")
    assert manifest is not None and manifest["meter"]["in_visits"]
    assert manifest["sessions"][0]["share_in_windows_and_settling"] == pytest.approx(summary.inside)
    # A second command finds nothing to do and changes nothing.
    before = (tmp_path / "out" / "sweep.csv").read_bytes()
    assert run_sweep(replayed(plan), tmp_path / "out").measured == 0
    assert (tmp_path / "out" / "sweep.csv").read_bytes() == before


def test_rows_of_cases_that_lack_visits_are_counted_as_measured(tmp_path: Path) -> None:
    seen = 0

    def stop(event: Any) -> None:
        nonlocal seen
        seen += isinstance(event, VisitEnded)
        if seen == 4:
            raise KeyboardInterrupt

    summary = run_sweep(replayed(plan_of(tmp_path, visits=3, per_op=2)), tmp_path / "out", on_event=stop)
    assert summary.ended == "interrupted"
    assert summary.measured == sum(summary.statuses.values()) == len(read(tmp_path / "out")) > 0


def test_two_cards_visit_their_own_cases_and_know_their_own_noise(tmp_path: Path) -> None:
    plan, out = plan_of(tmp_path, visits=3, per_op=2), tmp_path / "out"
    seen = 0

    def stop(event: Any) -> None:
        nonlocal seen
        seen += isinstance(event, VisitEnded)
        if seen == 7:
            raise KeyboardInterrupt

    sweep = replayed(plan, devices=("GPU-a", "GPU-b"))
    assert run_sweep(sweep, out, on_event=stop).ended == "interrupted"
    summary = run_sweep(sweep, out)
    frame = read(out)
    assert summary.left == 0 and sorted(frame["order"]) == list(range(1, len(plan.cases) + 1))
    assert set(frame["device_uuid"]) == {"GPU-a", "GPU-b"}
    visits = [json.loads(line) for line in (out / "visits.jsonl").read_text().splitlines()]
    where: dict[str, list[str]] = {}
    for visit in visits:
        where.setdefault(visit["case_id"], []).append(visit["device_uuid"])
    assert all(len(set(cards)) == 1 for cards in where.values()), "all visits of a case on one card"
    assert {case_id: len(cards) for case_id, cards in where.items()} == dict_of(plan)
    assert dict(zip(frame["case_id"], frame["device_uuid"], strict=True)) == {
        case_id: cards[0] for case_id, cards in where.items()
    }
    # What one card's visits tell, without the other's, is what its rows say.
    for uuid in ("GPU-a", "GPU-b"):
        alone = tmp_path / uuid
        alone.write_text("".join(json.dumps(one) + "\n" for one in visits if one["device_uuid"] == uuid))
        book = VisitBook(alone, {})
        for row in (row for row in record.written(out / "sweep.csv") if row.device_uuid == uuid):
            found = book.row(row)
            assert found is not None and (found.energy_j, found.ci_drift_j) == (row.energy_j, row.ci_drift_j)
        book.close()
    manifest = files.read_json_object(out / "manifest.json")
    assert manifest is not None
    stated = {one["uuid"]: one["reference_c"] for one in manifest["devices"]}
    assert set(stated) == {"GPU-a", "GPU-b"} and None not in stated.values()


def test_nine_minutes_hold_eighty_cases_and_are_spent_measuring(tmp_path: Path) -> None:
    """A balanced plan: a dozen cases visited three times, the rest once, sentinels between."""
    plan = plan_of(tmp_path, visits=1, per_op=40)
    some = plan.cases[:90]
    assert len(some) == 90
    cases = tuple(
        attrs.evolve(case, visits=3) if index % 8 == 1 and not case.sentinel else case
        for index, case in enumerate(some)
    )
    out = tmp_path / "out"
    summary = run_sweep(replayed(attrs.evolve(plan, cases=cases)), out)
    took_s = [json.loads(line)["took_s"] for line in (out / "visits.jsonl").read_text().splitlines()]
    assert summary.inside is not None and summary.inside >= 0.85, "baselines and start included"
    finished, spent_s = 0, 0.0
    left = {case.case_id: case.visits for case in cases}
    for line, seconds in zip((out / "visits.jsonl").read_text().splitlines(), took_s, strict=True):
        spent_s += seconds
        case_id = json.loads(line)["case_id"]
        left[case_id] -= 1
        finished += left[case_id] == 0 and spent_s <= 540
    assert finished >= 80
    frame = read(out)
    assert (frame["status"] == "ok").mean() > 0.85
    reasons = frame.loc[frame["status"] != "ok", "reason"].astype(str)
    lost = [one for one in reasons if ";" in one or not one.startswith("gap_bound: ")]
    assert len(lost) <= 0.02 * len(frame), f"what is no fault of the case: {lost}"
    check_truth(out, plan)


def test_rows_are_stated_by_what_all_visits_tell(tmp_path: Path) -> None:
    """Also the first ones, which were written when little was known."""
    plan = plan_of(tmp_path, visits=2, per_op=2)
    written: dict[str, float] = {}

    def note(event: Any) -> None:
        if isinstance(event, CaseEnded):
            written[event.case.case_id] = event.row.ci_drift_j or 0.0

    run_sweep(replayed(plan), tmp_path / "out", on_event=note)
    frame = read(tmp_path / "out").set_index("case_id")
    manifest = files.read_json_object(tmp_path / "out" / "manifest.json")
    assert manifest is not None
    book = VisitBook(tmp_path / "out" / record.VISITS, {})
    assert book.reference_c == {replayed_device.GPU.uuid: manifest["reference_c"]}
    for case in plan.cases:
        row = book.row(case.row())
        assert row is not None
        assert row.energy_j == frame.loc[case.case_id, "energy_j"]
        assert row.ci_drift_j == frame.loc[case.case_id, "ci_drift_j"]
    book.close()
    first = plan.cases[0].case_id
    assert written[first] != frame.loc[first, "ci_drift_j"]


def test_a_sweep_that_ends_between_visits_flags_and_goes_on(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, visits=2, per_op=1)
    out = tmp_path / "out"
    seen = 0

    def stop(event: Any) -> None:
        nonlocal seen
        seen += isinstance(event, VisitEnded)
        if seen == 3:
            raise KeyboardInterrupt

    summary = run_sweep(replayed(plan), out, on_event=stop)
    assert summary.ended == "interrupted" and summary.left > 0
    partly = read(out)
    partly = partly[partly["visits"] < [dict_of(plan)[case_id] for case_id in partly["case_id"]]]
    assert len(partly) == 3 and (partly["status"] == "flagged").all()
    assert all(reason.startswith("1 of 2 visits") for reason in partly["reason"])
    assert run_sweep(replayed(plan), out).left == 0
    frame = read(out)
    assert sorted(frame["order"]) == list(range(1, len(plan.cases) + 1))
    assert dict(zip(frame["case_id"], frame["visits"], strict=True)) == dict_of(plan)


def dict_of(plan: Plan) -> dict[str, int]:
    return {case.case_id: case.visits for case in plan.cases}


def test_a_worker_that_dies_costs_its_case_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(tmp_path, visits=2, per_op=1)
    victim = next(case for case in plan.cases if not case.sentinel)
    monkeypatch.setenv("REPLAYED_CRASH", victim.case_id)
    run_sweep(replayed(plan), tmp_path / "out")
    frame = read(tmp_path / "out").set_index("case_id")
    assert frame.loc[victim.case_id, "status"] == "failed"
    assert "the replayed driver is gone" in str(frame.loc[victim.case_id, "reason"])
    assert (frame.drop(victim.case_id)["status"] != "failed").all()
    monkeypatch.delenv("REPLAYED_CRASH")
    run_sweep(replayed(plan), tmp_path / "out", retry_failed=True)
    frame = read(tmp_path / "out").set_index("case_id")
    assert frame.loc[victim.case_id, "visits"] == 2


def test_killed_at_random_instants_no_visit_is_lost_or_made_twice(tmp_path: Path) -> None:
    plan, out = plan_of(tmp_path, visits=2, per_op=1), tmp_path / "out"
    rng = random.Random("visits")
    for _ in range(5):
        program = subprocess.Popen(
            [sys.executable, str(HERE / "replayed_plans.py"), str(tmp_path)],
            env=environment(),
            stdout=subprocess.DEVNULL,
        )
        time.sleep(rng.uniform(1.5, 4.0))
        program.send_signal(signal.SIGKILL)
        program.wait()
    run_sweep(replayed(plan), out)
    frame = read(out)
    assert sorted(frame["order"]) == list(range(1, len(plan.cases) + 1))
    made = [json.loads(line)["case_id"] for line in (out / "visits.jsonl").read_text().splitlines()]
    assert {case_id: made.count(case_id) for case_id in made} == dict_of(plan)


def test_a_visit_written_without_its_row_makes_the_row(tmp_path: Path) -> None:
    """As after a kill between the two writes."""
    plan, out = plan_of(tmp_path, visits=1, per_op=1), tmp_path / "out"
    run_sweep(replayed(plan), out)
    rows = (out / "sweep.csv").read_bytes().splitlines(keepends=True)
    (out / "sweep.csv").write_bytes(b"".join(rows[:-2]))
    made = (out / "visits.jsonl").read_bytes()
    assert run_sweep(replayed(plan), out).left == 0
    assert (out / "visits.jsonl").read_bytes() == made
    assert len(read(out)) == len(plan.cases)


def test_simulated_joules_never_lie_under_results(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, visits=1, per_op=1)
    with pytest.raises(UserError, match=r"--out: must not be under results/: simulated energy is test data"):
        run_sweep(replayed(plan), tmp_path / "results" / "h100")
    assert not (tmp_path / "results").exists(), "nothing is left behind"


def test_auto_gives_way_to_the_model_where_no_gpu_can_be_metered(tmp_path: Path) -> None:
    """The fake device has no sensor; what is not metered says so in every row."""
    run_sweep(sweep_of(["a"], meter="auto"), tmp_path)
    assert set(read(tmp_path)["energy_source"]) == {"model"}


def test_a_visit_that_an_older_file_calls_a_stay_is_read(tmp_path: Path) -> None:
    run_sweep(replayed(plan_of(tmp_path, visits=1, per_op=1)), tmp_path / "out")
    line = (tmp_path / "out" / record.VISITS).read_text().splitlines()[0]
    assert Entry.of_line(line.replace('"visit":', '"stay":')) == Entry.of_line(line)


def test_foreign_lines_in_the_book_are_refused(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, visits=1, per_op=1)
    run_sweep(replayed(plan), tmp_path / "out")
    with (tmp_path / "out" / record.VISITS).open("a") as file:
        file.write('{"mine": 1}\n')
    with pytest.raises(UserError, match=r"visits\.jsonl: line \d+: is not a visit of this version"):
        run_sweep(replayed(plan), tmp_path / "out")


@pytest.mark.parametrize("seed", range(5))
def test_every_case_is_visited_as_often_as_it_wants(seed: int) -> None:
    rng = random.Random(seed)
    visits = [rng.choice([1, 1, 2, 3]) for _ in range(60)]
    steps = ordering.in_visits(visits, seed)
    for index, wanted in enumerate(visits):
        assert [number for at, number in steps if at == index] == list(range(1, wanted + 1))
    firsts = [index for index, number in steps if number == 1]
    assert firsts == list(range(60)), "what is planned first is visited first"
    unfinished = 0
    for at in range(len(steps)):
        done = [sum(index == case for index, _ in steps[:at]) for case in range(60)]
        unfinished = max(unfinished, sum(0 < n < want for n, want in zip(done, visits, strict=True)))
    assert unfinished <= ordering.VISIT_BLOCK


def test_a_sweep_that_needs_a_sensor_refuses_the_model_and_says_why_there_is_none(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, visits=1, per_op=1)
    with pytest.raises(UserError, match=r"no sensor .* is known of backend replayed_device.*--meter model"):
        run_sweep(replayed(plan, meter="auto", needs_sensor=True), tmp_path / "out")
    assert not (tmp_path / "out" / "sweep.csv").exists()


def test_a_worker_in_place_of_another_is_told_the_idle_power_from_before_any_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Any] = []
    baseline = {"power_w": 75.0, "ci_w": 1.0, "celsius": 35.0, "settled": True}
    facts = {"idle": {"energy_mj": baseline}, "estimator": "any"}

    class Started:
        def __init__(self, backend: str, meter: str, settings: Settings, visible: str, idle: Any) -> None:
            told.append(idle)

        def open(self, limit_s: float) -> Setup:
            return Setup(Device("card", "GPU-1", {}), MeterFacts("simulated", 0.1, facts, True))

        def close(self) -> None:
            pass

    monkeypatch.setattr("dibench.sweep.crew.Worker", Started)
    device = LocalDevice(Opening("cuda", "auto", Settings(), 60.0))
    device.open()
    device._restart()
    assert told == [None, {"idle": facts["idle"]}]


def test_a_meter_that_is_told_idle_power_does_not_measure_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ReplayedClock()
    gpu = SimulatedGpu(clock)
    meter = GpuMeter(gpu, clock, "auto")
    monkeypatch.setattr(instrument, "open_meter", lambda *_: meter)
    monkeypatch.setattr(meter, "measure_idle", lambda: pytest.fail("the card was loaded before"))
    device = SimpleNamespace(name="cuda", busy=gpu.busy)
    monkeypatch.setattr("dibench.backends.open_backend", lambda _: device)
    idle = Baseline(75.0, 1.0, 35.0)
    gpu.open_context()
    opened = instrument.open_instrument(
        "cuda", "auto", Settings(), {"idle": {"energy_mj": attrs.asdict(idle)}}
    )
    assert opened.meter is meter and meter.idle == idle
    assert opened.meter_facts().facts["idle"] == {"energy_mj": attrs.asdict(idle)}
