"""`report CSV`: the HTML page of a sweep."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from dibench.cli.options import Json, check_json
from dibench.cli.output import answer, say


def report(
    table: Annotated[
        Path,
        typer.Argument(metavar="CSV", help="sweep.csv, its directory, or anybody's table."),
    ],
    figures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write each figure as SVG and PNG files into this directory too."),
    ] = None,
    json_file: Json = None,
) -> None:
    """Write report.html beside a sweep.csv: one self-contained page with figures, fit, reproduction.

    Of another table such as mine.csv it is mine-report.html.

    [bold]python -m dibench report results/local/networks[/bold]
    """
    from dibench.cli.output import console
    from dibench.report import reported
    from dibench.show.reported import brief, plain
    from dibench.show.terminal import show

    check_json(json_file)
    page, contents = reported(table, figures=figures)

    def tell() -> None:
        show(console(), brief(contents, shlex.quote(str(table))))
        say(f"\nPage: {page.resolve().as_uri()}")

    answer(json_file, lambda: {"page": str(page)} | plain(contents), tell)
