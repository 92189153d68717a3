"""PyTorch's library on a GPU's stand-in: graphs, streams, memory and math modes as on a real one."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from fake_cuda import FakeCuda
from fake_torch import CUDAGraph, CudaStream, FakeTorch
from fake_torch_memory import MIB
from processes import wait_for

from dibench.backends import torch_library
from dibench.backends.operands import as_elements, as_values, operand, operand_shapes
from dibench.backends.torch_gpu import TorchGpuLayer
from dibench.check import reference
from dibench.layer import Layer

CONV = Layer(N=2, C=4, H=6, W=5, K=6, R=3, S=3, pad_h=1, pad_w=1, groups=2)
FC = Layer.fc(N=2, C=10, K=6)


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTorch]:
    found = FakeTorch(FakeCuda(256 * MIB))
    monkeypatch.setitem(sys.modules, "torch", found)
    yield found
    found.device.sticky = 0


@pytest.mark.parametrize("layer", [CONV, FC])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("fp32", 1e-5), ("tf32", 4e-3), ("fp16", 4e-3), ("bf16", 3e-2)]
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_outputs_are_the_layers_in_the_math_mode_that_is_asked(
    torch: FakeTorch, layer: Layer, dtype: str, tolerance: float, channels_last: bool
) -> None:
    prepared = TorchGpuLayer(layer, dtype=dtype, channels_last=channels_last)
    width = "fp32" if dtype == "tf32" else dtype
    x, w = (
        as_values(as_elements(operand(shape, "uniform", 1, i), width), width)[0]
        for i, shape in enumerate(operand_shapes(layer, 1)[:2])
    )
    expected = reference.convolution(layer, x, w)
    found = prepared.output().reshape(expected.shape)
    error = np.abs(found - expected).max()
    assert error < tolerance
    assert (error > 1e-5) == (dtype != "fp32"), "the mode is in force"


def test_graphs_are_captured_once_and_replayed(torch: FakeTorch) -> None:
    prepared = TorchGpuLayer(FC)
    before = torch.ran
    assert prepared.launch(600) == pytest.approx(600 * torch.kernel_s)
    assert torch.ran - before == 600 and torch.graphs == 2 and torch.replays == 3
    prepared.launch(600)
    assert torch.graphs == 2, "the second window captures nothing"


def test_the_stand_in_is_as_unkind_as_pytorch(torch: FakeTorch) -> None:
    x = torch.from_numpy(np.ones((64, 64), np.float32)).to("cuda")
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        y = x @ x
    assert np.isnan(y.cpu().numpy()).all(), "another stream waits for nobody"
    side.synchronize()
    assert (y.cpu().numpy() == 64).all()

    graph = torch.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="previous error during capture") as failed:  # noqa: SIM117
        with torch.cuda.graph(graph, stream=side):
            (x @ x).cpu()
    assert "not permitted when stream is capturing" in str(failed.value.__context__)
    assert torch.current is side.raw, "the stream stays the current one"
    with pytest.raises(RuntimeError, match="INTERNAL ASSERT"):
        torch.cuda.empty_cache()


def test_memory_of_graphs_and_caches_is_the_cards(torch: FakeTorch) -> None:
    x = torch.from_numpy(np.ones((1024, 1024), np.float32)).to("cuda")
    side, graphs = torch.cuda.Stream(), []
    before = torch.memory.reserved()
    for _ in range(3):
        graphs.append(torch.cuda.CUDAGraph())
        with torch.cuda.graph(graphs[-1], stream=side):
            for _ in range(5):
                x @ x
    assert torch.memory.reserved() - before == 3 * 20 * MIB, "each graph has a pool of its own"
    torch.cuda.empty_cache()
    assert torch.memory.reserved() - before == 3 * 20 * MIB, "as long as it lives"
    graphs.clear()
    torch.cuda.empty_cache()
    assert torch.memory.reserved() == before
    with pytest.raises(torch.cuda.OutOfMemoryError, match=r"Tried to allocate 400\.00 MiB"):
        torch.ones((100 * MIB,), device="cuda")


def test_the_library_tells_its_device_its_peaks_and_keeps_it_busy(
    torch: FakeTorch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_library, "_PEAK_SIZE", 64)
    monkeypatch.setattr(torch_library, "_PEAK_BYTES", 2**16)
    backend = torch_library.TorchBackend.open()
    device = backend.device()
    assert (device.name, device.uuid, device.facts["cuda"]) == ("Test GPU", "GPU-0-1", "13.0")
    assert all(rate > 0 for rate in backend.peaks().values())
    prepared = TorchGpuLayer(FC)
    before = torch.ran
    with backend.busy():
        deadline = time.monotonic() + 30
        while torch.ran < before + 20 and time.monotonic() < deadline:
            time.sleep(1e-3)
        assert torch.current is torch.device.legacy, "the filler's stream is its thread's"
    assert torch.ran >= before + 20 and (torch.ran - before) % 4 == 1, "operands first, then all its products"
    prepared.close()
    torch.cuda.empty_cache()
    assert torch.memory.reserved() == 0, "nothing of the filler stays"


def test_the_librarys_filler_goes_on_after_an_error_that_passes(
    torch: FakeTorch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_library, "_PEAK_SIZE", 64)
    backend = torch_library.TorchBackend.open()
    torch.refuse = torch.cuda.OutOfMemoryError("CUDA out of memory")
    with backend.busy():
        wait_for(lambda: torch.refuse is None)
        before = torch.ran
        wait_for(lambda: torch.ran > before + 8)


def test_a_cold_case_takes_its_sets_in_turn(torch: FakeTorch) -> None:
    prepared: Any = TorchGpuLayer(FC, sets=3, instances=2)
    ran: list[int] = []

    def told(number: int, run: Any) -> Any:
        ran.append(number)
        return run()

    for number, copies in enumerate(prepared._sets):
        copies[0] = partial(told, number, copies[0])
    prepared.launch(4)
    prepared.launch(4)
    assert ran == [0, 1, 2, 0, 1, 2, 0, 1], "captured in the order of the sets"


def test_batches_of_whole_laps_capture_their_graphs_once(torch: FakeTorch) -> None:
    """A batch that is no multiple of its sets begins with another set each time: seven batches captured."""
    prepared = TorchGpuLayer(FC, sets=7)
    assert prepared.lap == 7
    prepared.launch(1)
    prepared.launch(3)
    captured = []
    for n in (*[41 * prepared.lap] * 8, *[41 * prepared.lap + 1] * 8):
        before = torch.graphs
        prepared.launch(n)
        captured.append(torch.graphs - before)
    assert captured[0] <= 3 and not any(captured[1:8])
    assert sum(map(bool, captured[8:])) >= 6, "so it is worth it"


def test_pytorch_has_what_we_ask_of_it() -> None:
    real = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours = FakeTorch(FakeCuda(MIB))
    missing = [name for name in vars(ours.cuda) if not hasattr(real.cuda, name)]
    assert not missing
    for kind, fake in (("CUDAGraph", CUDAGraph), ("Stream", CudaStream)):
        methods = [name for name in vars(fake) if not name.startswith("_")]
        assert not [name for name in methods if not hasattr(getattr(real.cuda, kind), name)]
    assert issubclass(real.cuda.OutOfMemoryError, RuntimeError)
    assert issubclass(getattr(real, "AcceleratorError", RuntimeError), RuntimeError)
    assert str(real.float32) == f"torch.{ours.float32}"
