"""Whole networks as plain values, for `fit --json` and the report."""

from __future__ import annotations

from typing import Any

import attrs

from dibench.study.findings.plain import plain
from dibench.study.ladder.folds import FEWEST_FAMILIES
from dibench.study.questions.correlation import Contest
from dibench.study.questions.whole_networks import FEWEST, GAP_BOUND_S, NetworkCost, WholeNetworks

METHOD = {
    "sum": "each distinct layer measured once, times how often the network has it; nothing filled in",
    "interval": "95%; errors of rows in quadrature, that of the baseline, which they share, in sum",
    "index": "M / sum of W + A; of 2(alpha W + (1 - alpha) A); of M / DI disjoint",
    "model": "M / energy that the whole model predicts",
    "held_out": "alpha and coefficients from fits without the network's family and every shape in it",
    "contest": "correlations of logarithms; Williams' t; paired bootstrap over families, alpha not redrawn",
}

FEWER = (
    "{} networks are too few to compare rankings: "
    f"at least {FEWEST} are needed, of {FEWEST_FAMILIES} families for an interval"
)


def as_json(found: WholeNetworks) -> dict[str, Any]:
    """See `WholeNetworks.to_json`."""
    energy = found.selection.kind == "energy"
    figures: dict[str, Any] = plain(
        {
            "response": found.selection.response,
            "response_kind": found.selection.kind,
            "response_measured": found.selection.measured,
            "energy_source": list(found.selection.sources),
            "evidence": found.selection.evidence,
            "unit": "MAC/J" if energy else "MAC/s",
            "cost_unit": "J" if energy else "s",
            "batch": found.batch,
            "complete_by_batch": found.complete_by_batch,
            "required_share": found.required_share,
            "gap_bound_s": GAP_BOUND_S,
            "reason": None if found.contests else FEWER.format(len(found.ranked)),
            "ranked": [network_json(one) for one in found.ranked],
            "left_out": [network_json(one) for one in found.left_out],
            "alpha_held_out": {name: fold.alpha for name, fold in found.unseen.items()},
            "correlations": {name: attrs.asdict(one) for name, one in found.correlations.items()},
            "contests": {name: contest_json(one) for name, one in found.contests.items()},
            "method": METHOD,
        }
    )
    return figures


def network_json(one: NetworkCost) -> dict[str, Any]:
    """A network with its efficiency and interval."""
    low, high = one.efficiency_interval
    derived = {"efficiency": one.efficiency, "efficiency_low": low, "efficiency_high": high}
    return {**attrs.asdict(one), **derived}


def contest_json(one: Contest | None) -> dict[str, Any] | None:
    """AI against DI with difference, width and decision."""
    if one is None:
        return None
    return {
        **attrs.asdict(one),
        "difference": one.difference,
        "width": one.width,
        "decision": one.decision,
    }
