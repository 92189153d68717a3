"""PyTorch's library on a GPU (cuDNN, cuBLAS) as a peer: the same layers and operands, graphs and events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dibench.backends.torch import layer_calls
from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.layer import Layer

_MOST_NODES = 256
_WARM_UPS = 3
"""Before a capture, as PyTorch's notes on CUDA graphs ask; cuDNN chooses its algorithm meanwhile."""


class TorchGpuLayer:
    """One layer ready to launch through PyTorch on the first GPU: no bias, no gradients.

    The math mode is ours: fp32 without tf32 inside, tf32, fp16 or bf16. With `benchmark` cuDNN tries its
    algorithms before and takes the fastest. Copies and sets as of `TorchLayer`.
    """

    cells: Mapping[str, Any] = {}
    counts: Mapping[str, int] = {}  # a library's accesses are not counted

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
            raise UserError("torch", "is not installed: pip install 'dibench[torch]'") from None
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
        self._sets = sets
        self._graphs: dict[tuple[int, int], Any] = {}
        self._next = 0
        self._begin, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._stream = torch.cuda.Stream()
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
        """Launch n times back to back; seconds for all, by the GPU's events."""
        parts, self._next = pieces(n, self._next, len(self._sets))
        graphs = [self._graph(first, size) for first, size in parts]
        with self._torch.cuda.stream(self._stream):
            self._begin.record()
            for graph in graphs:
                graph.replay()
            self._end.record()
        self._end.synchronize()
        return float(self._begin.elapsed_time(self._end)) * 1e-3

    def close(self) -> None:
        """Give the operands' memory back."""
        self._graphs.clear()
        self._sets = [[]]

    def _graph(self, first: int, size: int) -> Any:
        """So many launches, the first with that set of copies."""
        if (first, size) not in self._graphs:
            graph = self._torch.cuda.CUDAGraph()
            with self._torch.inference_mode(), self._torch.cuda.graph(graph, stream=self._stream):
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


def pieces(n: int, begin: int, sets: int) -> tuple[list[tuple[int, int]], int]:
    """n launches as graphs, (first set, launches) each, and the set that comes next.

    Sets go on where the last call ended, so that each is as long unused as any; few different graphs.

    >>> pieces(600, 0, 1)
    ([(0, 256), (0, 256), (0, 88)], 0)
    >>> pieces(4, 2, 3)
    ([(2, 1), (0, 3)], 0)
    """
    found = []
    while n:
        # First complete the current round of sets, then take as many whole rounds as a graph has room for.
        room = sets * max(1, _MOST_NODES // sets) if begin == 0 else sets - begin
        size = min(n, room, _MOST_NODES)
        found.append((begin, size))
        begin = (begin + size) % sets
        n -= size
    return found, begin
