"""`compare A B`: two sweeps case by case, the answer in words first, an exit status for automatic checks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from dibench.cli.options import Full, Json, check_json
from dibench.cli.output import answer, console
from dibench.errors import UserError

_STATUS = {"not worse": 0, "worse": 1, "too noisy": 3}


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A sweep's directory, or any CSV of the contract.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The sweep that may have got worse.")],
    fail_above: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENT",
            help="How much worse is still accepted, beyond noise: such as 0.5%. By default 3% of all cases "
            "together, and of single ones as much as their noise, from 0.5% to 3%.",
        ),
    ] = None,
    json_file: Json = None,
    full: Full = False,
) -> None:
    """Compare two sweeps: ratio of time and energy with intervals, and what got worse beyond noise.

    Exit status: 0 nothing got worse, 1 something did (all cases together, single cases, or a case that
    fails now), 2 the tables cannot be compared, 3 too noisy to tell: a change of this size may hide in them.

    Cases are matched by their id. Where the sweeps have none in common (two backends, another tool's table),
    they are matched by layer, the fastest row of each. Energy is compared where the same kind of sensor
    measured both.

    Where both manifests tell the machine's usual paces, B's times are stated at A's before they are compared.

    [bold]python -m dibench compare results/local/before results/local/after --fail-above 5%[/bold]
    """
    check_json(json_file)
    margin = None if fail_above is None else _margin(fail_above)
    from dibench.show import compared
    from dibench.show.terminal import show
    from dibench.show.terms import explained
    from dibench.study.use.compare import compare as engine
    from dibench.study.use.compare_rows import COLUMNS
    from dibench.table import manifest_of, read_csv, table_of

    tables = [read_csv(table_of(path), COLUMNS) for path in (a, b)]
    try:
        found = engine(*tables, margin=margin, manifests=(manifest_of(a), manifest_of(b)))
    except UserError as error:
        raise UserError("", str(error), where=f"{a}, {b}") from None
    told = explained(compared.blocks(found)) if full else compared.brief(found)
    answer(json_file, found.to_json, lambda: show(console(), told))
    if status := _STATUS[found.verdict]:
        raise typer.Exit(status)


def _margin(text: str) -> float:
    """
    >>> _margin("3%"), _margin("0.5")
    (0.03, 0.005)
    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?) ?%?", text.strip(), re.ASCII)
    if match is None or float(match[1]) > 1000:
        raise UserError("--fail-above", "must be a percentage from 0 to 1000, such as 3%", text)
    return float(match[1]) / 100
