"""`report CSV`: the HTML page of a sweep."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from dibench.cli.output import say


def report(
    table: Annotated[
        Path,
        typer.Argument(metavar="CSV", help="sweep.csv, its directory, or anybody's table."),
    ],
    figures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write each figure as SVG and PNG files into this directory too."),
    ] = None,
) -> None:
    """Write report.html beside a sweep.csv: one self-contained page with figures, fit, reproduction.

    Of another table such as mine.csv it is mine-report.html.

    [bold]python -m dibench report results/local/networks[/bold]
    """
    from dibench.cli.output import console
    from dibench.report import reported
    from dibench.show.reported import brief
    from dibench.show.terminal import show

    page, contents = reported(table, figures=figures)
    show(console(), brief(contents, shlex.quote(str(table))))
    say(f"\nPage: {page.resolve().as_uri()}")
