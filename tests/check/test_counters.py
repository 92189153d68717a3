"""`counters`: Nsight Compute's table read, compared with ours, and one line where it cannot be had.

NCU below is constructed after the format that the Nsight Compute CLI documents for `--csv --print-units base`
(one row for each launch and metric); it was not recorded on a GPU.
"""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path
from typing import Any

import attrs
import fake_gpu
import pytest
from processes import alive

from dibench import backends, cli, kernels
from dibench.backends import cuda_driver
from dibench.backends.cuda_buffers import Layout, ring
from dibench.check import counters
from dibench.errors import UserError
from dibench.layer import Layer
from dibench.plan import Case, load_plan, usual_case

HEADER = (
    '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size",'
    '"Device","CC","Section Name","Metric Name","Metric Unit","Metric Value"'
)
FC = Layer.fc(N=2, C=8, K=4)


def case(variant: str = "conv_no_reuse", layer: Layer = FC, **fields: Any) -> Case:
    return usual_case(layer, kernels.registry("cuda")[variant], **fields)


def line(number: int, kernel: str, metric: str, unit: str, value: str) -> str:
    return (
        f'"{number}","4242","python3.11","127.0.0.1","{kernel}","1","13","(256, 1, 1)","(1, 1, 1)","0","9.0",'
        f'"Command line profiler metrics","{metric}","{unit}","{value}"'
    )


def printed(launches: list[tuple[str, dict[str, str]]]) -> str:
    """What ncu prints for these launches."""
    lines = ["==PROF== Connected to process 4242 (/usr/bin/python3.11)", "a line of the program itself"]
    lines += ['==PROF== Profiling "conv_no_reuse": Application replay pass 1', HEADER]
    for number, (kernel, metrics) in enumerate(launches):
        signature = f"{kernel}(Layer, int, const float *, const float *, float *)"
        lines += [line(number, signature, name, "", value) for name, value in metrics.items()]
    return "\n".join([*lines, "==PROF== Disconnected from process 4242"]) + "\n"


def measured(**changes: str) -> dict[str, str]:
    values = {
        "fma_executed": "64", "accesses_executed": "264", "l1_load_sectors": "100", "l1_store_sectors": "20",
        "l1_load_bytes": "3,200", "l1_store_bytes": "640", "l2_bytes": "1,024", "dram_read_bytes": "1,000",
        "dram_write_bytes": "n/a",
    }  # fmt: skip
    return {counters.METRICS[name]: value for name, value in {**values, **changes}.items()}


def test_launches_and_metrics_are_read_in_order() -> None:
    kernels = counters.parse(
        printed(
            [("conv_no_reuse", measured()), ("conv_output_stationary", measured(fma_executed="1,234,567"))]
        )
    )
    assert [kernel.name for kernel in kernels] == ["conv_no_reuse", "conv_output_stationary"]
    first, second = (kernel.counted for kernel in kernels)
    assert (first["fma_executed"], first["l1_load_bytes"]) == (64, 3200)
    assert "dram_write_bytes" not in first, "n/a is not zero"
    assert second["fma_executed"] == 1_234_567


def test_ours_are_the_headers_formulas_of_all_instances() -> None:
    ours = counters.ours(case(instances=3))
    macs = 2 * 8 * 4
    assert ours["macs_executed"] == 3 * macs
    assert ours["accesses"] == 3 * (4 * macs + 8)  # two operands, sum read and written, and a zero each
    assert ours["compulsory_bytes"] == 3 * 4 * (32 + 16 + 8)
    assert ours["load_sectors"] > 0


def test_a_row_has_both_and_their_ratio() -> None:
    kernels = counters.parse(printed([("conv_no_reuse", measured(dram_write_bytes="120"))]))
    (row,) = counters.rows([case(cold=True)], kernels)
    assert row["fma_ratio"] == 1.0
    assert row["accesses_ratio"] == 1.0
    assert row["dram_ratio"] == pytest.approx(1120 / 224)
    assert row["l1_load_sectors_ratio"] == pytest.approx(100 / row["load_sectors"])
    assert (row["cold"], row["variant"], row["op"]) == (1, "conv_no_reuse", "fc")
    assert set(row) - set(counters.COLUMNS) == set()


