"""One GPU through CuPy: memory, modules, launches captured as graphs, time by events.

Everything the `cuda` backend asks of CuPy stands here. CuPy is handed in, so that tests can put a stand-in
in its place that runs kernels on the CPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from dibench.backends import cuda_driver
from dibench.backends.base import DeviceError, DeviceFaultError, first_of
from dibench.background import in_background
from dibench.errors import OutOfMemoryError, UserError
from dibench.extras import pip_install
from dibench.kernels.compilers import Geometry

MOST_NODES = 1024
"""Launches in one graph: captured in some milliseconds, so long that the gap to the next is negligible."""

FILL_AGAIN_S = 0.02
"""Until the filler begins again after an error: too little memory, say, may be there a moment later."""

_USUAL_SHARED_LIMIT = 48 * 1024  # bytes of a block, static and dynamic; more must be opted in to
_MEMORY_ALLOCATION = 2  # cudaErrorMemoryAllocation


def import_cupy(gpu: cuda_driver.Gpu) -> Any:
    """CuPy, for this GPU.

    Raises:
        UserError: it is not installed or does not load; the message names the wheel.
    """
    advice = pip_install(cuda_driver.extra(gpu))
    if find_spec("cupy") is None:
        raise UserError("--backend", f"needs CuPy: {advice}", "cuda")
    try:
        return import_module("cupy")
    except ImportError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError("--backend", f"CuPy does not load ({reason}): {advice}", "cuda") from None


class LoadedKernel:
    """A loaded kernel; it stays loaded as long as this object lives."""

    def __init__(self, function: Any) -> None:
        self._function = function  # which holds its module
        self.handle: int = function.ptr


@attrs.frozen
class Launch:
    """One launch of a kernel, which it keeps loaded: its geometry, its arguments as ctypes values."""

    kernel: LoadedKernel
    geometry: Geometry
    arguments: tuple[Any, ...]


class Graph:
    """Launches that run one after the other without the host in between; their kernels stay loaded."""

    def __init__(self, graph: Any, launches: Sequence[Launch]) -> None:
        self.graph = graph
        self.launches = len(launches)
        self._kernels = {id(launch.kernel): launch.kernel for launch in launches}


class Buffer:
    """Device memory, given back by `close`."""

    def __init__(self, context: Context, pointer: int, nbytes: int) -> None:
        self._context, self.pointer, self.nbytes = context, pointer, nbytes

    def close(self) -> None:
        """Give the memory back."""
        if self.pointer:
            self._context.free(self.pointer)
            self.pointer = 0


class Context:
    """What CUDA keeps of the first GPU that it shows: memory, loaded kernels, a stream with its events."""

    def __init__(self, cupy: Any) -> None:
        self._runtime, self._driver = cupy.cuda.runtime, cupy.cuda.driver
        self._cuda = cupy.cuda
        self._errors = self._runtime.CUDARuntimeError, self._driver.CUDADriverError
        self.version = str(cupy.__version__)
        with self._explained("open"):
            self._cuda.Device(0).use()
            self._runtime.free(0)  # creates the context, which driver calls need
            self._stream = self._cuda.Stream(non_blocking=True)
            self._begin, self._end = self._cuda.Event(), self._cuda.Event()

    def memory(self) -> tuple[int, int]:
        """Bytes of device memory: free, total."""
        free, total = self._runtime.memGetInfo()
        return int(free), int(total)

    def allocate(self, nbytes: int, what: str) -> Buffer:
        """Device memory of `nbytes`.

        Raises:
            OutOfMemoryError: there is not so much; names `what`, bytes asked and bytes free.
        """
        with self._explained("allocate", what, f"asks for {nbytes} bytes of device memory"):
            return Buffer(self, int(self._runtime.malloc(nbytes)), nbytes)

    def free(self, pointer: int) -> None:
        """Give memory back; does nothing on a lost device."""
        with contextlib.suppress(*self._errors):
            self._runtime.free(pointer)

    def write(self, pointer: int, values: npt.NDArray[Any]) -> None:
        """Copy an array, C-contiguous, to the device."""
        values = np.ascontiguousarray(values)
        with self._explained("copy"):
            kind = self._runtime.memcpyHostToDevice
            self._runtime.memcpy(pointer, values.ctypes.data, values.nbytes, kind)
            self._settle()

    def read(self, pointer: int, values: npt.NDArray[Any]) -> None:
        """Fill an array, C-contiguous, from the device."""
        with self._explained("copy"):
            kind = self._runtime.memcpyDeviceToHost
            self._runtime.memcpy(values.ctypes.data, pointer, values.nbytes, kind)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the device."""
        with self._explained("copy"):
            self._runtime.memcpy(target, source, nbytes, self._runtime.memcpyDeviceToDevice)
            self._settle()

    def fill(self, pointer: int, byte: int, nbytes: int) -> None:
        """Set every byte; 0xFF makes floats NaN."""
        with self._explained("fill"):
            self._runtime.memset(pointer, byte, nbytes)
            self._settle()

    def _settle(self) -> None:
        # Copies and memsets return before the device has done them, and our stream does not wait for the
        # default stream's work (CUDA Runtime API, "API synchronization behavior").
        self._runtime.deviceSynchronize()

    def load(self, cubin: bytes, name: str, shared_bytes: int = 0) -> LoadedKernel:
        """A kernel from machine code, allowed `shared_bytes` of dynamic shared memory."""
        with self._explained("load"):
            module = self._cuda.function.Module()
            module.load(cubin)
            function = module.get_function(name)
            # A driver may load code lazily: ask about it now, so that it does not happen during a capture.
            static = self._driver.funcGetAttribute(
                self._driver.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function.ptr
            )
            if static + shared_bytes > _USUAL_SHARED_LIMIT:
                attribute = self._driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
                self._driver.funcSetAttribute(function.ptr, attribute, shared_bytes)
        return LoadedKernel(function)

    def capture(self, launches: Sequence[Launch]) -> Graph:
        """Launches as one graph, on the device and ready."""
        with self._explained("capture"):
            self._stream.begin_capture()
            try:
                for launch in launches:
                    self._launch(launch, self._stream)
            finally:
                graph = self._stream.end_capture()
            graph.upload(self._stream)
            self._stream.synchronize()
        return Graph(graph, launches)

    def seconds(self, graphs: Sequence[Graph], gate: Launch | None = None) -> float:
        """Run graphs back to back; seconds from the first launch's begin to the last one's end.

        Args:
            graphs: in order.
            gate: runs before the first event and keeps the GPU until the graphs are enqueued.

        Raises:
            OutOfMemoryError, DeviceError: a graph could not be launched.
            DeviceFaultError: a kernel faulted; nothing more can be done in this process.
        """
        with self._explained("run"):
            if gate is not None:
                self._launch(gate, self._stream)
            self._begin.record(self._stream)
            for graph in graphs:
                graph.graph.launch(self._stream)
            self._end.record(self._stream)
            self._end.synchronize()
            return float(self._cuda.get_elapsed_time(self._begin, self._end)) * 1e-3

    def profile(self, launch: Launch) -> None:
        """Launch once with the profiler on, for one that was started with profiling off."""
        with self._explained("profile"):
            self._runtime.profilerStart()
            try:
                self._launch(launch, self._stream)
                self._stream.synchronize()
            finally:
                self._runtime.profilerStop()

    @contextlib.contextmanager
    def busy(self, launch: Launch, at_once: int = 2) -> Iterator[None]:
        """Keep the GPU busy from another stream with one launch after the other, until the context ends.

        Between cases the host draws and copies operands; a GPU that idles meanwhile cools and lowers its
        clocks, and the next case pays for it.
        """

        def work(stop: threading.Event) -> None:
            while not stop.is_set():
                with contextlib.suppress(Exception):  # a lost device shows in the measuring thread
                    self._cuda.Device(0).use()
                    stream = self._cuda.Stream(non_blocking=True)
                    while not stop.is_set():
                        for _ in range(at_once):
                            self._launch(launch, stream)
                        stream.synchronize()
                stop.wait(FILL_AGAIN_S)

        with in_background("filler", work):
            yield

    def _launch(self, launch: Launch, stream: Any) -> None:
        arguments = launch.arguments
        cells = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(value) for value in arguments))
        geometry = launch.geometry
        self._driver.launchKernel(
            launch.kernel.handle,
            geometry.grid, 1, 1,
            geometry.block, 1, 1,
            geometry.shared_bytes,
            stream.ptr,
            ctypes.addressof(cells),
            0,
        )  # fmt: skip

    @contextlib.contextmanager
    def _explained(self, doing: str, what: str = "device memory", asks: str = "") -> Iterator[None]:
        """Turn CUDA's errors into those that a sweep knows.

        Whether an error is the last one is asked, not looked up: after a fault "any further CUDA work will
        return the same error" (cuda.h: 226, 700, 702, 710, 714 to 719, 721, 810, 911), after any other a
        synchronisation succeeds.

        Args:
            doing: for the message.
            what: that needs memory, if there is too little.
            asks: how much it asks for, where that is known.
        """
        try:
            yield
        except self._errors as error:
            first = first_of(error, self._errors)
            text = f"CUDA, {doing}: {first}"
            try:
                self._runtime.deviceSynchronize()
            except self._errors as lost:
                later = "" if str(lost) == str(first) else f"; then {lost}"
                raise DeviceFaultError(text + later) from None
            if getattr(first, "status", None) != _MEMORY_ALLOCATION:
                raise DeviceError(text) from None
            free, total = self.memory()
            rule = f"{asks or text}, {free} of {total} {'' if asks else 'bytes '}are free"
            raise OutOfMemoryError(what, rule) from None
