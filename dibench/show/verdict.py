"""AI or DI: the answer of a fit, why, and the numbers behind it; first on a terminal and on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench.numbers import count, interval, number, p_value, percent
from dibench.show.blocks import Block, Headline, Section, Sentence
from dibench.show.response import response_of
from dibench.show.studies import AS_ONE
from dibench.words import MODEL_NAMES

if TYPE_CHECKING:
    from dibench.show.studies import Study
    from dibench.study.findings.estimate import Outcome
    from dibench.study.findings.ladder import Fit


def blocks(fit: Fit) -> list[Block]:
    """What was explained, the answer, and why."""
    return [
        Sentence(fit.basis, "" if fit.evidence else "warn"),
        Headline(fit.answer, "warn" if fit.verdict == "undecided" else "good"),
        Sentence(_why(fit)),
    ]


def numbers(fit: Fit) -> list[Block]:
    """α of both forms, and the tests."""
    if not fit.determined:
        text = "These rows do not determine α: it and its tests are not to be relied on, and not shown."
        return [Sentence(text, "warn")]
    doubt = "" if fit.reliable else " Not to be relied on: see why above."
    return [Sentence(f"{_alpha(fit)}{doubt}", "" if fit.reliable else "warn"), Sentence(_tests(fit))]


def section(study: Study) -> Section:
    """The page's first question: the answer, why, and what it rests on."""
    fit = study.fit
    if fit is None:
        told: list[Block] = [
            Headline("Nothing can be said yet."),
            Sentence(f"The rows could not be fitted: {study.why_not}."),
        ]
        return Section("verdict", "Verdict", "Does the data type matter?", told)
    about = f"{study.card}, the card with most rows" if study.card != AS_ONE else "cards of one model as one"
    of = [Sentence(f"Of {about}.")] if study.card else []
    question = f"Does it matter for {fit.response_kind} whether an element is weight or activation?"
    told = [Headline(fit.answer), *of, Sentence(_why(fit)), *numbers(fit), Sentence(_standing(fit))]
    return Section("verdict", "Verdict", question, told)


def _why(fit: Fit) -> str:
    return f"Why: {'; '.join(fit.reasons)}."


def _alpha(fit: Fit) -> str:
    return (
        f"α weighted {interval(fit.alpha)}; α disjoint {interval(fit.alpha.disjoint)}. In brackets the 95% "
        "interval; at α = ½ weighted DI is AI."
    )


def _tests(fit: Fit) -> str:
    test, split = fit.test_ai_vs_di, fit.test_weights_vs_inputs
    if test.p_value is None:
        return "The test of AI inside DI could not be made on these rows."
    clusters = ", ".join(
        f"{one.clusters} {name}s ({number(one.effective_clusters, '.0f')} effective)"
        for name, one in test.by.items()
    )
    said = (
        f"AI inside weighted DI: {_outcome(test)}; restricted wild cluster bootstrap by "
        f"{' and '.join(test.decided_by)}, {count(test.draws)} draws, {clusters}."
    )
    if split.p_value is None:
        return said
    return f"{said} Weights against inputs, outputs free: {_outcome(split)}."


def _outcome(test: Outcome) -> str:
    p = p_value(test.p_value)
    return f"t = {number(test.statistic)}, p {p if p.startswith('<') else f'= {p}'}"


def _standing(fit: Fit) -> str:
    layers, rows = count(fit.rows_used, "layer"), count(fit.rows, "row")
    basis = f"It rests on {layers}, run by the fastest kernel of their operator, out of {rows}."
    if fit.response_kind == "time":
        return f"{basis} It is about measured time; whether it holds for energy needs an energy sensor."
    if not fit.evidence:
        adjective = response_of(fit).adjective
        return f"{basis} Because the energy is {adjective}, this checks the pipeline and is not evidence."
    return basis


def best_model(fit: Fit) -> str:
    """One sentence on how well the descriptions predict, held out where the fit could hold out."""
    shown = [name for name in ("macs", "ai", "di_weighted", "di_disjoint") if name in fit.models]
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
