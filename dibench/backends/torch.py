"""PyTorch's library (oneDNN on a CPU) as a peer: the same layer, operands, threads and windows as ours."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dibench.backends.cpu import operand
from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.layer import Layer

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h


def keep_freed_memory() -> None:
    """Let malloc keep what is freed instead of handing it back to the kernel.

    PyTorch allocates each output anew. Fresh pages cost a fault each, which once made a ratio of 1.8 look
    like 22: we compare kernels, not page faults.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_TOP_PAD, 64 * 2**20)


class TorchLayer:
    """One layer ready to launch through PyTorch: fp32, NCHW, no bias, no gradients."""

    cells: Mapping[str, Any] = {}
    counts: Mapping[str, int] = {}  # what the library accesses is its own affair

    def __init__(
        self, layer: Layer, *, data: str = "uniform", seed: int = 1, threads: int | None = None
    ) -> None:
        try:
            import torch
        except ImportError:
            raise UserError("torch", "is not installed: pip install 'dibench[torch]'") from None
        keep_freed_memory()
        torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
        x = torch.from_numpy(operand((layer.N, layer.C, layer.H, layer.W), data, seed, 0))
        w = torch.from_numpy(operand((layer.K, layer.C // layer.groups, layer.R, layer.S), data, seed, 1))
        self._run = layer_call(torch, layer, x, w)
        self._inference_mode: Any = torch.inference_mode

    def output(self) -> Any:
        """The layer's output as a NumPy array [N, K, P, Q], or [N, K] of a fully-connected layer."""
        with self._inference_mode():
            return self._run().numpy()

    def launch(self, n: int) -> float:
        """Launch n times back to back; seconds for all."""
        with self._inference_mode():
            begin = time.perf_counter()
            for _ in range(n):
                self._run()
            return time.perf_counter() - begin

    def close(self) -> None:
        """Give the operands' memory back."""
        self._run = lambda: None


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
