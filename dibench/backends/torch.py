"""PyTorch's library (oneDNN on a CPU) as a peer: the same layer, operands, threads and windows as ours."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dibench.backends.operands import operand, operand_shapes
from dibench.errors import UserError
from dibench.extras import pip_install

if TYPE_CHECKING:
    from dibench.layer import Layer

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h


def keep_freed_memory() -> None:
    """Let malloc keep what is freed instead of handing it back to the kernel.

    PyTorch allocates every output again. Fresh pages cost a fault each, enough to make a ratio of 1.8 look
    like 22: we compare kernels, not page faults.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_TOP_PAD, 64 * 2**20)


class TorchLayer:
    """One layer ready to launch through PyTorch on the CPU: no bias, no gradients.

    A launch runs each of `instances` independent copies once. With more than one set of copies, launches take
    the sets in turn: what one launch read is gone from the cache when its set comes again.
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
        threads: int | None = None,
        dtype: str = "fp32",
        instances: int = 1,
        sets: int = 1,
        channels_last: bool = False,
    ) -> None:
        try:
            import torch
        except ImportError:
            raise UserError("torch", f"is not installed: {pip_install('torch')}") from None
        keep_freed_memory()
        torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
        place = torch.bfloat16 if dtype == "bf16" else torch.float32
        copies = layer_calls(torch, layer, place, instances * sets, data, seed, channels_last)
        self._start(torch, [copies[one * instances : (one + 1) * instances] for one in range(sets)])

    def _start(self, torch: Any, sets: list[list[Callable[[], Any]]]) -> None:
        """Prepare to launch these calls."""
        self._sets = sets
        self._next = 0
        self._inference_mode: Any = torch.inference_mode

    def output(self) -> Any:
        """The layer's output as a NumPy array [N, K, P, Q], or [N, K] of a fully-connected layer."""
        with self._inference_mode():
            return self._sets[0][0]().float().numpy()

    def launch(self, n: int) -> float:
        """Launch n times back to back; seconds for all."""
        with self._inference_mode():
            begin = time.perf_counter()
            for _ in range(n):
                for run in self._sets[self._next]:
                    run()
                self._next = (self._next + 1) % len(self._sets)
            return time.perf_counter() - begin

    def close(self) -> None:
        """Give the operands' memory back."""
        self._sets = [[]]


def layer_calls(
    torch: Any, layer: Layer, place: Any, copies: int, data: str, seed: int, channels_last: bool
) -> list[Callable[[], Any]]:
    """Calls on so many copies of the layer's operands; `place` is a device or a type of PyTorch, or both."""
    shapes = operand_shapes(layer, copies)[:2]
    place = place if isinstance(place, tuple) else (place,)
    x, w = (torch.from_numpy(operand(shape, data, seed, i)).to(*place) for i, shape in enumerate(shapes))
    if channels_last and layer.op != "fc":
        last = {"memory_format": torch.channels_last}
        return [
            layer_call(torch, layer, x[i].contiguous(**last), w[i].contiguous(**last)) for i in range(copies)
        ]
    return [layer_call(torch, layer, x[i], w[i]) for i in range(copies)]


def layer_call(torch: Any, layer: Layer, x: Any, w: Any) -> Callable[[], Any]:
    """The layer as a call of PyTorch's functions on x[N,C,H,W] and w[K,C/groups,R,S], wherever they lie."""
    functional = torch.nn.functional
    if layer.op == "fc":
        x, w = x.reshape(layer.N, layer.C), w.reshape(layer.K, layer.C)
        return lambda: functional.linear(x, w)
    stride, dil = (layer.stride_h, layer.stride_w), (layer.dil_h, layer.dil_w)
    end_h = (layer.P - 1) * layer.stride_h + layer.dil_h * (layer.R - 1) + 1 - layer.H - layer.pad_h
    end_w = (layer.Q - 1) * layer.stride_w + layer.dil_w * (layer.S - 1) + 1 - layer.W - layer.pad_w
    pad: tuple[int, int] = (layer.pad_h, layer.pad_w)
    if end_h > layer.pad_h or end_w > layer.pad_w:
        # conv2d pads both ends alike, so more padding at the end is a tensor of its own, once, before timing.
        x = functional.pad(x, (layer.pad_w, max(end_w, layer.pad_w), layer.pad_h, max(end_h, layer.pad_h)))
        pad = (0, 0)
    return lambda: functional.conv2d(x, w, None, stride, pad, dil, layer.groups)
