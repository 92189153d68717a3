"""What the rows say of each claim of the paper, in plain words: confirmed, refuted, undecided, not testable.

The claims are those of Jha and Mittal's abstract (arXiv 2008.02565). Each answer comes from one analysis and
its rule, and carries the number behind it. Only measured joules can confirm or refute. If energy was modelled
or simulated, or only time was measured, a claim about energy is not testable; what the rule says of those
rows is then given as a check.
"""

from __future__ import annotations

import attrs

from dibench.intensity import OPERATORS
from dibench.numbers import Bounded, bracketed, interval, percent, percent_apart
from dibench.study.findings.claims import CONFIRMED, NOT_TESTABLE, REFUTED, UNDECIDED, Claim
from dibench.study.findings.estimate import Estimate
from dibench.study.findings.ladder import ALIKE, DATA_TYPE_MATTERS, NOT_ADEQUATE, OUTPUTS_DIFFER, Fit
from dibench.study.findings.networks import NoNetworks, WholeNetworks
from dibench.study.findings.twins import Twins
from dibench.study.ladder.folds import FEWEST_FAMILIES
from dibench.study.ladder.unseen import FEWEST_FAMILY_LAYERS
from dibench.study.ladder.verdict import miss_text

_ANSWERS = {"DI": CONFIRMED, "AI": REFUTED}
"""The answer by the analysis's decision; any other decision is undecided."""

_OF_DATA_TYPES = {DATA_TYPE_MATTERS: CONFIRMED, ALIKE: REFUTED}


def claims(fit: Fit, networks: WholeNetworks | NoNetworks, twins: Twins | None = None) -> tuple[Claim, ...]:
    """The four claims.

    Args:
        fit: of the table.
        networks: its whole networks.
        twins: its twins with `fitted_alpha`; None where there are none.
    """
    rest = (_every_operator(fit, twins), _whole_networks(networks), _generality(networks))
    found = (_data_type(fit), *(_unless_contrary(claim, fit) for claim in rest))
    return found if fit.evidence else tuple(_no_evidence(claim, fit) for claim in found)


def _no_evidence(claim: Claim, fit: Fit) -> Claim:
    what = "only time was measured" if fit.response_kind == "time" else "no energy was measured"
    kind = "time" if fit.response_kind == "time" else " or ".join(fit.energy_source) + " energy"
    said = f"the same rule on {kind} says: {claim.answer}"
    check = f"{said} ({claim.number})" if claim.number else said
    return attrs.evolve(claim, answer=NOT_TESTABLE, number="", why=f"{what} here", check=check)


def _unless_contrary(claim: Claim, fit: Fit) -> Claim:
    """Undecided where AI and DI alone miss the rows, as these three are asked of AI and DI alone, and where a
    guard withholds verdicts.

    Nor is DI confirmed to be general, or to rank networks better, where the verdict is not DI: a small misfit
    that goes with activations moves every family's error alike.
    """
    if against := [guard for guard in fit.guards if guard.withholds]:
        why = f"nothing is concluded: {against[0].brief} ({against[0].figure})"
    elif fit.conclusion == NOT_ADEQUATE:
        why = f"nothing is concluded from it: {miss_text(fit.adequacy)}"
    elif fit.adequacy.beside:
        alone = percent(fit.adequacy.plain_miss, 0)
        why = f"AI and DI alone miss by {alone}, and this is not asked beside {fit.adequacy.beside}"
    elif fit.verdict != "DI" and claim.answer == CONFIRMED:
        why = f"DI errs less, but the verdict on all rows is {fit.verdict}: misfit may do that, too"
    else:
        return claim
    return attrs.evolve(claim, answer=UNDECIDED, number="", why=why)


def _data_type(fit: Fit) -> Claim:
    """By the verdict on all operators together."""
    text = "AI misjudges data reuse, because it weighs weights and activations alike."
    number, why = "", "; ".join(fit.reasons)
    if fit.reliable and fit.alpha.value is not None:
        number = f"α = {interval(fit.alpha)}, {fit.rows_used} rows"
    if fit.conclusion == OUTPUTS_DIFFER:
        why = f"weights and inputs cannot be told apart, so it may be outputs that differ; {why}"
    return Claim("data types", text, _OF_DATA_TYPES.get(fit.conclusion, UNDECIDED), number, why)


