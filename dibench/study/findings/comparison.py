"""How much more, or less, one sweep cost than another."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from dibench.study.findings.plain import Result

RESOLVED = 4.0
"""A typical case must be seen from so many times the margin on, else the sweeps are too noisy for it."""


@attrs.frozen(kw_only=True)
class Difference:
    """One case in both sweeps: B over A with its 95% interval, and Holm's p of each direction."""

    case_id: str
    layer: str
    """Its name, or its shape where it has none; empty for what is no layer."""
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
    """`worse` or `better` beyond noise and margin, else empty; `undecided` where it looks worse, but is
    flagged, and too few cases are flagged to know their noise."""


@attrs.frozen(kw_only=True)
class Quantity:
    """Time or energy over all cases that both sweeps measured."""

    column: str
    cases: tuple[Difference, ...]
    ratio: float
    """Geometric mean of the middle half of B/A."""
    low: float | None
    """95% interval, with what moves all cases of a sweep alike; None where nothing tells the noise."""
    high: float | None
    p_wilcoxon: float | None
    between: float
    """Relative standard deviation between visits at one case beyond its own interval: what the pairs show,
    or the sentinels of both sweeps where that is more."""
    detectable: float | None
    """The slow-down, 0.05 for 5%, from which on a typical case is named `worse` with 80% probability; None
    where no row has an interval."""
    detectable_of_all: float | None
    """Likewise of all cases together."""
    margin: float
    """What is accepted of all cases together, 0.03 for 3%."""
    margin_of_case: float
    """What is accepted of a single case: the same, or less, where it was chosen from the noise."""
    flagged: float
    """Share of the pairs in which a row is flagged."""
    source: str
    """`energy_source` of both, for energy."""
    verdict: str
    """Of all cases together: `worse` or `better` beyond the margin, `same` if not worse, `undecided` where
    noise covers the margin."""
    too_noisy: str
    """Why the sweeps cannot tell: `flagged` (most pairs are), `all` (cases together), `single` (a typical
    case would not be seen), `few flagged` (a flagged case looks worse); else empty."""

    @property
    def worse(self) -> bool:
        """Whether all cases together or one of them got worse."""
        return not self.too_noisy and (self.verdict == "worse" or bool(self.having("worse")))

    def having(self, verdict: str) -> tuple[Difference, ...]:
        """Cases of that verdict, the largest change first."""
        found = [case for case in self.cases if case.verdict == verdict]
        return tuple(sorted(found, key=lambda case: -abs(math.log(case.ratio))))


@attrs.frozen
class PaceApart:
    """How many times as long a typical case takes at B's usual pace of the machine as at A's; 95%.

    Times of B are stated at A's pace: they are divided by what it is for the kernel of each.
    """

    ratio: float
    low: float
    high: float
    common_sd: float
    """The part of that doubt, a standard deviation of the logarithm, that all cases have in common."""

    @property
    def half_log(self) -> float:
        """Half-width of the interval of a single case's ratio: a logarithm."""
        return math.log(self.high / self.ratio)


@attrs.frozen(kw_only=True)
class Comparison(Result):
    """Two sweeps side by side."""

    verdict: str
    """`worse` (all cases together, one of them, or one fails that did not), `too noisy`, or `not worse`."""
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
    pace_apart: PaceApart | None = None
    """How far the usual paces of the machine lie apart; None where times are as they were measured: their
    manifests tell no paces, or the machine had one, and the same, in both."""
    one_measurement: bool = False
    """Every pair has the same numbers in A and B: a table beside itself, or a copy."""
