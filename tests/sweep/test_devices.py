"""A sweep on several devices of one machine: shared out, sentinels on each card, a lost one survived."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pandas as pd
import pytest
from fake_backend import plan_of, sweep_of

from dibench import files
from dibench.backends import Device
from dibench.errors import UserError
from dibench.layer import Layer
from dibench.meters.base import MeterFacts
from dibench.plan import Case, Plan
from dibench.sweep import crew, merge
from dibench.sweep.events import DeviceLost
from dibench.sweep.run import run_sweep
from dibench.sweep.steps import Steps
from dibench.sweep.worker import Setup
from dibench.table import read_csv

TWO = ("card-a", "card-b")


def read(out: Path) -> pd.DataFrame:
    return read_csv(out / "sweep.csv")


def with_cases(**changes: Any) -> Plan:
    """Forty slow cases, each changed by `changes`, functions of its order."""
    plan = plan_of(["slow"] * 40)
    cases = tuple(
        attrs.evolve(case, **{name: of(case.order) for name, of in changes.items()}) for case in plan.cases
    )
    return attrs.evolve(plan, cases=cases)


def test_two_devices_share_the_cases_and_one_table(tmp_path: Path) -> None:
    plan = with_cases(sentinel=lambda order: order % 10 == 1, together=lambda order: (order - 1) // 2 % 5)
    events: list[Any] = []
    summary = run_sweep(sweep_of([], plan=plan, devices=TWO), tmp_path, on_event=events.append)
    frame = read(tmp_path)
    assert (summary.ended, summary.left, summary.measured) == ("complete", 0, 40)
    assert sorted(frame["order"]) == list(range(1, 41)) and set(frame["status"]) <= {"ok", "flagged"}
    assert events[0].device == "2 × fake device"
    assert set(frame["device_uuid"]) == set(TWO)
    sentinels = Counter(frame[frame["sentinel"] == 1]["device_uuid"])
    assert set(sentinels) == set(TWO), "however fast one is"
    compared = {case.case_id: case.together for case in plan.cases if case.together}
    frame["together"] = frame["case_id"].map(compared)
    assert (frame.groupby("together")["device_uuid"].nunique() == 1).all()
    manifest = files.read_json_object(tmp_path / "manifest.json")
    assert manifest is not None and {one["uuid"] for one in manifest["devices"]} == set(TWO)


def test_a_sweep_goes_on_with_other_devices_of_the_model(tmp_path: Path) -> None:
    """Cases that are compared stay on their card as long as it is there."""
    plan = with_cases(together=lambda order: 1 if order in (1, 40) else 0)
    begun = attrs.evolve(plan, cases=plan.cases[:20])
    run_sweep(sweep_of([], plan=begun, devices=TWO), tmp_path / "part")
    run_sweep(sweep_of([], plan=plan, devices=("card-c", *TWO)), tmp_path / "part")
    frame = read(tmp_path / "part").set_index("order")
    assert len(frame) == 40 and set(frame["device_uuid"]) == {"card-c", *TWO}
    assert frame.loc[[1, 40], "device_uuid"].nunique() == 1
    merged = merge.merge([tmp_path / "part"], tmp_path / "whole")
    assert merged.devices == {"fake device": 3} and len(merged.rows) == 40


def test_a_crash_costs_its_case_and_a_lost_card_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_UNLUCKY", "card-b")
    monkeypatch.setenv("FAKE_LOST", str(tmp_path / "lost"))
    names = ["crash", *["slow"] * 19]
    events: list[Any] = []
    summary = run_sweep(sweep_of(names, devices=TWO), tmp_path / "out", on_event=events.append)
    frame = read(tmp_path / "out").set_index("name")
    assert summary.left == 0 and summary.statuses["failed"] == 1
    assert frame.loc["crash", "reason"] == "worker died: SIGSEGV"
    assert set(frame["device_uuid"]) == {"card-a"}
    lost = [event.reason for event in events if isinstance(event, DeviceLost)]
    assert len(lost) == 1 and "has fallen off the bus" in lost[0]


def test_the_last_card_lost_ends_the_sweep_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_UNLUCKY", "card-b")
    monkeypatch.setenv("FAKE_LOST", str(tmp_path / "lost"))
    with pytest.raises(UserError, match="has fallen off the bus"):
        run_sweep(sweep_of(["slow"] * 3, devices=("card-b",)), tmp_path / "out")


def test_cards_of_two_models_or_one_card_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--devices: must have each device once, .*card-a"):
        run_sweep(sweep_of(["slow"], devices=("card-a", "card-a")), tmp_path)
    with pytest.raises(UserError, match=r"one model, with a sweep for each: fake device and \(got 'other'\)"):
        crew.check_alike([opened("a", "fake device"), opened("b", "other")], "--devices")
    assert not (tmp_path / "sweep.csv").exists()


def opened(uuid: str, name: str) -> Any:
    return SimpleNamespace(
        setup=Setup(Device(name, uuid, {}), MeterFacts("model", None, {}, in_visits=False))
    )


def test_what_devices_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    there = ("GPU-aa11", "GPU-ab22", "GPU-cc33")
    monkeypatch.setattr("dibench.backends.cuda_driver.uuids", lambda: there)
    assert crew.choose("all", "cuda") == there
    assert crew.choose("2, GPU-aa", "cuda") == ("GPU-cc33", "GPU-aa11")
    for wrong, named in [
        ("3", "must be all or of 0"),
        ("GPU-a", "must be all"),
        ("0,0", "each device once"),
        ("0,", "must be all"),
        ("-1", "must be all"),
    ]:
        with pytest.raises(UserError, match=named):
            crew.choose(wrong, "cuda")
    with pytest.raises(UserError, match="chooses GPUs, but the backend is cpu"):
        crew.choose("0", "cpu")
    monkeypatch.setattr("dibench.backends.cuda_driver.uuids", lambda: "there is no NVIDIA driver")
    with pytest.raises(UserError, match="must be GPUs of this machine: there is no NVIDIA driver"):
        crew.choose("0", "cuda")


def test_each_card_gets_its_share_of_sentinels() -> None:
    """Whoever is free: one of three is four times as fast as the others."""
    plan = attrs.evolve(plan_of(["slow"] * 600))
    cases = [attrs.evolve(case, sentinel=case.order % 20 == 1) for case in plan.cases]
    steps = Steps(cases, {}, {})
    served: Counter[str] = Counter()
    shared: Counter[str] = Counter()
    for uuid in itertools.cycle("aaaabc"):
        case = steps.take(uuid, "abc")
        if case is None:
            break
        shared[uuid] += 1
        served[uuid] += case.sentinel
    assert served.total() == 30 and shared.total() == 600
    assert shared["a"] > 3 * shared["b"] and max(served.values()) - min(served.values()) <= 1


def test_a_case_whose_card_is_lost_between_visits_begins_anew_on_another() -> None:
    layer = Layer.fc(N=1, C=2, K=3)
    first, second = (Case(layer=layer, backend="cpu", variant="fc_dot", seed=i, visits=3) for i in (1, 2))
    steps = Steps([first, second, first, second, first, second], {}, {})
    assert steps.take("a", "ab") is first and steps.take("b", "ab") is second
    assert steps.take("a", "ab") is first, "the second visit of the other is for the other card"
    steps.lose("a")
    rest = [steps.take("b", "b") for _ in range(len(steps))]
    assert (rest.count(first), rest.count(second)) == (3, 2)
    assert steps.take("b", "b") is None
