"""A sweep measures every case once, says what went wrong, and resumes only what is the same."""

from __future__ import annotations

import csv
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from fake_backend import BACKEND, COUNTS, QUICK, plan_of, sweep_of

from dibench import files
from dibench.errors import UserError
from dibench.kernels import registry
from dibench.meters.model import energy_per_launch_j
from dibench.sweep import crew, loop
from dibench.sweep.duration import NextCase, rate_of
from dibench.sweep.events import CaseBegan, CaseEnded, CutShort, NoPeaks, SweepBegan, WorkerRestarted
from dibench.sweep.manifest import refuse_other, source_revision
from dibench.sweep.parts import read_part
from dibench.sweep.run import run_sweep
from dibench.table import read_csv


def rows_of(out: Path) -> list[dict[str, str]]:
    read_csv(out / "sweep.csv")
    with (out / "sweep.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def manifest_of(out: Path) -> dict[str, Any]:
    manifest = files.read_json_object(out / "manifest.json")
    assert manifest is not None
    return manifest


def test_every_case_gets_one_row_whatever_happens_to_it(tmp_path: Path) -> None:
    names = ["first", "crash", "memory", "refuse", "chatty", "not finite", "exit", "oom", "last"]
    events: list[Any] = []
    summary = run_sweep(sweep_of(names), tmp_path, on_event=events.append)
    found = {row["name"]: (row["status"], row["reason"]) for row in rows_of(tmp_path)}
    assert found == {
        "first": ("ok", ""),
        "crash": ("failed", "worker died: SIGSEGV"),
        "memory": ("failed", "MemoryError: 64 GiB of inputs"),
        "refuse": ("skipped", "tile_p: must be at most 8 (got 9)"),
        "chatty": ("ok", ""),
        "not finite": ("failed", found["not finite"][1]),
        "exit": ("failed", "worker died: exit status 3: the driver is gone"),
        "oom": ("failed", "worker died: SIGKILL (out of memory?)"),
        "last": ("ok", ""),
    }
    assert found["not finite"][1].startswith("ValueError: the seconds of a window must be finite, are nan")
    assert (summary.ended, summary.measured, summary.left) == ("complete", 9, 0)
    assert summary.statuses == {"ok": 3, "failed": 5, "skipped": 1}
    restarts = [event.reason for event in events if isinstance(event, WorkerRestarted)]
    assert len(restarts) == 3, "a case that only raises costs no restart"
    assert events[0] == SweepBegan("fake device", "model", 9, 0, 9)
    assert sum(isinstance(event, CaseEnded) for event in events) == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "sweep.csv", "visits.jsonl"]


@pytest.mark.slow
def test_only_what_a_kernel_ends_counts_against_it(tmp_path: Path) -> None:
    """A refused launch costs no worker, a spent worker is replaced without blame, a fault is a death."""
    names = ["first", "refused by CUDA", "refused by CUDA", "spent", "spent", "fault", "last"]
    events: list[Any] = []
    run_sweep(sweep_of(names, most_deaths=2), tmp_path, on_event=events.append)
    found = [(row["status"], row["reason"]) for row in rows_of(tmp_path)]
    refused = ("failed", "CUDA, run: too many resources requested for launch")
    spent = ("failed", "PyTorch: operation not permitted when stream is capturing")
    fault = ("failed", "worker died: exit status 1: CUDA, run: an illegal memory access was encountered")
    assert found == [("ok", ""), refused, refused, spent, spent, fault, ("ok", "")]
    assert sum(isinstance(event, WorkerRestarted) for event in events) == 1


def test_a_kernel_that_ends_worker_after_worker_is_not_tried_for_ever(tmp_path: Path) -> None:
    events: list[Any] = []
    names = ["first", "crash", "crash", "slow", "slow"]
    summary = run_sweep(sweep_of(names, most_deaths=2), tmp_path, on_event=events.append)
    found = [(row["status"], row["reason"]) for row in rows_of(tmp_path)]
    died, given_up = ("failed", "worker died: SIGSEGV"), ("failed", "not tried: fake ended 2 workers before")
    assert found == [("ok", ""), died, died, given_up, given_up]
    assert (summary.ended, summary.left) == ("complete", 0)
    again = run_sweep(sweep_of(["crash", "first", "crash"]), tmp_path / "unasked")
    assert again.statuses == {"failed": 2, "ok": 1}, "without being asked to it tries every case"


def test_peaks_that_end_the_worker_do_not_end_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_PEAKS", "crash")
    events: list[Any] = []
    summary = run_sweep(sweep_of(["first", "last"]), tmp_path, on_event=events.append)
    assert summary.statuses == {"ok": 2} and manifest_of(tmp_path)["peaks"] == {}
    (told,) = [event for event in events if isinstance(event, NoPeaks)]
    assert "could not measure its peaks: worker died: SIGSEGV" in told.reason
    assert run_sweep(sweep_of(["first", "last"]), tmp_path).ended == "complete", "it is gone on with"


