"""PyTorch on a GPU without a GPU: what `TorchGpuLayer` and its like ask of `torch`, on fake_cuda's device.

What it imitates, beside its allocator (fake_torch_memory):

- `torch.cuda.graph` (torch/cuda/graphs.py) waits for the device and empties the cache before; its mode is
  "global" unless told otherwise. Where the capture fails its end fails too, in the first error's place, the
  stream stays the current one, the pool is never released and the allocator asserts from then on
  (aten/src/ATen/cuda/CUDAGraph.cpp).
- Memory is the device's: tensors of one pool overlap once freed, and what was never written is NaN.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
from fake_cuda import GLOBAL, RELAXED, THREAD_LOCAL, Asked, Event, FakeCuda, Stream, Work
from fake_torch_memory import AcceleratorError, Allocator, OutOfMemoryError

from dibench.backends.operands import as_elements, as_values

_MODES = {"global": GLOBAL, "thread_local": THREAD_LOCAL, "relaxed": RELAXED}
_NAMES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


class Tensor:
    """On the CPU or on the device; 16-bit types as their bits."""

    # Wide because these are what a tensor is.
    def __init__(
        self, torch: FakeTorch, array: Any, dtype: str, device: str, held: Any = None, last: bool = False
    ) -> None:
        self.torch, self.array, self.dtype, self.device = torch, array, dtype, device
        self._held, self.channels_last = held, last

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    def _like(self, array: Any) -> Tensor:
        return Tensor(self.torch, array, self.dtype, self.device, self._held, self.channels_last)

    def values(self) -> np.ndarray[Any, Any]:
        """What a kernel computes with, now."""
        return np.asarray(as_values(self.array, _NAMES[self.dtype]), np.float32)

    def __getitem__(self, index: int) -> Tensor:
        return self._like(self.array[index])

    def reshape(self, *shape: int) -> Tensor:
        return self._like(self.array.reshape(shape))

    def to(self, *place: str, memory_format: str | None = None) -> Tensor:
        device = next((one for one in place if one in ("cpu", "cuda")), self.device)
        dtype = next((one for one in place if one not in ("cpu", "cuda")), self.dtype)
        found = self
        if dtype != self.dtype:
            found = self.torch.kernel([self], self.shape, lambda x: x, dtype)
        return found._moved(device)

    def _moved(self, device: str) -> Tensor:
        if device == self.device:
            return self
        if device == "cuda":
            found = self.torch.empty(self.shape, self.dtype, "cuda")
            source = np.ascontiguousarray(self.array)
            self.torch.copy(found.array.ctypes.data, source.ctypes.data, source.nbytes)
            return found
        found = self.torch.empty(self.shape, self.dtype, "cpu")
        packed = self.torch.kernel([self], self.shape, lambda x: x, self.dtype)
        self.torch.copy(found.array.ctypes.data, packed.array.ctypes.data, found.array.nbytes, to_host=True)
        return found

    def contiguous(self, memory_format: str = "contiguous") -> Tensor:
        found = self.torch.kernel([self], self.shape, lambda x: x, self.dtype)
        found.channels_last = memory_format == "channels_last"
        return found

    def float(self) -> Tensor:
        return self.to("float32")

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def numpy(self) -> np.ndarray[Any, Any]:
        if self.device != "cpu":
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        return np.asarray(self.array)

    def sum(self) -> Tensor:
        return self.torch.kernel([self], (), lambda x: x.sum(), self.dtype)

    def __matmul__(self, other: Tensor) -> Tensor:
        return self.torch.linear(self, other, transposed=False)


class CudaStream:
    """torch.cuda.Stream."""

    def __init__(self, torch: FakeTorch, raw: Stream | None = None) -> None:
        self._torch = torch
        self.raw = raw or torch.driver.stream()

    def synchronize(self) -> None:
        self._torch.driver.synchronize(self.raw)

    def wait_stream(self, other: CudaStream) -> None:
        self._torch.driver.wait_stream(self.raw, other.raw)


class CudaEvent:
    """torch.cuda.Event."""

    def __init__(self, torch: FakeTorch, enable_timing: bool = False) -> None:
        self._torch, self.timing, self.raw = torch, enable_timing, Event()

    def record(self, stream: CudaStream | None = None) -> None:
        self._torch.driver.record(self.raw, stream.raw if stream else self._torch.current)

    def synchronize(self) -> None:
        self._torch.driver.wait_for(self.raw)

    def elapsed_time(self, end: CudaEvent) -> float:
        if not (self.timing and end.timing):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        return 1e3 * float(self._torch.driver.elapsed_s(self.raw, end.raw))


class CUDAGraph:
    """torch.cuda.CUDAGraph."""

    def __init__(self, torch: FakeTorch) -> None:
        self._torch, self._pool = torch, None
        self._nodes: list[Work] | None = None
        self._alive: Callable[[], object] = int
        torch.graphs += 1

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        torch = self._torch
        if torch.current is torch.device.legacy:
            raise RuntimeError("CUDA graphs must be captured on a non-default stream.")
        self._pool = pool or torch.graph_pool_handle()
        torch.memory.uses[self._pool] = torch.memory.uses.get(self._pool, 0) + 1
        torch.driver.begin_capture(torch.current, _MODES[capture_error_mode])
        torch.memory.underway += 1
        torch.pools[torch.current.ptr] = self._pool

    def capture_end(self) -> None:
        torch = self._torch
        torch.pools.pop(torch.current.ptr, None)
        self._nodes = torch.driver.end_capture(torch.current)
        torch.memory.underway -= 1
        torch.device.spend(torch.capture_s * len(self._nodes))
        self._alive = weakref.finalize(self, self._release, torch.memory, self._pool)

    @staticmethod
    def _release(memory: Allocator, pool: Any) -> None:
        memory.uses[pool] -= 1

    def replay(self) -> None:
        if self._nodes is None:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        torch = self._torch
        torch.replays += 1
        for node in self._nodes:
            torch.driver.enqueue(torch.current, node)

    def pool(self) -> Any:
        return self._pool

    def reset(self) -> None:
        self._nodes = None
        self._alive()


class FakeTorch:
    """The module. `kernel_s` is what a kernel takes, `capture_s` what capturing one costs the host."""

    __version__ = "2.9.0+cu130 (stand-in)"
    float32, float16, bfloat16, channels_last = "float32", "float16", "bfloat16", "channels_last"
    OutOfMemoryError, AcceleratorError = OutOfMemoryError, AcceleratorError

    def __init__(self, device: FakeCuda) -> None:
        self.device, self.memory = device, Allocator(device)
        self.driver = Asked(device, AcceleratorError)
        self.kernel_s, self.capture_s = 1e-5, 5e-6
        self.graphs = self.replays = self.ran = 0
        self.refuse: Exception | None = None
        """What the next kernel is refused with."""
        self.pools: dict[int, Any] = {}
        self._local = threading.local()
        self._handles = itertools.count(1)
        self.seeds: list[int] = []
        self.version = SimpleNamespace(cuda="13.0")
        self.backends = SimpleNamespace(
            cudnn=SimpleNamespace(benchmark=False, allow_tf32=True, version=lambda: 91400),
            cuda=SimpleNamespace(matmul=SimpleNamespace(allow_tf32=False)),
        )
        self.nn = SimpleNamespace(
            functional=SimpleNamespace(conv2d=self.conv2d, linear=self.linear, pad=self.pad)
        )
        facts = SimpleNamespace(
            name="Test GPU", uuid="0-1", L2_cache_size=2**16, total_memory=device.memory_bytes
        )
        self.cuda = SimpleNamespace(
            is_available=lambda: True,
            get_device_properties=lambda index: facts,
            Stream=lambda: CudaStream(self),
            Event=lambda enable_timing=False: CudaEvent(self, enable_timing),
            CUDAGraph=lambda: CUDAGraph(self),
            OutOfMemoryError=OutOfMemoryError,
            stream=self._stream,
            graph=lambda *a, **k: _Graph(self, *a, **k),
            graph_pool_handle=self.graph_pool_handle,
            synchronize=self._synchronize,
            empty_cache=self.memory.empty_cache,
            memory_allocated=self.memory.allocated,
            memory_reserved=self.memory.reserved,
            mem_get_info=lambda: (device.memory_bytes - device.used, device.memory_bytes),
            current_stream=lambda: CudaStream(self, self.current),
        )

    @property
    def current(self) -> Stream:
        """The current stream of this thread."""
        return getattr(self._local, "stream", self.device.legacy)

    @current.setter
    def current(self, stream: Stream) -> None:
        self._local.stream = stream

    @contextmanager
    def _stream(self, stream: CudaStream) -> Iterator[None]:
        before, self.current = self.current, stream.raw
        try:
            yield
        finally:
            self.current = before

    def _synchronize(self) -> None:
        self.driver.synchronize()

    def graph_pool_handle(self) -> Any:
        return (0, next(self._handles))

    @contextmanager
    def inference_mode(self) -> Iterator[None]:
        yield

    def manual_seed(self, seed: int) -> None:
        self.seeds.append(seed)

    def set_num_threads(self, number: int) -> None:
        raise AssertionError("asked of the CPU")

    # -- tensors ----------------------------------------------------------------------------------------

    def from_numpy(self, array: Any) -> Tensor:
        return Tensor(self, array, "float32", "cpu")

    def ones(self, shape: Any, device: str = "cpu") -> Tensor:
        shape = shape if isinstance(shape, tuple) else (shape,)
        return self.kernel([], shape, lambda: np.ones(shape, np.float32), "float32", device)

    def empty(self, shape: tuple[int, ...], dtype: str, device: str) -> Tensor:
        element = np.dtype(np.float32 if dtype == "float32" else np.uint16)
        if device == "cpu":
            return Tensor(self, np.empty(shape, element), dtype, "cpu")
        nbytes = int(np.prod(shape, dtype=np.int64)) * element.itemsize
        stream = self.current
        pool = self.pools.get(stream.ptr) if stream.capture is not None else None
        pointer, free = self.memory.allocate(max(nbytes, 1), stream, pool)
        base = next((a, pointer - p) for p, a in self.device.memory.items() if p <= pointer < p + a.nbytes)
        array = base[0][base[1] : base[1] + nbytes].view(element).reshape(shape)
        held = _Held()
        weakref.finalize(held, free)
        return Tensor(self, array, dtype, "cuda", held)

    def copy(self, target: int, source: int, size: int, to_host: bool = False) -> None:
        """As `copy_` between pageable memory and the device: on the current stream, which is waited for."""
        self.driver.copy(self.current, target, source, size, to_host=to_host)
        self.driver.synchronize(self.current)

    # Wide because these are what a kernel is.
    def kernel(
        self,
        inputs: Sequence[Tensor],
        shape: tuple[int, ...],
        compute: Callable[..., Any],
        dtype: str,
        device: str = "",
    ) -> Tensor:
        """One kernel on the current stream; its inputs are read when it runs."""
        device = device or inputs[0].device
        if device == "cpu":
            out = self.empty(shape, dtype, device)
            out.array[...] = as_elements(
                np.asarray(compute(*(x.values() for x in inputs)), np.float32), _NAMES[dtype]
            )
            return out
        if (refusal := self.refuse) is not None:
            self.refuse = None
            raise refusal
        out = self.empty(shape, dtype, device)
        arrays = [(x.array, _NAMES[x.dtype]) for x in inputs]
        target, name = out.array, _NAMES[dtype]

        def work() -> float:
            self.ran += 1
            read = [np.asarray(as_values(array, kind), np.float32) for array, kind in arrays]
            with np.errstate(all="ignore"):
                target[...] = as_elements(np.asarray(compute(*read), np.float32), name)
            return self.kernel_s

        self.driver.enqueue(self.current, work)
        return out

    def linear(self, x: Tensor, w: Tensor, transposed: bool = True) -> Tensor:
        rounded = _tf32 if self.backends.cuda.matmul.allow_tf32 and x.dtype == "float32" else _same
        turn = np.transpose if transposed else _same
        k = w.shape[0] if transposed else w.shape[1]
        return self.kernel([x, w], (x.shape[0], k), lambda a, b: rounded(a) @ turn(rounded(b)), x.dtype)

    def pad(self, x: Tensor, widths: tuple[int, int, int, int]) -> Tensor:
        left, right, top, bottom = widths
        n, c, h, w = x.shape
        around = ((0, 0), (0, 0), (top, bottom), (left, right))
        shape = (n, c, h + top + bottom, w + left + right)
        return self.kernel([x], shape, lambda a: np.pad(a, around), x.dtype)

    # Wide because PyTorch's is.
    def conv2d(
        self, x: Tensor, w: Tensor, bias: None, stride: Any, pad: Any, dil: Any, groups: int
    ) -> Tensor:
        rounded = _tf32 if self.backends.cudnn.allow_tf32 and x.dtype == "float32" else _same
        (n, _, h, width), (k, cg, r, s) = x.shape, w.shape
        p = (h + 2 * pad[0] - dil[0] * (r - 1) - 1) // stride[0] + 1
        q = (width + 2 * pad[1] - dil[1] * (s - 1) - 1) // stride[1] + 1

        def compute(a: Any, b: Any) -> Any:
            a = np.pad(rounded(a), ((0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2))
            a = a.reshape(n, groups, cg, *a.shape[2:])
            b = rounded(b).reshape(groups, k // groups, cg, r, s)
            y = np.zeros((n, groups, k // groups, p, q), np.float32)
            for i in range(r):
                for j in range(s):
                    rows = slice(i * dil[0], i * dil[0] + (p - 1) * stride[0] + 1, stride[0])
                    columns = slice(j * dil[1], j * dil[1] + (q - 1) * stride[1] + 1, stride[1])
                    y += np.einsum("ngcpq,gkc->ngkpq", a[..., rows, columns], b[..., i, j])
            return y.reshape(n, k, p, q)

        return self.kernel([x, w], (n, k, p, q), compute, x.dtype)


class _Held:
    """Keeps a block as long as a tensor of it lives."""


class _Graph:
    """torch.cuda.graph, a context manager."""

    def __init__(
        self,
        torch: FakeTorch,
        graph: CUDAGraph,
        pool: Any = None,
        stream: CudaStream | None = None,
        capture_error_mode: str = "global",
    ) -> None:
        self._torch, self._graph, self._pool, self._mode = torch, graph, pool, capture_error_mode
        self._within = torch._stream(stream or CudaStream(torch))

    def __enter__(self) -> None:
        self._torch._synchronize()
        self._torch.memory.empty_cache()
        self._within.__enter__()
        self._graph.capture_begin(self._pool, self._mode)

    def __exit__(self, *error: Any) -> None:
        self._graph.capture_end()
        self._within.__exit__(*error)


def _same(values: Any) -> Any:
    return values


def _tf32(values: Any) -> Any:
    """Ten bits of mantissa."""
    return (values.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
