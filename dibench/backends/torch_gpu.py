"""PyTorch's library on a GPU (cuDNN, cuBLAS) as a peer: the same layers and operands, graphs and events.

PyTorch keeps the memory that it has freed, and our own kernels, which need it next, cannot take it. So a case
captures all its graphs into one pool, and gives everything back when it closes or fails.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from dibench.backends.base import DeviceError, DeviceFaultError, ProcessSpentError, first_of
from dibench.backends.torch import layer_calls
from dibench.errors import OutOfMemoryError, UserError
from dibench.extras import pip_install

if TYPE_CHECKING:
    from dibench.layer import Layer

_T = TypeVar("_T")
_MOST_NODES = 256
_MOST_GRAPHS = 64
_WARM_UPS = 3
"""Before a capture, as PyTorch's notes on CUDA graphs ask; cuDNN chooses its algorithm meanwhile."""


class TorchGpuLayer:
    """One layer ready to launch through PyTorch on the first GPU: no bias, no gradients.

    The math mode is ours: fp32 without tf32 inside, tf32, fp16 or bf16. With `benchmark` cuDNN tries its
    algorithms before and takes the fastest. Copies and sets as of `TorchLayer`.
    """

    cells: Mapping[str, Any] = {}
    counts: Mapping[str, int] = {}  # a library's accesses are not counted
    most_in_graph = _MOST_NODES

    # Wide because these are the fields of a case that matter to a library.
    def __init__(
        self,
        layer: Layer,
        *,
        data: str = "uniform",
        seed: int = 1,
        dtype: str = "fp32",
        instances: int = 1,
        sets: int = 1,
        channels_last: bool = False,
        benchmark: bool = True,
    ) -> None:
        try:
            import torch
        except ImportError:
            raise UserError("torch", f"is not installed: {pip_install('torch')}") from None
        if not torch.cuda.is_available():
            raise UserError(
                "torch", "sees no GPU: this build of PyTorch may be for the CPU", torch.__version__
            )
        kind = set_up(torch, dtype, benchmark=benchmark)
        copies = layer_calls(torch, layer, ("cuda", kind), instances * sets, data, seed, channels_last)
        self._start(torch, [copies[one * instances : (one + 1) * instances] for one in range(sets)])

    def _start(self, torch: Any, sets: list[list[Callable[[], Any]]]) -> None:
        """Run these calls once or more on a stream of their own, so that graphs of them can be captured."""
        self._torch = torch
        self._sets, self.lap = sets, len(sets)
        self._graphs: dict[tuple[int, int], Any] = {}
        self._next = 0
        self._begin, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._stream = _stream(torch)
        self._stream.wait_stream(torch.cuda.current_stream())  # which brings the operands
        # Graphs may share a pool, in any order, where none runs beside another or reads what another wrote
        # (PyTorch, "CUDA semantics", graph memory management). A pool whose graphs are gone cannot be taken
        # again: each case has its own.
        self._pool = torch.cuda.graph_pool_handle()
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            for _ in range(_WARM_UPS):
                for run in (run for copies in sets for run in copies):
                    run()
        torch.cuda.synchronize()

    def output(self) -> Any:
        """The layer's output as a float32 NumPy array [N, K, P, Q], or [N, K] of a fully-connected layer."""
        with self._torch.inference_mode():
            return self._sets[0][0]().float().cpu().numpy()

    def launch(self, n: int) -> float:
        """Launch n times back to back; seconds for all, by the GPU's events.

        Raises:
            OutOfMemoryError, DeviceError, DeviceFaultError, ProcessSpentError: as `explained`.
        """
        return explained(self._torch, lambda: self._launched(n))

    def _launched(self, n: int) -> float:
        parts, self._next = pieces(n, self._next, len(self._sets), self.most_in_graph)
        with self._torch.cuda.stream(self._stream):
            graphs = [self._graph(first, size) for first, size in parts]
            self._begin.record()
            for graph in graphs:
                graph.replay()
            self._end.record()
        self._end.synchronize()
        return float(self._begin.elapsed_time(self._end)) * 1e-3

    def close(self) -> None:
        """Give all memory back."""
        self._graphs.clear()
        self._sets = [[]]
        with contextlib.suppress(RuntimeError):  # on a lost device; who used it was told
            _give_back(self._torch)

    def _graph(self, first: int, size: int) -> Any:
        """So many launches, the first with that set of copies."""
        if (first, size) not in self._graphs:
            if len(self._graphs) >= _MOST_GRAPHS:
                del self._graphs[next(iter(self._graphs))]
            graph, cuda = self._torch.cuda.CUDAGraph(), self._torch.cuda
            with self._torch.inference_mode(), cuda.graph(graph, pool=self._pool, stream=self._stream):
                for launch in range(first, first + size):
                    for run in self._sets[launch % len(self._sets)]:
                        run()
            self._graphs[first, size] = graph
        return self._graphs[first, size]