def test_a_row_holds_what_the_contract_asks_for(tmp_path: Path) -> None:
    run_sweep(sweep_of(["layer"]), tmp_path)
    (row,) = rows_of(tmp_path)
    layer = plan_of(["layer"]).cases[0].layer
    assert row["case_id"] == plan_of(["layer"]).cases[0].case_id
    assert (row["device"], row["device_uuid"], row["backend"]) == ("fake device", "fake-0", "fake")
    assert (row["stationarity"], row["dtype"], row["data"], row["sentinel"]) == (
        "",  # whose kernels are not ours
        "fp32",
        "uniform",
        "0",
    )
    assert {what: int(row[what]) for what in COUNTS} == COUNTS
    assert (row["time_s"], row["visits"], row["windows"]) == ("0.001", "1", "16")
    expected_j = energy_per_launch_j(
        {**COUNTS, "weights": layer.weights, "inputs": layer.inputs, "outputs": layer.outputs}
    )
    assert float(row["energy_j"]) == pytest.approx(expected_j)
    assert row["energy_source"] == "model"
    assert row["energy_ci_j"] == "", "a calculation has no interval"
    for unknown in ("energy_above_idle_j", "power_w", "idle_power_w", "temp_start_c", "sms", "lanes"):
        assert row[unknown] == ""


def test_instances_share_a_launch_and_its_energy(tmp_path: Path) -> None:
    one, four = tmp_path / "one", tmp_path / "four"
    plan = plan_of(["layer"])
    replicas = attrs.evolve(plan, cases=tuple(attrs.evolve(case, instances=4) for case in plan.cases))
    run_sweep(sweep_of([], plan=plan), one)
    run_sweep(sweep_of([], plan=replicas), four)
    (alone,), (shared,) = rows_of(one), rows_of(four)
    assert shared["instances"] == "4"
    assert float(shared["time_s"]) == pytest.approx(float(alone["time_s"]) / 4)
    assert float(shared["energy_j"]) == pytest.approx(float(alone["energy_j"]))
    assert shared["weight_reads"] == alone["weight_reads"]


def test_peaks_are_measured_again_at_the_end_and_the_larger_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_PEAKS", "disturbed")
    run_sweep(sweep_of(["a"]), tmp_path)
    assert manifest_of(tmp_path)["peaks"] == {"mac_per_s": 1e9, "bytes_per_s": 2e10}


def test_the_manifest_says_what_was_measured_where_and_how(tmp_path: Path) -> None:
    run_sweep(sweep_of(["a"]), tmp_path)
    run_sweep(sweep_of(["a"]), tmp_path)
    manifest = manifest_of(tmp_path)
    assert manifest["device"] == {"name": "fake device", "uuid": "fake-0", "facts": {"threads": 1}}
    assert manifest["peaks"] == {"mac_per_s": 1e9, "bytes_per_s": 1e10}
    assert manifest["plan"] == {"name": "test", "sha": "a" * 64, "seed": 1, "shard": None, "cases": 1}
    assert manifest["energy_source"] == "model"
    assert "ISSCC 2014" in manifest["meter"]["facts"]["reference"]
    assert manifest["settings"] == attrs.asdict(QUICK)
    assert manifest["rows"] == {"ok": 1}
    assert [session["rows"] for session in manifest["sessions"]] == [1, 0]
    assert [session["ended"] for session in manifest["sessions"]] == ["complete", "complete"]
    assert manifest["command_line"] == ["dibench", "sweep"]
    assert manifest["started_at"] == manifest["sessions"][0]["started_at"]


def test_a_hung_case_is_ended_and_the_next_one_measured(tmp_path: Path) -> None:
    run_sweep(sweep_of(["hang", "next"], limit_s=1.0), tmp_path)
    hung, after = rows_of(tmp_path)
    assert (hung["status"], hung["reason"]) == ("failed", "worker gave no answer within 1 s and was killed")
    assert after["status"] == "ok"


def cut_short(out: Path, names: list[str], patch: pytest.MonkeyPatch) -> tuple[Any, list[Any], float]:
    """A case hangs half a second before the time budget ends: how the sweep ended, events, seconds."""
    events: list[Any] = []
    begin, ahead_s = time.monotonic(), 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead_s)
    for module in (crew, loop):
        patch.setattr(module, "time", clock)

    def show(event: Any) -> None:
        nonlocal ahead_s
        events.append(event)
        if isinstance(event, CaseBegan) and event.case.layer.name == "hang":
            ahead_s = begin + 999.5 - time.monotonic()

    summary = run_sweep(sweep_of(names), out, deadline=begin + 1000.0, on_event=show)
    return summary, events, time.monotonic() - begin


