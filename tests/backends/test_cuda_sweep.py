"""Sweeps on a GPU's stand-in: its worker, rows and successors; anchors as cases of a plan."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import attrs
import fake_gpu
import numpy as np
import pytest
from fake_gpu import FC, STANDARD, case_of

from dibench.errors import UserError
from dibench.kernels import anchors
from dibench.layer import DIMENSIONS, Layer
from dibench.measure.settings import Settings
from dibench.plan import ANCHOR_LAYER, Case, Plan, load_plan
from dibench.study.table.rows import select
from dibench.sweep.run import Sweep, run_sweep
from dibench.sweep.worker import case_from_json, case_to_json
from dibench.table import read_csv


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / "sweep.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_a_sweep_on_the_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GPU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_GPU_FAULT_K", "13")
    cases = [
        case_of(FC.renamed("right"), sms="half", cold=True),
        case_of(Layer.fc(N=2, C=10, K=13, name="faults")),
        case_of(Layer.fc(N=1, C=2**12, K=2**13, name="too large")),
        attrs.evolve(case_of(FC.renamed("refused")), tile_p=3),
        case_of(Layer.fc(N=2, C=11, K=7, name="after"), "conv_no_reuse"),
    ]
    cases = [attrs.evolve(case, order=order) for order, case in enumerate(cases, start=1)]
    sweep = Sweep(
        plan=Plan("test", "", "cuda", tuple(cases), 1, "a" * 64, {}),
        backend="fake_gpu:backend",
        meter="model",
        settings=Settings(target=0.5, case_budget_s=5.0, warm_up_s=0.0, window_s=1e-3),
        sources_sha="b" * 64,
    )
    summary = run_sweep(sweep, tmp_path / "out")
    assert summary.ended == "complete"
    rows = rows_of(tmp_path / "out")
    outcome = {name: (row["status"], row["reason"]) for name, row in rows.items()}
    assert outcome["right"] == ("ok", "")
    assert outcome["after"] == ("ok", ""), "a fresh worker measured it"
    status, reason = outcome["faults"]
    assert status == "failed" and "exit status 1: CUDA, run: cudaErrorIllegalAddress" in reason
    status, reason = outcome["too large"]
    assert status == "failed" and "bytes of device memory" in reason and "are free" in reason
    status, reason = outcome["refused"]
    assert (status, reason) == (
        "skipped",
        "conv_output_stationary: tile_p: must be one of 1, 2, 4, 8 (got 3)",
    )
    right = rows["right"]
    assert (right["sms"], right["lanes"], right["device_uuid"]) == ("1", "p", fake_gpu.GPU.uuid)
    assert right["knobs"].split(";")[-2:] == ["sms=half", "cold=1"]
    assert float(right["time_s"]) == pytest.approx(fake_gpu.LAUNCH_S)


def test_a_sweep_tells_the_backend_what_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fake_backend import sweep_of

    log = tmp_path / "log"
    monkeypatch.setenv("FAKE_PREFETCH", str(log))
    run_sweep(sweep_of(["a", "b", "c"]), tmp_path / "out")
    assert log.read_text().splitlines() == ["b c", "c", ""]


def test_a_case_travels_to_the_worker_and_back() -> None:
    case = case_of(STANDARD, sms="quarter", cold=True, instances=3)
    assert case_from_json(json.loads(json.dumps(case_to_json(case)))) == case
    assert {"lanes", "cache", "warps"} <= set(case.knobs)


def test_launch_settings_make_different_cases_and_leave_the_usual_ids_alone() -> None:
    ids = {
        case_of(FC, **fields).case_id for fields in ({}, {"sms": "half"}, {"cold": True}, {"instances": 2})
    }
    assert len(ids) == 4
    assert '"cold"' not in case_of().key and '"sms"' not in case_of().key


ANCHOR_PLAN = """
[plan]
anchors = "all"
sms     = ["whole", "quarter"]
sentinel = "N=2,C=10,H=1,W=1,K=6,R=1,S=1"
[[layers]]
layers = "N=2,C=10,H=1,W=1,K=7,R=1,S=1"
[[kernels]]
variants = "conv_no_reuse"
"""


def anchor_plan(tmp_path: Path, text: str = ANCHOR_PLAN, backend: str = "cuda") -> Plan:
    path = tmp_path / "anchors.toml"
    path.write_text(text)
    return load_plan(path, backend=backend)


def test_anchors_are_cases_of_a_plan_on_each_share(tmp_path: Path) -> None:
    plan = anchor_plan(tmp_path)
    pinned = [case for case in plan.cases if case.anchor]
    assert {(case.variant, case.sms) for case in pinned} == {
        (name, sms) for name in anchors.registry() for sms in ("whole", "quarter")
    }
    assert all(case.op == "anchor" and '"layer":{}' in case.key for case in pinned)
    assert len({case.case_id for case in plan.cases}) == len(plan.cases)
    assert case_from_json(json.loads(json.dumps(case_to_json(pinned[0])))) == pinned[0]
    one = anchor_plan(tmp_path, ANCHOR_PLAN.replace('"all"', '"anchor_l2"'))
    assert {case.variant for case in one.cases if case.anchor} == {"anchor_l2"}
    with pytest.raises(UserError, match=r"\[plan\]: anchors: must be one of all, anchor_dram_read"):
        anchor_plan(tmp_path, ANCHOR_PLAN.replace('"all"', '"anchor_l3"'))
    text = ANCHOR_PLAN.replace('sms     = ["whole", "quarter"]\n', "").replace("conv_no_reuse", "fc_dot")
    with pytest.raises(UserError, match=r"\[plan\]: anchors: is for the GPU's kernels, not for cpu"):
        anchor_plan(tmp_path, text, "cpu")


def test_anchors_become_rows_that_count_as_their_headers_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GPU_CACHE", str(tmp_path / "cache"))
    plan = anchor_plan(tmp_path)
    sweep = Sweep(
        plan=plan,
        backend="fake_gpu:backend",
        meter="model",
        settings=Settings(target=0.5, case_budget_s=5.0, warm_up_s=0.0, window_s=1e-3),
        sources_sha="b" * 64,
    )
    assert run_sweep(sweep, tmp_path / "out").ended == "complete"
    frame = read_csv(tmp_path / "out" / "sweep.csv")
    rows = frame[frame["op"] == "anchor"]
    assert set(rows["status"]) <= {"ok", "flagged"} and len(rows) == 2 * len(anchors.registry())
    assert rows[list(DIMENSIONS)].isna().all(axis=None)
    for row in rows.to_dict("records"):
        anchor = anchors.registry()[row["variant"]]
        blocks = {"sms=whole": fake_gpu.GPU.sms, "sms=quarter": fake_gpu.GPU.sms // 4}[row["knobs"]]
        elements, _ = anchor.launch_size(blocks=blocks, l2_bytes=fake_gpu.GPU.l2_bytes)
        counted = anchor.counts_for(blocks=blocks, elements=elements, passes=anchor.passes)
        assert row["sms"] == blocks
        found = [row[name] for name in ("macs_executed", "input_reads", "output_writes")]
        assert found == [counted[name] for name in anchors.COUNTS]
        assert row["time_s"] == pytest.approx(anchor.passes * fake_gpu.PASS_S)
    left_out = select(frame, modelled=True).excluded
    assert left_out["anchor, no layer"] == len(rows)


def test_an_anchors_buffer_is_filled_and_given_back(gpu: fake_gpu.FakeGpuBackend) -> None:
    case = Case(layer=ANCHOR_LAYER, backend="cuda", variant="anchor_l1", sms="half")
    prepared = gpu.prepare(case)
    buffer = list(gpu.cupy.device.memory.values())[-1].view(np.float32)
    assert len(buffer) == 4 * 4096, "a row for each block"
    assert np.unique(buffer).size > 0.9 * buffer.size, "no zeros: the bits that move are part of the energy"
    seconds = prepared.launch(3)
    assert seconds == pytest.approx(3 * anchors.registry()["anchor_l1"].passes * fake_gpu.PASS_S)
    held = len(gpu.cupy.device.memory)
    prepared.close()
    assert len(gpu.cupy.device.memory) == held - 1
