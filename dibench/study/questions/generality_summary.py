"""The generality study as plain values and in words that say no more than it shows."""

from __future__ import annotations

from typing import Any

import attrs

from dibench.study.findings.plain import plain
from dibench.study.questions.families import Evidence
from dibench.study.questions.generality import STABLE, Generality, nearest_half
from dibench.study.questions.networks_summary import network_json
from dibench.study.questions.subset_study import Population
from dibench.words import percent_apart

METHOD = {
    "evidence": "per family: root mean square log error of fits without the family and every shape in it, "
    "AI minus DI; Student's interval over families, exact sign-flip p. Families share some shapes.",
    "subsets": "without replacement from a fixed set; correlations of logarithms from sums",
    "curve": "sqrt((n - k) / (n - 1)) / sqrt(k - 3) in Fisher's z: what combinatorics alone gives",
    "influence_curve": "the same with the influence of these members in place of normal ones",
    "made_up": "the same resampling of sets of n random normal points with the same correlation",
    "normality": "skew, kurtosis, Shapiro-Wilk (first 5,000 subsets) and Q-Q describe; they are no evidence",
    "alpha_and_error": "one Gauss-Newton step from the fit to all rows, by each subset's sums; "
    "one_step_error is its median distance from full refits of some subsets",
}


def as_json(found: Generality) -> dict[str, Any]:
    """See `Generality.to_json`."""
    selection = found.fleet.selection
    figures: dict[str, Any] = plain(
        {
            "response": selection.response,
            "response_kind": selection.kind,
            "response_measured": selection.measured,
            "evidence_of_energy": selection.evidence,
            "batch": found.fleet.batch,
            "rows": len(found.fleet.data),
            "seed": found.seed,
            "subsets": found.subsets,
            "alpha": found.alpha,
            "words": words(found),
            "families": [attrs.asdict(one) for one in found.families],
            "evidence": {
                one.model: {**attrs.asdict(one), "decision": one.decision} for one in found.evidence
            },
            "populations": {one.members.unit: _population(one) for one in found.populations},
            "not_studied": found.not_studied,
            "networks_left_out": [network_json(one) for one in found.fleet.left_out],
            "method": METHOD,
        }
    )
    return figures


def _population(one: Population) -> dict[str, Any]:
    members = one.members
    return {
        "n": len(members),
        "names": list(members.names),
        "efficiency": members.efficiency.tolist(),
        "predictors": {name: column.tolist() for name, column in members.predictors.items()},
        "r": members.r,
        "sizes": [attrs.asdict(size) for size in one.sizes],
    }


FORMS = {"di_weighted": "weighted DI", "di_disjoint": "disjoint DI"}


def words(found: Generality) -> list[str]:
    """What can be said, evidence first."""
    said = [_evidence(one) for one in found.evidence]
    for population in found.populations:
        said += [_stability(population, form) for form in FORMS if form in population.members.r]
    return said


def _evidence(one: Evidence) -> str:
    form = FORMS[one.model]
    if one.ci_low is None or one.ci_high is None:
        return f"AI against {form}: undecided, {one.families} families are too few for an interval."
    mean, low, high = map(percent_apart, (one.mean, one.ci_low, one.ci_high))
    interval = f"AI's error less DI's is {mean} ({low} to {high}, {one.families} families)"
    answer = {
        "DI": f"on families it has not seen, {form} errs less than AI",
        "AI": f"on families it has not seen, AI errs less than {form}",
        "undecided": f"families do not tell AI from {form}",
    }[one.decision]
    return f"{answer[0].upper()}{answer[1:]}: {interval}."


def _stability(population: Population, form: str) -> str:
    """At the size nearest to half of the set: do the subsets agree on the order of AI and DI?"""
    members = population.members
    k = nearest_half([one.k for one in population.sizes], len(members))
    size = next(one for one in population.sizes if one.k == k)
    if form not in size.di_above_ai:
        return f"{FORMS[form]}: not compared over subsets of these {members.unit}."
    share = size.di_above_ai[form]
    whole = "above" if members.r[form] > members.r["ai"] else "below"
    agree = share if whole == "above" else 1 - share
    stable = "stable" if agree >= STABLE else "not stable"
    return (
        f"{FORMS[form][0].upper()}{FORMS[form][1:]} correlates {whole} AI in {agree:.0%} of the subsets of "
        f"{size.k} of {len(members)} {members.unit}: {stable} across subsets of these {members.unit}."
    )
