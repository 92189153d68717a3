"""The cuda backend without a GPU: everything around the silicon, kernels run by the harness in its place."""

from __future__ import annotations

import json
import threading
from typing import Any

import attrs
import fake_gpu
import numpy as np
import pytest
from fake_gpu import STANDARD, case_of
from processes import wait_for

from dibench import kernels
from dibench.backends import cuda_gpu
from dibench.backends.cuda_gpu import MOST_NODES
from dibench.check import reference
from dibench.errors import OutOfMemoryError, UserError
from dibench.layer import Layer


def test_a_case_is_prepared_launched_and_right(gpu: fake_gpu.FakeGpuBackend) -> None:
    prepared = gpu.prepare_layer(case_of(STANDARD, instances=2, seed=5))
    x, w = prepared.operands()
    y = prepared.compute()
    for i in range(2):
        np.testing.assert_allclose(y[i], reference.convolution(STANDARD, x[i], w[i]), rtol=1e-5, atol=1e-5)
    assert not np.array_equal(x[0], x[1]), "each instance has its own operands"
    assert prepared.counts == kernels.registry("cuda")["conv_output_stationary"].counts_for(
        STANDARD, case_of(STANDARD).knobs
    )
    used = gpu.cupy.device.used
    prepared.close()
    assert used - gpu.cupy.device.used >= 4 * 2 * (STANDARD.inputs + STANDARD.weights + STANDARD.outputs)


