"""The times of one sweep stated at the usual paces of another on the same machine, as their manifests tell.

A shared machine runs at several paces, and each sweep states its times at its own usual ones. Where these
differ, all times of one are longer than those of the other by what kernels make of it, and nothing that was
compared has changed. Manifests hold the usual paces and how each kernel follows them: time ∝ Π pace^share.

The doubt about the shares of its case widens the interval of each row. All cases have a part of it in common
that does not average out: what is not known of the kernels themselves, and by how much the probes differ from
one start of the program to the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dibench.intervals import t_975
from dibench.study.findings.comparison import PaceApart
from dibench.study.table.columns import numbers, texts

if TYPE_CHECKING:
    import pandas as pd

PROBE_SD = 0.01
"""Standard deviation of a probe's logarithm between starts of the program, at one pace of the machine."""

_DIFFERS = 0.05
"""As logarithms, paces of two sweeps that had one each are one if they are closer than this."""

_DF = 8.0
"""Degrees of freedom with which a sweep tells how kernels follow the paces."""

_SHARE, _SHARE_SD = 0.4, 0.3
"""Of kernels of which no sweep tells anything: what repeats of nine kernels showed on a shared machine."""

Manifest = Mapping[str, Any] | None
_Floats = NDArray[np.float64]


class _Told(NamedTuple):
    """What a manifest tells."""

    device: str | None
    usual: _Floats
    """Logarithms of the usual paces."""
    kernels: Mapping[str, _Follows]
    """Empty where the machine had one pace."""


class _Follows(NamedTuple):
    """How a kernel follows the paces; an entry for each probe."""

    shares: _Floats
    sds: _Floats
    """Standard deviations of a case's shares from these: how badly they are known, and how cases differ."""
    known_sds: _Floats
    """The part of these that all cases of the kernel have in common."""


def at_paces_of(a: Manifest, b: Manifest, table: pd.DataFrame) -> tuple[pd.DataFrame, PaceApart | None]:
    """The table of B with its times stated at the usual paces of A, and how far these paces lie apart.

    Joules stay as they were metered.

    Args:
        a: the manifest of the sweep whose paces count; None where there is none.
        b: the manifest of the other.
        table: of the other; its columns `time_s` and `time_ci_s` are stated anew.

    Returns:
        The table itself and None where a manifest holds no paces, where the sweeps are of two devices, or
        where each had one pace and these are the same.

    >>> import pandas as pd
    >>> def swept(usual_s):
    ...     kernel = {"usual_s": [usual_s, 1.0], "shares": [1.0, 0.5], "share_sds": [0.1, 0.1]}
    ...     return {"device": {"name": "cpu"}, "windows": {"pace": {"gemm": kernel}}}
    >>> rows = pd.DataFrame({"variant": ["gemm"], "time_s": [1.25], "time_ci_s": [0.0]})
    >>> stated, apart = at_paces_of(swept(1.0), swept(1.25), rows)
    >>> stated["time_s"].round(3).tolist(), apart.ratio
    ([1.0], 1.25)
    """
    of_a, of_b = _told(a), _told(b)
    if of_a is None or of_b is None or of_a.device != of_b.device or len(of_a.usual) != len(of_b.usual):
        return table, None
    apart = of_b.usual - of_a.usual
    one_pace = not (of_a.kernels or of_b.kernels) and np.abs(apart).max() <= _DIFFERS
    if one_pace or not len(table) or "time_s" not in table:
        return table, None
    told = [_follows(kernel, of_a, of_b) for kernel in texts(table, "variant")]
    shift = np.array([one.shares @ apart for one in told])
    sds = np.array([np.linalg.norm(one.sds * apart) for one in told])
    time_s, half_s = numbers(table, "time_s"), numbers(table, "time_ci_s")
    stated = table.assign(
        time_s=time_s * np.exp(-shift),
        time_ci_s=np.hypot(half_s, t_975(_DF) * sds * time_s) * np.exp(-shift),
    )
    typical = float(np.median(shift))
    probes = PROBE_SD * math.sqrt(2) * np.median([np.linalg.norm(one.shares) for one in told])
    common = math.hypot(probes, np.median([np.linalg.norm(one.known_sds * apart) for one in told]))
    half = t_975(_DF) * math.hypot(probes, float(np.median(sds)))
    return stated, PaceApart(math.exp(typical), math.exp(typical - half), math.exp(typical + half), common)


def _told(manifest: Manifest) -> _Told | None:
    """What a manifest tells; None where it records no paces, or but one probe, as older versions did."""
    if manifest is None:
        return None
    windows = manifest.get("windows") or {}
    kernels = {name: one for name, one in (windows.get("pace") or {}).items() if "shares" in one}
    usual = windows.get("usual_pace_s") or next((one["usual_s"] for one in kernels.values()), None)
    if not usual:
        return None
    device = (manifest.get("device") or {}).get("name")
    return _Told(device, np.log(usual), {name: _read(one) for name, one in kernels.items()})


def _read(recorded: Mapping[str, list[float]]) -> _Follows:
    """Of a manifest; an older one does not say which part is common, so all of it may be."""
    sds = np.array(recorded["share_sds"])
    return _Follows(np.array(recorded["shares"]), sds, np.array(recorded.get("known_sds") or sds))


def _follows(kernel: str, *sweeps: _Told) -> _Follows:
    """What the sweeps tell together of a kernel: the mean, as badly known as by one of them."""
    found = [sweep.kernels[kernel] for sweep in sweeps if kernel in sweep.kernels]
    found = found or [one for sweep in sweeps for one in sweep.kernels.values()]
    if not found:
        some = np.ones_like(sweeps[0].usual)
        return _Follows(_SHARE * some, _SHARE_SD * some, _SHARE_SD * some)
    shares = np.mean([one.shares for one in found], axis=0)
    squares = ([one.sds**2 for one in found], [one.known_sds**2 for one in found])
    return _Follows(shares, *(np.sqrt(np.mean(each, axis=0)) for each in squares))
