"""What a campaign plans, takes from earlier runs and refuses; test_rehearsed.py runs it."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import attrs
import fake_gpu
import numpy as np
import pandas as pd
import pytest
import replayed_device
from fake_nvml import FakeNvml
from replay import Fault, ReplayedClock
from simulated_gpu import SimulatedGpu

from dibench import kernels, schema, study
from dibench.backends import cuda_cache, cuda_driver
from dibench.backends.cuda import layer_source
from dibench.backends.cuda_cache import KernelCache
from dibench.backends.paired import PairedBackend
from dibench.check.compile_ahead import check, lacking
from dibench.cli import main
from dibench.errors import UserError
from dibench.meters.gpu_sensor import OPERATING_SYSTEM
from dibench.plan import default_box
from dibench.plan.ordering import in_visits
from dibench.plan.stages import Stages, load_stages, plan_campaign
from dibench.processes import Ended
from dibench.sweep import campaign, preflight, record
from dibench.sweep.earlier_runs import read_earlier
from dibench.sweep.parts import Joined
from dibench.sweep.preflight import bring_calibration, bring_checked
from dibench.sweep.selftest_verdicts import RIGHT, CachedVerdicts, path_of
from dibench.table import read_csv

REPLAYED = ("--backend", "replayed_device:backend", "--meter", "replayed_device:meter")


@pytest.fixture(scope="module")
def stages() -> Stages:
    return load_stages(arch=replayed_device.ARCH, no_library="not here")


def test_a_prefix_has_something_of_every_stage(stages: Stages) -> None:
    cases = plan_campaign(stages, seed=1, done=()).cases
    assert len({case.case_id for case in cases}) == len(cases)
    steps = in_visits([case.visits for case in cases], 1)[:95]  # of one run of nine minutes
    made = Counter(index for index, _ in steps)
    finished = [cases[index] for index, number in made.items() if number >= cases[index].visits]
    assert len(finished) >= 80
    stage_of = {case.case_id: stage.name for stage in stages.stages for case in stage.cases}
    of_stage = Counter(stage_of.get(case.case_id, "sentinel") for case in finished)
    assert set(of_stage) == {"sentinel", *(stage.name for stage in stages.stages)}
    assert {case.op for case in finished} >= {"standard", "depthwise", "pointwise", "grouped", "fc", "anchor"}


def test_what_is_done_is_left_out_and_orders_go_on(stages: Stages) -> None:
    whole = plan_campaign(stages, seed=1, done=())
    done = {case.case_id for case in whole.cases[:100] if not case.sentinel}
    rest = plan_campaign(stages, seed=1, done=done, first_order=101)
    ids = {case.case_id for case in rest.cases}
    assert not ids & done and not ids & {case.case_id for case in whole.cases[:100]}
    assert rest.cases[0].sentinel and rest.cases[0].order == 101
    another = plan_campaign(stages, seed=1, done=done, again=True, first_order=101)
    anchors = [case.case_id for stage in stages.stages if stage.every_card for case in stage.cases]
    assert [case.case_id for case in another.cases[1 : 1 + len(anchors)]] == anchors
    with pytest.raises(UserError, match="must leave something to measure"):
        plan_campaign(stages, seed=1, done={case.case_id for case in whole.cases if not case.sentinel})


def test_a_kernel_found_wrong_is_left_out_and_makes_no_other_campaign(stages: Stages) -> None:
    whole = plan_campaign(stages, seed=1, done=())
    wrong = {stages.sentinel.variant, "depthwise_window"}
    rest = plan_campaign(stages, seed=1, done=(), without=wrong)
    assert rest.sha == whole.sha, "its directory is gone on with"
    assert not wrong & {case.variant for case in rest.cases}
    assert rest.cases[0].sentinel and rest.cases[0].layer == stages.sentinel.layer
    with pytest.raises(UserError, match="sentinel: must be a layer that a right kernel can run"):
        plan_campaign(stages, seed=1, done=(), without=set(stages.variants))


def test_the_first_runs_tell_what_the_energy_is_made_of(stages: Stages, tmp_path: Path) -> None:
    """Three runs of nine minutes, each visit good to 0.5%: what the stages choose, and in which order."""
    cases = plan_campaign(stages, seed=1, done=()).cases
    steps = in_visits([case.visits for case in cases], 1)[: 3 * 95]
    made = Counter(index for index, _ in steps)
    rng = np.random.default_rng(1)
    rows = [
        attrs.evolve(
            case.row(),
            device="card",
            status="ok",
            energy_source="simulated",
            time_s=replayed_device.launch_s(case) / case.instances,
            energy_above_active_idle_j=replayed_device.truth_j(case)
            / case.instances
            * math.exp(rng.normal(0.0, 0.005)),
        )
        for case in (cases[index] for index, number in made.items() if number >= cases[index].visits)
    ]
    table = tmp_path / "sweep.csv"
    record.write(table, rows)
    found = study.fit(read_csv(table), draws=999).to_json()
    assert found["determined"] and found["reliable"] and found["verdict"] == "DI" and not found["evidence"]
    alpha = found["alpha"]["weighted"]
    assert alpha["ci_low"] < 0.6 < alpha["ci_high"] and alpha["ci_high"] - alpha["ci_low"] < 0.02


def test_pairs_stand_together_and_are_measured_on_one_card(stages: Stages) -> None:
    for stage in (stage for stage in stages.stages if stage.pairs):
        for one, other in zip(stage.cases[::2], stage.cases[1::2], strict=True):
            assert (one.variant, one.knobs, one.layer.macs) == (other.variant, other.knobs, other.layer.macs)
            assert one.layer.outputs == other.layer.outputs
    (twins,) = (stage for stage in stages.stages if stage.name == "twins")
    torn = {twins.cases[0].case_id}
    ids = [case.case_id for case in plan_campaign(stages, seed=1, done=torn, again=True).cases]
    assert twins.cases[0].case_id in ids and twins.cases[1].case_id in ids
    ids = [case.case_id for case in plan_campaign(stages, seed=1, done=torn).cases]
    assert twins.cases[0].case_id not in ids and twins.cases[1].case_id in ids


def test_the_library_stands_right_behind_our_kernel_on_the_same_layer() -> None:
    (peer,) = (stage for stage in load_stages(arch=90).stages if stage.name == "peer")
    theirs = [index for index, case in enumerate(peer.cases) if case.backend == "torch"]
    assert len(theirs) >= 10
    for index in theirs:
        ours, library = peer.cases[index - 1 : index + 1]
        assert ours.backend == "cuda" and ours.layer.shape == library.layer.shape
        assert ours.dtype == library.dtype and ours.instances == library.instances == 1


def test_replicas_fill_the_gpu_and_fit_into_memory(stages: Stages) -> None:
    (layers,) = (stage for stage in stages.stages if stage.name == "layers")
    for case in layers.cases:
        elements = case.layer.weights + case.layer.inputs + case.layer.outputs
        assert case.instances == 1 or 4 * elements * case.instances <= 2**30
    assert sum(case.instances > 1 for case in layers.cases) > len(layers.cases) / 2


def test_tensor_cores_get_more_replicas_since_they_are_faster() -> None:
    (stage,) = (stage for stage in load_stages(arch=90).stages if stage.name == "tensor cores")
    limited = 0
    for case in stage.cases:
        layer, rate = case.layer, {"tf32": 1e14, "fp16": 2e14, "bf16": 2e14}[case.dtype]
        size = {"tf32": 4, "fp16": 2, "bf16": 2}[case.dtype] * (layer.weights + layer.inputs + layer.outputs)
        lasts_s = max(layer.macs / rate, size / 2e12) * case.instances
        if 2 * size * case.instances > 2**30:
            limited += 1  # by memory
        else:
            assert 140e-6 < lasts_s < 290e-6, case
    assert limited < len(stage.cases) / 2


def test_replicas_that_fill_the_gpu_need_no_blocks_that_share_a_tile(stages: Stages) -> None:
    (layers,) = (stage for stage in stages.stages if stage.name == "layers")
    for case in layers.cases:
        variant = kernels.registry("cuda")[case.variant]
        assert case.knobs == default_box(variant, case.layer, instances=case.instances)
    alone = [default_box(kernels.registry("cuda")[case.variant], case.layer) for case in layers.cases]
    changed = [case for case, box in zip(layers.cases, alone, strict=True) if case.knobs != box]
    assert len(changed) > len(layers.cases) / 10
    assert sum(case.knobs.get("splits", 1) > 1 for case in changed) < len(changed) / 4


def earlier_of(tmp_path: Path, sources_sha: str = "all", **changes: Any) -> Any:
    """With the kernel sources of this test, as they are now."""
    now = {"conv": "new", "other": "same"}
    setting = {"device": "card", "simulated": False, **changes}
    with patch.multiple(kernels, kernel_shas=lambda _: now, sources_sha=lambda _: sources_sha):
        return read_earlier([tmp_path], **setting)


def write_rows(folder: Path, *rows: dict[str, Any], kernels: dict[str, str] | None = None) -> None:
    folder.mkdir(parents=True)
    usual = {"device": "card", "device_uuid": "GPU-1", "backend": "cuda", "status": "ok", "order": 1}
    usual |= {"energy_source": "nvml_counter", "variant": "other", "op": "standard"}
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
    assert found.stale == {"conv": 1} and found.done == {"b", "e", "f"} and found.last_order == 9
    assert set(found.cards) == {"GPU-1", "GPU-2"}
    assert earlier_of(tmp_path, sources_sha="others").done == {"b", "f"}
    assert earlier_of(tmp_path, but=tmp_path / "1").done == {"e"}


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


def test_what_was_not_compiled_is_measured_another_time(tmp_path: Path) -> None:
    reason = "kernel: is not among the compiled kernels of /x, and there is no compiler"
    write_rows(tmp_path / "1", {"case_id": "a", "status": "skipped", "reason": reason})
    assert not earlier_of(tmp_path).done


UUID, DRIVER, SOURCES = "GPU-1", "580", {"a": "1", "b": "2", "c": "3"}


def test_verdicts_count_for_their_source_card_driver_and_compiler(tmp_path: Path) -> None:
    path = tmp_path / "selftest" / "x.json"
    checked = CachedVerdicts(path, UUID, DRIVER)
    checked.note("a", RIGHT, "1", "NVRTC 13.0")
    checked.note("b", RIGHT, "old", "NVRTC 13.0")
    checked.note("c", "failed: 7 times the error allowed", "3", "NVRTC 13.0", small=True)
    again = CachedVerdicts.read(path, UUID, DRIVER)
    assert again.known(SOURCES) == {"a": RIGHT}
    assert again.known(SOURCES, "NVRTC 13.0", small=True) == {
        "a": RIGHT,
        "c": "failed: 7 times the error allowed",
    }
    assert again.known(SOURCES, "NVRTC 12.9") == {}
    assert (
        not CachedVerdicts.read(path, "GPU-2", DRIVER).kernels
        and not CachedVerdicts.read(path, UUID, "570").kernels
    )
    path.write_text("[]")
    assert not CachedVerdicts.read(path, UUID, DRIVER).kernels


def test_what_was_checked_is_brought_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIBENCH_CACHE", str(tmp_path / "cache"))
    beside = tmp_path / "run" / "sweep.csv"
    beside.parent.mkdir()
    there = CachedVerdicts(beside.with_name("selftest.json"), UUID, DRIVER)
    there.note("a", RIGHT, "1")
    there.note("b", RIGHT, "old")
    here = CachedVerdicts(path_of("cuda", UUID, DRIVER), UUID, DRIVER)
    here.note("b", RIGHT, "2")
    assert bring_checked([beside.parent], UUID, DRIVER, SOURCES).known(SOURCES) == {"a": RIGHT, "b": RIGHT}
    assert CachedVerdicts.read(here.path, UUID, DRIVER).known(SOURCES) == {"a": RIGHT, "b": RIGHT}
    assert not bring_checked([beside.parent], "GPU-2", DRIVER, SOURCES).kernels

    kept = beside.with_name("calibration.json")
    kept.write_text(json.dumps({"device_uuid": UUID, "driver": DRIVER}))
    assert bring_calibration([beside.parent], UUID, DRIVER).read_bytes() == kept.read_bytes()
    kept.write_text("torn")
    assert not bring_calibration([beside.parent], "GPU-2", DRIVER).exists()


@pytest.mark.parametrize(
    ("status", "said"), [(0, "counters  kept as"), (2, "counters  none (ncu: counters are for root)")]
)
def test_the_hardwares_counters_are_read_within_their_time(
    status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[list[str], float]] = []

    def run_verbs(verb: list[str], *, until: float) -> list[Ended]:
        ran.append((verb, until))
        return [Ended("", "dibench: ncu: counters are for root", status)]

    monkeypatch.setattr(campaign, "run_verbs", run_verbs)
    told: list[str] = []
    deadline = time.monotonic() + 70.0
    campaign.count(SimpleNamespace(out=tmp_path, deadline=deadline, closing_s=25.0, say=told.append))  # type: ignore[arg-type]  # all that it reads
    ((verb, until),) = ran
    assert until == deadline - 25.0 and verb[:2] == ["counters", "lattice"]
    assert verb[verb.index("--time-budget") + 1] in ("40s", "41s"), "ncu is ended before its parent is"
    assert verb[verb.index("--out") + 1] == str(tmp_path / "counters.csv") and said in told[-1]


def test_counters_are_read_once_for_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ncu = [{"area": "GPU", "what": "Nsight Compute", "ok": True}]
    monkeypatch.setattr(preflight, "_doctor", lambda run: ncu)
    monkeypatch.setattr(preflight, "_selftest", lambda run: ({}, ()))
    monkeypatch.setattr(preflight, "_calibrate", lambda run: "")
    monkeypatch.setattr(preflight, "_verdicts", lambda run: CachedVerdicts(tmp_path / "x.json", UUID, DRIVER))
    gpu, earlier = SimpleNamespace(simulated=False), SimpleNamespace(parts=[SimpleNamespace(folder=tmp_path)])
    (tmp_path / "2").mkdir()
    run: Any = SimpleNamespace(gpu=gpu, earlier=earlier, out=tmp_path / "2")
    assert preflight.check(run).can_count
    (tmp_path / "counters.csv").touch()
    assert not preflight.check(run).can_count
    (tmp_path / "counters.csv").unlink()
    ncu[0]["ok"] = False
    assert not preflight.check(run).can_count


def test_a_cache_tells_which_kernels_it_lacks(stages: Stages, tmp_path: Path) -> None:
    cases = [stages.sentinel, *stages.stages[0].cases]
    total = lacking(cases, 90, KernelCache(None, tmp_path))[1]
    kernel = layer_source(kernels.registry("cuda")[stages.sentinel.variant], stages.sentinel, 90)
    KernelCache(fake_gpu.HostCompiler(), tmp_path).binary(kernel)
    assert lacking(cases, 90, KernelCache(None, tmp_path / "other", brought=tmp_path)) == (total - 1, total)
    assert lacking(cases, 80, KernelCache(None, tmp_path)) == (total, total), "of another architecture"


def test_kernels_that_are_not_of_this_checkout_are_refused_where_nothing_compiles(
    stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_compiler(arch: int, cuda: int) -> None:
        raise UserError("nvrtc", "needs a compiler")

    monkeypatch.setenv("DIBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DIBENCH_KERNELS", str(tmp_path))
    monkeypatch.setattr(cuda_driver, "gpu", lambda: fake_gpu.GPU)
    monkeypatch.setattr(cuda_cache, "choose_compiler", no_compiler)
    with pytest.raises(UserError, match="--kernels: must be of this checkout, for sm_90"):
        check(stages.cases, 90, print)
    kernel = layer_source(kernels.registry("cuda")[stages.sentinel.variant], stages.sentinel, 90)
    KernelCache(fake_gpu.HostCompiler(), tmp_path).binary(kernel)
    check(stages.cases, 90, print)
    said = capsys.readouterr().out
    assert "kernels   1 of " in said and "cannot be compiled here, their cases are skipped" in said


SENTINEL = 'sentinel = "N=1,C=8,H=7,W=7,K=8,R=1,S=1"\n'
STAGE = """[[stages]]
name = "x"
answers = "y"
share = 1
layers = [{layers = "N=1,C=8,H=7,W=7,K=8,R=1,S=1"}]
kernels = [{fast = true}]
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x =", r"--stages: is not TOML: .* \(got '/"),  # a path, cut where it is long
        (STAGE, "sentinel: must be given"),
        (SENTINEL, "stages: must be given"),
        (SENTINEL + "seed = 1\n" + STAGE, "seed: is not a key here"),
        ('sentinel = "N=1"\n' + STAGE, "sentinel: C: must be given"),
        (
            SENTINEL + STAGE + "pears = true",
            r"\] 1: pears: is not a key here; perhaps pairs",
        ),
        (SENTINEL + STAGE.replace("share = 1", 'share = "1"'), "share: must be a number"),
        (SENTINEL + STAGE.replace("share = 1", "share = true"), "share: must be a number"),
        (SENTINEL + STAGE.replace("share = 1", "share = 101"), "share: must be from 0 to 100"),
        (SENTINEL + STAGE.replace("share = 1", ""), "share: must be given"),
        (SENTINEL + STAGE + STAGE, r"\[\[stages\]\] 2: name: must be of one stage only"),
        (SENTINEL + STAGE.replace("fast = true", "fats = true"), r"stage x: \[\[kernels\]\] 1: fats: is not"),
    ],
)
def test_a_wrong_file_of_stages_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_stages(arch=90, path=path)


