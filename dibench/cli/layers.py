"""`layers NAME`: the layers of one network with their counts."""

from __future__ import annotations

import csv
import sys
from typing import Annotated

import typer

from dibench.errors import UserError
from dibench.layer import DIMENSIONS, Layer

_COUNTS = ("macs", "weights", "inputs", "outputs")


def layers(
    network: Annotated[str, typer.Argument(help="A network of `python -m dibench networks`.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV for programs instead of a table.")] = False,
    batch: Annotated[int, typer.Option("--batch", "-N", help="Batch size of every layer.", metavar="N")] = 1,
) -> None:
    """Show each convolution and fully-connected layer of a network: shape, MACs, elements, reuse, AI."""
    from dibench.networks import load

    if not 1 <= batch <= 2**20:
        raise UserError("--batch", f"must be from 1 to {2**20}", batch)
    # Tables are at batch 1; a linear layer inside a network may have more rows than one per image.
    rows = [layer.with_batch(layer.N * batch) for layer in load(network)]
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(
            ["name", "op", *DIMENSIONS, *_COUNTS, "weight_reuse", "input_reuse", "output_reuse", "ai"]
        )
        writer.writerows([layer.name, layer.op, *layer.shape, *_figures(layer)] for layer in rows)
    else:
        _print_table(network, batch, rows)


def _figures(layer: Layer) -> list[float]:
    m, w, x, y = counts = [getattr(layer, what) for what in _COUNTS]
    return [*counts, m / w, m / x, m / y, layer.ai]


def _print_table(network: str, batch: int, rows: list[Layer]) -> None:
    from rich.table import Table

    from dibench.cli.output import console, shape_text, short

    table = Table(box=None, header_style="bold", title=f"{network}, batch {batch}", title_justify="left")
    for column in ("layer", "op", "shape", "MACs", "weights", "inputs", "outputs", "M/W", "M/X", "M/Y", "AI"):
        table.add_column(
            column, justify="left" if column in ("layer", "op", "shape") else "right", overflow="fold"
        )
    for layer in rows:
        *counts, per_w, per_x, per_y, ai = _figures(layer)
        name = layer.name.partition("/")[2]
        reuse = [short(value) for value in (per_w, per_x, per_y)]
        table.add_row(name, layer.op, shape_text(layer), *map(short, counts), *reuse, f"{ai:.1f}")
    console().print(table)
