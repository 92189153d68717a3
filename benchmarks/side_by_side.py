"""One layer by our fastest variant and, alternating with it, by PyTorch's library (oneDNN)."""

from __future__ import annotations

import statistics
import time
from importlib.util import find_spec

import attrs
import numpy as np

from dibench.backends.cpu import CpuBackend
from dibench.backends.torch import TorchLayer
from dibench.layer import Layer
from dibench.plan import Case

PYTORCH = find_spec("torch") is not None  # otherwise ours alone


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
    """The same operands for both; `ours()` and `time_theirs()` run one launch each."""

    def __init__(self, layer: Layer, variant: str, threads: int) -> None:
        self.layer, self.variant, self.threads = layer, variant, threads
        case = Case(layer=layer, backend="cpu", variant=variant)
        self._ours = CpuBackend(threads=threads).prepare(case)
        self._theirs = TorchLayer(layer, data=case.data, seed=case.seed, threads=threads) if PYTORCH else None
        self.their_times: list[float] = []

    def ours(self) -> None:
        self._ours.launch(1)

    def time_theirs(self) -> None:
        """Run PyTorch once and note its time: the set-up of each round of ours."""
        if self._theirs is not None:
            self.their_times.append(self._theirs.launch(1))

    def rounds(self, seconds: float) -> int:
        """How many rounds of both fit into `seconds`; at least five."""
        spent = []
        for _ in range(4):  # the shortest counts: the first is cold, and others may hold a core for a moment
            begin = time.perf_counter()
            self.time_theirs()
            self.ours()
            spent.append(time.perf_counter() - begin)
        self.their_times.clear()
        return min(2000, max(5, int(seconds / min(spent))))

    def check(self) -> None:
        """Compare both results."""
        if self._theirs is not None:
            y = self._ours.y[0]
            expected = self._theirs.output().reshape(y.shape)
            depth = self.layer.C // self.layer.groups * self.layer.R * self.layer.S
            np.testing.assert_allclose(y, expected, rtol=1e-3, atol=2e-5 * depth**0.5 + 1e-6 * depth)

    def ratio(self, our_times: list[float]) -> None:
        """Note the ratio for the table."""
        if self._theirs is not None:
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
