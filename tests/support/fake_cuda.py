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
from functools import partial, wraps
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

import numpy as np
from cuda_errors import ERRORS, STICKY

GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2  # cudaStreamCaptureMode
GARBAGE = 0xFF  # NaN in every float type: what freshly allocated memory holds

_T = TypeVar("_T")
_P = ParamSpec("_P")

Work = Callable[[], float]
"""Done by the device; returns the seconds that it takes."""


class CudaError(Exception):
    """A call that did not return cudaSuccess; the stand-ins raise their own in its place."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(ERRORS[status][0])


def asked(kind: Callable[[int], Exception], do: Callable[..., _T], *arguments: Any, **named: Any) -> _T:
    """The answer to a call; its error as this kind, with what was being handled as its context."""
    try:
        return do(*arguments, **named)
    except CudaError as error:
        status = error.status
    raise kind(status)


def _call(do: Callable[Concatenate[FakeCuda, _P], _T]) -> Callable[Concatenate[FakeCuda, _P], _T]:
    """A call of CUDA: one at a time, and none succeeds after a sticky error."""

    @wraps(do)
    def call(cuda: FakeCuda, /, *arguments: _P.args, **named: _P.kwargs) -> _T:
        with cuda.lock:
            cuda.check()
            return do(cuda, *arguments, **named)

    return call


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

    @_call
    def synchronize(self, stream: Stream | None = None) -> None:
        """Wait for a stream, or for the device."""
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

    @_call
    def malloc(self, size: int) -> int:
        self.unsafe()
        if size > self.memory_bytes - self.used:
            raise CudaError(2)
        array = np.full(size + 256, GARBAGE, np.uint8)
        begin = -array.ctypes.data % 256
        pointer = int(array.ctypes.data + begin)
        self.memory[pointer] = array[begin : begin + size]
        self.used += size
        return pointer

    @_call
    def free(self, pointer: int) -> None:
        """Waits for the device, as cudaFree does."""
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

    def behind(self, pointer: int) -> np.ndarray[Any, Any]:
        """All that an allocation has from here on, which may be nothing."""
        for base, array in self.memory.items():
            if base <= pointer <= base + array.nbytes:
                return array[pointer - base :]
        return self.fault(700)

    @_call
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

    @_call
    def stream(self) -> Stream:
        found = Stream()
        self._streams[found.ptr] = found
        return found

    @_call
    def enqueue(self, stream: Stream, work: Work) -> None:
        if stream.capture is None:
            stream.queue.append(work)
        elif stream.capture.valid:
            stream.capture.nodes.append(work)
        else:
            raise CudaError(901)

    @_call
    def begin_capture(self, stream: Stream, mode: int) -> None:
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

    @_call
    def record(self, event: Event, stream: Stream) -> None:
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

    @_call
    def wait_for(self, event: Event) -> None:
        """cudaEventSynchronize: done at once where it was never recorded."""
        if event.capture is not None and event.stream is not None:
            self._invalidate([event.stream], 907)
        if event.stream is not None:
            self._drain(event.stream, event)

    @_call
    def elapsed_s(self, begin: Event, end: Event) -> float:
        if begin.stream is None or end.stream is None:
            raise CudaError(400)
        if begin.at_s is None or end.at_s is None:
            raise CudaError(600)
        return end.at_s - begin.at_s


class Asked:
    """The device as a library asks it: its errors are of the library's own kind."""

    def __init__(self, cuda: FakeCuda, kind: Callable[[int], Exception]) -> None:
        self._cuda, self._kind = cuda, kind

    def __getattr__(self, name: str) -> Any:
        return partial(asked, self._kind, getattr(self._cuda, name))
