"""One CUDA device without a GPU, as unkind as a real one; CuPy's and PyTorch's stand-ins both stand on it.

What it imitates:

- Work is queued by stream and done when something waits for it, as late as it may be. Streams are
  non-blocking: none waits for another or for the legacy stream. Copies from pageable memory and memsets
  return before they have arrived (CUDA Runtime API, "API synchronization behavior").
- A kernel's fault shows at the next wait and is sticky: every later call fails (driver_types.h: "This leaves
  the process in an inconsistent state"). Refused launches and memory are not.
- Captures belong to a stream. Waiting for it, or for the device from any thread, and what a mode forbids
  ("potentially unsafe API calls", cudaThreadExchangeStreamCaptureMode) invalidate them: 900 now, 901 at its
  end.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np

ERRORS = {
    1: ("cudaErrorInvalidValue", "CUDA_ERROR_INVALID_VALUE", "invalid argument"),
    2: ("cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"),
    35: (
        "cudaErrorInsufficientDriver",
        "CUDA_ERROR_UNKNOWN",
        "CUDA driver version is insufficient for CUDA runtime version",
    ),
    200: ("cudaErrorInvalidKernelImage", "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"),
    201: ("cudaErrorDeviceUninitialized", "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"),
    209: (
        "cudaErrorNoKernelImageForDevice",
        "CUDA_ERROR_NO_BINARY_FOR_GPU",
        "no kernel image is available for execution on the device",
    ),
    222: (
        "cudaErrorUnsupportedPtxVersion",
        "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
        "the provided PTX was compiled with an unsupported toolchain.",
    ),
    226: (
        "cudaErrorContained",
        "CUDA_ERROR_CONTAINED",
        "Invalid access of peer GPU memory over nvlink or a hardware error",
    ),
    400: ("cudaErrorInvalidResourceHandle", "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"),
    401: (
        "cudaErrorIllegalState",
        "CUDA_ERROR_ILLEGAL_STATE",
        "the operation cannot be performed in the present state",
    ),
    500: ("cudaErrorSymbolNotFound", "CUDA_ERROR_NOT_FOUND", "named symbol not found"),
    600: ("cudaErrorNotReady", "CUDA_ERROR_NOT_READY", "device not ready"),
    700: (
        "cudaErrorIllegalAddress",
        "CUDA_ERROR_ILLEGAL_ADDRESS",
        "an illegal memory access was encountered",
    ),
    701: (
        "cudaErrorLaunchOutOfResources",
        "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
        "too many resources requested for launch",
    ),
    702: ("cudaErrorLaunchTimeout", "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"),
    710: ("cudaErrorAssert", "CUDA_ERROR_ASSERT", "device-side assert triggered"),
    714: ("cudaErrorHardwareStackError", "CUDA_ERROR_HARDWARE_STACK_ERROR", "hardware stack error"),
    715: (
        "cudaErrorIllegalInstruction",
        "CUDA_ERROR_ILLEGAL_INSTRUCTION",
        "an illegal instruction was encountered",
    ),
    716: ("cudaErrorMisalignedAddress", "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"),
    717: (
        "cudaErrorInvalidAddressSpace",
        "CUDA_ERROR_INVALID_ADDRESS_SPACE",
        "operation not supported on global/shared address space",
    ),
    718: ("cudaErrorInvalidPc", "CUDA_ERROR_INVALID_PC", "invalid program counter"),
    719: ("cudaErrorLaunchFailure", "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"),
    721: ("cudaErrorTensorMemoryLeak", "CUDA_ERROR_TENSOR_MEMORY_LEAK", "tensor memory not completely freed"),
    810: (
        "cudaErrorMpsClientTerminated",
        "CUDA_ERROR_MPS_CLIENT_TERMINATED",
        "the MPS client has been terminated by the server",
    ),
    900: (
        "cudaErrorStreamCaptureUnsupported",
        "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
        "operation not permitted when stream is capturing",
    ),
    901: (
        "cudaErrorStreamCaptureInvalidated",
        "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
        "operation failed due to a previous error during capture",
    ),
    907: (
        "cudaErrorCapturedEvent",
        "CUDA_ERROR_CAPTURED_EVENT",
        "operation not permitted on an event last recorded in a capturing stream",
    ),
    908: (
        "cudaErrorStreamCaptureWrongThread",
        "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD",
        "attempt to terminate a thread-local capture sequence from another thread",
    ),
    911: (
        "cudaErrorExternalDevice",
        "CUDA_ERROR_EXTERNAL_DEVICE",
        "an async error has occured in external entity outside of CUDA",
    ),
}
"""Name in the runtime, name in the driver, text (cudaGetErrorName, cuGetErrorName, cudaGetErrorString)."""

STICKY = (226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911)
"""After these "any further CUDA work will return the same error" (cuda.h of CUDA 13.0)."""
GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2  # cudaStreamCaptureMode
GARBAGE = 0xFF  # NaN in every float type: what freshly allocated memory holds

_T = TypeVar("_T")

Work = Callable[[], float]
"""Done by the device; returns the seconds that it takes."""


class CudaError(Exception):
    """A call that did not return cudaSuccess; the stand-ins raise their own in its place."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(ERRORS[status][0])


