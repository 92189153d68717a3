"""`compare A B`: two sweeps case by case, the answer in words first, an exit status for automatic checks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dibench.cli.output import console, escape, plain_table
from dibench.errors import UserError
from dibench.show.numbers import number, short

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from dibench.study.use.compare import Comparison, Difference, Quantity

_SHOWN = 8
_WORDS = {"time_s": ("time", "s"), "energy_j": ("energy", "J")}


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A sweep's directory, or any CSV of the contract.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The sweep that may have got worse.")],
    fail_above: Annotated[
        str, typer.Option(metavar="PERCENT", help="A change counts from this on, beyond the noise: 0.5%.")
    ] = "3%",
    as_json: Annotated[bool, typer.Option("--json", help="Every figure as JSON, no screen.")] = False,
) -> None:
    """Compare two sweeps: ratio of time and energy with intervals, and what got worse beyond noise.

    Exit status: 0 nothing got worse, 1 something did (all cases together, single cases, or a case that
    fails now), 2 the tables cannot be compared.

    Cases are matched by their id; where none is in common (two backends, another tool's table) by layer, the
    fastest row of each. Energy is compared where the same kind of sensor measured both.

    [bold]python -m dibench compare results/local/before results/local/after --fail-above 5%[/bold]
    """
    margin = _margin(fail_above)
    from dibench.table import read_csv, table_of

    tables = [read_csv(table_of(path)) for path in (a, b)]
    from dibench.study.use.compare import compare as engine

    try:
        found = engine(*tables, margin=margin)
    except UserError as error:
        raise UserError("", str(error), where=f"{a}, {b}") from None
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        _show(found, tables)
    if found.worse:
        raise typer.Exit(1)


def _margin(text: str) -> float:
    """
    >>> _margin("3%"), _margin("0.5")
    (0.03, 0.005)
    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?) ?%?", text.strip(), re.ASCII)
    if match is None or float(match[1]) > 1000:
        raise UserError("--fail-above", "must be a percentage from 0 to 1000, such as 3%", text)
    return float(match[1]) / 100


def _show(found: Comparison, tables: list[pd.DataFrame]) -> None:
    from rich.text import Text

    out = console()
    for quantity in found.quantities:
        style = {"worse": "bold red", "better": "bold green"}.get(_overall(quantity), "bold")
        out.print(Text(_answer(quantity), style=style))
    for what, why in found.not_compared.items():
        out.print(Text(f"{what.capitalize()} is not compared: {why}."))
    if found.newly_failed:
        out.print(Text(f"Measured in A, failed in B: {len(found.newly_failed)}", style="bold red"))
        for line in found.newly_failed[:_SHOWN]:
            out.print(Text(f"  {line}"))
    for quantity in found.quantities:
        changed = [*quantity.having("worse"), *quantity.having("better")]
        if changed:
            out.print()
            out.print(_table(quantity, found.matched_by))
    out.print()
    for line in _basis(found, tables):
        out.print(Text(line, style="dim"))


def _overall(quantity: Quantity) -> str:
    return "worse" if quantity.verdict == "worse" or quantity.having("worse") else quantity.verdict


def _answer(quantity: Quantity) -> str:
    """The change of all cases together, and how many single cases changed beyond noise."""
    what, _ = _WORDS[quantity.column]
    if quantity.source:
        what += f" ({quantity.source})"
    number = len(quantity.cases)
    cases = f"{number:,} case{'s' * (number != 1)}"
    interval = ""
    if quantity.low is not None and quantity.high is not None:
        interval = f" (95% {_percent(quantity.low)} to {_percent(quantity.high)})"
    verdict = {
        "worse": f"B takes more {what} than A",
        "better": f"B takes less {what} than A",
        "same": f"B takes as much {what} as A, within {100 * quantity.margin:g}%",
    }[quantity.verdict]
    if quantity.verdict == "same" and quantity.low is not None and quantity.high is not None:
        inside = quantity.low > 1 / (1 + quantity.margin) and quantity.high < 1 + quantity.margin
        verdict = verdict if inside else f"Whether B takes more {what} than A is not decided"
    worse, better = len(quantity.having("worse")), len(quantity.having("better"))
    single = (
        f"{worse} worse, {better} better beyond noise" if worse or better else "none changed beyond noise"
    )
    return f"{verdict}: {_percent(quantity.ratio)}{interval} over {cases}; singly, {single}."


def _percent(ratio: float) -> str:
    """
    >>> _percent(1.0312), _percent(0.5), _percent(3.0)
    ('+3.1%', '-50.0%', '×3.00')
    """
    return f"×{ratio:.2f}" if ratio >= 2 else f"{100 * (ratio - 1):+.1f}%"


def _table(quantity: Quantity, matched_by: str) -> Table:
    what, unit = _WORDS[quantity.column]
    worse, better = quantity.having("worse"), quantity.having("better")
    title = f"Changed {what} beyond noise and {100 * quantity.margin:g}%"
    if len(worse) > _SHOWN or len(better) > _SHOWN:
        title += f", the largest {_SHOWN} of each direction"
    table = plain_table(title)
    for name in ("layer", "op", "kernel"):
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    for name in ("A", "B", "change", "95%", "p (Holm)"):
        table.add_column(name, justify="right", no_wrap=True)

    def add(case: Difference, p: float | None) -> None:
        kernel = " ".join(filter(None, (case.variant, case.knobs)))
        if matched_by == "layer":
            kernel = ""
        low, high = (_percent(end) if end is not None else "–" for end in (case.low, case.high))
        table.add_row(
            escape(case.name or case.case_id),
            case.op,
            escape(kernel),
            short(case.a, unit),
            short(case.b, unit),
            _percent(case.ratio),
            f"{low} to {high}",
            number(p, ".2g"),
        )

    for case in worse[:_SHOWN]:
        add(case, case.p_worse)
    for case in better[:_SHOWN]:
        add(case, case.p_better)
    return table


def _basis(found: Comparison, tables: list[pd.DataFrame]) -> list[str]:
    """What the answer rests on: how rows were matched, noise, tests, what differs, what is missing."""
    how = "by case" if found.matched_by == "case" else "by layer, the fastest row of each: no case in common"
    lines = [f"Matched {how}. Rows of A without partner: {found.only_a}, of B: {found.only_b}."]
    for quantity in found.quantities:
        what, _ = _WORDS[quantity.column]
        p = number(quantity.p_wilcoxon, ".2g")
        without = sum(case.low is None for case in quantity.cases)
        lines.append(
            f"{what.capitalize()}: Wilcoxon signed-rank p = {p}; between stays at the reference case "
            f"{100 * quantity.between:.2g}%"
            + (f"; {without} cases without interval" if without else "")
            + "."
        )
    flagged = [int((table["status"] == "flagged").sum()) for table in tables]
    if any(flagged):
        lines.append(f"Flagged rows, used with their intervals: {flagged[0]} in A, {flagged[1]} in B.")
    names = dict(found.differs)
    if "device" in names:
        names.pop("device_uuid", None)
    lines += [f"{name} differs: {a or '–'} in A, {b or '–'} in B." for name, (a, b) in names.items()]
    return lines