def test_the_time_budget_ends_a_stuck_case_whose_row_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["first", "hang", "never begun"]
    with monkeypatch.context() as patch:
        summary, events, took_s = cut_short(tmp_path, names, patch)
    assert summary.ended == "time budget" and took_s < 60, "its hang limit is 90 s"
    assert [row["status"] for row in rows_of(tmp_path)] == ["ok", "failed"]
    reason = rows_of(tmp_path)[1]["reason"]
    assert re.match(r"time budget: no answer in \d+ s, where \S+ s were expected, so it was ended", reason)
    assert [event.stuck for event in events if isinstance(event, CutShort)] == [True]
    assert not any(isinstance(event, WorkerRestarted) for event in events), "there is no time for another"
    assert run_sweep(sweep_of(names), tmp_path).ended == "complete"


def test_a_case_that_only_began_too_late_is_measured_by_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_STUCK_S", 2000.0)
    summary, events, took_s = cut_short(tmp_path, ["first", "hang"], monkeypatch)
    assert summary.ended == "time budget" and summary.left == 1 and took_s < 60
    assert [event.stuck for event in events if isinstance(event, CutShort)] == [False]
    assert [row["name"] for row in rows_of(tmp_path)] == ["first"]


def test_the_time_budget_bounds_the_opening_of_a_device_and_its_peaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crew, "LEAST_OPEN_S", 0.3)
    monkeypatch.setenv("FAKE_PEAKS", "hang")
    opening = crew.Opening(BACKEND, "model", QUICK, 90.0)
    device = crew.LocalDevice(opening)
    device.open()
    device._opening = late = attrs.evolve(opening, deadline=time.monotonic() + 0.3)
    with pytest.raises(UserError, match=r"could not measure its peaks: worker gave no answer within 0.\S* s"):
        device.peaks()
    device.close()
    monkeypatch.setenv("FAKE_OPEN", "hang")
    begin = time.monotonic()
    with pytest.raises(UserError, match=r"could not be opened: worker gave no answer within 0.3 s"):
        crew.LocalCrew(late)
    assert time.monotonic() - begin < 30


def test_resuming_repeats_nothing_and_leaves_the_table_as_it_is(tmp_path: Path) -> None:
    names = ["a", "refuse", "memory", "b"]
    run_sweep(sweep_of(names), tmp_path)
    before = (tmp_path / "sweep.csv").read_bytes()
    summary = run_sweep(sweep_of(names), tmp_path)
    assert (tmp_path / "sweep.csv").read_bytes() == before
    assert (summary.measured, summary.left, summary.ended) == (0, 0, "complete")
    assert summary.statuses == {"ok": 2, "skipped": 1, "failed": 1}


