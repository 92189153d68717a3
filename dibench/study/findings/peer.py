"""Our fastest kernels beside a library on the same layers and card: its time and joules over ours."""

from __future__ import annotations

import attrs

from dibench.study.findings.plain import Result


@attrs.frozen
class Ratio:
    """The library's over ours, above one where ours takes less; no interval from a single layer."""

    layers: int
    value: float
    ci_low: float | None
    ci_high: float | None


@attrs.frozen
class Peer:
    """One operator in one data type."""

    op: str
    dtype: str
    variants: tuple[str, ...]
    """Ours that were fastest on a layer."""
    time: Ratio
    energy: Ratio | None
    """None where joules were not read on both sides."""


@attrs.frozen
class Peers(Result):
    """All operators and data types that both ran."""

    library: str
    energy_source: str
    """Empty where there is none, or several."""
    by: tuple[Peer, ...]
    measured: bool
    """Whether the joules come from a sensor."""
