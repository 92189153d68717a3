"""The selftest: right kernels pass, wrong ones are named and end in exit status 1."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import fake_gpu
import numpy as np
import pytest

from dibench import backends, cli, kernels
from dibench.backends import DeviceFaultError
from dibench.check import selftest
from dibench.layer import Layer
from dibench.plan import Case


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(["selftest", *arguments])
    shown = capsys.readouterr()
    return int(end.value.code or 0), shown.out + shown.err


def test_every_cpu_variant_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(["--backend", "cpu"], capsys)
    lines = text.splitlines()
    names = list(kernels.registry("cpu"))
    assert [line.split()[:2] for line in lines[1:-1]] == [["ok", name] for name in names]
    assert lines[-1].startswith(f"{len(names)} of {len(names)} variants right")
    assert status == 0


def test_every_operator_of_every_variant_is_tried_with_edges() -> None:
    for backend in ("cpu", "cuda"):
        for variant in kernels.registry(backend).values():
            cases = list(selftest.cases_of(variant, selftest.EDGES))
            assert {case.layer.op for case in cases} == set(variant.ops), variant.name
            assert {case.dtype for case in cases} == set(variant.dtypes)
            assert len({case.case_id for case in cases}) == len(cases)


def few(name: str) -> dict[str, Any]:
    return {name: kernels.registry("cuda")[name]}


@pytest.fixture
def one_variant(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The family, cut down to one variant: what is tested here is the test."""
    few_cuda = few("conv_no_reuse")
    monkeypatch.setattr(kernels, "registry", lambda backend: few_cuda)
    monkeypatch.setattr(selftest, "EDGES", (Layer.fc(N=2, C=7, K=5), selftest.EDGES[0]))
    monkeypatch.setattr(selftest, "WHOLE_TILES", ())
    yield


