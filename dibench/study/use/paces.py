"""How far the usual paces of two sweeps of one machine lie apart, as their manifests record them.

A shared machine runs at several paces, and each sweep states its times at its own usual ones. Where these
differ, all times of one sweep are longer than those of the other by what kernels make of it, and nothing that
was compared has changed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from dibench.study.findings.comparison import PaceApart
from dibench.table import manifest_of

_DIFFERS = 0.05
"""As logarithms, paces closer than this are one, as for the sweeps themselves."""
_Z_975 = 1.96
_Recorded = Mapping[str, Mapping[str, list[float]]]


def pace_apart(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> PaceApart | None:
    """What the paces alone make of a typical kernel's time, B over A.

    Args:
        a: a sweep's manifest; None where there is none.
        b: the other's.

    Returns:
        None where the sweeps are of two devices, record no pace, or lie no farther apart than the doubt
        about how kernels follow it.

    >>> def swept(usual_s):
    ...     kernel = {"usual_s": [usual_s, 1.0], "shares": [1.0, 0.5], "share_sds": [0.1, 0.1]}
    ...     return {"device": {"name": "cpu"}, "windows": {"pace": {"gemm": kernel}}}
    >>> pace_apart(swept(1.0), swept(1.25)).ratio, pace_apart(swept(1.0), swept(1.04))
    (1.25, None)
    """
    of_a, of_b = _recorded(a), _recorded(b)
    kernels = sorted(of_a.keys() & of_b.keys())
    if not a or not b or not kernels or a.get("device", {}).get("name") != b.get("device", {}).get("name"):
        return None
    usual = zip(of_a[kernels[0]]["usual_s"], of_b[kernels[0]]["usual_s"], strict=False)
    apart = [math.log(of_b_s / of_a_s) for of_a_s, of_b_s in usual]
    if max(map(abs, apart)) <= _DIFFERS:
        return None
    told = [one for kernel in kernels for one in (of_a[kernel], of_b[kernel])]
    shift = median(math.fsum(x * y for x, y in zip(one["shares"], apart, strict=False)) for one in told)
    sd = median(math.hypot(*(x * y for x, y in zip(one["share_sds"], apart, strict=False))) for one in told)
    if abs(shift) <= _Z_975 * sd:
        return None
    ends = (math.exp(shift + side * _Z_975 * sd) for side in (-1, 1))
    return PaceApart(math.exp(shift), *ends)


def pace_apart_beside(a: object, b: object) -> PaceApart | None:
    """`pace_apart` of the manifests of two sweeps, by their directories, tables, or the fits beside these.

    Returns:
        None also where one of them is no path, as a frame is none.
    """
    if not (isinstance(a, str | os.PathLike) and isinstance(b, str | os.PathLike)):
        return None
    return pace_apart(
        *(manifest_of(path.parent if path.suffix == ".json" else path) for path in map(Path, (a, b)))
    )


def _recorded(manifest: Mapping[str, Any] | None) -> _Recorded:
    """By kernel; nothing of a sweep that recorded one pace, as older versions did."""
    found: _Recorded = ((manifest or {}).get("windows") or {}).get("pace") or {}
    return {kernel: one for kernel, one in found.items() if "shares" in one}
