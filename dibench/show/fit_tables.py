"""How well each description predicts: models, coefficients, operators, what α depends on, rows left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench.numbers import UNKNOWN, bracketed, common_scale, count, interval, number, p_value, percent
from dibench.show import held_out, verdict
from dibench.show.blocks import Block, Section, Sentence, Table, columns
from dibench.words import MODEL_NAMES, SENSITIVITY_NAMES, gain_text

if TYPE_CHECKING:
    from dibench.study.findings.ladder import Coefficient, Fit, Scores

_PICO = 1e-12  # the fit gives coefficients in picoseconds and picojoules


def section(fit: Fit) -> Section:
    """Models, coefficients, operators, unseen families, what α depends on, and the rows."""
    told: list[Block] = [models(fit), coefficients(fit)]
    told += [coefficients(fit, apart=True), by_operator(fit)]
    told += [*held_out.blocks(fit.held_out), *held_out.of_no_family(fit.folds)]
    told = [block for block in told if not isinstance(block, Table) or _says_something(block)]
    told += map(Sentence, [*sensitivity(fit), *di_coefficients(fit), *rows_text(fit)])
    return Section("fit", "Fit", f"Which description predicts {fit.response_kind} best?", told)


def _says_something(table: Table) -> bool:
    return any(set(row[1:]) - {UNKNOWN, ""} for row in table.rows)


def models(fit: Fit) -> Table:
    """A line for each fitted model: how well it predicts, in sample and held out."""
    shown = {name: model for name, model in fit.models.items() if model.reason is None}
    known = [model.aicc for model in shown.values() if model.aicc is not None]
    rows = []
    for name, model in shown.items():
        behind = None if model.aicc is None else model.aicc - min(known)
        size = [count(model.k), number(behind, ".0f")]
        rows.append([MODEL_NAMES[name], *_scores(model.scores), *_scores(model.held_out), *size])
    errors = [
        error for model in shown.values() if (error := model.held_out.mape or model.scores.mape) is not None
    ]
    best = frozenset({errors.index(min(errors))}) if len(errors) == len(shown) and errors else frozenset()
    names = ("R²", "MAPE", "r", "ρ")
    ranks = {"ΔAICc": 2, "terms": 1, "r out": 3, "ρ out": 3}
    return Table(
        f"How well each description predicts {fit.response_kind} per launch ({fit.response}, "
        f"{count(fit.rows_used, fit.rows_are.removesuffix('s'))})",
        columns("model", *names, *(f"{name} out" for name in names), "terms", "ΔAICc", ranks=ranks),
        rows,
        " ".join(
            [
                f"R² of logs; out: held out by {fit.folds.text}. Bold: least.",
                *not_fitted(fit),
            ]
        ),
        best_rows=best,
    )


def not_fitted(fit: Fit) -> list[str]:
    """Models that could not be fitted, and coefficients held at zero."""
    missing, held = [], []
    for name, model in fit.models.items():
        if model.reason is not None:
            missing.append(f"{MODEL_NAMES[name]}: {model.reason}")
        elif model.below_zero:
            held.append(f"{MODEL_NAMES[name]}: {', '.join(model.below_zero)}".replace("e0", "e₀"))
    said = [f"Not fitted: {'; '.join(missing)}."] if missing else []
    return said + ([f"Below zero, held at 0: {'; '.join(held)}."] if held else [])


def _scores(scores: Scores) -> list[str]:
    return [
        number(scores.r2, ".3f"),
        percent(scores.mape, 1),
        number(scores.pearson, ".3f"),
        number(scores.spearman, ".3f"),
    ]


APART = ("di_split", "effective", "di_occupancy", "di_capacity")
"""Models with terms that the others do not have; they get a table of their own."""


def coefficients(fit: Fit, *, apart: bool = False) -> Table:
    """Every coefficient, with a line for each term and a column for each model; `apart`: of APART."""
    found = {
        name: fit.models[name].coefficients
        for name in MODEL_NAMES
        if name in fit.models and fit.models[name].coefficients and (name in APART) == apart
    }
    terms = dict.fromkeys(term for own in found.values() for term in own)
    units, rows = _units(fit), []
    for term in sorted(terms, key=lambda term: term == "e_launch"):
        entries = [own.get(term) for own in found.values()]
        scale, unit = units[term]
        cells = ["" if one is None else _coefficient(one, scale) for one in entries]
        rows.append([term.replace("e0", "e₀"), unit, *cells])
    below = {term for model in fit.models.values() for term in model.below_zero}
    names = [MODEL_NAMES[model] for model in found]
    held = (
        f" Below zero and held at zero in predictions: {', '.join(sorted(below)).replace('e0', 'e₀')}."
        if below
        else ""
    )
    gain = f" {gain_text(fit.gain_accuracy)}" if fit.evidence else ""
    what = "Inputs, outputs and accesses apart" if apart else "Coefficients"
    return Table(
        f"{what}: the {fit.response_kind} of one event",
        columns("term", "unit", *names, text=["unit"], wraps=names),
        rows,
        f"In brackets the 95% interval. Empty: the model has no such term.{held}{gain}",
        page_only=True,
    )


def _units(fit: Fit) -> dict[str, tuple[float, str]]:
    """The scale and the unit of each term: one prefix for all that is of one event, another for a launch."""
    found: dict[str, list[Coefficient]] = {}
    for model in fit.models.values():
        for term, one in model.coefficients.items():
            found.setdefault(term, []).append(one)
    alike: dict[str, list[str]] = {}
    for term, entries in found.items():
        alike.setdefault(term if term == "e_launch" else entries[0].unit.partition("/")[0], []).append(term)
    units = {}
    for terms in alike.values():
        every = [one for term in terms for one in found[term]]
        size = _PICO if every[0].unit.startswith("p") else 1.0  # the time model's power is in W
        known = sorted(abs(one.value) * size for one in every if one.value)
        # Of the median, as one far out would leave the others no digits.
        scale, prefix = common_scale(known[len(known) // 2 :][:1])
        for term in terms:
            units[term] = scale / size, prefix + found[term][0].unit.removeprefix("p")
    return units


def _coefficient(one: Coefficient, scale: float) -> str:
    value, low, high = (None if end is None else end / scale for end in (one.value, one.ci_low, one.ci_high))
    return bracketed(value, low, high).replace(" to ", "\u00a0to\u00a0")


def by_operator(fit: Fit) -> Table:
    """The pooled models judged on each operator's rows, and what those rows say alone."""
    rows = []
    for op, own in fit.by_operator.items():
        cells = [op, count(own.n)]
        for model, figures in (("ai", 2), ("di_weighted", 4)):
            scored = own.models.get(model)
            cells += [UNKNOWN] * figures if scored is None else _scores(scored.scores)[:figures]
        alpha = verdict.alpha_text(own.alpha, reliable=own.reliable)
        rows.append([*cells, p_value(own.p_value), alpha, f"{own.verdict}: {own.brief}"])
    return Table(
        "By operator: the pooled models on its rows, then what its rows say alone",
        columns(
            "operator", "rows", "AI: R²", "AI: MAPE", "DI: R²", "DI: MAPE", "DI: r", "DI: ρ", "p", "α (95%)",
            "says",
            text=("α (95%)", "says"), wraps=("says",), ranks={"DI: r": 3, "DI: ρ": 3, "p": 2, "rows": 1},
        ),
        rows,
    )  # fmt: skip