def asked(kind: Callable[[int], Exception], do: Callable[..., _T], *arguments: Any) -> _T:
    """The answer to a call; its error as this kind, with what was being handled as its context."""
    try:
        return do(*arguments)
    except CudaError as error:
        status = error.status
    raise kind(status)


class Capture:
    def __init__(self, mode: int) -> None:
        self.mode, self.thread, self.valid = mode, threading.get_ident(), True
        self.nodes: list[Work] = []


class Stream:
    _numbers = itertools.count(7)

    def __init__(self, ptr: int | None = None) -> None:
        self.ptr = next(self._numbers) if ptr is None else ptr
        self.queue: deque[Work] = deque()
        self.capture: Capture | None = None
        self.at_s = 0.0
        """The time that its work has taken."""


class Event:
    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.capture: Capture | None = None
        self.at_s: float | None = None


class FakeCuda:
    """The device, and the driver's state of this process."""

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes = memory_bytes
        self.lock = threading.RLock()
        self.memory: dict[int, np.ndarray[Any, Any]] = {}
        self.used = 0
        self.legacy = Stream(0)
        self._streams = weakref.WeakValueDictionary({0: self.legacy})
        self.sticky = 0
        self.host_s = 0.0
        """Seconds that the host spent in calls which take long."""

    @property
    def streams(self) -> list[Stream]:
        return list(self._streams.values())

    def stream_at(self, ptr: int) -> Stream:
        if (found := self._streams.get(ptr)) is None:
            raise CudaError(400)
        return found

    # -- errors and waiting -----------------------------------------------------------------------------

    def check(self) -> None:
        if self.sticky:
            raise CudaError(self.sticky)

    def fault(self, status: int = 700) -> NoReturn:
        """What runs now faults: nothing that was queued is done any more."""
        self.sticky = status
        for stream in self.streams:
            stream.queue.clear()
        raise CudaError(status)

    def refuse(self, status: int) -> NoReturn:
        """A call fails; one that captures loses its capture, too."""
        if status in STICKY:
            self.fault(status)
        here = threading.get_ident()
        self._invalidate([one for one in self.streams if one.capture and one.capture.thread == here], status)

    def spend(self, seconds: float) -> None:
        self.host_s += seconds

    def synchronize(self, stream: Stream | None = None) -> None:
        """Wait for a stream, or for the device."""
        with self.lock:
            self.check()
            capturing = [one for one in ([stream] if stream else self.streams) if one.capture is not None]
            if capturing:
                self._invalidate(capturing)
            # The legacy stream last: what should have waited for it shows.
            for one in [stream] if stream else sorted(self.streams, key=lambda s: s.ptr, reverse=True):
                self._drain(one)

    def _drain(self, stream: Stream, until: Event | None = None) -> None:
        while stream.queue and (until is None or until.at_s is None):
            stream.at_s += stream.queue.popleft()()

    def _invalidate(self, streams: Sequence[Stream], status: int = 900) -> NoReturn:
        for stream in streams:
            if stream.capture is not None:
                stream.capture.valid = False
        raise CudaError(status)

    def unsafe(self) -> None:
        """A call that some modes of capture forbid."""
        self.check()
        here = threading.get_ident()
        forbid = [
            stream
            for stream in self.streams
            if (capture := stream.capture) is not None
            and (capture.mode == GLOBAL if capture.thread != here else capture.mode in (GLOBAL, THREAD_LOCAL))
        ]
        if forbid:
            self._invalidate(forbid)

    # -- memory -----------------------------------------------------------------------------------------

    def malloc(self, size: int) -> int:
        with self.lock:
            self.unsafe()
            if size > self.memory_bytes - self.used:
                raise CudaError(2)
            array = np.full(size + 256, GARBAGE, np.uint8)
            begin = -array.ctypes.data % 256
            pointer = int(array.ctypes.data + begin)
            self.memory[pointer] = array[begin : begin + size]
            self.used += size
            return pointer

    def free(self, pointer: int) -> None:
        """Waits for the device, as cudaFree does."""
        with self.lock:
            self.unsafe()
            if not pointer:
                return
            if pointer not in self.memory:
                raise CudaError(1)
            for stream in self.streams:
                self._drain(stream)
            array = self.memory.pop(pointer)
            self.used -= array.nbytes
            array.fill(GARBAGE)  # nobody reads it any more

    def view(self, pointer: int, size: int) -> np.ndarray[Any, Any]:
        """Bytes of one allocation; as a GPU would, it faults outside."""
        for base, array in self.memory.items():
            if base <= pointer and pointer + size <= base + array.nbytes:
                return array[pointer - base : pointer - base + size]
        return self.fault(700)

    def copy(
        self,
        stream: Stream,
        target: int,
        source: int,
        size: int,
        *,
        to_host: bool = False,
        staged: bool = True,
    ) -> None:
        """A copy; from pageable host memory, `staged`, the source may change afterwards."""
        with self.lock:
            from_device = to_host or any(b <= source < b + a.nbytes for b, a in self.memory.items())
            content = ctypes.string_at(source, size) if staged and not from_device else None

            def work() -> float:
                if from_device:
                    self.view(source, size)
                if not to_host:
                    self.view(target, size)
                ctypes.memmove(target, source if content is None else content, size)
                return 0.0

            self.enqueue(stream, work)
            if to_host:
                self.synchronize(stream)

    def fill(self, stream: Stream, pointer: int, byte: int, size: int) -> None:
        def work() -> float:
            self.view(pointer, size)
            ctypes.memset(pointer, byte, size)
            return 0.0

        self.enqueue(stream, work)

    # -- streams, events, graphs ------------------------------------------------------------------------

    def stream(self) -> Stream:
        with self.lock:
            self.check()
            found = Stream()
            self._streams[found.ptr] = found
            return found

    def enqueue(self, stream: Stream, work: Work) -> None:
        with self.lock:
            self.check()
            if stream.capture is None:
                stream.queue.append(work)
            elif stream.capture.valid:
                stream.capture.nodes.append(work)
            else:
                raise CudaError(901)

    def begin_capture(self, stream: Stream, mode: int) -> None:
        with self.lock:
            self.check()
            if stream is self.legacy:
                raise CudaError(900)
            if stream.capture is not None:
                raise CudaError(401)
            stream.capture = Capture(mode)

    def end_capture(self, stream: Stream) -> list[Work]:
        with self.lock:
            if (capture := stream.capture) is None:
                raise CudaError(401)
            if capture.mode != RELAXED and capture.thread != threading.get_ident():
                self._invalidate([stream], 908)
            stream.capture = None
            self.check()
            if not capture.valid:
                raise CudaError(901)
            return capture.nodes

    def record(self, event: Event, stream: Stream) -> None:
        with self.lock:
            event.stream, event.capture, event.at_s = stream, stream.capture, None

            def work() -> float:
                event.at_s = stream.at_s
                return 0.0

            self.enqueue(stream, work)

    def wait_stream(self, stream: Stream, other: Stream) -> None:
        """What is enqueued from now on waits for what the other has to do now (cudaStreamWaitEvent)."""
        event = Event()
        self.record(event, other)

        def work() -> float:
            self._drain(other, event)
            return 0.0

        self.enqueue(stream, work)

    def wait_for(self, event: Event) -> None:
        """cudaEventSynchronize: done at once where it was never recorded."""
        with self.lock:
            self.check()
            if event.capture is not None and event.stream is not None:
                self._invalidate([event.stream], 907)
            if event.stream is not None:
                self._drain(event.stream, event)

    def elapsed_s(self, begin: Event, end: Event) -> float:
        with self.lock:
            self.check()
            if begin.stream is None or end.stream is None:
                raise CudaError(400)
            if begin.at_s is None or end.at_s is None:
                raise CudaError(600)
            return end.at_s - begin.at_s
