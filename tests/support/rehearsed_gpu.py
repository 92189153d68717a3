"""A GPU on which a whole campaign can be rehearsed: kernels run on the harness, time and joules are replayed.

For a worker: `--backend rehearsed_gpu:backend --meter rehearsed_gpu:meter`. It is the backend of a real GPU
on a stand-in for CuPy (fake_gpu): buffers, rings, graphs, gate and filler are its own. Each case's kernel
runs once, on the CPU: its outputs are held against float64 and its counts against its header. Every launch
takes the time and the joules of a replayed card (replayed_device), on which $REPLAYED_SCALE copies of the
layer would run, and captures take the host's: energy_source is `simulated`.

With $REPLAYED_SENSORS=unkind its sensors lag, jitter, come late and answer slowly. $REHEARSED_BREAKS makes
kernels fail: `conv_no_reuse=wrong`, `=dies` with its process, `=faults` as a GPU does; several with commas.
`calibrate=fails` breaks the meter there. $REHEARSED_PAUSE_S are seconds that each visit really takes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import fake_gpu
import numpy as np
import replayed_device
from fake_cuda import FakeCuda
from fake_gpu import HostCompiler, Launched
from replay import HOPPER, Load
from replayed_device import GPU

from dibench import kernels
from dibench.backends import Device, cuda_cache, cuda_gpu, host, lap_of
from dibench.backends.cuda import CudaBackend
from dibench.backends.operands import as_values
from dibench.check import selftest
from dibench.errors import UserError
from dibench.kernels import anchors, compilers
from dibench.kernels.compilers.nvrtc import Binary
from dibench.meters.gpu import GpuMeter
from dibench.plan import Case

BREAKS = dict(one.split("=") for one in os.environ.get("REHEARSED_BREAKS", "").split(",") if one)
_MOST_ELEMENTS = 2**18
"""Of an anchor's buffer that it runs over here; what measures the peaks takes more."""


class AheadCompiler(HostCompiler):
    """Compiles when it is asked to, so that a sweep's prefetching has something to do."""

    def compile(self, source: str, name: str, headers: Mapping[str, str], *, arch: int) -> Binary:
        if name != "gate":
            host.build(source, name, headers.get("constants.cuh", ""))
        return super().compile(source, name, headers, arch=arch)


class RehearsedCuda(FakeCuda):
    """What the host spends passes on the replayed clock; the card rests, unless the filler runs."""

    filling = False

    def spend(self, seconds: float) -> None:
        if not self.filling:
            GPU.rest()
        replayed_device.CLOCK.sleep(seconds)


class RehearsedCupy(fake_gpu.FakeCupy):
    """The stand-in, whose launches take the time and the joules of the replayed card.

    The measuring thread alone lets time pass. The filler's launches say that they run, and do no more.
    """

    case: Case | None = None
    load: Load | None = None

    def __init__(self) -> None:
        self.rehearsed = RehearsedCuda(fake_gpu.MEMORY)
        super().__init__(device=self.rehearsed)
        self.executing = False
        self.filled = threading.Event()

    def run_all(self, launches: Sequence[Launched]) -> float:
        first = launches[0]
        if threading.current_thread().name == "filler":
            self.filled.set()
            return 0.0
        if first.name == "gate":
            seconds = super().run(first)
            replayed_device.CLOCK.sleep(seconds)
            return seconds
        if first.name in anchors.registry() and (self.case is None or self.case.variant != first.name):
            seconds = fake_gpu.PASS_S * first.values[2].value
            return GPU.launch(Load(HOPPER.filler_w, seconds), len(launches))
        if self.executing:
            for launched in launches:
                self.execute(launched)
        assert self.load is not None
        return GPU.launch(self.load, len(launches))

    def execute(self, launched: Launched) -> None:
        """On the harness."""
        if launched.name in anchors.registry():
            self._anchor(launched)
        else:
            super().run(launched)

    def _anchor(self, launched: Launched) -> None:
        """One pass over the buffer."""
        values, geometry = launched.values, launched.geometry
        anchor, elements = anchors.registry()[launched.name], values[1].value
        rows = geometry.grid if anchor.level == "l1" else 1
        if rows * elements > _MOST_ELEMENTS:
            return
        buffer = self.view(values[0].value, rows * elements, ctypes.c_float)
        operands = {"weight": buffer[:0], "input": buffer, "output": buffer}
        once = attrs.evolve(launched, taken=(*launched.taken[:2], bytes(ctypes.c_int(1))))
        counts = self.harness(once, operands)
        counted = counts.macs_executed, counts.global_reads[1], counts.output_writes
        promised = anchor.counts_for(blocks=geometry.grid, elements=elements, passes=1)
        if counted != tuple(promised[name] for name in anchors.COUNTS):
            raise RuntimeError(f"{anchor.name}: the harness counts {counted}, the header says {promised}")

    def harness(self, launched: Launched, operands: Mapping[str, np.ndarray[Any, Any]]) -> Any:
        counts = super().harness(launched, operands)
        if (variant := kernels.registry("cuda").get(launched.name)) is None:
            return counts
        match BREAKS.get(variant.name):
            case "wrong":
                operands["output"][-1] += 1.0
            case "dies":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "faults":
                self.device.fault()
        assert self.case is not None
        selftest.check_counts(variant, self.case, host.outcome(operands["output"], counts).counts)
        return counts