def test_retry_failed_measures_failed_cases_again_and_only_those(tmp_path: Path) -> None:
    run_sweep(sweep_of(["a", "memory", "refuse"]), tmp_path)
    before = rows_of(tmp_path)
    summary = run_sweep(sweep_of(["a", "memory", "refuse"]), tmp_path, retry_failed=True)
    after = rows_of(tmp_path)
    assert summary.measured == 1
    assert sorted(row["case_id"] for row in after) == sorted(row["case_id"] for row in before)
    assert [row for row in after if row["name"] != "memory"] == [r for r in before if r["name"] != "memory"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"plan": plan_of(["a"], sha="c" * 64)},
            r"content of the plan.*'aaaaaaaaaaaaaaaa'.*'cccccccccccccccc'",
        ),
        ({"plan": plan_of(["a"], seed=7)}, r"seed: was 1 .* is 7 now"),
        ({"plan": attrs.evolve(plan_of(["a"]), name="other")}, r"plan: was 'test' .* is 'other' now"),
        ({"sources_sha": "d" * 64}, r"kernel sources .*'bbbbbbbbbbbbbbbb'.*'dddddddddddddddd'"),
        ({"meter": "none"}, r"energy source: was 'model' .* is 'none' now"),
        ({"settings": attrs.evolve(QUICK, target=0.25)}, r"target: was 0\.5 .* is 0\.25 now"),
    ],
)
def test_resuming_something_else_is_refused_with_the_difference(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    run_sweep(sweep_of(["a"]), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match=named + ".*--fresh"):
        run_sweep(sweep_of(["a"], **changes), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_resuming_on_another_device_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_sweep(sweep_of(["a"]), tmp_path)
    monkeypatch.setenv("FAKE_DEVICE", "another device")
    with pytest.raises(UserError, match=r"device: was 'fake device' .* is 'another device' now"):
        run_sweep(sweep_of(["a"]), tmp_path)


def test_resuming_on_fewer_cores_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_THREADS", "2")
    run_sweep(sweep_of(["a"]), tmp_path)
    monkeypatch.setenv("FAKE_THREADS", "1")
    with pytest.raises(UserError, match=r"threads: was 2 .* is 1 now"):
        run_sweep(sweep_of(["a"]), tmp_path)


def test_fresh_begins_anew_and_keeps_the_old_files_under_another_name(tmp_path: Path) -> None:
    run_sweep(sweep_of(["a"]), tmp_path)
    old = (tmp_path / "sweep.csv").read_bytes()
    changed = sweep_of(["a", "b"], sources_sha="d" * 64)
    summary = run_sweep(changed, tmp_path, fresh=True)
    assert len(rows_of(tmp_path)) == 2
    assert (tmp_path / summary.kept_as).read_bytes() == old
    assert len(list(tmp_path.glob("manifest-until-*.json"))) == 1
    assert len(manifest_of(tmp_path)["sessions"]) == 1


def test_a_fresh_sweep_that_cannot_start_leaves_the_old_one(tmp_path: Path) -> None:
    run_sweep(sweep_of(["a"]), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError):
        run_sweep(sweep_of(["a"], meter="rapl"), tmp_path, fresh=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_table_without_manifest_is_not_guessed_at(tmp_path: Path) -> None:
    run_sweep(sweep_of(["a"]), tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"sweep\.csv: has no manifest\.json beside it.*--fresh"):
        run_sweep(sweep_of(["a"]), tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda m: m.pop("identity"),
        lambda m: m.pop("device"),
        lambda m: m.update(peaks=None),
        lambda m: m.update(peaks={"mac_per_s": "fast"}),
        lambda m: m.update(meter=[]),
        lambda m: m.update(sessions=[{}]),
        lambda m: m.pop("started_at"),
        lambda m: m.update(plan={}),
        lambda m: m.update(devices=[{"name": "fake device"}]),
    ],
)
def test_a_damaged_manifest_is_one_line(
    damage: Callable[[dict[str, Any]], object], finished: Path, tmp_path: Path
) -> None:
    manifest = manifest_of(finished)
    refuse_other(finished, manifest, manifest["identity"])
    damage(manifest)
    with pytest.raises(UserError, match=r"manifest\.json: is not the manifest of a sweep: take another"):
        refuse_other(finished, manifest, {})
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"manifest\.json: is not the manifest of a sweep"):
        read_part(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    run_sweep(sweep_of(["a"]), folder)
    return folder


def test_a_backend_that_cannot_start_is_one_line_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"could not be opened: worker died: exit status 1: RuntimeError: no"):
        run_sweep(sweep_of(["a"], backend="fake_backend:broken"), tmp_path)


def test_a_backend_from_elsewhere_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--backend: must be module:callable .*no attribute 'Absent'"):
        run_sweep(sweep_of(["a"], backend="fake_backend:Absent"), tmp_path)


def test_the_time_budget_ends_a_sweep_before_it_is_exceeded(tmp_path: Path) -> None:
    names = ["slow"] * 200
    deadline = time.monotonic() + 3.0
    summary = run_sweep(sweep_of(names), tmp_path, deadline=deadline)
    assert time.monotonic() < deadline + 0.5
    assert summary.ended == "time budget"
    assert summary.measured + summary.left == 200 and 0 < summary.measured < 200
    assert len(rows_of(tmp_path)) == summary.measured
    assert manifest_of(tmp_path)["sessions"][0]["ended"] == "time budget"


def test_no_case_is_begun_when_the_budget_is_over_already(tmp_path: Path) -> None:
    summary = run_sweep(sweep_of(["a"]), tmp_path, deadline=time.monotonic())
    assert (summary.measured, summary.left) == (0, 1)


def test_the_next_case_is_expected_to_last_as_long_as_its_macs_say() -> None:
    small, large = plan_of(["small", "large"]).cases
    large = attrs.evolve(large, layer=attrs.evolve(large.layer, K=8_000_000))
    expected = NextCase(QUICK)
    assert expected.seconds(large) == QUICK.case_budget_s
    expected.learn(small, 0.01, 8e-6)  # 8 MACs, so a microsecond each
    assert expected.seconds(large) == pytest.approx(2 * 64.0)


def test_a_long_case_is_expected_to_be_long_before_any_was_measured() -> None:
    (case,) = plan_of(["long"]).cases
    variant = next(name for name, one in registry("cpu").items() if one.fast and case.layer.op in one.ops)
    long = attrs.evolve(case, variant=variant, layer=attrs.evolve(case.layer, K=2_000_000_000))
    rate = rate_of(registry("cpu")[variant], case.layer.op)
    assert NextCase(QUICK, cores=2).seconds(long) == pytest.approx(2 * long.layer.macs / (2 * rate))
    assert NextCase(QUICK).seconds(long) == QUICK.case_budget_s


def test_the_revision_is_that_of_the_checkout() -> None:
    revision = source_revision()
    assert revision is None or len(revision.rstrip("+")) == 40