@pytest.mark.parametrize("n", [1, 7, MOST_NODES, 2 * MOST_NODES + 3])
def test_so_many_launches_as_asked_and_the_time_of_those_alone(
    gpu: fake_gpu.FakeGpuBackend, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = []

    def count(kernel: fake_gpu.Launched) -> float:
        launched.append(kernel.name)
        return 1.0 if kernel.name == "gate" else 1e-6

    monkeypatch.setattr(gpu.cupy, "run", count)
    prepared = gpu.prepare_layer(case_of())
    launched.clear()
    assert prepared.launch(n) == pytest.approx(n * 1e-6), "what holds the stream open is not counted"
    assert launched == ["gate"] + ["conv_output_stationary"] * n
    captures = gpu.cupy.captures
    prepared.launch(n)
    assert gpu.cupy.captures == captures, "the second window captures nothing"


def test_too_little_memory_says_what_was_asked_and_what_is_free(gpu: fake_gpu.FakeGpuBackend) -> None:
    large = Layer.fc(N=1, C=2**12, K=2**13)
    with pytest.raises(
        OutOfMemoryError,
        match=rf"layer: asks for {4 * (2**25 + 2**12 + 2**13)} bytes .*, \d+ of {2**26} are free",
    ):
        gpu.prepare_layer(case_of(large))
    gpu.prepare_layer(case_of()).close()


def test_shares_of_the_gpu_get_one_block_to_a_multiprocessor(gpu: fake_gpu.FakeGpuBackend) -> None:
    layer = Layer.fc(N=64, C=4, K=512)
    variant = kernels.registry("cuda")["conv_no_reuse"]
    blocks = {
        share: gpu.geometry(variant, case_of(layer, "conv_no_reuse", sms=share, knobs={"warps": 1})).grid
        for share in ("all", "whole", "half", "quarter")
    }
    assert blocks == {"all": 64 * 512 // 32, "whole": 8, "half": 4, "quarter": 2}
    prepared = gpu.prepare_layer(case_of(layer, "conv_no_reuse", sms="half"))
    assert prepared.cells == {"sms": 4, "blocks": 4}


def test_what_the_device_cannot_run_is_refused_with_limit_and_value(
    gpu: fake_gpu.FakeGpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"dtype: must be one of fp32 \(got 'fp16'\)"):
        gpu.prepare_layer(case_of(dtype="fp16"))
    with pytest.raises(UserError, match=r"variant: must be one of .*conv_no_reuse.* \(got 'conv_magic'\)"):
        gpu.prepare(attrs.evolve(case_of(), variant="conv_magic"))
    with pytest.raises(UserError, match=r"tile_p: must be one of 1, 2, 4, 8 \(got 3\)"):
        gpu.prepare(attrs.evolve(case_of(), tile_p=3))
    compiled = gpu.compiler.compile

    def compile_to(**needs: Any) -> None:
        monkeypatch.setattr(gpu.compiler, "compile", lambda *a, **k: attrs.evolve(compiled(*a, **k), **needs))

    compile_to(spill_bytes=64)
    with pytest.raises(UserError, match=r"registers: must suffice without spilling on sm_90.* \(got 64\)"):
        gpu.prepare_layer(case_of(STANDARD))
    compile_to(shared_bytes=300_000)
    with pytest.raises(UserError, match=r"shared memory: must be at most 232448 bytes .* \(got 300000\)"):
        gpu.prepare_layer(case_of(Layer.fc(N=1, C=3, K=2)))


@pytest.mark.parametrize(
    ("static", "dynamic", "allowed"),
    [(0, 49152, []), (0, 49153, [(8, 49153)]), (32768, 16384, []), (32768, 16385, [(8, 16385)])],
)
def test_more_shared_memory_than_usual_is_asked_for(
    gpu: fake_gpu.FakeGpuBackend, static: int, dynamic: int, allowed: list[tuple[int, int]]
) -> None:
    """Static and dynamic memory share the 48 KiB that a block gets unasked."""
    gpu.cupy.static_shared = static
    device = cuda_gpu.Context(gpu.cupy)
    device.load(json.dumps({"name": "kernel"}).encode(), "kernel", dynamic)
    assert gpu.cupy.allowed == allowed


def test_peaks_are_work_over_time(gpu: fake_gpu.FakeGpuBackend) -> None:
    peaks = gpu.peaks()
    # The stand-in takes 1 ms for a pass: 64 multiply-adds of each thread of 8 x 8 blocks, or the buffer.
    assert peaks["mac_per_s"] == pytest.approx(8 * 8 * 256 * 64 / fake_gpu.PASS_S)
    (_, elements, _) = dict(gpu.cupy.launched)["anchor_dram_read"]
    assert peaks["bytes_per_s"] == pytest.approx(4 * elements.value / fake_gpu.PASS_S)
    assert 4 * elements.value == fake_gpu.MEMORY // 2, "as much as is there, where that is little"
    assert gpu.cupy.device.used == 0


def test_the_gpu_is_kept_busy_while_the_host_prepares(
    gpu: fake_gpu.FakeGpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gpu.busy():
        pass
    before = len(gpu.cupy.launched)
    ran = threading.Event()
    run = gpu.cupy.run

    def run_and_tell(kernel: fake_gpu.Launched) -> float:
        ran.set()
        return run(kernel)

    monkeypatch.setattr(gpu.cupy, "run", run_and_tell)
    with gpu.busy():
        assert ran.wait(10)
    assert len(gpu.cupy.launched) > before


@pytest.mark.parametrize("call", ["streamCreateWithFlags", "launchKernel", "streamSynchronize"])
def test_the_filler_goes_on_after_an_error_that_passes(gpu: fake_gpu.FakeGpuBackend, call: str) -> None:
    with gpu.busy():
        pass
    gpu.cupy.refusals[call] = 2
    with gpu.busy():
        wait_for(lambda: not gpu.cupy.refusals)
        gpu.cupy.launched.clear()
        wait_for(lambda: bool(gpu.cupy.launched))


def test_between_cases_the_filler_runs_and_during_them_it_does_not(gpu: fake_gpu.FakeGpuBackend) -> None:
    prepared = gpu.prepare_layer(case_of())
    assert "anchor_fma" in [name for name, _ in gpu.cupy.launched], "while operands are drawn and copied"
    gpu.cupy.launched.clear()
    prepared.launch(3)
    assert "anchor_fma" not in [name for name, _ in gpu.cupy.launched]


def test_device_says_what_it_is(gpu: fake_gpu.FakeGpuBackend) -> None:
    device = gpu.device()
    assert (device.name, device.uuid) == (fake_gpu.GPU.name, fake_gpu.GPU.uuid)
    facts = device.facts
    assert (facts["sms"], facts["l2_bytes"], facts["cuda"], facts["compute_capability"]) == (
        8,
        2**16,
        "13.0",
        "9.0",
    )
    assert facts["compiler"] == "NVRTC 13.5"


def test_a_missing_wait_would_show(gpu: fake_gpu.FakeGpuBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in's copies arrive as late as CUDA's may."""
    monkeypatch.setattr(cuda_gpu.Context, "_settle", lambda context: None)
    y = gpu.prepare_layer(case_of(STANDARD)).compute()
    assert np.isnan(y).all()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ({"arch": 89}, "CUDA_ERROR_NO_BINARY_FOR_GPU"),
        ({"arch": 100}, "CUDA_ERROR_NO_BINARY_FOR_GPU"),
        ({"cuda": 14}, "CUDA_ERROR_INVALID_IMAGE"),
    ],
)
def test_machine_code_that_does_not_fit_is_refused_as_cuda_does(
    gpu: fake_gpu.FakeGpuBackend, code: dict[str, int], status: str
) -> None:
    context = cuda_gpu.Context(gpu.cupy)
    with pytest.raises(Exception, match=f"CUDA, load: {status}"):
        context.load(json.dumps({"name": "kernel", **code}).encode(), "kernel")
    context.load(json.dumps({"name": "kernel", "arch": 90}).encode(), "kernel")


def test_a_kernel_stays_loaded_as_long_as_something_launches_it(gpu: fake_gpu.FakeGpuBackend) -> None:
    kernel = gpu._load(gpu._anchor_source("anchor_fma"))
    buffer = gpu._context.allocate(4096, "test")
    graph = gpu._context.capture([gpu._anchor_launch(kernel, "anchor_fma", buffer, 256, 1)])
    del kernel
    assert gpu._context.seconds([graph]) == pytest.approx(fake_gpu.PASS_S)


def test_what_a_capture_forbids_spoils_it(gpu: fake_gpu.FakeGpuBackend) -> None:
    context, runtime = cuda_gpu.Context(gpu.cupy), gpu.cupy.cuda.runtime
    stream = context._stream
    stream.begin_capture()
    runtime.malloc(256)  # CuPy captures in the relaxed mode, which permits it
    with pytest.raises(fake_gpu.CUDARuntimeError, match="StreamCaptureUnsupported"):
        runtime.deviceSynchronize()
    with pytest.raises(fake_gpu.CUDARuntimeError, match="StreamCaptureInvalidated"):
        stream.end_capture()
    stream.synchronize()


@pytest.mark.parametrize(("arch", "served"), [(61, "cg"), (70, "ca")])
def test_before_sm_70_a_row_says_that_l2_served_its_loads(
    gpu: fake_gpu.FakeGpuBackend, arch: int, served: str
) -> None:
    """The knob `ca` changes nothing there: its rows stood in a lattice named L1."""
    case = case_of(knobs={"cache": "ca"}, sms="half")
    gpu.gpu = attrs.evolve(gpu.gpu, arch=arch)
    gpu.cupy.gpu = gpu.gpu
    cells = gpu.prepare_layer(case).cells
    row = attrs.evolve(case.row(), **cells)
    assert row.knobs == case.row().knobs.replace("cache=ca", f"cache={served}")
    assert "sms=half" in row.knobs and row.case_id == case.case_id
