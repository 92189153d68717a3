"""AI, DI, undecided or not adequate: the margin rule, and its reasons in words.

Lack of fit comes first: from a model that misses its rows by more than they explain, nothing is concluded.
DI if α's interval lies outside [0.45, 0.55] and DI predicts held-out families better; AI if the interval lies
inside; undecided otherwise, and whenever the rows cannot support an answer, or a guard against false evidence
withholds it. The rule is about α, not about
the p value alone: with enough rows every α other than exactly ½ is significant.

Two intervals must agree: the bootstrap's by layer and network, and the jackknife's over families of networks,
which is the wider the fewer families α rests on. So no number of clusters is asked for: evidence
that is strong enough counts with any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from dibench.numbers import interval, number, p_text, percent
from dibench.study.findings.adequacy import Adequacy
from dibench.study.findings.collinear import Collinear
from dibench.study.findings.estimate import AlphaByFamily, Estimate
from dibench.study.findings.guards import Guard
from dibench.study.findings.ladder import (
    ALIKE,
    DATA_TYPE_MATTERS,
    MARGIN,
    NOT_ADEQUATE,
    OUTPUTS_DIFFER,
    UNDECIDED,
)
from dibench.study.ladder.collinear import LARGEST_CONDITION
from dibench.study.maths.inference import LEVEL

ROWS_PER_COEFFICIENT = 3


def conclusion(decision: str, p_weights_vs_inputs: float) -> str:
    """One of the five words.

    DI alone does not say that the data type matters. Inputs and outputs share one cost in it, so where
    weights and inputs cannot be told apart (`Fit.test_weights_vs_inputs`), it may be outputs that differ.

    >>> conclusion("DI", 0.01), conclusion("DI", 0.3), conclusion("AI", 0.01)
    ('data type matters', 'outputs differ', 'alike')
    """
    if decision == "DI":
        return DATA_TYPE_MATTERS if p_weights_vs_inputs < 1 - LEVEL else OUTPUTS_DIFFER
    return {"AI": ALIKE, NOT_ADEQUATE: NOT_ADEQUATE}.get(decision, UNDECIDED)


def sentence(
    concluded: str,
    about: str,
    p_weights_vs_inputs: float,
    adequacy: Adequacy | None = None,
    withheld: Withheld | None = None,
) -> str:
    """The conclusion as a headline.

    Args:
        concluded: of `conclusion`.
        about: of what, such as `measured energy`.
        p_weights_vs_inputs: of that test.
        adequacy: the lack of fit, with the terms beside which AI and DI were compared.
        withheld: the verdict that does not stand, and why.
    """
    about += f", beside {adequacy.beside}," if adequacy is not None and adequacy.beside else ""
    p = p_text(p_weights_vs_inputs) if p_weights_vs_inputs >= 0 else "no test"
    undecided = "these rows cannot tell AI from DI"
    if withheld is not None:
        undecided = f"the fit says {withheld.decision}, but {' and '.join(withheld.because)}"
    predicts = "DI predicts layers it has not seen better than AI"
    return {
        DATA_TYPE_MATTERS: f"DI. For {about} the data type matters: a weight and an activation do not cost "
        f"the same, and {predicts}.",
        OUTPUTS_DIFFER: f"DI. For {about} weights and activations differ, but weights and inputs cannot be "
        f"told apart ({p}), so it may be that only outputs differ; {predicts}.",
        ALIKE: f"AI. For {about} a weight and an activation cost the same within the margin: AI is enough.",
        UNDECIDED: f"Undecided. For {about} {undecided}.",
        NOT_ADEQUATE: f"Not adequate. For {about} {miss_text(adequacy)}: AI and DI leave out something that "
        "matters, and nothing is concluded from them.",
    }[concluded]


def miss_text(adequacy: Adequacy | None) -> str:
    """How far the model misses, and how good the rows are."""
    if adequacy is None or adequacy.miss is None:
        return "the model misses its rows"
    size = percent(adequacy.miss, 0 if adequacy.miss >= 0.1 else 1)
    return f"the model misses by {size} where the rows are good to {percent(adequacy.rows_error, 1)}"


def follows_text(adequacy: Adequacy) -> str:
    """What residuals follow, at most three."""
    found = [f"{one.name} ({percent(one.share, 0)})" for one in adequacy.follows[:3]]
    return f"residuals follow {', '.join(found) or 'no property of layers'}"


@attrs.frozen
class Grounds:
    """What the rule decides on."""

    rows: int
    coefficients: int
    """Of `di_weighted`."""
    alpha: float | None
    ci_low: float | None
    ci_high: float | None
    alpha_by_family: AlphaByFamily
    condition: float
    """Of the Jacobian of `di_weighted`, columns at unit length."""
    only_fc_at_one_batch: bool
    """Whether all rows are fully-connected at one batch size: M is then a multiple of W."""
    held_out_ai: float | None
    held_out_di: float | None
    """Root mean square log errors on held-out rows, each cluster with one vote."""
    adequacy: Adequacy | None = None
    """Lack of fit of the model; None where it was not looked at."""
    beside: Mapping[str, Estimate] = attrs.field(factory=dict)
    """α with each further term of the hardware, by name, where it has an interval."""
    collinear: Collinear | None = None
    """Which terms the rows cannot tell apart; None where it was not looked at."""


@attrs.frozen
class Reason:
    """One reason, in three words for a table and in a sentence."""

    brief: str
    text: str


@attrs.frozen
class Withheld:
    """A verdict that does not stand, `AI` or `DI`, and why, in a few words each."""

    decision: str
    because: tuple[str, ...]


@attrs.frozen
class Verdict:
    """`AI`, `DI`, `undecided` or `not adequate`, and why."""

    decision: str
    reasons: tuple[Reason, ...]
    reliable: bool = True
    """False if the rows cannot support an answer, whatever α is."""
    determined: bool = True
    """False if the rows do not determine α: a number for it would say nothing about the device."""
    withheld: Withheld | None = None
    """What the rule alone would say, where a guard withholds it."""


def decide(found: Grounds) -> Verdict:
    """Apply the rule; all reasons that apply are given."""
    undetermined, unsure = _undetermined(found), _unsure(found)
    if found.adequacy is not None and found.adequacy.adequate is False:
        tolerated = f"(root mean squares; {percent(found.adequacy.margin, 0)} is tolerated)"
        text = f"{miss_text(found.adequacy)} {tolerated}; {follows_text(found.adequacy)}"
        misses = Reason("model misses", text)
        reasons = (misses, *undetermined, *unsure)
        return Verdict(NOT_ADEQUATE, reasons, reliable=False, determined=not undetermined)
    if undetermined or unsure:
        reasons = (*undetermined, *unsure)
        return Verdict("undecided", reasons, reliable=False, determined=not undetermined)
    where = _side(found.ci_low, found.ci_high)
    if where == "across" or _side(found.alpha_by_family.ci_low, found.alpha_by_family.ci_high) != where:
        return _open(found, where)
    low, high = MARGIN
    text = f"{_alpha(found)} lies {where} the margin {low} to {high} around ½"
    if where == "inside":
        return Verdict("AI", (Reason("inside the margin", f"{text}, where DI is AI"),))
    clear = Reason("outside the margin", text)
    for name, beside in found.beside.items():
        if not outside(beside):
            told = f"beside {name} α = {interval(beside)} does not lie outside the margin"
            return Verdict("undecided", (Reason(f"not beyond {name}", told), clear))
    if found.held_out_ai is None or found.held_out_di is None:
        nothing = Reason("nothing held out", "no rows could be held out to compare predictions")
        return Verdict("undecided", (nothing, clear))
    di, ai = number(found.held_out_di, ".3f"), number(found.held_out_ai, ".3f")
    errors = f"log error on held-out rows {di} with DI, {ai} with AI"
    if found.held_out_di < found.held_out_ai:
        return Verdict("DI", (clear, Reason("predicts better", errors)))
    worse = Reason("predicts no better", f"DI does not predict better: {errors}")
    return Verdict("undecided", (worse, clear))


def outside(found: Estimate) -> bool:
    """Whether an interval lies outside the margin; one without an end does not."""
    return None not in (found.ci_low, found.ci_high) and _side(found.ci_low, found.ci_high) == "outside"


def withhold(verdict: Verdict, guards: Sequence[Guard]) -> Verdict:
    """The verdict as it stands after the guards against false evidence (`ladder.guards`).

    >>> withhold(Verdict("DI", ()), [Guard("time alone", True, "but", "", "why", 9)]).decision
    'undecided'
    """
    against = [guard for guard in guards if guard.withholds]
    if verdict.decision not in ("AI", "DI") or not against:
        return verdict
    reasons = (*(Reason(guard.brief, guard.text) for guard in against), *verdict.reasons)
    withheld = Withheld(verdict.decision, tuple(guard.brief for guard in against))
    return Verdict("undecided", reasons, reliable=False, withheld=withheld)


def _side(low: float | None, high: float | None) -> str:
    """Where an interval lies: `inside` the margin, `outside` of it or `across` one of its ends."""
    assert low is not None and high is not None
    if MARGIN[0] <= low and high <= MARGIN[1]:
        return "inside"
    return "outside" if high < MARGIN[0] or low > MARGIN[1] else "across"


def _open(found: Grounds, where: str) -> Verdict:
    """Undecided, as one of both intervals lies across the margin."""
    low, high = MARGIN
    margin = f"the margin {low} to {high} around ½"
    if where == "across":
        across = Reason("across the margin", f"{_alpha(found)} lies neither inside nor outside {margin}")
        return Verdict("undecided", (across,))
    families = found.alpha_by_family
    allowed = f"if rows of one {families.over} err together it is {interval(families)}"
    text = f"{_alpha(found)} lies {where} {margin}, but {allowed}, by {families.clusters_text}"
    return Verdict("undecided", (Reason("rests on too few", text),))


def _alpha(found: Grounds) -> str:
    return f"α = {interval(Estimate(found.alpha, found.ci_low, found.ci_high))}"


def _undetermined(found: Grounds) -> list[Reason]:
    """Why the rows do not determine α, whatever its estimate is."""
    reasons = []
    needed = ROWS_PER_COEFFICIENT * found.coefficients
    if found.rows < needed:
        text = f"too few rows: {found.rows}, and {found.coefficients} coefficients need {needed}"
        reasons.append(Reason("too few rows", text))
    if found.only_fc_at_one_batch:
        text = "only fully-connected layers at a single batch size: MACs are a multiple of weights"
        reasons.append(Reason("one batch size", text))
    elif not found.condition <= LARGEST_CONDITION:
        shown = number(found.condition, ".0f") if found.condition < 1e6 else "without bound"
        limit = f"{LARGEST_CONDITION:.0f}"
        text = f"these rows cannot tell the terms apart: condition number {shown}, over {limit}"
        more = "" if found.collinear is None else found.collinear.text
        reasons.append(Reason("terms too alike", f"{text}; {more}" if more else text))
    elif found.alpha is None or (found.ci_low is None and found.ci_high is None):
        text = "α is not determined: these rows rule out no value of it"
        reasons.append(Reason("α not determined", text))
    return reasons


def _unsure(found: Grounds) -> list[Reason]:
    """Why α's interval supports no answer: it has no end, by layer and network or over families."""
    reasons = []
    if (found.ci_low is None) != (found.ci_high is None):
        reasons.append(Reason("α unbounded", "the interval of α is unbounded"))
    families = found.alpha_by_family
    if families.clusters < 2:
        text = f"all rows are of one {families.over}: what is particular to it cannot be told from α"
        reasons.append(Reason(f"one {families.over}", text))
    elif families.unbounded:
        text = f"α rests on too few of {families.clusters_text}: it is not bounded if each errs as a whole"
        reasons.append(Reason("rests on too few", text))
    return reasons
