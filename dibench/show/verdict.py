"""AI or DI: the answer of a fit, why, and the numbers behind it; first on a terminal and on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench.numbers import UNDETERMINED, Bounded, count, interval, number, p_text, percent, short
from dibench.show.blocks import Block, Cell, Figure, Headline, Section, Sentence, Table, columns
from dibench.words import BESIDE_NAMES, MODEL_NAMES

if TYPE_CHECKING:
    from dibench.study.findings.adequacy import Adequacy
    from dibench.study.findings.estimate import Outcome
    from dibench.study.findings.ladder import Fit


_GROUPS = {"layer": "shape"}
"""Rows are clustered by a layer's shape at any batch: of these there are fewer than layers."""


def section(fit: Fit, alpha: Figure | None = None, about: str = "") -> Section:
    """What was explained, what it rests on, the answer, why, α of both forms, and the tests.

    Args:
        fit: of one table.
        alpha: the figure of α, of all cards.
        about: which card it is of, where there are several.
    """
    rests = f"It rests on {fit.layers.text(fit.rows_are.removesuffix('s'))}."
    question = f"Does it matter for {fit.response_kind} whether an element is weight or activation?"
    told: list[Block] = [
        Sentence(f"{about}{fit.basis} {rests}", "" if fit.evidence else "warn"),
        Headline(fit.answer, "warn" if fit.verdict in ("undecided", "not adequate") else "good"),
        Sentence(f"Why: {'; '.join(fit.reasons)}."),
        *_numbers(fit),
        Sentence(" ".join(filter(None, [_lack_of_fit(fit.adequacy), _beside(fit)]))),
        *_in_doubt(fit),
        *([] if alpha is None else [alpha]),
    ]
    return Section("verdict", "Verdict", question, told)


def _in_doubt(fit: Fit) -> list[Block]:
    """What may pass for evidence and is none, and whether it withholds the verdict."""
    rows: list[list[str | Cell]] = [
        [one.name, Cell(one.figure, "warn" if one.withholds else ""), one.text] for one in fit.guards
    ]
    names = columns(
        *("in doubt", "found", "in full"),
        text=("found", "in full"),
        wraps=("found", "in full"),
        page_only=("in full",),
    )
    return [Table("What may pass for evidence, and is in doubt", names, rows)] if rows else []


def without_fit(why_not: str, alpha: Figure) -> Section:
    """What stands in its place where rows could not be fitted."""
    told: list[Block] = [
        Headline("Nothing can be said yet."),
        Sentence(f"The rows could not be fitted: {why_not}."),
        alpha,
    ]
    return Section("verdict", "Verdict", "Does the data type matter?", told)


def alpha_text(found: Bounded, *, reliable: bool) -> str:
    """α as every screen and page shows it: wherever it is known, and marked where it cannot carry an answer.

    >>> from dibench.study.findings.estimate import Estimate
    >>> alpha_text(Estimate(0.01, 0.0, 0.05), reliable=False)
    '0.01 (0 to 0.05), unreliable'
    >>> alpha_text(Estimate(None, None, None), reliable=False)
    'not determined'
    """
    text = interval(found)
    return text if reliable or text == UNDETERMINED else f"{text}, unreliable"


def _numbers(fit: Fit) -> list[Block]:
    if not fit.determined:
        text = "These rows do not determine α: it and its tests are not to be relied on, and not shown."
        return [Sentence(text, "warn")]
    doubt = "" if fit.reliable else " Not to be relied on: see why above."
    return [Sentence(f"{_alpha(fit)}{doubt}", "" if fit.reliable else "warn"), Sentence(_tests(fit))]


def _lack_of_fit(found: Adequacy) -> str:
    """Whether the model describes its rows, in a sentence."""
    if found.miss is None or found.rows_error is None:
        return "Lack of fit: not told, as rows are too few, or state no interval and repeat no case."
    good = f"rows are good to {percent(found.rows_error, 1)}, up to {percent(found.margin, 0)} is tolerated"
    if found.beside and found.plain_miss is not None:
        without = f"{percent(found.plain_miss, 1)} without {found.beside}"
        return f"Lack of fit: {without}, {percent(found.miss, 1)} beside it; {good}."
    return f"Lack of fit: {percent(found.miss, 1)}; {good}."


def _beside(fit: Fit) -> str:
    """α with each further term that leaves it determined, with the size that fits best."""
    said = []
    for name, one in fit.beside.items():
        if one.alpha.ci_low is None and one.alpha.ci_high is None:
            continue
        sizes = []
        if one.cache_bytes is not None:
            sizes.append(f"cache of {short(one.cache_bytes, 'B')}")
        if one.blocks_of_a_wave is not None:
            sizes.append(f"wave of {count(round(one.blocks_of_a_wave), 'block')}")
        misses = "" if one.miss is None else f"misses {percent(one.miss, 1)}"
        told = ", ".join(filter(None, [*sizes, misses]))
        said.append(f"{BESIDE_NAMES[name]} {interval(one.alpha)}" + (f" ({told})" if told else ""))
    return f"α beside {'; '.join(said)}." if said and fit.determined else ""


def _alpha(fit: Fit) -> str:
    families = fit.alpha_by_family
    return (
        f"α weighted {interval(fit.alpha)}; α disjoint {interval(fit.alpha.disjoint)}. In brackets 95% "
        f"intervals; α = ½ is AI. If rows of one {families.over} err together: "
        f"{interval(families)}, by {families.clusters_text}."
    )


def _tests(fit: Fit) -> str:
    test, split = fit.test_ai_vs_di, fit.test_weights_vs_inputs
    if test.p_value is None:
        return "The test of AI inside DI could not be made on these rows."
    clusters = ", ".join(
        f"{one.clusters} {_GROUPS.get(name, name)}s ({number(one.effective_clusters, '.0f')} effective)"
        for name, one in test.by.items()
    )
    deciding = " and ".join(_GROUPS.get(name, name) for name in test.decided_by)
    said = (
        f"AI inside weighted DI: {_outcome(test)}; restricted wild cluster bootstrap by "
        f"{deciding}, {count(test.draws)} draws, {clusters}."
    )
    if split.p_value is None:
        return said
    return f"{said} Weights against inputs, outputs free: {_outcome(split)}."


def _outcome(test: Outcome) -> str:
    return f"t = {number(test.statistic)}, {p_text(test.p_value)}"


def best_model(fit: Fit) -> str:
    """One sentence on how well the descriptions predict, held out where the fit could hold out."""
    told = ("macs", "ai", "di_weighted", "di_disjoint")
    shown = [name for name in told if name in fit.models and fit.models[name].scores.mape is not None]
    outside = all(fit.models[name].held_out.mape is not None for name in shown)
    said = []
    for name in shown:
        scores = fit.models[name].held_out if outside else fit.models[name].scores
        said.append(f"{MODEL_NAMES[name]} {percent(scores.mape)} (R² {number(scores.r2, '.3f')})")
    where = "on layers of families that the fit has not seen" if outside else "in sample"
    return f"Mean error {where}: {'; '.join(said)}."


def pipeline_check(fit: Fit) -> list[Block]:
    """In two sentences what a fit of modelled energy found, beside one of measured time."""
    scores = fit.models["di_weighted"].scores
    return [
        Sentence(fit.basis, "warn"),
        Sentence(
            f"On {count(fit.rows_used, 'row')}: α weighted {interval(fit.alpha)}, R² of log "
            f"{number(scores.r2, '.3f')}, MAPE {percent(scores.mape, 1)}."
        ),
    ]