def test_tensor_cores_are_counted_by_their_instructions() -> None:
    half = case(dtype="fp16", instances=64)  # the dtype decides, whatever the kernel
    ours = counters.ours(half)["macs_executed"]
    assert ours == 2 * 2048
    metrics = {**measured(), counters.MMA_METRIC: "2"}
    (row,) = counters.rows([half], counters.parse(printed([("conv_no_reuse", metrics)])))
    assert (row["mma_ratio"], row["fma_ratio"], row["load_sectors"]) == (1.0, None, None)
    assert row["compulsory_bytes"] == 64 * 2 * (16 + 32 + 8)


def test_launches_of_something_else_are_refused() -> None:
    kernels = counters.parse(printed([("conv_no_reuse", measured()), ("conv_no_reuse", measured())]))
    with pytest.raises(
        UserError, match=r"must have profiled 1 launches, one of each case in order \(got 2\)"
    ):
        list(counters.rows([case()], kernels))


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("", "printed no table of counters"),
        (
            "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access",
            "NVreg_RestrictProfiling",
        ),
        ("==ERROR== Failed to find metric foo__bar.sum", "failed: Failed to find metric foo__bar.sum"),
        ('"ID","Kernel Name"\n"0","k"\n', "printed a table without Metric Name, Metric Value"),
    ],
)
def test_what_ncu_says_instead_of_a_table(output: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        counters.parse(output)


def test_the_command_leaves_clocks_and_caches_alone() -> None:
    line = " ".join(counters.command("ncu", Path("cases.json"), tensor=False))
    assert "--clock-control none --cache-control none" in line
    assert "sm__inst_executed_pipe_tensor" not in line
    assert line.endswith("-m dibench.check.counters cases.json")
    assert "sm__inst_executed_pipe_tensor" in " ".join(counters.command("ncu", Path("c"), tensor=True))


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(["counters", *arguments])
    shown = capsys.readouterr()
    return int(end.value.code or 0), shown.out, shown.err


PLAN = """
[plan]
sentinel = "N=2,C=8,H=1,W=1,K=4,R=1,S=1"
[[layers]]
layers = ["N=2,C=8,H=1,W=1,K=4,R=1,S=1"]
[[kernels]]
stationarity = "none"
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH whose ncu prints a file, and a machine with a GPU."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(counters, "_PLACES", ())
    monkeypatch.setattr(cuda_driver, "gpu", lambda: fake_gpu.GPU)
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path


def install(tools: Path, output: str, status: int = 0) -> None:
    (tools / "output").write_text(output)
    ncu = tools / "ncu"
    ncu.write_text(f"#!/bin/sh\n/bin/cat {tools}/output\nexit {status}\n")
    ncu.chmod(ncu.stat().st_mode | stat.S_IXUSR)


def test_the_verb_writes_a_table(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(tools, printed([("conv_no_reuse", measured())]))
    status, out, _ = run([str(tools / "plan.toml"), "--out", str(tools / "counters.csv")], capsys)
    assert status == 0
    with (tools / "counters.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert tuple(row) == counters.COLUMNS
    assert (row["fma_ratio"], row["fma_executed"], row["macs_executed"]) == ("1.0", "64", "64")
    assert row["dram_write_bytes"] == row["dram_ratio"] == "", "what was not measured is empty"
    assert "conv_no_reuse" in out and "counters.csv" in out
    _, told, _ = run([str(tools / "plan.toml"), "--out", str(tools / "counters.csv"), "--json"], capsys)
    (case,) = json.loads(told)["cases"]
    assert (case["fma_ratio"], case["dram_ratio"]) == (1.0, None)


def test_anchors_of_a_plan_are_passed_over(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tools / "plan.toml"
    plan.write_text(PLAN.replace("[plan]", '[plan]\nanchors = "all"'))
    assert any(case.anchor for case in load_plan(plan, backend="cuda").cases)
    install(tools, printed([("conv_no_reuse", measured())]))
    status, out, _ = run([str(plan), "--out", str(tools / "counters.csv")], capsys)
    assert status == 0 and "conv_no_reuse" in out


def test_a_wrong_plan_is_named_where_ncu_is_missing_too(
    tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(["nope"], capsys)
    assert status == 2 and err.startswith("dibench: plan: must be a file, a model or one of the presets")


def test_without_ncu_or_permission_one_line_says_so(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = str(tools / "plan.toml")
    status, out, err = run([plan], capsys)
    assert (status, out) == (2, "")
    assert err.startswith("dibench: ncu: Nsight Compute is not installed") and err.count("\n") == 1
    install(tools, "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission", status=1)
    status, _, err = run([plan, "--out", str(tools / "c.csv")], capsys)
    assert status == 2
    assert "ERR_NVGPUCTRPERM" in err and "NVreg_RestrictProfilingToAdminUsers=0" in err
    assert not (tools / "c.csv").exists()


def test_ncu_that_is_not_done_in_time_is_ended(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(tools, "")
    (tools / "ncu").write_text(f"#!/bin/sh\necho $$ > {tools}/pid\nexec /bin/sleep 60\n")
    with pytest.raises(SystemExit) as ended:
        cli.main(["counters", "smoke", "--cases", "2", "--time-budget", "1s", "--out", str(tools / "t.csv")])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "--time-budget: must be done with 2 cases in 1 s" in said
    assert not alive(int((tools / "pid").read_text())) and not (tools / "t.csv").exists()


def test_without_a_gpu_one_line_says_so(
    tools: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tools, "")
    monkeypatch.setattr(cuda_driver, "gpu", lambda: "there is no NVIDIA driver")
    status, _, err = run([str(tools / "plan.toml")], capsys)
    assert (status, err) == (2, "dibench: counters: there is no NVIDIA driver: counters are read on a GPU\n")


def test_the_profiled_program_launches_every_case_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = fake_gpu.FakeGpuBackend(tmp_path / "cache")
    monkeypatch.setattr(backends, "open_backend", lambda name: gpu)
    cases = [case(), case("conv_output_stationary"), case(cold=True, layer=Layer.fc(N=4, C=200, K=20))]
    counters.write_cases(tmp_path / "cases.json", cases)
    counters.main(tmp_path / "cases.json")
    assert gpu.cupy.profiled == ["conv_no_reuse", "conv_output_stationary", "conv_no_reuse"]


def test_a_case_that_the_gpu_refuses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = fake_gpu.FakeGpuBackend(tmp_path / "cache")
    monkeypatch.setattr(backends, "open_backend", lambda name: gpu)
    tiny = case(cold=True, layer=Layer.fc(N=1, C=1, K=1))
    counters.write_cases(tmp_path / "cases.json", [tiny])
    with pytest.raises(SystemExit):
        counters.main(tmp_path / "cases.json")
    told = counters.refusal(capsys.readouterr().out + "==ERROR== The application returned an error code (1).")
    assert f"ncu: failed: case {tiny.case_id}: cold: needs operands of at least" in str(told)


def test_what_gpu_check_counts_can_show_every_expectation() -> None:
    """Every variant and data type, cold too; sectors known, operands more than what else passes."""
    plan = load_plan(Path(__file__).parents[2] / "benchmarks" / "counters.toml", backend="cuda", arch=90)
    cases = [case for case in plan.cases if not case.sentinel]
    family = {(v.name, dtype) for v in kernels.registry("cuda").values() for dtype in v.dtypes}
    for cold in (False, True):
        assert {(case.variant, case.dtype) for case in cases if case.cold == cold} == family
    assert len({case.case_id for case in cases}) <= 200
    l2_bytes = 60 * 2**20  # an H200's; twice as much must be possible too
    for case in cases:
        assert case.layer.macs * case.instances <= counters._MOST_HARNESS_MACS
        assert counters.ours(attrs.evolve(case, dtype="bf16"))["compulsory_bytes"] > 200_000
        ring(Layout.of(case).used_bytes, 2 * l2_bytes)
