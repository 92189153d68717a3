"""Exact twins: how the cost changes when weights and inputs exchange their sizes and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from dibench.study.findings.plain import Result

NOT_TESTABLE = {
    "depthwise": "has no exact twin, its weights and inputs share the channels; "
    "what is tested instead: α over depthwise layers of different sizes in the ladder",
    "fc at N = 1": "has no exact twin, W = M whatever the shape; "
    "what is tested instead: twins of fc at N > 1, and the reuse lattice",
}
"""What has no exact twin, and why."""


@attrs.frozen
class Pairs:
    """One group of pairs: how the cost of one half compares with the other's.

    The ratio of twins is the half with more weights over the one with more inputs; of a placebo the wide
    image over the tall one.
    """

    op: str
    lanes: str
    """`p`, `k`, empty where kernels have no lanes, or `both`: each pair's mean over the mappings."""
    pairs: int
    kernels: int
    ratio: float
    """Geometric mean over the pairs."""
    ci_low: float | None
    """Ends of the 95% interval; None where the pairs are too few for one."""
    ci_high: float | None
    p_value: float | None
    p_holm: float | None
    """That the halves do not differ, adjusted over the operators; None below the least number of pairs."""
    p_equivalent: float | None
    """That they differ by the margin or more, adjusted likewise."""
    decision: str
    """`equivalent`, `differs` or `undecided`."""
    reason: str
    by_kernel: Mapping[str, float]
    """Geometric mean ratio of each kernel variant."""
    by_pair: tuple[float, ...]
    """Ratio of each pair of layers, over its kernels."""


@attrs.frozen
class TwinPairs(Pairs):
    """Pairs of twins, and whether the fit agrees."""

    fitted_alpha: str
    """What fitted α says of them: `agrees`, `compatible`, `contradicts` or `no comparison`."""


@attrs.frozen
class Compared:
    """One response: an entry for each operator and lane mapping."""

    twins: tuple[TwinPairs, ...]
    placebo: tuple[Pairs, ...]


@attrs.frozen
class Twins(Result):
    """Twins and their placebo, by response."""

    basis: str
    measured: bool
    margin: float
    """Relative: twins that differ by less are called equivalent."""
    least_pairs: int
    ratio: str
    """Of what to what."""
    responses: Mapping[str, Compared]
    """`energy` where there is one, and `time`."""
    not_exact: Mapping[str, int]
    """Pairs of rows left out because the kernel executes or moves more in one half: `twins`, `placebo`."""
    not_testable: Mapping[str, str]
    """What has no exact twin, and why."""

    @property
    def decisive(self) -> Compared:
        """The first response, which is energy where there is energy."""
        return next(iter(self.responses.values()))