def test_cuda_kernels_on_the_harness(one_variant: None, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(["--backend", "host"], capsys)
    assert status == 0
    assert "ok      conv_no_reuse" in text


def test_a_wrong_count_fails_on_the_harness(
    one_variant: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts_for = kernels.Variant.counts_for

    def one_more(self: kernels.Variant, *arguments: Any, **named: Any) -> dict[str, int]:
        counts = counts_for(self, *arguments, **named)
        return {**counts, "weight_reads": counts["weight_reads"] + 1}

    monkeypatch.setattr(kernels.Variant, "counts_for", one_more)
    status, text = run(["--backend", "host"], capsys)
    assert status == 1
    assert (
        "FAILED  conv_no_reuse" in text
        and "weight_reads: the harness counts 140, the header says 142" in text
    )


@pytest.fixture
def gpu(tmp_path: Path, one_variant: None, monkeypatch: pytest.MonkeyPatch) -> fake_gpu.FakeGpuBackend:
    made = fake_gpu.FakeGpuBackend(tmp_path)
    monkeypatch.setattr(backends, "open_backend", lambda name: made)
    return made


def test_the_gpu_backend_is_checked_alike(
    gpu: fake_gpu.FakeGpuBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = run(["--backend", "cuda"], capsys)
    assert (status, text.splitlines()[0]) == (0, "cuda: Test GPU")
    assert "ok conv_no_reuse 4 cases" in " ".join(text.split())


def test_once_is_enough_for_the_same_kernels_device_and_driver(
    gpu: fake_gpu.FakeGpuBackend,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("DIBENCH_CACHE", str(tmp_path / "found"))
    for expected in ("1 of 1 variants right", "passed before with these kernels"):
        status, text = run(["--backend", "cuda", "--once"], capsys)
        assert status == 0 and expected in text
    gpu.gpu = attrs.evolve(gpu.gpu, uuid="GPU-another")
    assert "1 of 1 variants right" in run(["--backend", "cuda", "--once"], capsys)[1]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda y: y * 1.001, "times the error allowed"),
        (lambda y: np.where(y == y.flat[-1], np.nan, y), "an output was never written"),
    ],
)
def test_a_wrong_output_is_named_and_ends_in_status_1(
    gpu: fake_gpu.FakeGpuBackend,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    damage: Any,
    said: str,
) -> None:
    prepare = gpu.prepare_layer

    def damaged(case: Case) -> Any:
        prepared = prepare(case)
        y = damage(prepared.compute())
        return SimpleNamespace(operands=prepared.operands, compute=lambda: y, close=prepared.close)

    monkeypatch.setattr(gpu, "prepare", damaged)
    status, text = run(["--backend", "cuda"], capsys)
    assert status == 1
    assert "FAILED conv_no_reuse N=2,C=7," in " ".join(text.split()) and said in text
    assert "0 of 1 variants right" in text


def test_a_fault_ends_it_with_status_1(
    gpu: fake_gpu.FakeGpuBackend,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def lost(case: Case) -> Any:
        raise DeviceFaultError("CUDA, run: illegal access")

    monkeypatch.setattr(gpu, "prepare", lost)
    found = tmp_path / "found.json"
    status, text = run(["--backend", "cuda", "--json", str(found)], capsys)
    assert status == 1
    assert "a kernel lost the device" in text and "illegal access" in text
    told = json.loads(found.read_text())
    assert told["lost"] and "checking" not in told
    assert told["variants"]["conv_no_reuse"].startswith("failed: the device is lost")


def test_what_is_found_stands_in_a_file_after_each_variant(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names, path, turns = ["fc_matrix_vector", "conv_no_reuse"], tmp_path / "found.json", list[Any]()

    def check(chosen: str, opened: Any, *, small: bool, only: list[str]) -> Iterator[selftest.KernelVerdict]:
        for name in only:
            turns.append(json.loads(path.read_text())["checking"])
            yield selftest.KernelVerdict(name, 3, 0.5, "is wrong" * (name == "conv_no_reuse"))

    monkeypatch.setenv("DIBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(selftest, "selftest", check)
    once = ["--backend", "host", "--only", ",".join(names), "--json", str(path), "--once"]
    assert run(once, capsys)[0] == 1 and turns == names
    told = {"complete": True, "variants": {names[0]: "right", names[1]: "failed: is wrong"}, "lost": False}
    assert json.loads(path.read_text()) == told
    status, text = run(once, capsys)
    assert status == 1 and turns == [*names, names[1]], "what was right is not checked again"
    assert "1 variants were right before" in text and "0 of 1 variants right" in text


def test_a_backend_that_does_not_tell_what_it_computed_is_refused_not_called_wrong(
    gpu: fake_gpu.FakeGpuBackend, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "prepare", lambda case: SimpleNamespace(close=lambda: None))
    status, text = run(["--backend", "my_lab:board"], capsys)
    assert status == 2 and "must tell the operands and outputs of a case" in text and "FAILED" not in text


def test_a_kernel_that_nothing_tests_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, gpu: fake_gpu.FakeGpuBackend
) -> None:
    monkeypatch.setattr(kernels.Variant, "allows", lambda self, layer, knobs: False)
    monkeypatch.setattr(selftest, "_fits", lambda variant, case, arch: False)
    (verdict,) = selftest.selftest("cuda", gpu)
    assert verdict.failure == "runs none of the layers of this test"
    gpu.gpu = attrs.evolve(gpu.gpu, arch=50)
    (verdict,) = selftest.selftest("cuda", gpu)
    assert (verdict.failure, verdict.cases) == ("", 0), "a GPU too old for it is no failure"


def test_an_unknown_backend_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--backend", "tpu"], capsys) == (
        2,
        "dibench: --backend: must be one of auto, cuda, host, cpu, or module:callable (got 'tpu')\n",
    )


def test_an_unknown_variant_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(["--backend", "host", "--only", "conv_no_reuse,fc_fastest"], capsys)
    assert status == 2 and "--only: must be of conv_implicit_gemm, " in text and "(got 'fc_fastest')" in text
