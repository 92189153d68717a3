"""PyTorch's library on a card that our kernels need next: what a case took is free again, errors or not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import fake_gpu
import numpy as np
import pytest
from fake_cuda import FakeCuda
from fake_torch import FakeTorch
from fake_torch_memory import MIB, AcceleratorError

from dibench.backends import DeviceError, DeviceFaultError, ProcessSpentError
from dibench.backends.cuda import CudaBackend
from dibench.backends.cuda_cache import KernelCache
from dibench.backends.cuda_gpu import Context
from dibench.backends.paired import PairedBackend
from dibench.backends.torch_library import TorchBackend
from dibench.errors import OutOfMemoryError
from dibench.layer import Layer
from dibench.plan import Case

CARD = 64 * MIB
LARGE = Layer.fc(N=1024, C=64, K=3072)
"""Its outputs, 12 MiB, are most of what it needs: they lie in a graph's pool."""


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTorch]:
    found = FakeTorch(FakeCuda(CARD))
    monkeypatch.setitem(sys.modules, "torch", found)
    monkeypatch.setattr(found.device, "view", lambda pointer, size: None)  # nothing is computed
    yield found
    found.device.sticky = 0


@pytest.fixture
def library(torch: FakeTorch) -> TorchBackend:
    return TorchBackend(torch, on_gpu=True)


def case(layer: Layer = LARGE) -> Case:
    further = (("format", "nchw"), ("benchmark", 1))
    return Case(layer=layer, backend="torch", variant="torch_cudnn", further=further)


def test_all_graphs_of_a_case_share_one_pool(torch: FakeTorch, library: TorchBackend) -> None:
    prepared = library.prepare(case())
    prepared.launch(1)
    one = torch.memory.reserved()
    for n in (2, 3, 5, 7, 11):
        prepared.launch(n)
    assert torch.graphs == 6 and torch.memory.reserved() == one


def test_a_closed_case_leaves_the_whole_card(torch: FakeTorch, library: TorchBackend) -> None:
    for _ in range(3):
        prepared = library.prepare(case())
        prepared.launch(3)
        prepared.close()
        assert torch.device.used == 0
        torch.device.free(torch.device.malloc(CARD))  # as our own kernels' operands


def test_cases_share_one_stream(torch: FakeTorch, library: TorchBackend) -> None:
    """cuBLAS keeps a workspace of up to 32 MiB for each."""
    seen = set()
    for _ in range(5):
        prepared: Any = library.prepare(case())
        seen.add(prepared._stream.raw.ptr)
        prepared.close()
    assert len(seen) == 1


def test_graphs_do_not_pile_up(torch: FakeTorch, library: TorchBackend) -> None:
    prepared: Any = library.prepare(case(Layer.fc(N=2, C=10, K=6)))
    for n in range(1, 90):
        prepared.launch(n)
    assert len(prepared._graphs) <= 64


