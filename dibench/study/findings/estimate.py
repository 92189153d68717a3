"""An estimate with its interval, and the outcome of a test."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class Estimate:
    """A value with its 95% interval; None where the rows do not tell."""

    value: float | None
    ci_low: float | None
    ci_high: float | None


@attrs.frozen
class Alpha(Estimate):
    """An estimate of α."""

    unbounded: bool
    """Whether a bound is missing: for the weighted form no value that way is rejected; for the disjoint form
    the end of [0, 1] is not rejected, and stands as the bound."""


UNKNOWN = Estimate(None, None, None)
UNKNOWN_ALPHA = Alpha(None, None, None, True)


@attrs.frozen
class Outcome:
    """Statistic and two-sided p value of a test; None where there is none to rely on."""

    statistic: float | None
    p_value: float | None


@attrs.frozen
class ClusterOutcome(Outcome):
    """The test by one clustering, and what it rests on."""

    clusters: int
    effective_clusters: float


@attrs.frozen
class ClusteredTest(Outcome):
    """A test by each clustering, and of those that decide the one with the largest p value."""

    decided_by: tuple[str, ...]
    by: Mapping[str, Outcome]
