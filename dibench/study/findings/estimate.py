"""An estimate with its interval, and the outcome of a test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

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

    def known(self, determined: bool) -> Self:
        """The same, without a number where the rows do not determine α."""
        return (
            self if determined else attrs.evolve(self, value=None, ci_low=None, ci_high=None, unbounded=True)
        )


@attrs.frozen
class AlphaByFamily(Alpha):
    """An estimate of α with an interval that allows for any errors which rows of one family share."""

    over: str
    """`family`, where a layer of no network is one by itself; `layer` in a table without networks."""
    clusters: int
    effective_clusters: float
    """Of equal weight, that α rests on."""

    @property
    def clusters_text(self) -> str:
        """Such as `9 families (6.2 effective)`."""
        noun = "families" if self.over == "family" else "shapes"
        return f"{self.clusters} {noun} ({self.effective_clusters:.1f} effective)"


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