def di_coefficients(fit: Fit) -> list[str]:
    """The coefficients of weighted DI in a sentence; none where it was not fitted, or without an α."""
    said, units = [], _units(fit)
    for name, one in fit.models["di_weighted"].coefficients.items():
        scale, unit = units[name]
        said.append(f"{name.replace('e0', 'e₀')} {_coefficient(one, scale)} {unit}".replace("\u00a0", " "))
    return [f"{MODEL_NAMES['di_weighted']}: {', '.join(said)}."] if said and fit.determined else []


def sensitivity(fit: Fit) -> list[str]:
    """α of models with fewer terms: biased, shown to see what it depends on; none without an α."""
    said = "; ".join(
        f"{SENSITIVITY_NAMES[name]} {interval(one.alpha)}, p {p_value(one.p_value)}"
        for name, one in fit.sensitivity.items()
    )
    return [f"Sensitivity, not evidence: α weighted {said}."] if fit.determined else []


def rows_text(fit: Fit) -> list[str]:
    """Which rows were used and left out, and which kernels ran them."""
    excluded = ", ".join(f"{count(rows)} {reason}" for reason, rows in fit.excluded.items())
    setting = ", ".join(filter(None, fit.setting.values()))
    flagged = f", {fit.rows_flagged} flagged" if fit.rows_flagged else ""
    left_out = f"; left out: {excluded}" if excluded else ""
    said = [f"Rows: {count(fit.rows_used)} of {count(fit.rows)} ({setting}{flagged}){left_out}."]
    variants = ", ".join(f"{op} {name}" for op, name in fit.variants.items() if name)
    said += [f"{note}." for note in fit.notes]
    return [*said, f"Variants, the fastest of each operator: {variants}."] if variants else said
