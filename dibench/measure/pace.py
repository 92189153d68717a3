"""How fast this machine runs just now, told by a small launch of our own, and what kernels make of that.

Another virtual machine beside ours slows launches for seconds, by a tenth up to a half, through the core that
both share, its caches or its clock. Neither `schedstat` nor steal shows that, and a visit that lies wholly in
such a spell has nothing to compare itself with. So the same small launch, 0.4 ms of a kernel that is bound by
arithmetic, runs every two windows: the machine's pace.

Kernels follow the pace, each by its own share: on a shared machine, time rose as the probe's to the power 0.8
for implicit GEMM, 0.8 for depthwise and 0.4 for fully-connected layers, which wait for memory. The share is
learned from repeats of the same cases at different paces (`dibench.sweep.repeats`). A time is then stated at
the usual pace of its sweep, and its interval holds how badly the share is known. The fastest pace would be a
better reference if it could be had: here it was half the usual one, seen for seconds, and to state times for
it would double their intervals.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from dibench.errors import UserError
from dibench.layer import Layer

_BEST_OF = 2  # an interrupt makes one launch longer
_TRIES = 3
_MOST_WAITING = 0.05  # of a launch's time


@attrs.frozen
class Following:
    """How a kernel's time follows the machine's pace: time ∝ pace^share."""

    usual_s: float
    """The usual pace of the machine: seconds of the probe."""
    share: float
    """1 if the kernel gets slower as the probe does, 0 if it does not get slower."""
    share_sd: float
    """Standard error of the share."""

    def usual(self, time_s: float, pace_s: float) -> float:
        """What took `time_s` at this pace, at the usual one.

        >>> Following(usual_s=1.0, share=0.5, share_sd=0.1).usual(3.0, pace_s=2.25)
        2.0
        """
        return time_s * math.exp(self.share * math.log(self.usual_s / pace_s))

    def sd(self, pace: float) -> float:
        """Relative standard error of such a time, beside its own, measured at `pace` times the usual.

        >>> Following(usual_s=1.0, share=0.5, share_sd=0.1).sd(math.e)
        0.1
        """
        return self.share_sd * abs(math.log(pace))

    @classmethod
    def from_json(cls, fields: Mapping[str, Any] | None) -> Following | None:
        """What `attrs.asdict` wrote, if anything."""
        return cls(**fields) if fields else None


class Pace:
    """The machine's pace: seconds of the probe."""

    def __init__(self, launch: Callable[[], float]) -> None:
        """Launch once, since the first launch is longer; `launch` returns the probe's seconds."""
        self._launch = launch
        launch()

    def now_s(self, waited: Callable[[], float] = lambda: 0.0) -> float:
        """The pace now: of launches that were not kept from the cores, if a few tries find one.

        Args:
            waited: seconds so far that this process's threads were kept from running.

        >>> times = iter([9.0, 1.0, 1.1])
        >>> Pace(lambda: next(times)).now_s()
        1.0
        """
        for _ in range(_TRIES):
            before_s = waited()
            best_s = min(self._launch() for _ in range(_BEST_OF))
            if waited() - before_s <= _MOST_WAITING * best_s:
                break
        return best_s


def mean_pace(paces_s: list[float]) -> float:
    """Their geometric mean: shares are powers.

    >>> mean_pace([1.0, 4.0])
    2.0
    """
    return math.exp(math.fsum(map(math.log, paces_s)) / len(paces_s))


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
