"""The tables of the page: every number of the fit, what stayed out and why, and the ends of the sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from dibench.report import axes as ax
from dibench.report import fitted, stationarity
from dibench.report.numbers import UNKNOWN, common_scale, count, is_number, p_value, plain, scaled, share

if TYPE_CHECKING:
    import pandas as pd

_PICO = 1e-12  # the fit gives coefficients in picoseconds and picojoules
_SAYS_NOTHING = {UNKNOWN, ""}
_ENDS = 8  # layers in each of the tables of cheapest and dearest


@attrs.frozen
class Table:
    """A caption, a note, a header and cells of text; the first cell of a row is its heading."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    text_columns: frozenset[int] = frozenset({0})
    best_rows: frozenset[int] = frozenset()
    narrow: bool = False


def fit_tables(fit: fitted.FitJson) -> list[Table]:
    """Models, coefficients, α, operators and exclusions of a fit; a table without rows is left out."""
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


def _cost(fit: fitted.FitJson) -> str:
    return "time" if fit.get("response") == "time_s" else "energy"


def models(fit: fitted.FitJson) -> Table:
    """One line a model: R² of the logarithm, mean absolute error, both correlations, in and out of sample."""
    # Time explains itself: that rung says something about energy only.
    own_rung = "time" if _cost(fit) == "time" else ""
    names = [name for name in fitted.MODEL_NAMES if name in (fit.get("models") or {}) and name != own_rung]
    rows = []
    for name in names:
        figures = fit["models"][name]
        held_out = figures.get("held_out") or {}
        rows.append(
            [
                fitted.MODEL_NAMES[name],
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
        (
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


def coefficients(fit: fitted.FitJson, *, apart: bool = False) -> Table:
    """Every coefficient, one line a term and one column a model; `apart`: of the models in APART."""
    found = {model: figures.get("coefficients") or {} for model, figures in (fit.get("models") or {}).items()}
    shown = [model for model in fitted.MODEL_NAMES if found.get(model) and (model in APART) == apart]
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
    held = f" Below zero and held at zero in predictions: {', '.join(sorted(below))}." if below else ""
    return Table(
        f"{'Inputs, outputs and accesses apart' if apart else 'Coefficients'}: the {_cost(fit)} of one event",
        ("term", "unit", *(fitted.MODEL_NAMES[model] for model in shown)),
        rows,
        f"In brackets the 95% interval. Empty: the model has no such term.{held}",
        text_columns=frozenset({0, 1}),
    )


def _coefficient(entry: Mapping[str, Any] | None, scale: float) -> str:
    if not entry:
        return ""
    value, low, high = (
        plain(entry[part] / scale) if is_number(entry.get(part)) else UNKNOWN
        for part in ("value", "ci_low", "ci_high")
    )
    return value if UNKNOWN in (low, high) else f"{value} ({low} to {high})"


def alphas(fit: fitted.FitJson) -> Table:
    """α of both forms."""
    found = fit.get("alpha") or {}
    rows = [
        [
            form,
            *(
                plain(own.get(part), 4) if fitted.bounded(own) else UNKNOWN
                for part in ("value", "ci_low", "ci_high")
            ),
        ]
        for form, own in found.items()
        if isinstance(own, Mapping)
    ]
    test = fit.get("test_ai_vs_di") or {}
    return Table(
        "α: how much a weight weighs against an activation",
        ("form of DI", "α", "95% low", "95% high"),
        rows,
        f"Test of α = ½ (weighted form): t = {plain(test.get('statistic'))}, "
        f"p = {p_value(test.get('p_value'))}. ".replace("= <", "<")
        + "A dash: unbounded, or not determined by these rows.",
        narrow=True,
    )


def by_operator(fit: fitted.FitJson) -> Table:
    """The pooled models judged on each operator's rows, and what those rows say on their own."""
    rows = []
    for op, own in (fit.get("by_operator") or {}).items():
        if not own.get("models"):
            continue
        cells = [str(op), count(own.get("n"))]
        for model in ("ai", "di_weighted"):
            figures = (own.get("models") or {}).get(model) or {}
            cells += [plain(figures.get("r2")), share(figures.get("mape"))]
        found = (own.get("alpha") or {}).get("weighted") or {}
        cells += [
            alpha_interval(found),
            p_value(own.get("p_value")),
            str(own.get("verdict", UNKNOWN)),
        ]
        rows.append(cells)
    return Table(
        "By operator",
        (
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


def alpha_interval(found: Mapping[str, Any]) -> str:
    """`0.31 (0.2 to 0.42)`, a dash for a bound that is not known."""
    value, low, high = (plain(found.get(part), 2) for part in ("value", "ci_low", "ci_high"))
    return f"{value} ({low} to {high})" if fitted.bounded(found) else UNKNOWN


def sensitivity(fit: fitted.FitJson) -> Table:
    """α where terms of the model are left out: not for inference, but to see what it hangs on."""
    rows = [
        [
            str(name).replace("_", " "),
            alpha_interval((own or {}).get("alpha") or {}),
            p_value((own or {}).get("p_value")),
        ]
        for name, own in (fit.get("sensitivity") or {}).items()
    ]
    note = "Weighted form. Models without these terms are biased; they are shown, never used for the verdict."
    return Table("What α hangs on", ("fit", "α (95% interval)", "p"), rows, note, narrow=True)


def exclusions(fit: fitted.FitJson) -> Table:
    """Why rows stayed out of the fit."""
    rows = [[str(reason), count(number)] for reason, number in (fit.get("excluded") or {}).items()]
    note = f"{count(fit.get('rows_used'))} of {count(fit.get('rows'), 'row')} were used."
    return Table("Rows left out of the fit, and why", ("reason", "rows"), rows, note, narrow=True)


BUDGET = {
    "sensor's ticks": "ci_tick_j",
    "ripple within a visit": "ci_spread_j",
    "between visits, and temperature": "ci_drift_j",
    "baseline (of energy above it only)": "ci_baseline_j",
    "gross energy, together": "energy_ci_j",
}


def error_budget(frame: pd.DataFrame) -> Table:
    """Of a table's rows with an interval of energy: how wide it is, and which part of it comes from what."""
    found = []
    for name, column in BUDGET.items():
        if column in frame and "energy_j" in frame:
            relative = (frame[column] / frame["energy_j"])[(frame[column] > 0) & (frame["energy_j"] > 0)]
            if len(relative):
                found.append([name, *(f"{100 * relative.quantile(q):.2g}%" for q in (0.05, 0.5, 0.95))])
    return Table(
        "Error budget: half-widths of 95% intervals over gross energy",
        ("part", "5% of rows below", "median", "95% of rows below"),
        found,
        "Squares add up. Not in it: the sensor's gain, the same factor in all rows of a card, 5 to 13% off "
        "in published comparisons.",
    )


def mishaps(rows: pd.DataFrame) -> Table:
    """Rows that are not `ok`, by status and reason, the most frequent first."""
    own = rows[rows["status"] != "ok"]
    # Reasons of one kind differ in their figures: those are left open.
    kind = own["reason"].str.replace(r"[\d.]+(?:e[+-]?\d+)?", "…", regex=True)
    counted = Counter(zip(own["status"], kind, strict=True))
    cells = [[status, reason or UNKNOWN, count(number)] for (status, reason), number in counted.most_common()]
    return Table(
        "Rows that are not ok",
        ("status", "reason", "rows"),
        cells,
        text_columns=frozenset({0, 1}),
    )


def stationarities(pairs: pd.DataFrame, measure: str) -> Table:
    """Medians and middle halves of the ratios at equal boxes."""
    rows = [
        [
            line["op"],
            line["pair"],
            count(line["pairs"]),
            plain(line["median"]),
            f"{plain(line['low'])} to {plain(line['high'])}",
        ]
        for line in stationarity.summary(pairs)
    ]
    return Table(
        f"Ratio of {measure} at equal layer and box",
        ("operator", "held / held", "pairs", "median", "middle half"),
        rows,
        text_columns=frozenset({0, 1}),
        narrow=True,
    )


def operators(rows: pd.DataFrame, shares: Mapping[str, Mapping[str, float]]) -> Table:
    """What was measured of each operator, and how fast its fastest kernels are."""
    usable = rows[rows["usable"]]
    fastest = usable[usable["fastest"]]
    cells = []
    for op in ax.present(usable):
        own, fast = usable[usable["op"] == op], fastest[fastest["op"] == op]
        cells.append(
            [
                op,
                count(len(own)),
                count(len(fast)),
                scaled(float(fast["ps_per_mac"].median()) * 1e-12, "s"),
                scaled(float(fast["mac_per_s"].max()), "MAC/s"),
                share((shares.get(op) or {}).get("median")),
                share((shares.get(op) or {}).get("best")),
            ]
        )
    return Table(
        "What was measured, by operator",
        (
            "operator",
            "rows",
            "layers",
            "median time per MAC",
            "fastest",
            "median share of roof",
            "best share",
        ),
        cells,
        "Layers, times and shares: the fastest kernel of each operator. The roof counts compulsory bytes, so "
        "a layer whose data stay in a cache may exceed it.",
    )


def ends(rows: pd.DataFrame) -> list[Table]:
    """The layers of least and most time per MAC, by the fastest kernel of their operator."""
    fastest = rows[rows["fastest"]].sort_values("ps_per_mac")
    if len(fastest) <= 2 * _ENDS:
        chosen = [("Layers from the least to the most time per MAC", fastest)]
    else:
        chosen = [
            ("The layers with the least time per MAC", fastest.head(_ENDS)),
            ("The layers with the most time per MAC", fastest.tail(_ENDS)[::-1]),
        ]
    columns = ("layer", "operator", "shape", "kernel", "MACs", "AI", "time", "per MAC")
    text = frozenset({0, 1, 2, 3})
    return [
        Table(
            caption,
            columns,
            [_layer_cells({str(k): v for k, v in row.items()}) for row in own.to_dict("records")],
            text_columns=text,
        )
        for caption, own in chosen
        if len(own)
    ]


def _layer_cells(row: Mapping[str, Any]) -> list[str]:
    return [
        row["name"] or "unnamed",
        row["op"],
        shape(row),
        row["variant"] or UNKNOWN,
        scaled(row["macs"]),
        plain(row["ai"]),
        scaled(row["time_s"], "s"),
        scaled(row["ps_per_mac"] * 1e-12, "s"),
    ]


def shape(row: Mapping[str, Any]) -> str:
    """Input, output and filter of a row: `64×56×56 → 128×28×28, 3×3/2`, a batch above one in front."""
    d = {name: int(row[name]) for name in ("N", "C", "H", "K", "R", "S", "P", "Q", "stride_h", "groups")}
    batch = f"{d['N']}×" if d["N"] > 1 else ""
    if row["op"] == "fc":
        return f"{batch}{d['C']} → {d['K']}"
    stride = f"/{d['stride_h']}" if d["stride_h"] > 1 else ""
    groups = f", {d['groups']} groups" if d["groups"] > 1 else ""
    width = int(row["W"])
    return f"{batch}{d['C']}×{d['H']}×{width} → {d['K']}×{d['P']}×{d['Q']}, {d['R']}×{d['S']}{stride}{groups}"


def facts(manifest: Mapping[str, Any]) -> Table:
    """The manifest flattened: `device.name`, `versions.numpy`, one line each."""
    rows = [[name, value] for name, value in _flat(manifest)]
    return Table("The manifest", ("what", "value"), rows, text_columns=frozenset({0, 1}))


def _flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [
            pair
            for key, own in value.items()
            for pair in _flat(own, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, (list, tuple)):
        return [(prefix, ", ".join(map(str, value)))]
    return [(prefix, UNKNOWN if value is None else str(value))]
