"""A campaign on the replayed card: it ends in time, survives a kill, goes on elsewhere, and finds the truth.

Nothing here is evidence: the joules are simulated, and say so in every row.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pandas as pd
import pytest
import replayed_device

from dibench import schema, variants
from dibench.backends.paired import PairedBackend
from dibench.cli import main
from dibench.earlier import read_earlier
from dibench.errors import UserError
from dibench.plan.ordering import in_visits
from dibench.stages import Stage, load_stages, plan_campaign, sentinel

HERE = Path(__file__).parent
REPLAYED = ("--backend", "replayed_device:backend", "--meter", "replayed_device:meter")


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    return load_stages(arch=replayed_device.ARCH)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dibench", "campaign", *REPLAYED, *arguments]


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join([str(HERE.parent), str(HERE), *filter(None, sys.path)])
    return {**os.environ, "PYTHONPATH": path, **more}


def run(*arguments: str, **more: str) -> str:
    done = subprocess.run(
        command(*arguments), env=environment(**more), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_campaign_stops_in_time_survives_a_kill_and_goes_on_elsewhere(tmp_path: Path) -> None:
    first, second = str(tmp_path / "1"), str(tmp_path / "2")
    program = subprocess.Popen(
        command("--out", first, "--time-budget", "60s"), env=environment(), stdout=subprocess.DEVNULL
    )
    table = tmp_path / "1" / "sweep.csv"
    until = time.monotonic() + 60
    while not table.exists() or table.read_bytes().count(b"\n") < 30:
        assert time.monotonic() < until and program.poll() is None
        time.sleep(0.05)
    program.send_signal(signal.SIGKILL)
    program.wait()
    killed = table.read_bytes().count(b"\n")

    begin = time.monotonic()
    run("--out", first, "--time-budget", "6s", "--closing", "1s")
    assert time.monotonic() - begin < 6 + 15  # Python starts and ends slowly on a machine at work
    assert "time budget" in json.loads((tmp_path / "1" / "manifest.json").read_text())["sessions"][1]["ended"]
    assert table.read_bytes().count(b"\n") > killed

    before = {path: path.read_bytes() for path in (tmp_path / "1").iterdir()}
    said = run("--out", second, "--resume", first, "--time-budget", "54s", "--closing", "42s")
    assert {path: path.read_bytes() for path in (tmp_path / "1").iterdir()} == before, "read only"
    again = f"--out {tmp_path / '3'} --resume {first} --resume {second}"
    for words in ("layers", "visits are missing", again):
        assert words in said

    frames = [schema.read_csv(tmp_path / name / "sweep.csv") for name in ("1", "2")]
    frame = pd.concat(frames, ignore_index=True)
    assert frame["case_id"].is_unique, "every case once"
    assert set(frame["energy_source"]) == {"simulated"}
    complete = frame[frame["visits"] >= frame["case_id"].map(visits_of())]
    # The replayed card runs every kernel at the roofline: some launches are shorter than on any real one.
    long = complete[~complete["reason"].fillna("").str.startswith("gap_bound")]
    assert len(long) > len(complete) / 2 and (long["status"] == "ok").mean() > 0.9
    assert (frame["status"] != "failed").all()
    found = json.loads((tmp_path / "2" / "fit.json").read_text())
    alpha = found["alpha"]["weighted"]
    assert alpha["ci_low"] - 0.02 < 0.6 < alpha["ci_high"] + 0.02 and not found["evidence"]
    assert found["rows"] == len(frame), "the fit is of both runs"
    names = {path.name for path in (tmp_path / "2").iterdir()}
    assert names == {
        *("sweep.csv", "visits.jsonl", "manifest.json", "selftest.json"),
        *("fit.json", "report.html", "README.md"),
    }
    assert "SIMULATED" in (tmp_path / "2" / "README.md").read_text()


def visits_of() -> Any:
    stages = load_stages(arch=replayed_device.ARCH)
    known = {case.case_id: case.visits for stage in stages for case in stage.cases}
    return lambda case_id: known.get(case_id, 1)


def test_a_prefix_has_something_of_every_stage(stages: list[Stage]) -> None:
    found = plan_campaign(stages, seed=1, done=())
    cases = found.plan.cases
    assert len({case.case_id for case in cases}) == len(cases)
    steps = in_visits([case.visits for case in cases], 1)[:95]  # of one run of nine minutes
    made = Counter(index for index, _ in steps)
    finished = [cases[index] for index, number in made.items() if number >= cases[index].visits]
    assert len(finished) >= 80
    of_stage = Counter(found.stage_of.get(case.case_id, "sentinel") for case in finished)
    assert set(of_stage) == {"sentinel", *(stage.name for stage in stages)}
    assert {case.op for case in finished} >= {"standard", "depthwise", "pointwise", "grouped", "fc", "anchor"}


def test_what_is_done_is_left_out_and_orders_go_on(stages: list[Stage]) -> None:
    whole = plan_campaign(stages, seed=1, done=())
    done = {case.case_id for case in whole.plan.cases[:100] if not case.sentinel}
    rest = plan_campaign(stages, seed=1, done=done, first_order=101)
    ids = {case.case_id for case in rest.plan.cases}
    assert not ids & done and not ids & {case.case_id for case in whole.plan.cases[:100]}
    assert rest.plan.cases[0].sentinel and rest.plan.cases[0].order == 101
    another = plan_campaign(stages, seed=1, done=done, again=True, first_order=101)
    anchors = [case.case_id for stage in stages if stage.every_card for case in stage.cases]
    assert [case.case_id for case in another.plan.cases[1 : 1 + len(anchors)]] == anchors
    with pytest.raises(UserError, match="must leave something to measure"):
        plan_campaign(stages, seed=1, done=whole.stage_of)


def test_pairs_stand_together_and_are_measured_on_one_card(stages: list[Stage]) -> None:
    for stage in (stage for stage in stages if stage.pairs):
        for one, other in zip(stage.cases[::2], stage.cases[1::2], strict=True):
            assert (one.variant, one.knobs, one.layer.macs) == (other.variant, other.knobs, other.layer.macs)
            assert one.layer.outputs == other.layer.outputs
    (twins,) = (stage for stage in stages if stage.name == "twins")
    torn = {twins.cases[0].case_id}
    ids = [case.case_id for case in plan_campaign(stages, seed=1, done=torn, again=True).plan.cases]
    assert twins.cases[0].case_id in ids and twins.cases[1].case_id in ids
    ids = [case.case_id for case in plan_campaign(stages, seed=1, done=torn).plan.cases]
    assert twins.cases[0].case_id not in ids and twins.cases[1].case_id in ids


def test_the_library_stands_right_behind_our_kernel_on_the_same_layer() -> None:
    (peer,) = (stage for stage in load_stages(arch=90, peer=True) if stage.name == "peer")
    theirs = [index for index, case in enumerate(peer.cases) if case.backend == "torch"]
    assert len(theirs) >= 10
    for index in theirs:
        ours, library = peer.cases[index - 1 : index + 1]
        assert ours.backend == "cuda" and ours.layer.shape == library.layer.shape
        assert ours.dtype == library.dtype and ours.instances == library.instances == 1


def test_replicas_fill_the_gpu_and_fit_into_memory(stages: list[Stage]) -> None:
    (layers,) = (stage for stage in stages if stage.name == "layers")
    for case in layers.cases:
        elements = case.layer.weights + case.layer.inputs + case.layer.outputs
        assert case.instances == 1 or 4 * elements * case.instances <= 2**30
    assert sum(case.instances > 1 for case in layers.cases) > len(layers.cases) / 2


def earlier_of(tmp_path: Path, **changes: Any) -> Any:
    setting = {
        "device": "card",
        "simulated": False,
        "kernels": {"conv": "new", "other": "same"},
        "sources_sha": "all",
    }
    return read_earlier([tmp_path], **{**setting, **changes})


def write_rows(folder: Path, *rows: dict[str, Any], kernels: dict[str, str] | None = None) -> None:
    folder.mkdir(parents=True)
    usual = {"device": "card", "device_uuid": "GPU-1", "backend": "cuda", "status": "ok", "order": 1}
    usual |= {"energy_source": "nvml_counter", "variant": "other"}
    filled = [{name: {**usual, **row}.get(name, "") for name in schema.NAMES} for row in rows]
    pd.DataFrame(filled, columns=list(schema.NAMES)).to_csv(folder / "sweep.csv", index=False)
    manifest = {"kernels": kernels} if kernels else {"sources_sha": "all"}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_rows_of_changed_kernels_are_left_out_and_said(tmp_path: Path) -> None:
    write_rows(
        tmp_path / "1",
        {"case_id": "a", "variant": "conv"},
        {"case_id": "b"},
        {"case_id": "c", "status": "failed"},
        {"case_id": "d", "energy_source": "model"},
        {"case_id": "f", "status": "skipped", "energy_source": "nvml_counter"},
        {"case_id": "g", "status": "skipped", "backend": "torch"},
        kernels={"conv": "old", "other": "same"},
    )
    write_rows(tmp_path / "2", {"case_id": "e", "device_uuid": "GPU-2", "order": 9})
    found = earlier_of(tmp_path)
    assert found.stale == {"conv": 1} and found.done() == {"b", "e", "f"} and found.last_order == 9
    assert set(found.cards()) == {"GPU-1", "GPU-2"}
    assert earlier_of(tmp_path, sources_sha="others").done() == {"b", "f"}
    assert earlier_of(tmp_path, but=tmp_path / "1").done() == {"e"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"device": "another"}, "must hold rows of another"), ({"simulated": True}, "must hold simulated rows")],
)
def test_rows_that_do_not_belong_together_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_rows(tmp_path / "1", {"case_id": "a"})
    with pytest.raises(UserError, match=message):
        earlier_of(tmp_path, **changes)


def test_every_kernel_source_has_a_sha_of_its_own() -> None:
    shas = variants.kernel_shas("cuda")
    assert set(shas) >= {*variants.registry("cuda"), "anchor_fma"} and len(set(shas.values())) == len(shas)


def test_each_case_goes_to_the_backend_it_is_planned_for() -> None:
    case, ours = sentinel(), replayed_device.ReplayedBackend()
    library = SimpleNamespace(prepare=lambda case: case.backend, device=ours.device)
    both = PairedBackend(ours, library)
    assert both.prepare(attrs.evolve(case, backend="torch")) == "torch"  # type: ignore[comparison-overlap]
    assert isinstance(both.prepare(case), replayed_device.Prepared)

    paired = PairedBackend(ours, UserError("torch", "is not installed"))
    with pytest.raises(UserError, match="torch: is not installed"):
        paired.prepare(attrs.evolve(case, backend="torch"))
    assert "is not installed" in paired.device().facts["torch"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--out: must name the directory"),
        (("--out", "x"), "needs an NVIDIA GPU"),
        (("--out", "x", "--backend", "cpu"), "must be auto, cuda or module:callable"),
        (("--out", "x", "--time-budget", "soon"), "--time-budget: must be a time"),
        (("--out", "x", "--kernels", "/nowhere"), "--kernels: must hold what campaign --compile-only made"),
        ((*REPLAYED, "--out", "results/h100"), "must not be under results/"),
        ((*REPLAYED, "--out", "x", "--resume", "/nowhere"), "--resume: must be a sweep.csv or a directory"),
        ((*REPLAYED, "--out", "x", "--resume", "x"), "must not be --out"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    with pytest.raises(SystemExit) as ended:
        main(["campaign", *arguments])
    error = capsys.readouterr().err.strip()
    assert ended.value.code == 2 and message in error and "\n" not in error
    assert not list((tmp_path / "x").iterdir())


def test_a_dry_run_needs_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["campaign", "--dry-run"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "tensor cores" in said and "cases are left" in said