class RehearsedBackend(CudaBackend):
    """The backend of a real GPU, on the stand-in."""

    def __init__(self) -> None:
        self.cupy = RehearsedCupy()
        cache = cuda_cache.KernelCache(
            AheadCompiler(),
            compilers.cache_directory() / "rehearsed",
            threads=2,
            brought=cuda_cache.brought_directory(),
        )
        super().__init__(fake_gpu.GPU, cuda_gpu.Context(self.cupy), cache)

    def device(self) -> Device:
        facts = {**super().device().facts, "driver": "replayed", "uuid": GPU.uuid}
        return Device(GPU.name, GPU.uuid, facts)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """The filler's thread is real; replayed time, which it does not move, waits until it launches."""
        self.cupy.filled.clear()
        with super().busy():
            if not self.cupy.filled.wait(30.0):
                raise RuntimeError("the filler does not launch")
            self.cupy.rehearsed.filling = True
            with GPU.busy():
                yield
            self.cupy.rehearsed.filling = False

    def prepare(self, case: Case) -> Any:
        self.cupy.case = case
        prepared = super().prepare(case)
        self.cupy.load = replayed_device.load_of(case, prepared.counts)
        return Rehearsed(self.cupy, prepared, case)


class Rehearsed:
    """A prepared case of the real backend, checked on the harness at its first launch."""

    def __init__(self, cupy: RehearsedCupy, prepared: Any, case: Case) -> None:
        self._cupy, self._prepared, self._case, self._ran = cupy, prepared, case, False
        self.counts, self.cells, self.lap = prepared.counts, prepared.cells, lap_of(prepared)

    def launch(self, n: int) -> float:
        if not self._ran:
            self._check()
        return float(self._prepared.launch(n))

    def _check(self) -> None:
        self._ran = True
        time.sleep(float(os.environ.get("REHEARSED_PAUSE_S", "0")))
        if self._case.anchor:
            with self._executing():
                self._prepared.launch(1)
            return
        x, w = (as_values(elements, self._case.dtype) for elements in self.operands())
        error = selftest.share_of_error(self._case, x, w, self.compute())
        if not error <= 1.0:
            raise RuntimeError(f"an output is wrong: {error:.3g} times the error allowed")

    @contextlib.contextmanager
    def _executing(self) -> Iterator[None]:
        self._cupy.executing = True
        try:
            yield
        finally:
            self._cupy.executing = False

    def operands(self) -> Any:
        return self._prepared.operands()

    def compute(self) -> Any:
        with self._executing():
            return self._prepared.compute()

    def close(self) -> None:
        self._prepared.close()
        GPU.rest()


def meter() -> GpuMeter:
    if "calibrate" in sys.argv and "calibrate" in BREAKS:
        raise UserError("NVML", "this user may not read it")
    return replayed_device.meter()


def backend() -> RehearsedBackend:
    GPU.open_context()
    return RehearsedBackend()
