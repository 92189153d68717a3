"""`networks [MODEL…]`: networks side by side, what they compute, move and reuse."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dibench.cli.alphas import DI_COLUMNS, DI_HEADINGS, chosen_alphas
from dibench.cli.options import Alpha, AlphaOfFit, AsCsv, Batch
from dibench.cli.output import tell_not_covered

if TYPE_CHECKING:
    from dibench.models import Model
    from dibench.models.intensities import Alphas

_HEADER = ("network", "layers", "macs", "weights", "inputs", "outputs", "ai", "distinct_shapes", "family")
_MORE = ("batch", "macs_known", "weight_reuse", "input_reuse", "output_reuse")


def networks(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL…]", help="Whatever `layers` reads; nothing for the 25 networks."),
    ] = None,
    as_csv: AsCsv = False,
    batch: Batch = None,
    alpha: Alpha = None,
    fit: AlphaOfFit = None,
) -> None:
    """List networks with their MACs, elements, reuse per data type and intensity.

    [bold]python -m dibench networks mobilenet_v2 mine.onnx --batch 8 --alpha 0.7[/bold]
    """
    from dibench import networks as built_in
    from dibench.models import load

    alphas = chosen_alphas(alpha, fit)
    found = [load(name, batch=batch) for name in models or built_in.names()]
    if as_csv:
        header = [*_HEADER, *_MORE, *(DI_COLUMNS if alphas else ())]
        csv.writer(sys.stdout, lineterminator="\n").writerows([header, *(_row(one, alphas) for one in found)])
        tell_not_covered(found)
        return
    _show(found, alphas, "25 networks" if not models else f"{len(found)} networks")


def _family(name: str) -> str:
    from dibench import networks as built_in

    return built_in.family(name) if name in built_in.names() else ""


def _row(model: Model, alphas: Alphas | None) -> list[str | int | float]:
    from dibench.models.intensities import reuse_of
    from dibench.networks import distinct

    total = reuse_of(model.layers)
    counts = [total.macs, total.weights, total.inputs, total.outputs]
    row: list[str | int | float] = [model.name, len(model.layers), *counts]
    row += [total.ai if model.layers else "", len(distinct(model.layers)), _family(model.name)]
    row += [model.batch, model.macs_known, *(total.by_data_type if model.layers else ("", "", ""))]
    if alphas is not None:
        weighted, disjoint = total.di(alphas) if model.layers else ("", "")
        row += [alphas.weighted, weighted, alphas.disjoint, disjoint]
    return row


def _show(found: list[Model], alphas: Alphas | None, what: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    from dibench.cli.output import console
    from dibench.models.intensities import reuse_of
    from dibench.networks import distinct
    from dibench.show.numbers import short

    batches = sorted({model.batch for model in found})
    title = f"{what}, batch {', '.join(map(str, batches))}"
    table = Table(box=None, header_style="bold", title=title, title_justify="left")
    di = DI_HEADINGS if alphas else ()
    columns = ("MACs", "weights", "inputs", "outputs", "M/W", "M/X", "M/Y", "AI", *di, "shapes")
    table.add_column("network", no_wrap=True)
    for column in ("layers", *columns):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("family", no_wrap=True)
    for model in found:
        total = reuse_of(model.layers)
        counts = map(short, (total.macs, total.weights, total.inputs, total.outputs))
        if model.layers:
            figures = [total.ai, *(total.di(alphas) if alphas else ())]
            reuse = [*map(short, total.by_data_type), *(f"{value:.1f}" for value in figures)]
        else:
            reuse = ["–"] * (4 + len(di))
        shapes = str(len(distinct(model.layers)))
        table.add_row(
            escape(model.name), str(len(model.layers)), *counts, *reuse, shapes, _family(model.name)
        )  # fmt: skip
    out = console()
    out.print(table)
    if alphas is not None:
        out.print(f"\nDI at α = {alphas.weighted:.3g} (weighted) and {alphas.disjoint:.3g} (disjoint).")
    for model in found:
        if model.not_covered:
            out.print(f"\n{escape(model.name)}: the table {model.coverage}.", soft_wrap=True)
    out.print(
        "\nAI is M / (W + X + Y) in MAC per element, every layer's own tensors counted. "
        "Layers of one: [bold]python -m dibench layers resnet50[/bold]"
    )