def test_a_networks_graphs_are_short(
    torch: FakeTorch, library: TorchBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """256 inferences of hundreds of kernels each would be a graph of 100,000 nodes."""

    class Network:
        def to(self, *_: Any, **__: Any) -> Network:
            return self

        def eval(self) -> Network:
            return self

        def __call__(self, x: Any) -> Any:
            return x @ x

    monkeypatch.setattr("dibench.backends.torch_network.build", lambda name, device: [Network()])
    layer = Layer(N=1, C=1, H=8, W=8, K=1, R=1, S=1)
    monkeypatch.setattr("dibench.backends.torch_network.operand", lambda *_: np.ones((8, 8), np.float32))
    prepared: Any = library.prepare(attrs.evolve(case(layer), network="torchvision:any"))
    assert prepared.launch(300) == pytest.approx(300 * torch.kernel_s)
    assert torch.graphs == 2 and max(size for _, size in prepared._graphs) == 8


@pytest.mark.parametrize("launches", [0, 1], ids=["prepared", "captured"])
def test_too_little_memory_is_said_and_given_back(
    torch: FakeTorch, library: TorchBackend, launches: int
) -> None:
    """While operands are put in place, and while a graph is captured."""
    taken = CARD - (20 if launches else 10) * MIB
    held = torch.device.malloc(taken)
    with pytest.raises(OutOfMemoryError, match=r"Tried to allocate 12\.00 MiB.* MiB is free"):
        prepared = library.prepare(case())
        torch.cuda.empty_cache()  # as a capture does
        rest = torch.device.malloc(CARD - torch.device.used)
        try:
            prepared.launch(launches)
        finally:
            torch.device.free(rest)
            prepared.close()
    assert torch.device.used == taken
    torch.device.free(held)
    assert library.prepare(case()).launch(2) == pytest.approx(2 * torch.kernel_s)


@pytest.mark.parametrize("where", ["prepare", "capture", "replay"])
@pytest.mark.parametrize("status", [1, 209, 701])
def test_an_error_that_is_no_fault_fails_one_case(
    torch: FakeTorch, library: TorchBackend, monkeypatch: pytest.MonkeyPatch, where: str, status: int
) -> None:
    refusal = AcceleratorError(status)
    with pytest.raises(DeviceError, match="PyTorch: CUDA error: ") as failed:
        if where == "prepare":
            torch.refuse = refusal
        prepared = library.prepare(case())
        if where == "capture":
            torch.refuse = refusal
        else:
            prepared.launch(2)
        with monkeypatch.context() as changed:
            if where == "replay":
                changed.setattr("fake_torch.CUDAGraph.replay", lambda graph: raised(refusal))
            try:
                prepared.launch(2)
            finally:
                prepared.close()
    assert not isinstance(failed.value, DeviceFaultError | ProcessSpentError)
    assert torch.device.used == 0
    assert library.prepare(case()).launch(1) == pytest.approx(torch.kernel_s)


def raised(error: Exception) -> None:
    raise error


def test_a_fault_while_the_library_runs_loses_the_device(torch: FakeTorch, library: TorchBackend) -> None:
    prepared: Any = library.prepare(case())
    prepared.launch(1)
    torch.device.enqueue(prepared._stream.raw, lambda: torch.device.fault(719))
    with pytest.raises(DeviceFaultError, match="the GPU is lost: CUDA error: "):
        prepared.launch(1)
    prepared.close()  # says nothing more


def test_after_a_capture_that_failed_pytorch_needs_a_new_process(
    torch: FakeTorch, library: TorchBackend
) -> None:
    """And the reason is what the capture did not allow, not that its end failed."""
    prepared: Any = library.prepare(case())
    (run,) = prepared._sets[0]
    prepared._sets = [[lambda: run().cpu()]]
    with pytest.raises(ProcessSpentError, match="operation not permitted when stream is capturing"):
        prepared.launch(1)
    prepared.close()


@pytest.mark.slow
def test_our_kernels_and_the_library_take_turns_on_a_card_that_holds_one_of_them(
    torch: FakeTorch, library: TorchBackend, tmp_path: Path
) -> None:
    cache = KernelCache(fake_gpu.HostCompiler(), tmp_path)
    cupy = fake_gpu.FakeCupy(device=torch.device)
    both = PairedBackend(CudaBackend(fake_gpu.GPU, Context(cupy), cache), library)
    ours = fake_gpu.case_of(Layer.fc(N=1, C=3072, K=4352))  # weights of 51 MiB
    for _ in range(2):
        for one in (ours, case()):
            prepared = both.prepare(one)
            if one.backend == "torch":
                for n in (1, 2, 3):
                    prepared.launch(n)
            prepared.close()
    with pytest.raises(OutOfMemoryError, match=r"asks for \d+ bytes of device memory"):
        prepared = both.prepare(case())
        both.prepare(ours)
    prepared.close()
    both.prepare(ours).close()
