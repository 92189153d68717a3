"""`predict MODEL`: what a network will cost on the fitted device, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
import typer

from dibench.cli.options import AsJson, Figures, FitDtype, FitFile, FitModel, InputShapes, Model
from dibench.cli.output import console
from dibench.show.numbers import short

if TYPE_CHECKING:
    from rich.console import Console

    from dibench.study.findings.fitted_model import FittedModel
    from dibench.study.use.measured import Check
    from dibench.study.use.predict import Prediction


def predict(
    model: Model,
    fit: FitFile,
    batch: Annotated[str, typer.Option("--batch", "-N", help="One batch size, or several: 1,8,32.")] = "1",
    compare: Annotated[
        str, typer.Option("--compare", metavar="MODEL2", help="A second network beside the first.")
    ] = "",
    by: FitModel = "di_weighted",
    dtype: FitDtype = "",
    every: Annotated[bool, typer.Option("--all", help="Every layer, not the costliest only.")] = False,
    input_shape: InputShapes = None,
    measured: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="Whole networks of `sweep --models`, to hold the prediction against."
        ),
    ] = None,
    figures: Figures = None,
    as_json: AsJson = False,
) -> None:
    """Predict what a network costs on the device of a fit: per layer, operator and inference, with intervals.

    An interval holds 95% of measurements: errors of the fitted coefficients, which all layers share, and
    the distance of unseen layers from the fit, which averages out over shapes.

    [bold]python -m dibench fit results/local/cpu/sweep.csv --json fit.json[/bold]

    [bold]python -m dibench predict resnet50 --fit fit.json --compare mobilenet_v2 --batch 1,8,32[/bold]
    """
    from dibench.cli.fitted import batches_of, open_fit, open_model

    sizes = batches_of(batch)
    calibration = open_fit(fit, by, dtype)
    names = [model, *([compare] if compare else [])]
    wanted = [open_model(name, size, input_shape) for name in names for size in sizes]
    from dibench.study.use import predict as engine

    found = engine.predict(wanted, calibration)
    checks = _checks(measured, found, calibration)
    if figures is not None:
        _draw(figures, found, calibration)
    if as_json:
        _print_json(found, calibration, checks)
        return
    from dibench.cli.predict_view import show

    show(console(), found, calibration, fit, every=every)
    if measured is not None:
        _show_checks(console(), checks, calibration)
    if figures is not None:
        console().print(f"Figures: {figures}", soft_wrap=True, markup=False)


def _draw(folder: Path, found: list[Prediction], fit: FittedModel) -> None:
    """Layers and operators of each network at its first batch, and all of them side by side."""
    from dibench.cli.fitted import kind_of
    from dibench.show import cost_bars
    from dibench.show.drawn import write_figures

    drawings = []
    for one in {one.network.name: one for one in reversed(found)}.values():
        shown = (one.costs.terms, fit.unit, kind_of(fit))
        drawings += [
            cost_bars.layer_bars(one.network.name, one.costs, *shown),
            cost_bars.operator_bars(one, *shown),
        ]
    if len(found) > 1:
        drawings.append(cost_bars.comparison(found, fit.unit, kind_of(fit)))
    write_figures(folder, drawings)


def _checks(path: Path | None, found: list[Prediction], fit: FittedModel) -> list[Check]:
    if path is None:
        return []
    from dibench.study.use.measured import check
    from dibench.table import read_csv, table_of

    frame = read_csv(table_of(path))
    made = [check(frame, one, fit) for one in found]
    return [one for one in made if one is not None]


def _show_checks(out: Console, checks: list[Check], fit: FittedModel) -> None:
    out.print()
    for one in checks:
        where = "inside" if one.inside else "outside"
        cost = f"measured {short(one.measured, fit.unit)} a batch ({one.backend})"
        said = f"predicted for its layers is {one.ratio:.2f}× of that, the measurement {where} the interval"
        out.print(f"{one.network}, batch {one.batch}, whole: {cost}; {said}.", soft_wrap=True, markup=False)
    if not checks:
        out.print("No whole network of these was measured at these batch sizes.")


def _print_json(found: list[Prediction], fit: FittedModel, checks: list[Check]) -> None:
    import json

    from dibench.cli.fitted import origin
    from dibench.study.use import predict as engine

    content = {
        **origin(fit),
        "predictions": [engine.as_json(one, fit) for one in found],
        "measured_networks": [attrs.asdict(one) for one in checks],
    }
    typer.echo(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))
