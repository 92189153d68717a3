"""PyTorch's errors and its caching allocator (c10/cuda/CUDACachingAllocator.cpp), on fake_cuda's device.

Blocks of one stream are not used on another; up to 1 MiB from segments of 2 MiB, up to 10 MiB of 20 MiB. A
graph's memory comes from a private pool, which `empty_cache` gives back only when no graph of it lives. Where
memory runs out, cached segments are given back and it is tried again, but not while a graph is captured.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from cuda_errors import ERRORS
from fake_cuda import RELAXED, CudaError, FakeCuda, Stream, asked

MIB = 2**20


class AcceleratorError(RuntimeError):
    """torch.AcceleratorError, a RuntimeError in older releases."""

    def __init__(self, status: int) -> None:
        self.error_code = status
        super().__init__(
            f"CUDA error: {ERRORS[status][2]}\nCUDA kernel errors might be asynchronously reported at some "
            "other API call, so the stacktrace below might be incorrect."
        )


class OutOfMemoryError(RuntimeError):
    """torch.OutOfMemoryError, torch.cuda.OutOfMemoryError."""


class _Segment:
    def __init__(self, pointer: int, size: int, key: tuple[Any, ...]) -> None:
        self.pointer, self.size, self.key = pointer, size, key
        self.blocks: dict[int, int] = {}

    def free(self, at: int) -> None:
        del self.blocks[at]

    def gap(self, size: int) -> int | None:
        """Where so many bytes are free."""
        at = 0
        for begin, used in sorted(self.blocks.items()):
            if begin - at >= size:
                break
            at = begin + used
        return at if self.size - at >= size else None


class Allocator:
    """Memory by pool (None, or a graph's), stream and size class."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.segments: list[_Segment] = []
        self.uses: dict[Any, int] = {}
        """Graphs by private pool."""
        self.peak = 0
        self.underway = 0

    def allocated(self) -> int:
        return sum(sum(segment.blocks.values()) for segment in self.segments)

    def reserved(self) -> int:
        return sum(segment.size for segment in self.segments)

    def allocate(self, nbytes: int, stream: Stream, pool: Any) -> tuple[int, Callable[[], None]]:
        size = max(512, -(-nbytes // 512) * 512)
        small = size <= MIB
        key = (pool, stream.ptr, small)
        for segment in (one for one in self.segments if one.key == key):
            if (at := segment.gap(size)) is not None:
                return self._take(segment, at, size)
        whole = 2 * MIB if small else 20 * MIB if size < 10 * MIB else -(-size // (2 * MIB)) * 2 * MIB
        segment = _Segment(self._malloc(whole, nbytes, stream), whole, key)
        self.segments.append(segment)
        self.peak = max(self.peak, self.reserved())
        return self._take(segment, 0, size)

    def _take(self, segment: _Segment, at: int, size: int) -> tuple[int, Callable[[], None]]:
        segment.blocks[at] = size
        return segment.pointer + at, partial(segment.free, at)

    def _malloc(self, whole: int, nbytes: int, stream: Stream) -> int:
        capture = stream.capture
        for retry in (False, True):
            mode = None if capture is None else capture.mode
            try:
                if capture is not None:
                    capture.mode = RELAXED  # cudaMallocMaybeCapturing
                return self.cuda.malloc(whole)
            except CudaError as error:
                if error.status != 2:
                    raise AcceleratorError(error.status) from None
            finally:
                if capture is not None and mode is not None:
                    capture.mode = mode
            if retry or capture is not None:
                break
            self.empty_cache()
        free = self.cuda.memory_bytes - self.cuda.used
        raise OutOfMemoryError(
            f"CUDA out of memory. Tried to allocate {nbytes / MIB:.2f} MiB. GPU 0 has a total capacity of "
            f"{self.cuda.memory_bytes / MIB:.2f} MiB of which {free / MIB:.2f} MiB is free. Of the allocated "
            f"memory {self.allocated() / MIB:.2f} MiB is allocated by PyTorch."
        )

    def empty_cache(self) -> None:
        """Give back segments without a block; asserts while a capture is underway, or never ended."""
        if self.underway:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED at CUDACachingAllocator.cpp")
        for segment in list(self.segments):
            if not segment.blocks and not self.uses.get(segment.key[0], 0):
                asked(AcceleratorError, self.cuda.free, segment.pointer)
                self.segments.remove(segment)
