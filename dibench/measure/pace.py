"""How much of this machine others take just now, told by a small launch of our own.

Another virtual machine beside ours slows launches for seconds, by a tenth up to a half, through the core that
both share, its caches or its clock. Neither `schedstat` nor steal shows that, and a visit that lies wholly in
such a spell has nothing to compare itself with. So the same small launch, 0.3 ms of a kernel that is bound by
arithmetic, runs every few windows. What it takes beyond its usual best, others have taken.

Kernels bound by memory suffer from other neighbours than this probe does. It is evidence beside that of
windows and kernel (`dibench.measure.undisturbed`), not instead of it.
"""

from __future__ import annotations

import bisect
import functools
import time
from collections.abc import Callable

from dibench.errors import UserError
from dibench.layer import Layer

CALM = 0.13
"""Share that others may take before it counts: within a spell the probe itself differs by a tenth."""

_BEST_OF = 3  # an interrupt makes one launch longer
_USUAL = 0.1  # the fastest tenth so far: single ones are faster by chance
_AGAIN_S = 0.02


class Pace:
    """The machine's pace, against the best of this process so far."""

    def __init__(self, launch: Callable[[], float], clock: Callable[[], float] = time.perf_counter) -> None:
        """Launch once, since the first launch is longer.

        Args:
            launch: runs the probe once, returns its seconds.
            clock: seconds, for waiting only.
        """
        self._launch, self._clock = launch, clock
        self._rising_s: list[float] = []
        launch()

    def taken(self) -> float:
        """Share of the machine that others take now; 0 where it is calm.

        >>> times = iter([9.0, *[1.0] * 30, 1.1, 1.1, 1.1, 2.0, 2.0, 2.0])
        >>> pace = Pace(lambda: next(times))
        >>> [pace.taken() for _ in range(12)][-2:]
        [0.0, 0.5]
        """
        now_s = self._now_s()
        bisect.insort(self._rising_s, now_s)
        return self._share(now_s)

    def wait_for_calm(self, limit_s: float) -> None:
        """Wait until others take nothing, but no longer than this.

        What the probe takes meanwhile is not remembered: a long spell would become what is usual.
        """
        end = self._clock() + limit_s
        calm = not self.taken()
        while not calm and self._clock() < end:
            time.sleep(_AGAIN_S)
            calm = not self._share(self._now_s())

    def _now_s(self) -> float:
        return min(self._launch() for _ in range(_BEST_OF))

    def _share(self, now_s: float) -> float:
        usual_s = self._rising_s[int(_USUAL * len(self._rising_s))]
        share = 1 - usual_s / now_s
        return share if share > CALM else 0.0


@functools.cache
def pace_of_cores() -> Pace | None:
    """The pace of the cores that this process may use; None where our kernels for them are not built."""
    from dibench.backends.cpu import CpuBackend
    from dibench.plan import Case

    layer = Layer(N=1, C=32, H=28, W=28, K=64, R=3, S=3, pad_h=1, pad_w=1)
    try:
        probe = CpuBackend().prepare(Case(layer=layer, backend="cpu", variant="standard_implicit_gemm"))
    except UserError:
        return None
    return Pace(lambda: probe.launch(1))
