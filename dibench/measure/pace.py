"""How fast this machine runs just now, told by small launches of our own, and what kernels make of that.

Another virtual machine beside ours slows launches for seconds, by a tenth up to a half, through the core that
both share, its caches or its clock. Neither `schedstat` nor steal shows that, and a visit that lies wholly in
such a spell has nothing to compare itself with. So the same two launches of 0.2 ms run every two windows, one
of a kernel that is bound by arithmetic and one of a kernel that is bound by loads and stores: the machine's
paces. There must be two, for what slows one may spare the other. On such a machine implicit GEMM took twice
as long for seconds, as if its two cores were one, and kernels without reuse no longer; at other times those
took half as long again, and GEMM 15% longer.

Kernels follow each pace by a share of their own: time rises as the probe's to that power. The shares are
learned from repeats of the same cases at different paces (`dibench.sweep.repeats`). A time is then stated at
the usual paces of its sweep, and its interval holds how badly the shares are known. Usual is what the quieter
quarter of the visits had. The fastest paces would be a better reference if they could be had: on such a
machine they were seen for seconds, and to state times for them would widen their intervals. The middle ones
are worse: such a machine jumps between a few states, and its middle may be none of them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from dibench.errors import UserError
from dibench.layer import Layer

PACE_DIFFERS = 0.05
"""As logarithms, paces closer than this are one: the probe itself differs by a percent or two."""

_BEST_OF = 2  # an interrupt makes one launch longer
_TRIES = 3
_MOST_WAITING = 0.05  # of a launch's time

Paces = tuple[float, ...]
"""Seconds of each probe."""


@attrs.frozen
class Following:
    """How a kernel's time follows the machine's paces: time ∝ Π pace^share. One of each for every probe."""

    usual_s: Paces
    """The usual paces of the machine."""
    shares: tuple[float, ...]
    """1 if the kernel gets slower as the probe does, 0 if it does not get slower."""
    share_sds: tuple[float, ...]
    """Standard deviations of a case's shares from these: how badly they are known, and how cases differ."""
    known_sds: tuple[float, ...] = ()
    """How badly they are known, the part of `share_sds` that all cases of the kernel have in common; empty in
    older files."""

    def slowdown(self, paces_s: Paces) -> float:
        """How much longer the kernel takes at these paces than at the usual ones.

        >>> Following(usual_s=(1.0, 1.0), shares=(0.5, 0.0), share_sds=(0.1, 0.1)).slowdown((2.25, 3.0))
        1.5
        """
        return math.exp(math.fsum(a * b for a, b in zip(self.shares, self._off(paces_s), strict=True)))

    def sd(self, paces_s: Paces) -> float:
        """Relative standard error of a time that is stated at the usual paces, beside its own.

        >>> Following(usual_s=(1.0,), shares=(0.5,), share_sds=(0.1,)).sd((math.e,))
        0.1
        """
        return math.hypot(*(a * b for a, b in zip(self.share_sds, self._off(paces_s), strict=True)))

    def off(self, paces_s: Paces) -> float:
        """How far the pace that differs most is from the usual one: a logarithm."""
        return max(map(abs, self._off(paces_s)))

    def _off(self, paces_s: Paces) -> list[float]:
        return [math.log(pace_s / usual_s) for pace_s, usual_s in zip(paces_s, self.usual_s, strict=True)]

    @classmethod
    def from_json(cls, fields: Mapping[str, Any] | None) -> Following | None:
        """What `attrs.asdict` wrote, if anything."""
        return cls(**{name: tuple(values) for name, values in fields.items()}) if fields else None


class Pace:
    """Tells the machine's paces."""

    def __init__(self, *probes: Callable[[], float]) -> None:
        """Launch each once, since the first launch is longer; a probe returns its seconds."""
        self._probes = probes
        for launch in probes:
            launch()

    def now_s(self, waited: Callable[[], float] = lambda: 0.0) -> Paces:
        """The paces now: of launches that were not kept from the cores, if a few tries find one.

        Args:
            waited: seconds so far that this process's threads were kept from running.

        >>> times = iter([9.0, 1.0, 1.1])
        >>> Pace(lambda: next(times)).now_s()
        (1.0,)
        """
        return tuple(_best_s(launch, waited) for launch in self._probes)


def _best_s(launch: Callable[[], float], waited: Callable[[], float]) -> float:
    for _ in range(_TRIES):
        before_s = waited()
        best_s = min(launch() for _ in range(_BEST_OF))
        if waited() - before_s <= _MOST_WAITING * best_s:
            break
    return best_s


def mean_pace(paces: Sequence[Paces], weights: Sequence[float] | None = None) -> Paces:
    """The geometric mean of each: shares are powers.

    >>> mean_pace([(1.0, 1.0), (4.0, 1.0)])
    (2.0, 1.0)
    """
    weights = weights or [1 / len(paces)] * len(paces)
    return tuple(
        math.exp(math.fsum(w * math.log(pace_s) for w, pace_s in zip(weights, probe, strict=True)))
        for probe in zip(*paces, strict=True)
    )


@functools.cache
def pace_of_cores() -> Pace | None:
    """The paces of the cores that this process may use; None where our kernels for them are not built."""
    from dibench.backends.cpu import CpuBackend
    from dibench.plan import Case

    layers = {
        "standard_implicit_gemm": Layer(N=1, C=32, H=28, W=28, K=64, R=3, S=3, pad_h=1, pad_w=1),
        "conv_no_reuse": Layer(N=1, C=32, H=28, W=28, K=32, R=1, S=1),
    }
    backend = CpuBackend()
    try:
        probes = [
            backend.prepare(Case(layer=layer, backend="cpu", variant=variant))
            for variant, layer in layers.items()
        ]
    except UserError:
        return None
    return Pace(*(functools.partial(probe.launch, 1) for probe in probes))
