"""The tables of a fit: models, coefficients, α and what it hangs on, twins, and the rows that stayed out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dibench.show.blocks import Table, columns
from dibench.show.numbers import UNKNOWN, common_scale, count, is_number, p_value, plain, share
from dibench.show.parts import Json
from dibench.words import MODEL_NAMES, SENSITIVITY_NAMES, interval

_PICO = 1e-12  # the fit gives coefficients in picoseconds and picojoules
_SAYS_NOTHING = {UNKNOWN, ""}


def fit_tables(fit: Json) -> list[Table]:
    """Every table of a fit that says something."""
    tables = [
        models(fit),
        coefficients(fit),
        coefficients(fit, apart=True),
        by_operator(fit),
        alphas(fit),
        sensitivity(fit),
        exclusions(fit),
    ]
    return [table for table in tables if any(set(row[1:]) - _SAYS_NOTHING for row in table.rows)]


def _cost(fit: Json) -> str:
    return "time" if fit.get("response") == "time_s" else "energy"


def models(fit: Json) -> Table:
    """One line a model: R² of the logarithm, mean absolute error, both correlations, in and out of sample."""
    # Time explains itself: that rung says something about energy only.
    own_rung = "time" if _cost(fit) == "time" else ""
    names = [name for name in MODEL_NAMES if name in (fit.get("models") or {}) and name != own_rung]
    rows = []
    for name in names:
        figures = fit["models"][name]
        held_out = figures.get("held_out") or {}
        rows.append(
            [
                MODEL_NAMES[name],
                plain(figures.get("r2")),
                share(figures.get("mape")),
                plain(figures.get("pearson")),
                plain(figures.get("spearman")),
                plain(held_out.get("r2")),
                share(held_out.get("mape")),
                plain(held_out.get("spearman")),
            ]
        )
    errors = [(fit["models"][name].get("held_out") or fit["models"][name]).get("mape") for name in names]
    known = [error for error in errors if is_number(error)]
    best = frozenset({errors.index(min(known))}) if known else frozenset()
    return Table(
        f"How well each description predicts {_cost(fit)} per launch",
        columns(
            "model",
            "R² (log)",
            "mean error",
            "Pearson",
            "Spearman",
            "R² held out",
            "error held out",
            "Spearman held out",
        ),
        rows,
        "Every model but time alone carries one cost per MAC and operator and one cost per launch. Held "
        "out: the row's "
        "architecture family and every shape it shares were left out of the fit. Bold: least error.",
        best_rows=best,
    )


APART = ("di_split", "effective")
"""Models whose terms the others do not have: a table of their own."""


def coefficients(fit: Json, *, apart: bool = False) -> Table:
    """Every coefficient, one line a term and one column a model; `apart`: of the models in APART."""
    found = {model: figures.get("coefficients") or {} for model, figures in (fit.get("models") or {}).items()}
    shown = [model for model in MODEL_NAMES if found.get(model) and (model in APART) == apart]
    terms = sorted(
        dict.fromkeys(term for model in shown for term in found[model]), key=lambda term: term == "e_launch"
    )
    rows = []
    for term in terms:
        entries = [found[model].get(term) for model in shown]
        unit = next(str(entry["unit"]) for entry in entries if entry)
        size = _PICO if unit.startswith("p") else 1.0  # the time rung's power is in W
        scale, prefix = common_scale(
            entry["value"] * size for entry in entries if entry and is_number(entry["value"])
        )
        per = unit.removeprefix("p")
        cells = [_coefficient(entry, scale / size) for entry in entries]
        rows.append([term.replace("e0", "e₀"), prefix + per, *cells])
    below = {
        term for figures in (fit.get("models") or {}).values() for term in figures.get("below_zero") or []
    }
    names = [MODEL_NAMES[model] for model in shown]
    held = f" Below zero and held at zero in predictions: {', '.join(sorted(below))}." if below else ""
    return Table(
        f"{'Inputs, outputs and accesses apart' if apart else 'Coefficients'}: the {_cost(fit)} of one event",
        columns("term", "unit", *names, text=["unit"], wraps=names),
        rows,
        f"In brackets the 95% interval. Empty: the model has no such term.{held}",
    )


def _coefficient(entry: Mapping[str, Any] | None, scale: float) -> str:
    if not entry:
        return ""
    value, low, high = (
        plain(entry[part] / scale) if is_number(entry.get(part)) else UNKNOWN
        for part in ("value", "ci_low", "ci_high")
    )
    if UNKNOWN in (low, high):
        return value
    return f"{value} ({low} to {high})".replace(" to ", "\u00a0to\u00a0")


def alphas(fit: Json) -> Table:
    """α of both forms."""
    rows = [[form, interval(found)] for form, found in (fit.get("alpha") or {}).items()]
    test = fit.get("test_ai_vs_di") or {}
    return Table(
        "α: how much a weight weighs against an activation",
        columns("form of DI", "α (95% interval)"),
        rows,
        f"Test of α = ½ (weighted form): t = {plain(test.get('statistic'))}, "
        f"p = {p_value(test.get('p_value'))}.".replace("= <", "<"),
        narrow=True,
    )


def by_operator(fit: Json) -> Table:
    """The pooled models judged on each operator's rows, and what those rows say on their own."""
    rows = []
    for op, own in (fit.get("by_operator") or {}).items():
        if not own.get("models"):
            continue
        cells = [str(op), count(own.get("n"))]
        for model in ("ai", "di_weighted"):
            figures = (own.get("models") or {}).get(model) or {}
            cells += [plain(figures.get("r2")), share(figures.get("mape"))]
        cells += [
            interval(own["alpha"]["weighted"]),
            p_value(own.get("p_value")),
            str(own.get("verdict", UNKNOWN)),
        ]
        rows.append(cells)
    return Table(
        "By operator",
        columns(
            "operator",
            "layers",
            "AI: R²",
            "error",
            "DI weighted: R²",
            "error",
            "α of its own rows",
            "p",
            "verdict",
        ),
        rows,
        "R² and error: the pooled fit, judged on each operator's layers; below zero where it is worse than "
        "their mean. "
        "α, p and verdict: a fit of that operator alone.",
    )


def sensitivity(fit: Json) -> Table:
    """α where terms of the model are left out: not for inference, but to see what it hangs on."""
    rows = [
        [
            SENSITIVITY_NAMES[name],
            interval(own["alpha"]),
            p_value(own["p_value"]),
        ]
        for name, own in (fit.get("sensitivity") or {}).items()
    ]
    note = "Weighted form. Models without these terms are biased; they are shown, never used for the verdict."
    return Table("What α hangs on", columns("fit", "α (95% interval)", "p"), rows, note, narrow=True)


def exclusions(fit: Json) -> Table:
    """Why rows stayed out of the fit."""
    rows = [[str(reason), count(number)] for reason, number in (fit.get("excluded") or {}).items()]
    note = f"{count(fit.get('rows_used'))} of {count(fit.get('rows'), 'row')} were used."
    return Table("Rows left out of the fit, and why", columns("reason", "rows"), rows, note, narrow=True)
