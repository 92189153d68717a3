"""How much more, or less, one sweep cost than another."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from dibench.study.findings.plain import Result


@attrs.frozen(kw_only=True)
class Difference:
    """One case in both sweeps: B over A with its 95% interval, and Holm's p of each direction."""

    case_id: str
    name: str
    op: str
    variant: str
    knobs: str
    a: float
    b: float
    ratio: float
    low: float | None
    """None, as `high`, where a row has no interval."""
    high: float | None
    p_worse: float | None
    p_better: float | None
    verdict: str
    """`worse` or `better` beyond noise and margin, else empty."""


@attrs.frozen(kw_only=True)
class Quantity:
    """Time or energy over all cases that both sweeps measured."""

    column: str
    cases: tuple[Difference, ...]
    ratio: float
    """Geometric mean of B/A."""
    low: float | None
    """95% interval; None below two cases."""
    high: float | None
    p_wilcoxon: float | None
    between: float
    """Relative standard deviation between visits at one case, from the sentinels of both sweeps."""
    margin: float
    source: str
    """`energy_source` of both, for energy."""
    verdict: str
    """`worse`, `better` or `same`: whether all cases together lie beyond the margin."""

    def having(self, verdict: str) -> tuple[Difference, ...]:
        """Cases of that verdict, the largest change first."""
        found = [case for case in self.cases if case.verdict == verdict]
        return tuple(sorted(found, key=lambda case: -abs(math.log(case.ratio))))


@attrs.frozen(kw_only=True)
class Comparison(Result):
    """Two sweeps side by side."""

    matched_by: str
    """`case` (same case_id) or `layer` (same dimensions and data type, the fastest row of each)."""
    quantities: tuple[Quantity, ...]
    not_compared: Mapping[str, str]
    """Quantity and why it could not be compared."""
    newly_failed: tuple[str, ...]
    """Cases measured in A that failed in B, with B's reason."""
    only_a: int
    only_b: int
    flagged: tuple[int, int]
    """Rows of A and of B with status `flagged`."""
    devices: tuple[tuple[str, ...], tuple[str, ...]]
    differs: Mapping[str, tuple[str, str]]
    """Settings of all rows that differ between the sweeps."""
    worse: bool
    """Whether anything got worse: all cases together, one of them, or a case fails that did not."""
