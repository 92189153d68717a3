"""`doctor`: what this machine can run and measure, what it cannot, why, and what would change that."""

from __future__ import annotations

import json

import attrs
import typer

from dibench.cli.options import AsJson
from dibench.cli.output import console


def doctor(as_json: AsJson = False) -> None:
    """Tell what this machine can run and measure; for each "no", the reason and the remedy."""
    from dibench.check.doctor import findings
    from dibench.show.machine import blocks
    from dibench.show.terminal import show

    found = findings()
    if as_json:
        typer.echo(json.dumps([attrs.asdict(finding) for finding in found], indent=1))
    else:
        show(console(), blocks(found))