def test_stages_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my.toml"
    path.write_text(SENTINEL + STAGE + STAGE.replace('"x"', '"peers"') + "peer = true\narch = 75\n")
    found = load_stages(arch=90, path=path, no_library="PyTorch is not installed")
    assert found.left_out == {"peers": "PyTorch is not installed"}
    assert load_stages(arch=70, path=path).left_out == {"peers": "needs sm_75, this is sm_70"}
    with pytest.raises(SystemExit) as ended:
        main(["campaign", "--dry-run", "--stages", str(path)])
    assert ended.value.code == 0 and "3 cases are left" in capsys.readouterr().out


def test_every_kernel_source_has_a_sha_of_its_own() -> None:
    shas = kernels.kernel_shas("cuda")
    assert set(shas) >= {*kernels.registry("cuda"), "anchor_fma"} and len(set(shas.values())) == len(shas)


def test_each_case_goes_to_the_backend_it_is_planned_for() -> None:
    case, ours = load_stages(arch=90).sentinel, replayed_device.ReplayedBackend()
    library = SimpleNamespace(prepare=lambda case: case.backend, device=ours.device)
    both = PairedBackend(ours, library)
    assert both.prepare(attrs.evolve(case, backend="torch")) == "torch"  # type: ignore[comparison-overlap]  # a stand-in
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