def set_up(torch: Any, dtype: str, *, benchmark: bool) -> Any:
    """Put cuDNN's and cuBLAS's math mode in force; PyTorch's type of the operands."""
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
    return {"fp16": torch.float16, "bf16": torch.bfloat16}.get(dtype, torch.float32)


@lru_cache(maxsize=1)
def _stream(torch: Any) -> Any:
    """The stream of all cases: cuBLAS keeps a workspace for each stream that it was ever used on."""
    return torch.cuda.Stream()


def _give_back(torch: Any) -> None:
    gc.collect()  # modules may refer to themselves
    torch.cuda.empty_cache()


def explained(torch: Any, work: Callable[[], _T]) -> _T:
    """Do this work, with PyTorch's errors on a GPU as those that a sweep knows; failed, it holds no memory.

    Whether PyTorch can go on is asked, as in `cuda_gpu`. Other errors than the GPU's are raised as they are.

    Raises:
        OutOfMemoryError: names what was asked for and what is free, as PyTorch does.
        DeviceFaultError: the GPU is lost.
        ProcessSpentError: a capture failed, after which PyTorch frees no memory (its allocator asserts).
        DeviceError: any other error of CUDA or a library on it.
    """
    try:
        return work()
    except Exception as error:
        first = first_of(error, Exception)
        text = " ".join(str(first).split())[:200]
        each: BaseException | None = error
        while each is not None:
            each.__traceback__, each = None, each.__context__  # frames hold tensors and graphs
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            raise DeviceFaultError(f"the GPU is lost: {text}") from None
        try:
            _give_back(torch)
        except RuntimeError:
            raise ProcessSpentError(f"PyTorch: {text}") from None
        if "out of memory" in text or "ALLOC_FAILED" in text:
            raise OutOfMemoryError("layer", f"needs more memory than the GPU has: {text}") from None
        if "CUDA error" in text:
            raise DeviceError(f"PyTorch: {text}") from None
        raise first from None


def pieces(n: int, begin: int, sets: int, most: int = _MOST_NODES) -> tuple[list[tuple[int, int]], int]:
    """n launches as graphs, (first set, launches) each, and the set that comes next.

    Sets go on where the last call ended, so that each is as long unused as any; few different graphs.

    >>> pieces(600, 0, 1)
    ([(0, 256), (0, 256), (0, 88)], 0)
    >>> pieces(4, 2, 3)
    ([(2, 1), (0, 3)], 0)
    >>> pieces(20, 0, 1, most=8)
    ([(0, 8), (0, 8), (0, 4)], 0)
    """
    found = []
    while n:
        # First complete the current round of sets, then take as many whole rounds as a graph has room for.
        room = sets * max(1, most // sets) if begin == 0 else sets - begin
        size = min(n, room, most)
        found.append((begin, size))
        begin = (begin + size) % sets
        n -= size
    return found, begin
