"""Whole networks: what an inference of each costs, what ranks them, and AI against DI on unseen families."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from dibench.study.findings.plain import Result

Decision = Literal["DI", "AI", "undecided"]
"""Which of the two is better, where the data tell."""


@attrs.frozen
class NetworkCost:
    """One network at one batch: everything per inference, and of its measured layers only."""

    network: str
    family: str
    cost: float | None
    """Joules or seconds of the response; None where nothing was measured."""
    cost_ci: float | None
    """Half-width of its 95% interval; None where a row lacks its own."""
    macs: float
    covered_macs: float
    covered_elements: float
    """Shares of the network's multiply-adds and of its W + X + Y that the measured layers hold."""
    layers: int
    missing: int
    """Layers of the network, repeats included, without a measured row."""
    gap_bound: int
    """Layers, repeats included, whose launch took under 50 µs."""
    gap_bound_share: float
    """Their share of the cost."""
    predictors: Mapping[str, float]
    """Of efficiency, held out by family (see `WholeNetworks.correlations`); empty outside the rankings."""
    efficiency: float | None
    """MAC/J or MAC/s."""
    efficiency_low: float | None
    efficiency_high: float | None
    """95% interval; no upper end where the cost's interval reaches zero."""


@attrs.frozen
class ExplainedNetwork:
    """A network that was measured as a whole, beside the sum of its layers."""

    network: str
    batch: int
    measured: float
    """Joules or seconds of the response, per launch of the whole."""
    layers: float
    """The same, summed over its convolutions and linear layers."""
    share: float
    """Of the whole, what the layers are."""


@attrs.frozen
class Correlations:
    """A predictor against the response over n networks; None where it cannot be computed."""

    n: int
    pearson_log: float | None
    """Of the logarithms: both span decades, and a raw correlation is that of the largest networks."""
    pearson: float | None
    spearman: float | None
    kendall: float | None
    """Kendall's tau-b."""


@attrs.frozen
class Williams:
    """Williams' t for r12 against r13, with n − 3 degrees of freedom, and its two-sided p value."""

    t: float | None
    p_value: float | None


@attrs.frozen
class Contest:
    """AI against a form of DI as predictors of one response over the same networks, on logarithms."""

    n: int
    families: int
    r_ai: float
    r_di: float
    r_between: float
    """Correlation of the two predictors."""
    difference: float
    """r_di − r_ai: above zero where DI correlates better."""
    ci_low: float | None
    ci_high: float | None
    """95% percentile interval of the difference, from a paired bootstrap over families."""
    width: float | None
    williams: Williams
    decision: Decision
    """`DI` or `AI` where both the interval and Williams' test (5%) exclude no difference."""


@attrs.frozen
class Evidence:
    """AI against one form of DI over families: mean of error(AI) − error(DI), positive where DI errs less."""

    model: str
    families: int
    rows: tuple[int, ...]
    """Of each family."""
    mean: float
    ci_low: float | None
    ci_high: float | None
    sign_flip_p: float | None
    """Exact, two-sided."""
    decision: Decision
    """`DI` or `AI` where the interval excludes zero."""


@attrs.frozen
class WholeNetworks(Result):
    """The networks of a table at one batch, and what their efficiency says of AI and DI."""

    response: str
    """Column of the table."""
    response_kind: str
    """`energy` or `time`."""
    response_measured: bool
    energy_source: tuple[str, ...]
    evidence: bool
    """Whether it says anything of energy: only measured joules do."""
    unit: str
    """Of efficiency: `MAC/J` or `MAC/s`."""
    cost_unit: str
    batch: int
    complete_by_batch: Mapping[int, int]
    """Batch → networks of which enough layers were measured."""
    required_share: float
    as_a_whole: bool
    """Whether each was measured as a whole, not as the sum of its layers."""
    gap_bound_s: float
    """Launches shorter than this are bound by the gaps between launches as much as by their work."""
    reason: str | None
    """Why the rankings are not compared, where they are not."""
    ranked: tuple[NetworkCost, ...]
    """Networks in the rankings, most efficient first."""
    left_out: tuple[NetworkCost, ...]
    explained: tuple[ExplainedNetwork, ...]
    """Networks that were measured as a whole, too, the least explained by its layers first."""
    alpha_held_out: Mapping[str, Mapping[str, float]]
    """Family → form of DI → α of the fit without that family."""
    correlations: Mapping[str, Correlations]
    """Of efficiency with each predictor. `macs`, `ai`, `di_weighted`, `di_disjoint` are bare indices, as the
    paper ranks by; with `model_` before them, multiply-adds over the cost that the whole model predicts."""
    contests: Mapping[str, Contest | None]
    """AI against each form of DI: `index_weighted`, `model_disjoint`, …"""
    families: Mapping[str, Evidence]
    """By form of DI, the errors on families that the fits have not seen."""
    method: Mapping[str, str]


@attrs.frozen
class NoNetworks:
    """A table whose rows cannot be summed to networks. The empty fields are what JSON's readers expect."""

    reason: str
    ranked: tuple[NetworkCost, ...] = ()
    left_out: tuple[NetworkCost, ...] = ()
    explained: tuple[ExplainedNetwork, ...] = ()
    families: Mapping[str, Evidence] = attrs.field(factory=dict)
