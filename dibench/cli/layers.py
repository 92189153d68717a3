"""`layers MODEL`: the layers of any network with counts, reuse and intensity, and what they leave out."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from dibench.cli.alphas import DI_COLUMNS, DI_HEADINGS, chosen_alphas
from dibench.cli.options import Alpha, AlphaOfFit, AsCsv, Batch
from dibench.cli.output import tell_not_covered
from dibench.errors import UserError
from dibench.layer import DIMENSIONS, Layer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from dibench.models import Model
    from dibench.models.intensities import Alphas, Drag, Reuse

_COUNTS = ("macs", "weights", "inputs", "outputs")
_REUSE = ("weight_reuse", "input_reuse", "output_reuse")
_DRAGS_SHOWN = 10


def layers(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A network of `python -m dibench networks`, an .onnx file, a .csv table of layers, or, with "
            "PyTorch, module:callable, file.py:callable, torchvision:resnet50, timm:NAME.",
        ),
    ],
    as_csv: AsCsv = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON instead of a table.")] = False,
    batch: Batch = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(
            "--input-shape",
            metavar="[NAME=]1,3,224,224",
            help="Size of an input of an ONNX file or PyTorch module (repeat it for more; a type may follow: "
            "1,77:int64).",
        ),
    ] = None,
    alpha: Alpha = None,
    fit: AlphaOfFit = None,
) -> None:
    """Show each convolution and fully-connected layer of a model: shape, MACs, elements, reuse, AI and DI.

    Weights are never read, so a model of gigabytes is shown at once. What is no layer (transposed, 1-D and
    3-D convolutions, products of two activations) is listed below with its MACs.
    """
    from dibench import models
    from dibench.models.inputs import parse_inputs

    if as_csv and as_json:
        raise UserError("--csv", "must not stand with --json")
    alphas = chosen_alphas(alpha, fit)
    loaded = models.load(model, batch=batch, shapes=parse_inputs(input_shape or []))
    if as_json:
        print(json.dumps(_plain(loaded, alphas), indent=1, ensure_ascii=False))
    elif as_csv:
        _write_csv(loaded, alphas)
    else:
        _show(loaded, alphas, fit)


def _reuse(layer: Layer) -> Reuse:
    from dibench.models.intensities import reuse_of

    return reuse_of([layer])


def _figures(reuse: Reuse, alphas: Alphas | None) -> dict[str, float]:
    """Counts, reuse per data type, AI and, with an α, DI."""
    named: dict[str, float] = {what: getattr(reuse, what) for what in _COUNTS}
    named.update(zip(_REUSE, reuse.by_data_type, strict=True))
    named["ai"] = reuse.ai
    if alphas is not None:
        weighted, disjoint = reuse.di(alphas)
        named.update(zip(DI_COLUMNS, (alphas.weighted, weighted, alphas.disjoint, disjoint), strict=True))
    return named


def _plain(model: Model, alphas: Alphas | None) -> dict[str, Any]:
    from dibench.models.intensities import reuse_of

    drags = _drags(model, alphas)
    return {
        "model": model.name,
        "batch": model.batch,
        "inputs": {name: list(shape) for name, shape in model.input_shapes.items()},
        "parameters": model.parameters,
        "macs_known": model.macs_known,
        "coverage": model.coverage,
        "network": _figures(reuse_of(model.layers), alphas) if model.layers else None,
        "layers": [
            {"name": layer.name, "op": layer.op, **layer.dims, **_figures(_reuse(layer), alphas)}
            for layer in model.layers
        ],
        "not_covered": [attrs.asdict(part) for part in model.not_covered],
        "drag": [
            {
                "name": drag.layer.name,
                "macs_share": drag.macs_share,
                "elements_share": drag.elements_share,
                "lost": drag.lost,
            }
            for drag in drags
            if drag.lost > 0
        ],
    }


def _drags(model: Model, alphas: Alphas | None) -> list[Drag]:
    from dibench.models.intensities import drags

    return drags(model.layers, alphas.weighted if alphas else 0.5) if model.layers else []


def _write_csv(model: Model, alphas: Alphas | None) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["name", "op", *DIMENSIONS, *_COUNTS, *_REUSE, "ai", *(DI_COLUMNS if alphas else ())])
    writer.writerows(
        [layer.name, layer.op, *layer.shape, *_figures(_reuse(layer), alphas).values()]
        for layer in model.layers
    )
    tell_not_covered([model])


def _show(model: Model, alphas: Alphas | None, fit: Path | None) -> None:
    from rich.markup import escape

    from dibench.cli.output import console

    out = console()
    inputs = ", ".join(f"{name} {list(shape)}".strip() for name, shape in model.input_shapes.items())
    about = f"{model.name}, batch {model.batch}" + (f", {inputs}" if inputs else "")
    if model.layers:
        out.print(_layer_table(model, alphas, escape(about)))
        _show_network(out, model, alphas, fit)
        _show_drags(out, model, alphas)
    else:
        out.print(escape(about) + ": no layer that dibench knows", soft_wrap=True)
    _show_not_covered(out, model)
    out.print(f"\nThe table {model.coverage}.", soft_wrap=True)


def _layer_table(model: Model, alphas: Alphas | None, title: str) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from dibench.show.numbers import shape_text, short

    table = Table(box=None, header_style="bold", title=title, title_justify="left")
    di = DI_HEADINGS if alphas else ()
    left = ("layer", "op", "shape")
    for column in (*left, "MACs", "weights", "inputs", "outputs", "M/W", "M/X", "M/Y", "AI", *di):
        table.add_column(column, justify="left" if column in left else "right", overflow="fold")
    for layer in model.layers:
        reuse = _reuse(layer)
        counts = [short(getattr(reuse, what)) for what in _COUNTS]
        intensities = [reuse.ai, *(reuse.di(alphas) if alphas else ())]
        table.add_row(
            escape(layer.name.partition("/")[2]), layer.op, shape_text(layer), *counts,
            *map(short, reuse.by_data_type), *(f"{value:.1f}" for value in intensities),
        )  # fmt: skip
    return table


def _show_network(out: Console, model: Model, alphas: Alphas | None, fit: Path | None) -> None:
    from dibench.models.intensities import reuse_of
    from dibench.show.numbers import short

    reuse = reuse_of(model.layers)
    per_w, per_x, per_y = map(short, reuse.by_data_type)
    text = (
        f"\n[bold]Network[/bold]: {short(reuse.macs)} MACs, {short(reuse.weights)} weights, "
        f"{short(reuse.inputs)} inputs, {short(reuse.outputs)} outputs; reuse M/W {per_w}, M/X {per_x}, "
        f"M/Y {per_y}; AI {reuse.ai:.1f}"
    )
    if alphas is not None:
        weighted, disjoint = reuse.di(alphas)
        origin = f" (α fitted, {fit})" if fit else ""
        text += (
            f"; DI weighted {weighted:.1f} at α = {alphas.weighted:.3g}, "
            f"disjoint {disjoint:.1f} at α = {alphas.disjoint:.3g}{origin}"
        )
    if model.parameters is not None:
        text += f". The model has {short(model.parameters)} parameters"
    out.print(text + ".", soft_wrap=True)


def _show_drags(out: Console, model: Model, alphas: Alphas | None) -> None:
    from rich.markup import escape
    from rich.table import Table

    losing = [drag for drag in _drags(model, alphas) if drag.lost > 0]
    if not losing:
        return
    what = f"weighted DI (α = {alphas.weighted:.3g})" if alphas else "AI"
    more = f", the worst {_DRAGS_SHOWN} of {len(losing)}" if len(losing) > _DRAGS_SHOWN else ""
    title = (
        f"\n[bold]What drags it down[/bold]{more}: by how much the network's {what} would rise "
        "if the layer moved as few elements a MAC as the network does"
    )
    out.print(title, soft_wrap=True)
    table = Table(box=None, header_style="bold")
    table.add_column("layer", overflow="fold")
    table.add_column("op")
    for column in ("of MACs", "of elements", "would rise"):
        table.add_column(column, justify="right")
    for drag in losing[:_DRAGS_SHOWN]:
        table.add_row(
            escape(drag.layer.name.partition("/")[2]), drag.layer.op,
            f"{drag.macs_share:.1%}", f"{drag.elements_share:.1%}", f"+{drag.lost:.1%}",
        )  # fmt: skip
    out.print(table)


def _show_not_covered(out: Console, model: Model) -> None:
    """One line for each kind of what is not covered, with the first name."""
    from rich.markup import escape

    from dibench.show.numbers import short

    kinds = Counter((part.op, part.reason) for part in model.not_covered)
    for (op, reason), number in kinds.items():
        parts = [part for part in model.not_covered if (part.op, part.reason) == (op, reason)]
        known = [part.macs for part in parts if part.macs is not None]
        macs = f"{short(sum(known))} MACs" if known else "MACs not known"
        name = parts[0].name.partition("/")[2] + (" …" if number > 1 else "")
        out.print(
            f"[yellow]not covered[/yellow]: {number} × {escape(f'{op}, {reason}: {macs} ({name})')}",
            soft_wrap=True,
        )
