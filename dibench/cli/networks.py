"""`networks`: the 25 networks, what they compute and what they move."""

from __future__ import annotations

import csv
import sys
from typing import Annotated

import typer

_HEADER = ("network", "layers", "macs", "weights", "inputs", "outputs", "ai", "distinct_shapes", "family")


def networks(
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV for programs instead of a table.")] = False,
) -> None:
    """List the 25 networks with their MACs, elements and arithmetic intensity at batch 1."""
    rows = [_row(name) for name in _names()]
    if as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows([_HEADER, *rows])
        return
    from rich.table import Table

    from dibench.cli.output import console, short

    table = Table(box=None, header_style="bold", title="25 networks, batch 1", title_justify="left")
    for column in ("network", "layers", "MACs", "weights", "inputs", "outputs", "AI", "shapes", "family"):
        table.add_column(column, justify="left" if column in ("network", "family") else "right", no_wrap=True)
    for name, layers, *counts, ai, distinct, family in rows:
        table.add_row(name, str(layers), *map(short, counts), f"{ai:.1f}", str(distinct), family)
    console().print(table)
    console().print(
        "\nAI is M / (W + X + Y) in MAC per element, every layer's own tensors counted. "
        "Layers of one: [bold]python -m dibench layers resnet50[/bold]"
    )


def _names() -> tuple[str, ...]:
    from dibench.networks import names

    return names()


def _row(name: str) -> tuple[str, int, int, int, int, int, float, int, str]:
    from dibench.intensity import arithmetic_intensity
    from dibench.networks import distinct, family, load

    layers = load(name)
    m, w, x, y = (
        sum(getattr(layer, what) for layer in layers) for what in ("macs", "weights", "inputs", "outputs")
    )
    return (
        name,
        len(layers),
        m,
        w,
        x,
        y,
        arithmetic_intensity(m, w, x + y),
        len(distinct(layers)),
        family(name),
    )
