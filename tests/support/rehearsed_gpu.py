"""A GPU on which a whole campaign can be rehearsed: kernels run on the harness, time and joules are replayed.

For a worker: `--backend rehearsed_gpu:backend --meter rehearsed_gpu:meter`. It is the backend of a real GPU
on a stand-in for CuPy (fake_gpu). Each case's kernel runs once, on the CPU: its outputs are held against
float64 and its counts against its header. Every further launch takes the time and the joules of a replayed
card (replayed_device), on which $REPLAYED_SCALE copies of the layer would run: energy_source is `simulated`.

$REHEARSED_BREAKS makes kernels fail: `conv_no_reuse=wrong`, `=dies` with its process, `=faults` as a GPU
does; several with commas. `calibrate=fails` breaks the meter there. $REHEARSED_PAUSE_S are seconds that each
visit really takes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import fake_gpu
import numpy as np
import replayed_device
from fake_gpu import HostCompiler
from replayed_device import GPU

from dibench import kernels
from dibench.backends import Device, cuda_cache, cuda_gpu, host
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


class RehearsedCupy(fake_gpu.FakeCupy):
    """The stand-in, which knows the case that runs on it."""

    case: Case | None = None

    def run(self, work: tuple[dict[str, str], tuple[Any, ...], compilers.Geometry]) -> None:
        code, values, geometry = work
        if code["name"] in anchors.registry():
            self._anchor(code, values, geometry)
            self.clock_s += fake_gpu.PASS_S * values[2].value
        elif code["name"] != "gate":
            super().run(work)

    def _anchor(self, code: dict[str, str], values: tuple[Any, ...], geometry: compilers.Geometry) -> None:
        """One pass over the buffer."""
        anchor, elements = anchors.registry()[code["name"]], values[1].value
        rows = geometry.grid if anchor.level == "l1" else 1
        if rows * elements > _MOST_ELEMENTS:
            return
        buffer = self.view(values[0].value, rows * elements, ctypes.c_float)
        operands = {"weight": buffer[:0], "input": buffer, "output": buffer}
        counts = self.harness(code, (*values[:2], ctypes.c_int(1)), operands, geometry)
        counted = counts.macs_executed, counts.global_reads[1], counts.output_writes
        promised = anchor.counts_for(blocks=geometry.grid, elements=elements, passes=1)
        if counted != tuple(promised[name] for name in anchors.COUNTS):
            raise RuntimeError(f"{anchor.name}: the harness counts {counted}, the header says {promised}")

    def harness(
        self,
        code: dict[str, str],
        values: tuple[Any, ...],
        operands: Mapping[str, np.ndarray[Any, Any]],
        geometry: compilers.Geometry,
    ) -> Any:
        counts = super().harness(code, values, operands, geometry)
        if (variant := kernels.registry("cuda").get(code["name"])) is None:
            return counts
        match BREAKS.get(variant.name):
            case "wrong":
                operands["output"][-1] += 1.0
            case "dies":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "faults":
                self.lost = "cudaErrorIllegalAddress: an illegal memory access was encountered"
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

    def busy(self) -> AbstractContextManager[None]:
        return GPU.busy()  # replayed time is one thread's

    def prepare(self, case: Case) -> Any:
        self.cupy.case = case
        return Rehearsed(super().prepare(case), case)


class Rehearsed:
    """A prepared case whose first launch is real, and whose others are replayed."""

    def __init__(self, prepared: Any, case: Case) -> None:
        self._prepared, self._case, self._ran = prepared, case, False
        self.counts, self.cells = prepared.counts, prepared.cells
        self._load = replayed_device.load_of(case, prepared.counts)

    def launch(self, n: int) -> float:
        if not self._ran:
            self._run()
        return GPU.launch(self._load, n)

    def _run(self) -> None:
        self._ran = True
        time.sleep(float(os.environ.get("REHEARSED_PAUSE_S", "0")))
        if self._case.anchor:
            self._prepared.launch(1)
            return
        x, w = (as_values(elements, self._case.dtype) for elements in self.operands())
        error = selftest.share_of_error(self._case, x, w, self.compute())
        if not error <= 1.0:
            raise RuntimeError(f"an output is wrong: {error:.3g} times the error allowed")

    def operands(self) -> Any:
        return self._prepared.operands()

    def compute(self) -> Any:
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
