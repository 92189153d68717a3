"""Whether other networks or layers would have said the same: unseen families, and subsets of a fixed set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from dibench.study.findings.networks import Evidence, NetworkCost
from dibench.study.findings.plain import Result

MEMBERS = {"networks": "networks", "layers": "layers held out by family"}
"""What the members of each population are called."""


@attrs.frozen
class FamilyDifference:
    """Root mean square log errors on one family's layers, of fits that have not seen the family."""

    family: str
    rows: int
    errors: Mapping[str, float]


@attrs.frozen
class Distribution:
    """Values over subsets, described. Normality is description: resampling a fixed set proves nothing."""

    n: int
    """Subsets in which the value exists."""
    mean: float
    sd: float
    low: float
    median: float
    high: float
    """Central 95%."""
    skew: float
    excess_kurtosis: float
    shapiro_w: float
    shapiro_p: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    """Histogram."""
    normal_quantiles: tuple[float, ...]
    quantiles: tuple[float, ...]
    """Q–Q: standard normal quantiles, and those of the standardised values."""


@attrs.frozen
class MadeUp:
    """Spread of z over subsets of sets that were drawn at random: median and central 90% of such sets."""

    median: float
    low: float
    high: float


@attrs.frozen
class Spread:
    """One predictor's correlation with efficiency, on logarithms, over subsets of k."""

    r: Distribution | None
    z: Distribution | None
    """Of Fisher's z."""
    curve: float
    """Standard deviation of z that drawing from a fixed set gives by itself."""
    influence_curve: float
    """The same from the influence of these very members."""
    made_up: MadeUp


@attrs.frozen
class Size:
    """All that was computed over the subsets of one size."""

    k: int
    subsets: int
    spreads: Mapping[str, Spread]
    di_above_ai: Mapping[str, float]
    """By form of DI: share of the subsets in which it correlates better than AI."""
    alpha: Distribution | None
    """α of weighted DI on the subset's layers, by one Gauss–Newton step."""
    alpha_undetermined: float
    """Share of subsets whose layers do not determine α."""
    one_step_error: float | None
    """Median distance of that α from a full refit, over some of the subsets."""
    one_step_worst: float | None
    error: Mapping[str, Distribution | None]
    """Root mean square log error of `ai` and `di_weighted` on the subset's own layers."""


@attrs.frozen
class Population:
    """A fixed set of networks or of layers, and what was computed over its subsets of each size."""

    n: int
    names: tuple[str, ...]
    efficiency: tuple[float, ...]
    predictors: Mapping[str, tuple[float, ...]]
    """Bare indices, α held out by family."""
    r: Mapping[str, float]
    """Correlation of each with efficiency over the whole set, on logarithms."""
    sizes: tuple[Size, ...]

    @property
    def half(self) -> Size:
        """The size nearest to half of the set, which words and figures are about."""
        k = nearest_half([size.k for size in self.sizes], self.n)
        return next(size for size in self.sizes if size.k == k)


def nearest_half(sizes: Sequence[int], n: int) -> int:
    """Of sizes of subsets the one nearest to half of a set of n."""
    return min(sizes, key=lambda k: abs(k - n / 2))


@attrs.frozen
class Generality(Result):
    """The study of one table."""

    response: str
    """Column of the table."""
    response_kind: str
    """`energy` or `time`."""
    response_measured: bool
    evidence_of_energy: bool
    batch: int
    rows: int
    seed: int
    subsets: int
    """Drawn of each size."""
    alpha: float | None
    """Of weighted DI on all rows."""
    words: tuple[str, ...]
    """What can be said, evidence first."""
    families: tuple[FamilyDifference, ...]
    evidence: Mapping[str, Evidence]
    """By form of DI, over those families."""
    populations: Mapping[str, Population]
    """`networks` and `layers`, where there are enough for subsets."""
    not_studied: Mapping[str, str]
    """Unit → why it has no population."""
    networks_left_out: tuple[NetworkCost, ...]
    method: Mapping[str, str]
