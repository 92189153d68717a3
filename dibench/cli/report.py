"""`report DIR`: the HTML page of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="The directory of a sweep, with sweep.csv and manifest.json."),
    ],
    figures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write each figure as SVG and PNG files into this directory too."),
    ] = None,
) -> None:
    """Write DIR/report.html: one self-contained page with figures, the fit and how to reproduce it."""
    from dibench.report import write_report

    page = write_report(directory, figures=figures)
    typer.echo(page.resolve().as_uri())
