"""What the rows say of each claim of the paper, in plain words: confirmed, refuted, undecided, not testable.

The claims are those of Jha and Mittal's abstract (arXiv 2008.02565). Each answer comes from one analysis with
a rule of its own, and carries the number that says so. Only measured joules can confirm or refute: where
energy was modelled or simulated, or only time was measured, a claim about energy is not testable, and what
the same rule would have said is told apart as a check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from dibench.intensity import OPERATORS
from dibench.words import interval, percent_apart

CONFIRMED, REFUTED, UNDECIDED, NOT_TESTABLE = "confirmed", "refuted", "undecided", "not testable"

_ANSWERS = {"DI": CONFIRMED, "AI": REFUTED}
"""By what an analysis decides for; anything else is undecided."""


@attrs.frozen
class Claim:
    """One claim and what is known of it."""

    name: str
    text: str
    """The claim, in our words."""
    answer: str
    """One of the four."""
    number: str
    """The figure that says so; empty where there is none."""
    why: str
    """In a sentence."""
    check: str = ""
    """Where it is not testable: what the rule says of the rows that there are."""


def claims(figures: Mapping[str, Any]) -> tuple[Claim, ...]:
    """The four claims from the figures of `fit --json`; what is missing there leaves its claim undecided."""
    found = (_data_type(figures), _every_operator(figures), _whole_networks(figures), _generality(figures))
    if figures["evidence"]:
        return found
    return tuple(_no_evidence(claim, figures) for claim in found)


def _no_evidence(claim: Claim, figures: Mapping[str, Any]) -> Claim:
    what = "only time was measured" if figures["response_kind"] == "time" else "no energy was measured"
    kind = "time" if figures["response_kind"] == "time" else " or ".join(figures["energy_source"]) + " energy"
    said = f"of {kind}, the rule says: {claim.answer}"
    check = f"{said} ({claim.number})" if claim.number else said
    return attrs.evolve(claim, answer=NOT_TESTABLE, number="", why=f"{what} here", check=check)


def _data_type(figures: Mapping[str, Any]) -> Claim:
    """By the verdict on all operators together."""
    text = "AI misjudges data reuse, because it weighs weights and activations alike."
    alpha, verdict = figures["alpha"]["weighted"], figures["verdict"]
    number, why = "", "; ".join(figures["reasons"])
    if figures["reliable"] and alpha["value"] is not None:
        number = f"α = {interval(alpha)}, {figures['rows_used']} rows"
    answer = _ANSWERS.get(verdict, UNDECIDED)
    p = (figures.get("test_weights_vs_inputs") or {}).get("p_value")
    if answer == CONFIRMED and not (p is not None and p < 0.05):
        why += "; weights and inputs cannot be told apart, so it may be outputs that differ"
    return Claim("data types", text, answer, number, why)


def _every_operator(figures: Mapping[str, Any]) -> Claim:
    """DI must predict every operator's unseen rows better; an operator whose own α says otherwise refutes."""
    text = "DI models reuse correctly for all types of convolution and of layer, and all reuse patterns."
    operators: Mapping[str, Any] = figures["by_operator"]
    pooled = figures["alpha"]["weighted"]["value"]
    better: list[str] = []
    worse: list[str] = []
    unknown: list[str] = []
    contrary: list[str] = []
    for name, own in operators.items():
        ai, di = (_held_out(own, model) for model in ("ai", "di_weighted"))
        if ai is None or di is None:
            unknown.append(name)
        else:
            (better if di < ai else worse).append(name)
        alpha = own["alpha"]["weighted"]
        ends = (alpha["ci_low"], alpha["ci_high"])
        if own["reliable"] and pooled is not None and None not in ends and not ends[0] <= pooled <= ends[1]:
            contrary.append(f"{name} alone says α = {interval(alpha)}")
    contrary += _twins_against(figures.get("twins"), figures["alpha"]["weighted"])
    number = f"DI predicts {len(better)} of {len(operators)} operators better than AI" if operators else ""
    if contrary:
        return Claim("operators", text, REFUTED, number, "; ".join(contrary))
    missing = [name for name in OPERATORS if name not in operators]
    if not figures["reliable"] or unknown or missing:
        lacking = ", ".join([*missing, *unknown])
        why = f"no answer for {lacking}" if lacking else "the rows together do not tell α"
        return Claim("operators", text, UNDECIDED, "", why)
    if worse:  # by how much more than chance is not tested, so this alone refutes nothing
        why = f"AI predicts unseen {', '.join(worse)} rows better, which may be chance"
        return Claim("operators", text, UNDECIDED, "", why)
    return Claim("operators", text, CONFIRMED, number, "and no operator's own α, nor a twin, contradicts it")


def _twins_against(twins: Mapping[str, Any] | None, alpha: Mapping[str, Any]) -> list[str]:
    """Operators whose exact twins say the opposite of fitted α."""
    if not twins:
        return []
    entries = twins["responses"].get("energy", {}).get("twins", ())
    return [
        f"twins of {entry['op']} contradict fitted α, {interval(alpha)}"
        for entry in entries
        if entry.get("fitted_alpha") == "contradicts"
    ]


def _whole_networks(figures: Mapping[str, Any]) -> Claim:
    """By correlation with measured efficiency, α held out by family; Williams' test and a bootstrap agree."""
    text = "DI indicates the energy efficiency of whole networks better than AI does."
    networks = figures.get("networks") or {}
    contest = (networks.get("contests") or {}).get("index_weighted")
    ranked = networks.get("ranked") or ()
    if not contest or contest.get("difference") is None:
        why = networks.get("reason") or "no whole network was measured"
        return Claim("whole networks", text, UNDECIDED, "", str(why))
    apart = {**contest, "value": contest["difference"]}
    number = f"correlation with DI less that with AI {interval(apart)}, {len(ranked)} networks"
    answer = _ANSWERS.get(contest["decision"], UNDECIDED)
    why = {
        CONFIRMED: "Williams' test and the bootstrap over families agree",
        REFUTED: "AI ranks them better, by both tests",
        UNDECIDED: "the difference lies within what chance and the choice of families give",
    }[answer]
    return Claim("whole networks", text, answer, number, why)


def _generality(figures: Mapping[str, Any]) -> Claim:
    """By errors on families that a fit has not seen, paired by family; never by a bell curve over subsets."""
    text = "What DI says is general: it holds for networks that were not used to find α."
    found = ((figures.get("networks") or {}).get("families") or {}).get("di_weighted")
    if not found or found["ci_low"] is None:
        why = "too few families of networks for an interval"
        return Claim("generality", text, UNDECIDED, "", why)
    mean, low, high = (percent_apart(found[part]) for part in ("mean", "ci_low", "ci_high"))
    number = f"AI's error less DI's on unseen families {mean} ({low} to {high}), {found['families']} families"
    answer = _ANSWERS.get(found["decision"], UNDECIDED)
    why = {
        CONFIRMED: "DI errs less on families it has not seen; no statement about networks unlike these",
        REFUTED: "AI errs less on families it has not seen",
        UNDECIDED: "families do not tell AI from DI",
    }[answer]
    return Claim("generality", text, answer, number, why)


def _held_out(own: Mapping[str, Any], model: str) -> float | None:
    error = ((own.get("models") or {}).get(model) or {}).get("held_out") or {}
    return error.get("rmse_log")


def as_json(found: Sequence[Claim]) -> list[dict[str, str]]:
    """Plain values."""
    return [attrs.asdict(claim) for claim in found]