@pytest.mark.parametrize("meter", ["auto", "nvml_counter", "nvml_power"])
def test_a_campaign_that_finds_no_sensor_stops_at_once_and_says_how_to_go_on(
    meter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = [Fault(OPERATING_SYSTEM, reading=name) for name in ("energy_mj", "instant_mw", "average_mw")]
    card = SimulatedGpu(ReplayedClock(), uuid=fake_gpu.GPU.uuid, faults=faults)
    monkeypatch.setattr("dibench.meters.nvml.import_pynvml", lambda: FakeNvml([card]))
    monkeypatch.setattr(cuda_driver, "gpu", lambda: fake_gpu.GPU)
    monkeypatch.setattr(cuda_driver, "driver_version", lambda: "570.1")
    monkeypatch.setattr("dibench.kernels.library.no_cudnn", lambda: "not here")
    for done_on_the_gpu in ("dibench.sweep.preflight.check", "dibench.sweep.campaign.run_sweep"):
        monkeypatch.setattr(done_on_the_gpu, lambda *_, **__: pytest.fail("the GPU's time is spent"))
    tiny = Path(__file__).parents[1] / "support" / "campaign_tiny.stages.toml"
    begin = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        main(["campaign", "--out", str(tmp_path / "1"), "--stages", str(tiny), "--meter", meter])
    assert ended.value.code == 2 and time.monotonic() - begin < 20.0
    said = capsys.readouterr().err
    assert "no sensor of Test GPU can be used" in said and "blocks the GPU's control device" in said
    assert "/dev/nvidiactl" in said and "on purpose: --meter model" in said


def test_a_campaign_told_to_do_without_a_sensor_looks_for_none(
    stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dibench.meters.nvml.import_pynvml", lambda: pytest.fail("it looks"))
    card = campaign.CampaignGpu("cuda", "Test GPU", fake_gpu.GPU.uuid, "570.1", 90, "not here")
    run = campaign.Campaign(
        out=tmp_path, gpu=card, stages=stages, earlier=Joined(), meter="model", seed=1, deadline=0.0,
        closing_s=0.0, check_s=0.0, say=print,
    )  # fmt: skip
    assert preflight.idle_power(run) is None
