"""Errors of CUDA, wherever they show: a fault ends the worker, any other fails one case and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import fake_gpu
import numpy as np
import pytest
from cuda_errors import ERRORS, STICKY
from fake_gpu import FC, STANDARD, case_of

from dibench.backends import DeviceError, DeviceFaultError
from dibench.check import reference
from dibench.errors import OutOfMemoryError
from dibench.layer import Layer
from dibench.measure.settings import Settings
from dibench.plan import Plan
from dibench.sweep.events import WorkerRestarted
from dibench.sweep.run import Sweep, run_sweep
from dibench.table import read_csv

PREPARING = ("malloc", "memcpy", "memset", "deviceSynchronize", "moduleLoadData", "moduleGetFunction")
CAPTURING = ("streamBeginCapture", "launchKernel", "streamEndCapture", "graphInstantiate", "graphUpload")
LAUNCHING = ("streamSynchronize", "eventRecord", "graphLaunch", "eventSynchronize", "eventElapsedTime")
OUT_OF_MEMORY = 2
PASSING = (1, OUT_OF_MEMORY, 209, 701, 900)


def run(gpu: fake_gpu.FakeGpuBackend, place: str, status: int) -> None:
    """A case during which one call is refused."""
    if place in PREPARING:
        gpu.cupy.refusals[place] = status
    prepared = gpu.prepare_layer(case_of(FC))
    if place not in PREPARING:
        gpu.cupy.refusals[place] = status
    try:
        prepared.launch(3)
    finally:
        prepared.close()


@pytest.mark.parametrize("status", PASSING)
@pytest.mark.parametrize("place", PREPARING + CAPTURING + LAUNCHING)
def test_an_error_that_is_no_fault_fails_one_case(
    gpu: fake_gpu.FakeGpuBackend, place: str, status: int
) -> None:
    gpu.prepare_layer(case_of(FC)).close()  # so that the filler is there
    device, used = gpu.cupy.device, gpu.cupy.device.used
    words = r"\d+ of \d+ .*are free" if status == OUT_OF_MEMORY else ERRORS[status][2]
    with pytest.raises(OutOfMemoryError if status == OUT_OF_MEMORY else DeviceError, match=words) as failed:
        run(gpu, place, status)
    assert not isinstance(failed.value, DeviceFaultError) and not gpu.cupy.refusals
    assert device.used == used, "its memory is free again"
    assert not any(stream.capture for stream in device.streams), "no stream captures any more"
    prepared = gpu.prepare_layer(case_of(STANDARD))
    x, w = prepared.operands()
    y = reference.convolution(STANDARD, x[0], w[0])
    np.testing.assert_allclose(prepared.compute()[0], y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("place", "status"),
    [(place, 700) for place in PREPARING + CAPTURING + LAUNCHING]
    + [("eventSynchronize", status) for status in STICKY],
)
def test_a_fault_loses_the_device(gpu: fake_gpu.FakeGpuBackend, place: str, status: int) -> None:
    with pytest.raises(DeviceFaultError, match=ERRORS[status][2]):
        run(gpu, place, status)


def test_the_first_error_is_the_reason_and_a_fault_beside_it_is_told(gpu: fake_gpu.FakeGpuBackend) -> None:
    prepared = gpu.prepare_layer(case_of(FC))
    prepared.launch(1)

    def faulting(*_: Any) -> None:
        gpu.cupy.device.sticky = 719
        raise fake_gpu.CUDADriverError(701)

    gpu.cupy.cuda.driver.launchKernel = faulting
    with pytest.raises(DeviceFaultError, match=r"too many resources.*; then .*unspecified launch failure"):
        prepared.launch(1)


@pytest.mark.slow
def test_only_faults_end_the_worker_and_give_a_kernel_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real worker: four cases of one kernel are refused, and the fifth is measured by the same process."""
    monkeypatch.setenv("FAKE_GPU_CACHE", str(tmp_path / "cache"))
    refused = {13: "moduleLoadData 209", 14: "streamEndCapture 701", 15: "graphInstantiate 2", 16: "malloc 2"}
    monkeypatch.setenv("FAKE_GPU_REFUSES", ",".join(f"{k} {call}" for k, call in refused.items()))
    monkeypatch.setenv("FAKE_GPU_FAULT_K", "17")

    def swept(out: str, channels: list[int]) -> tuple[list[tuple[str, str]], int]:
        layers = [Layer.fc(N=2, C=10 + order, K=k) for order, k in enumerate(channels)]
        cases = [attrs.evolve(case_of(layer), order=order) for order, layer in enumerate(layers, start=1)]
        sweep = Sweep(
            plan=Plan("test", "", "cuda", tuple(cases), 1, "a" * 64, {}),
            backend="fake_gpu:backend",
            meter="model",
            settings=Settings(target=0.5, case_budget_s=5.0, warm_up_s=0.0, window_s=1e-3),
            sources_sha="b" * 64,
            most_deaths=2,
        )
        events: list[Any] = []
        run_sweep(sweep, tmp_path / out, on_event=events.append)
        frame = read_csv(tmp_path / out / "sweep.csv").sort_values("order")
        found = list(zip(frame["status"], frame["reason"].fillna(""), strict=True))
        return found, sum(isinstance(event, WorkerRestarted) for event in events)

    found, restarts = swept("refused", [6, 13, 14, 15, 16, 7])
    measured = {"ok", "flagged"}  # on a machine that is busy, flagged
    assert found[0][0] in measured and found[5][0] in measured and restarts == 0
    assert [status for status, _ in found[1:5]] == ["failed"] * 4
    for (_, reason), words in zip(
        found[1:5],
        ("no kernel image", "too many resources", "out of memory, ", "bytes of device memory"),
        strict=True,
    ):
        assert words in reason
    found, restarts = swept("faults", [6, 17, 17, 7])
    assert [status for status, _ in found] == ["ok", "failed", "failed", "failed"] and restarts == 2
    assert "not tried: conv_output_stationary ended 2 workers before" in found[3][1]
