"""One layer run by our fastest variant and, between its launches, by PyTorch's library (oneDNN)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

import dibench._cpu as _cpu
from dibench.layer import Layer

try:
    import torch
except ImportError:  # ours alone
    torch = None


@attrs.frozen
class Ratio:
    """PyTorch's time over ours for one layer: of the fastest and of the median rounds."""

    op: str
    variant: str
    threads: int
    layer: str
    fastest: float
    median: float


RATIOS: list[Ratio] = []
"""What this run has measured, for the table at its end."""


class Pair:
    """The same operands for both; `ours()` and `theirs()` run one launch each."""

    def __init__(self, layer: Layer, variant: str, threads: int) -> None:
        random = np.random.default_rng(1)
        self.layer, self.variant, self.threads = layer, variant, threads
        self.x = random.standard_normal((layer.N, layer.C, layer.H, layer.W), dtype=np.float32)
        self.w = random.standard_normal(
            (layer.K, layer.C // layer.groups, layer.R, layer.S), dtype=np.float32
        )
        self.y = np.full((layer.N, layer.K, layer.P, layer.Q), np.nan, dtype=np.float32)
        self.theirs = self._pytorch() if torch is not None else None
        self.their_times: list[float] = []
        self._arguments = (
            variant, _cpu.isas()[-1], layer.shape, (0, 0, 0, 0, 0),
            self.x[None], self.w[None], self.y[None], threads,
        )  # fmt: skip

    def ours(self) -> None:
        _cpu.launch(*self._arguments)

    def time_theirs(self) -> None:
        """Run PyTorch once and note its time: the set-up of each round of ours."""
        if self.theirs is not None:
            begin = time.perf_counter()
            self.theirs()
            self.their_times.append(time.perf_counter() - begin)

    def rounds(self, seconds: float) -> int:
        """How many rounds of both fit into `seconds`; at least five."""
        spent = []
        for _ in range(4):  # the shortest: others may hold a core for a moment, and the first is cold
            begin = time.perf_counter()
            self.time_theirs()
            self.ours()
            spent.append(time.perf_counter() - begin)
        self.their_times.clear()
        return min(2000, max(5, int(seconds / min(spent))))

    def check(self) -> None:
        """Both have computed the same."""
        if self.theirs is not None:
            expected = self.theirs().numpy().reshape(self.y.shape)
            depth = self.layer.C // self.layer.groups * self.layer.R * self.layer.S
            np.testing.assert_allclose(self.y, expected, rtol=1e-3, atol=2e-5 * depth**0.5 + 1e-6 * depth)

    def ratio(self, our_times: list[float]) -> None:
        """Note the ratio for the table."""
        if self.theirs is not None:
            RATIOS.append(
                Ratio(
                    self.layer.op,
                    self.variant,
                    self.threads,
                    self.layer.name,
                    min(self.their_times) / min(our_times),
                    statistics.median(self.their_times) / statistics.median(our_times),
                )
            )

    def _pytorch(self) -> Callable[[], Any]:
        layer, x, w = self.layer, torch.from_numpy(self.x), torch.from_numpy(self.w)
        torch.set_num_threads(self.threads)
        if layer.op == "fc":
            x, w = x.reshape(layer.N, layer.C), w.reshape(layer.K, layer.C)

        def launch() -> Any:
            with torch.inference_mode():
                if layer.op == "fc":
                    return torch.nn.functional.linear(x, w)
                return torch.nn.functional.conv2d(
                    x, w, None,
                    (layer.stride_h, layer.stride_w), (layer.pad_h, layer.pad_w), (layer.dil_h, layer.dil_w),
                    layer.groups,
                )  # fmt: skip

        return launch
