"""What `fit` answers first: the answer, how sure it is and what to do next, then one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from dibench.numbers import UNKNOWN, bracketed, count, percent
from dibench.show import noise
from dibench.show.blocks import Headline, Sentence, Table, columns
from dibench.study.findings.disturbed import too_wide
from dibench.study.findings.ladder import ALIKE, DATA_TYPE_MATTERS, NOT_ADEQUATE, UNDECIDED

if TYPE_CHECKING:
    from dibench.study.findings.all_findings import Findings
    from dibench.study.findings.ladder import Fit

_DESCRIPTIONS = {
    "macs": ("MACs alone", "multiply-adds"),
    "ai": ("AI", "and elements moved, all at one price"),
    "di_weighted": ("DI", "and weights and activations, each at its own price"),
}
"""How the models are called here, and what has a cost in each; every line adds to the one above."""
_MORE = "shows the tests, coefficients, operators and the rows left out."


Brief = tuple[Headline, Sentence, Sentence, *tuple[Table, ...]]
"""Three sentences, and a table where there is something to fill it."""


def blocks(found: Findings, source: str) -> Brief:
    """Three sentences and a table.

    Args:
        found: of one table.
        source: the tables as `fit` was given them, for commands to copy.
    """
    return _told(found.fit, _next(found, source), "--full")


def in_python(fit: Fit) -> Brief:
    """The same of a fit alone, with what comes next as one types it in Python."""
    return _told(fit, _next_in_python(fit), ".full()")


def _told(fit: Fit, then: str, full: str) -> Brief:
    sure = fit.reliable and fit.verdict not in ("undecided", "not adequate")
    return (
        Headline(_answer(fit), "good" if sure and fit.evidence else "warn"),
        Sentence(_how_sure(fit), "warn" if _noisy(fit) else ""),
        Sentence(then),
        *(attrs.evolve(table, note=f"{table.note} `{full}` {_MORE}") for table in descriptions(fit)),
    )


def _noisy(fit: Fit) -> bool:
    return noise.share_disturbed(fit) > noise.MOST


def _answer(fit: Fit) -> str:
    kind = fit.response_kind
    check = "" if fit.response_measured else "A check of the program, no evidence: "
    said = {
        DATA_TYPE_MATTERS: f"DI: a weight and an activation do not cost the same {kind} here, and DI "
        "predicts layers it has not seen better than AI.",
        ALIKE: f"AI is enough: a weight and an activation cost the same {kind} here.",
        UNDECIDED: f"Undecided: these rows cannot tell whether a weight costs more {kind} than an "
        "activation.",
        NOT_ADEQUATE: f"No answer: neither AI nor DI describes the {kind} of these rows well enough.",
    }
    plainly = fit.answer if _withheld(fit) else said.get(fit.conclusion, fit.answer)
    return check + plainly


def _withheld(fit: Fit) -> bool:
    """Whether the numbers say one thing, and a guard keeps it from being the answer."""
    return fit.conclusion == UNDECIDED and any(guard.withholds for guard in fit.guards)


def _how_sure(fit: Fit) -> str:
    wide = too_wide(fit.layers.left_out)  # layers, as what it rests on: not their rows
    left = f", {count(wide)} more are too noisy to count" if wide else ""
    rests = (
        f"How sure: it rests on {count(fit.rows_used, fit.rows_are.removesuffix('s'))} of {_what(fit)}{left}"
    )
    if fit.conclusion == NOT_ADEQUATE and fit.adequacy.miss is not None:
        missed = f"; beyond their own noise ({percent(fit.adequacy.rows_error)}), DI misses them by "
        return f"{rests}{missed}{percent(fit.adequacy.miss)} (root mean squares; the table has means)."
    return f"{rests}{_price(fit)}."


def _what(fit: Fit) -> str:
    """Of what the rows are, and who read it."""
    if fit.response_kind == "time":
        return "measured time, without joules"
    source = ", ".join(fit.energy_source)
    if not fit.response_measured:
        return f"energy that was not measured ({source})"
    return f"energy measured by {source.removeprefix('external:')}"


def _price(fit: Fit) -> str:
    """What a weight costs in activations: α/(1 − α), with the wider of its two 95% intervals."""
    both = (fit.alpha, fit.alpha_by_family)
    ends = [fit.alpha.value, *(one.ci_low for one in both), *(one.ci_high for one in both)]
    known = [end / (1 - end) for end in ends if end is not None and 0 < end < 1]
    if len(known) < len(ends) or not fit.determined:
        return "; they do not bound what a weight costs beside an activation"
    return (
        f"; a weight costs {bracketed(known[0], min(known), max(known))} times as much as an activation (95%)"
    )


def _next(found: Findings, source: str) -> str:
    fit, command, twins = found.fit, f"`python -m dibench fit {source}", found.twins
    if not _noisy(fit):
        if twins is not None and any(one.pairs >= twins.least_pairs for one in twins.decisive.twins):
            return (
                f"Next: {command} --twins` compares pairs of layers that differ in nothing but the data type."
            )
        if found.lattice is not None:
            return f"Next: {command} --lattice` says what one access costs, from one layer under many boxes."
    return _next_of(
        fit,
        full=f"{command} --full`",
        more="`python -m dibench sweep networks --out results/local/networks --time-budget 9m`",
        further=f"`python -m dibench generality {source}` asks whether other networks say the same",
    )


def _next_in_python(fit: Fit) -> str:
    return _next_of(
        fit,
        full="`.full()`",
        more='`dibench.sweep("networks", out="results/local/networks", time_budget="9m")`',
        further='`dibench.predict("resnet50", fit=…)` with this fit says what a network costs',
    )


def _next_of(fit: Fit, *, full: str, more: str, further: str) -> str:
    """What comes next by the state of the fit, each as one types it: all figures, a larger sweep, a use."""
    if _noisy(fit):
        return f"Next: other work disturbed most rows, so {noise.REMEDY}."
    if fit.conclusion == NOT_ADEQUATE:
        return f"Next: {full} says what the misses follow{_follows(fit)}."
    if fit.verdict == "undecided":
        return f"Next: more layers, such as {more}."
    return f"Next: {further}."


def _follows(fit: Fit) -> str:
    """What the misses follow most."""
    follows = " and ".join(one.name for one in fit.adequacy.follows[:2])
    return f", here {follows}" if follows else ""


def descriptions(fit: Fit) -> list[Table]:
    """How far each description is off, on the rows and on families left out; none where none was fitted."""
    shown = {name: fit.models[name] for name in _DESCRIPTIONS if name in fit.models}
    if all(model.reason is not None for model in shown.values()):
        return []
    outside = any(model.held_out.mape is not None for model in shown.values())
    rows = []
    for name, model in shown.items():
        errors = [percent(model.scores.mape), *([percent(model.held_out.mape)] if outside else [])]
        rows.append([*_DESCRIPTIONS[name], *(error if model.reason is None else UNKNOWN for error in errors)])
    unseen = ("unseen",) if outside else ()
    note = "Error: how far predictions lie from what was measured, on average"
    note += f"; unseen: held out, {fit.folds.text}" if outside else ""
    table = Table(
        f"What predicts {fit.response_kind}, and how well",
        columns(
            "description",
            "has a cost",
            "error",
            *unseen,
            text=("has a cost",),
            wraps=("has a cost",),
            ranks={"has a cost": 1},
        ),
        rows,
        f"{note}.",
    )
    return [table]
