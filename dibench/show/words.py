"""What the page says in plain words: what was measured, what it is worth, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dibench.schema import MEASURED_SOURCES
from dibench.show import fitted
from dibench.show.numbers import count, is_number, p_value, plain, share
from dibench.show.parts import AS_ONE, Json
from dibench.show.response import response_of
from dibench.words import MODEL_NAMES, UNDETERMINED, interval

if TYPE_CHECKING:
    import pandas as pd

    from dibench.show.parts import Study

_SOURCE_NOTES = {
    "nvml_counter": "energy counter of the GPU",
    "nvml_power": "power sensor of the GPU, integrated",
    "rapl": "counters of the processor package",
    "zeus": "measured by Zeus",
    "model": "computed, not measured",
    "simulated": "test data, not measured",
    "none": "not measured on this machine",
}


def sources(rows: pd.DataFrame) -> list[str]:
    """The energy sources of the rows, the most frequent first."""
    return [str(source) for source in rows["energy_source"].value_counts().index]


def source_fact(names: list[str]) -> tuple[str, str]:
    """The energy source for the head of the page, and what it means."""
    if not names:
        return "none", "no rows"
    return " + ".join(names), "; ".join(_SOURCE_NOTES.get(name, "") for name in names).strip("; ")


def mark(study: Study) -> str:
    """What every figure of the page carries where it was not measured; else empty."""
    if "simulated" in sources(study.rows):
        return "simulated"
    adjective = response_of(study.fit).adjective
    return "" if adjective == "measured" else adjective


def banners(rows: pd.DataFrame, manifest: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """What a reader must know before any number: energy that is not measured, and files that are missing."""
    present = sources(rows)
    found = []
    if "simulated" in present:
        found.append(
            _banner(
                "Simulated: a pipeline check, not evidence",
                "These rows come from a simulated device. They show that the pipeline works; no number on "
                "this page "
                "says anything about real hardware.",
            )
        )
    if "model" in present:
        found.append(
            _banner(
                "Energy is modelled, not measured",
                "This machine has no energy sensor that dibench can read. Joules are accesses times "
                "published energies per "
                "access: a pipeline check, not evidence. The page leads with measured time.",
            )
        )
    if present and not set(present) & {*MEASURED_SOURCES, "model", "simulated"}:
        found.append(
            _banner(
                "Energy was not measured",
                "No energy sensor was read, so this page is about measured time. `python -m dibench "
                "doctor` says "
                "what this machine can measure and what would have to change.",
            )
        )
    if manifest is None:
        found.append(
            _banner(
                "The manifest is missing",
                "There is no manifest.json beside the table: the machine's peaks, versions and the command "
                "line are "
                "not known, and the roofline has no roof.",
            )
        )
    return found


def _banner(title: str, text: str) -> dict[str, str]:
    return {"title": title, "text": text}


def verdict(study: Study) -> dict[str, Any]:
    """Question, answer in one sentence and the numbers that say so."""
    fit = study.fit
    if fit is None:
        return {
            "question": "Does the data type matter?",
            "answer": "Nothing can be said yet.",
            "lines": [f"The rows could not be fitted: {study.why_not}."],
        }
    response = response_of(fit)
    what, adjective = response.name, response.adjective
    about = f"{study.card}, the card with most rows" if study.card != AS_ONE else "cards of one model as one"
    lines = [f"Of {about}."] if study.card else []
    lines += [*_reasons(fit), _alpha_words(fit), _test_words(fit), _standing(fit, what, adjective)]
    return {
        "question": f"Does it matter for {what} whether an element is a weight or an activation?",
        "answer": ("" if adjective == "measured" else "Pipeline check, not evidence: ")
        + _answer(str(fit.get("verdict", "")), f"{adjective} {what}"),
        "lines": lines,
    }


def _answer(decision: str, what: str) -> str:
    word = decision.lower()
    if word.startswith("di"):
        return f"Yes. Weights and activations cost differently, and DI predicts {what} better than AI."
    if word.startswith("ai"):
        return (
            f"No. Weights and activations cost the same within the margin: AI describes {what} as well as DI."
        )
    if word.startswith("undecided"):
        return f"Undecided. On {what}, these rows cannot tell AI from DI."
    return f"{decision or 'No verdict'}."


def _reasons(fit: Json) -> list[str]:
    reasons = fit.get("reasons") or []
    listed = [reasons] if isinstance(reasons, str) else list(reasons)
    return [f"Why: {'; '.join(map(str, listed))}."] if listed else []


def _alpha_words(fit: Json) -> str:
    forms = [fitted.alpha(fit, form) for form in ("weighted", "disjoint")]
    if not any(forms):
        return "These rows do not determine α, the weight of weights, in either form."
    weighted, disjoint = (interval(found) if found else UNDETERMINED for found in forms)
    return (
        f"The fitted weight of weights, α, is {weighted} in the weighted form and {disjoint} in the disjoint "
        "form, in brackets the 95% interval. At α = ½ the weighted form is AI itself."
    )


def _test_words(fit: Json) -> str:
    test = fit.get("test_ai_vs_di") or {}
    if not is_number(test.get("p_value")):
        return "The test of AI inside DI could not be made on these rows."
    p = p_value(test["p_value"])
    return (
        f"Test that a weight costs what an activation costs: t = {plain(test.get('statistic'))}, "
        f"p {p if p.startswith('<') else '= ' + p}, by restricted wild cluster bootstrap."
    )


def _standing(fit: Json, what: str, adjective: str) -> str:
    layers, rows = count(fit.get("rows_used"), "layer"), count(fit.get("rows"), "row")
    basis = f"It rests on {layers}, run by the fastest kernel of their operator, out of {rows}."
    if what == "time":
        return f"{basis} It is about {adjective} time; whether it holds for energy needs an energy sensor."
    if not fit.get("evidence"):
        return f"{basis} Because the energy is {adjective}, this checks the pipeline and is not evidence."
    return basis


def best_model(fit: Json) -> str:
    """One sentence on how well the descriptions predict, held out where the fit could hold out."""
    models = fit.get("models") or {}
    shown = [name for name in ("macs", "ai", "di_weighted", "di_disjoint") if name in models]
    held_out = [(models[name].get("held_out") or {}) for name in shown]
    outside = all(is_number(figures.get("mape")) for figures in held_out)
    figures = held_out if outside else [models[name] for name in shown]
    said = "; ".join(
        f"{MODEL_NAMES[name]} {share(own.get('mape'))} (R² {plain(own.get('r2'))})"
        for name, own in zip(shown, figures, strict=True)
    )
    where = "on layers of families that the fit has not seen" if outside else "in sample"
    return f"Mean error {where}: {said}."