def _every_operator(fit: Fit, twins: Twins | None) -> Claim:
    """Confirmed if DI predicts all operators' unseen rows better; refuted if an operator's own α differs."""
    text = "DI models reuse correctly for all types of convolution and of layer, and all reuse patterns."
    better, worse, unknown = _held_out_by_operator(fit)
    contrary = [*_operators_against(fit), *_twins_against(twins, fit.alpha)]
    operators = fit.by_operator
    number = f"DI predicts {len(better)} of {len(operators)} operators better than AI" if operators else ""
    if fit.rows_are == "networks":
        return Claim("operators", text, UNDECIDED, "", "whole networks do not tell operators apart")
    if contrary:
        return Claim("operators", text, REFUTED, number, "; ".join(contrary))
    missing = [name for name in OPERATORS if name not in operators]
    if not fit.reliable or unknown or missing:
        lacking = ", ".join([*missing, *unknown])
        why = f"no answer for {lacking}" if lacking else "the rows together do not tell α"
        return Claim("operators", text, UNDECIDED, "", why)
    if fit.verdict != "DI":
        return Claim("operators", text, UNDECIDED, number, "all operators together do not say DI")
    if worse:  # not tested against chance, so this alone refutes nothing
        why = f"AI predicts unseen {', '.join(worse)} rows better, which may be chance"
        return Claim("operators", text, UNDECIDED, "", why)
    return Claim("operators", text, CONFIRMED, number, "and no operator's own α, nor a twin, contradicts it")


def _held_out_by_operator(fit: Fit) -> tuple[list[str], list[str], list[str]]:
    """Operators whose unseen rows DI predicts better, those it predicts no better, and those without rows."""
    better: list[str] = []
    worse: list[str] = []
    unknown: list[str] = []
    for name, own in fit.by_operator.items():
        ai, di = (
            own.models[model].held_out.rmse_log if model in own.models else None
            for model in ("ai", "di_weighted")
        )
        if ai is None or di is None:
            unknown.append(name)
        else:
            (better if di < ai else worse).append(name)
    return better, worse, unknown


def _operators_against(fit: Fit) -> list[str]:
    """Operators whose own intervals of α both exclude the α of all rows."""
    pooled, found = fit.alpha.value, []
    for name, own in fit.by_operator.items():
        both = (own.alpha.weighted, own.alpha_by_family)
        if own.reliable and pooled is not None and not any(_holds(one, pooled) for one in both):
            found.append(f"{name} alone says α = {interval(own.alpha)}")
    return found


def _holds(found: Estimate, value: float) -> bool:
    """Whether an interval holds a value; one that misses an end holds all."""
    low, high = found.ci_low, found.ci_high
    return low is None or high is None or low <= value <= high


def _twins_against(twins: Twins | None, alpha: Bounded) -> list[str]:
    """Operators whose exact twins contradict the fitted α."""
    if twins is None or "energy" not in twins.responses:
        return []
    return [
        f"twins of {entry.op} contradict fitted α, {interval(alpha)}"
        for entry in twins.responses["energy"].twins
        if entry.fitted_alpha == "contradicts"
    ]


def _whole_networks(networks: WholeNetworks | NoNetworks) -> Claim:
    """By correlation with measured efficiency, α held out; Williams' test and a bootstrap must agree."""
    text = "DI indicates the energy efficiency of whole networks better than AI does."
    contest = networks.contests.get("index_weighted") if isinstance(networks, WholeNetworks) else None
    if contest is None:
        ranked = isinstance(networks, WholeNetworks) and networks.ranked and networks.reason is None
        unranked = (
            "α is not determined, so DI ranks no network" if ranked else "no whole network was measured"
        )
        why = networks.reason or unranked
        return Claim("whole networks", text, UNDECIDED, "", why)
    apart = Estimate(contest.difference, contest.ci_low, contest.ci_high)
    number = f"correlation with DI less that with AI {interval(apart)}, {len(networks.ranked)} networks"
    answer = _ANSWERS.get(contest.decision, UNDECIDED)
    why = {
        CONFIRMED: "Williams' test and the bootstrap over families agree",
        REFUTED: "AI ranks them better, by both tests",
        UNDECIDED: "the difference lies within what chance and the choice of families give",
    }[answer]
    return Claim("whole networks", text, answer, number, why)


def _what(networks: WholeNetworks | NoNetworks) -> str:
    return "networks" if isinstance(networks, WholeNetworks) and networks.as_a_whole else "layers"


def _generality(networks: WholeNetworks | NoNetworks) -> Claim:
    """By errors on families that a fit has not seen, paired by family; never by a bell curve over subsets."""
    text = "What DI says is general: it holds for networks that were not used to find α."
    found = networks.families.get("di_weighted")
    if found is None or found.ci_low is None or found.ci_high is None:
        why = (
            f"{0 if found is None else found.families} families of networks have {FEWEST_FAMILY_LAYERS} "
            f"different {_what(networks)} and leave enough rows, {FEWEST_FAMILIES} are needed for an interval"
        )
        return Claim("generality", text, UNDECIDED, "", why)
    mean = bracketed(found.mean, found.ci_low, found.ci_high, percent_apart)
    rows = f"{min(found.rows)} to {max(found.rows)} rows each"
    number = f"AI's error less DI's on unseen families {mean}, {found.families} families, {rows}"
    answer = _ANSWERS.get(found.decision, UNDECIDED)
    why = {
        CONFIRMED: "DI errs less on families it has not seen; no statement about networks unlike these",
        REFUTED: "AI errs less on families it has not seen",
        UNDECIDED: "families do not tell AI from DI",
    }[answer]
    return Claim("generality", text, answer, number, why)
