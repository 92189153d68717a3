"""`explain MODEL`: where a network's cost comes from, and which changes would save most of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dibench.cli.options import AsJson, Figures, FitDtype, FitFile, FitModel, InputShapes, Model
from dibench.cli.output import console, escape, plain_table
from dibench.errors import UserError
from dibench.show.numbers import short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from dibench.study.findings.fitted_model import FittedModel
    from dibench.study.use.explain import Explanation, Saving

_LAYERS, _CHANGES = 16, 20


def explain(
    model: Model,
    fit: FitFile,
    batch: Annotated[int, typer.Option("--batch", "-N", metavar="N", help="Batch size it is used with.")] = 1,
    by: FitModel = "di_weighted",
    dtype: FitDtype = "",
    dtype_fit: Annotated[
        list[Path] | None,
        typer.Option(
            "--dtype-fit", metavar="FIT.json", help="A fit of the device to another data type, as a knob."
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every layer and every change.")] = False,
    input_shape: InputShapes = None,
    figures: Figures = None,
    as_json: AsJson = False,
) -> None:
    """Show what each layer's cost is made of, and rank the changes of design that would save most.

    Changes: batch, groups, group size, depthwise-separable split, bottleneck width, data type. Each keeps
    what the rest of the network sees. A saving is a difference of two predictions of one fit, with its 95%
    interval; what a change does to accuracy is not known here.

    [bold]python -m dibench explain resnet50 --fit fit.json[/bold]
    """
    from dibench.cli.fitted import open_fit, open_model

    calibration = open_fit(fit, by, dtype)
    others = [_other(path, by, calibration) for path in dtype_fit or []]
    network = open_model(model, batch, input_shape)
    batches = [open_model(model, size, input_shape) for size in (1, 8, 32) if size != batch]
    from dibench.study.use import explain as engine

    found = engine.explain(network, calibration, batches=batches, dtypes=others)
    if figures is not None:
        _draw(figures, found, calibration)
    if as_json:
        _print_json(found, calibration)
        return
    _show(console(), found, calibration, fit, every=every)
    if figures is not None:
        console().print(f"Figures: {figures}", soft_wrap=True, markup=False)


def _draw(folder: Path, found: Explanation, fit: FittedModel) -> None:
    from dibench.cli.fitted import kind_of
    from dibench.show import cost_bars
    from dibench.show.drawn import write_figures

    network, shown = found.prediction.network.name, (fit.unit, kind_of(fit))
    drawings = [
        cost_bars.layer_bars(network, found.prediction.costs, found.terms, *shown),
        cost_bars.operator_bars(found.prediction, found.terms, *shown),
        cost_bars.saving_bars(network, _strongest(found.savings), *shown),
    ]
    write_figures(folder, drawings)


def _other(path: Path, by: str, fit: FittedModel) -> FittedModel:
    from dibench.cli.fitted import open_fit

    other = open_fit(path, by, "")
    for what in ("device", "response", "energy_source"):
        ours, theirs = getattr(fit, what), getattr(other, what)
        if ours != theirs:
            raise UserError("--dtype-fit", f"must have the {what} of --fit, {ours}", theirs, where=path)
    if other.dtype == fit.dtype:
        raise UserError("--dtype-fit", "must be of another data type than --fit", other.dtype, where=path)
    return other


def _print_json(found: Explanation, fit: FittedModel) -> None:
    import json

    from dibench.cli.fitted import origin
    from dibench.study.use import explain as engine
    from dibench.study.use import predict

    content = {**origin(fit), **predict.as_json(found.prediction, fit), **engine.as_json(found)}
    typer.echo(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))


def _show(out: Console, found: Explanation, fit: FittedModel, path: Path, *, every: bool) -> None:
    from dibench.cli.fitted import interval, introduce

    introduce(out, fit, path)
    cost = found.prediction.per_inference
    name = f"{found.prediction.network.name}, batch {found.prediction.network.batch}"
    out.print(f"{escape(name)}: [bold]{interval(cost, fit.unit)}[/bold] per inference\n")
    out.print(_term_table(found, fit, every=every))
    out.print(_whole(found, fit), soft_wrap=True)
    out.print()
    out.print(_saving_table(found, fit, every=every))
    _show_notes(out, found)


def _term_table(found: Explanation, fit: FittedModel, *, every: bool) -> Table:
    import numpy as np

    costs = found.prediction.costs
    rank = np.argsort(np.where(costs.known, -costs.mean, 0.0), kind="stable").tolist()
    shown = sorted(rank if every else rank[:_LAYERS])
    few = (
        "" if len(shown) == len(rank) else f" ({len(shown)} costliest of {len(rank)}, --all shows every one)"
    )
    title = f"What each layer's cost is made of{few}"
    table = plain_table(title, pad_edge=False)
    table.add_column("layer", overflow="fold")
    table.add_column("op")
    for name in ("cost", *found.terms):
        table.add_column(name, justify="right")
    table.add_column("dominant")
    for row in shown:
        layer = costs.layers[row]
        head = (escape(layer.name.partition("/")[2]), layer.op)
        if not costs.known[row]:
            table.add_row(*head, "–", *("" for _ in found.terms), "operator not in the fit")
            continue
        whole = sum(float(values[row]) for values in found.terms.values())
        shares = [f"{float(values[row]) / whole:.0%}" for values in found.terms.values()]
        outside = "  outside the range" if costs.outside[row] else ""
        table.add_row(*head, short(whole, fit.unit), *shares, found.dominant(row) + outside)
    return table


def _whole(found: Explanation, fit: FittedModel) -> str:
    """The terms of the whole network, and what constant power is."""
    import numpy as np

    known = found.prediction.costs.known
    sums = {term: float(np.sum(values[known])) for term, values in found.terms.items()}
    whole = sum(sums.values()) or 1.0
    said = "The whole network: " + ", ".join(f"{term} {value / whole:.0%}" for term, value in sums.items())
    if fit.constant_power is None:
        return said
    power = fit.constant_power
    kind = "in" if fit.response == "energy_j" else "on top of"
    watts = f"{power.power_w:.0f} W ({power.column}) × predicted time"
    return f"{said}. Constant power: {watts}, {kind} the energy above."


def _saving_table(found: Explanation, fit: FittedModel, *, every: bool) -> Table:
    from dibench.cli.fitted import interval

    savings = list(found.savings) if every else _strongest(found.savings)[:_CHANGES]
    title = "Changes that would save most per inference, by this model"
    if len(savings) < len(found.savings):
        title += f" ({len(savings)} of {len(found.savings)}, --all shows every one)"
    table = plain_table(title, pad_edge=False)
    for name in ("change", "to", "where", "saves (95% interval)", "of the cost", "MACs", ""):
        table.add_column(
            name, justify="right" if name in ("of the cost", "MACs") else "left", overflow="fold"
        )
    for one in savings:
        doubt = "" if one.certain else "[yellow]may save nothing[/yellow]"
        outside = "extrapolated" if one.outside else ""
        saved = interval(one.saved, fit.unit)
        note = ", ".join(filter(None, (doubt, outside)))
        table.add_row(
            one.knob, one.setting, escape(one.where), saved, f"{one.share:.1%}", f"{one.macs:.2f}×", note
        )
    return table


def _strongest(savings: Sequence[Saving]) -> list[Saving]:
    """Of each knob at each place the setting that saves most."""
    best: dict[tuple[str, str], Saving] = {}
    for one in savings:
        best.setdefault((one.knob, one.where), one)
    return list(best.values())


def _show_notes(out: Console, found: Explanation) -> None:
    note = "What a change does to accuracy is not known here."
    if any(one.outside for one in found.savings):
        note += " Extrapolated: a new layer lies outside the range that was measured."
    out.print(f"\n{note}", soft_wrap=True)
    if found.costlier:
        out.print(f"{found.costlier} further changes save nothing by this model.", soft_wrap=True)
    for op, number in found.unpredictable.items():
        out.print(f"{number} changes would need {op} layers, which the fit has not seen.", soft_wrap=True)
    network = found.prediction.network
    if network.not_covered or found.prediction.unpredicted:
        lost = ", ".join(found.prediction.unpredicted)
        out.print(escape(f"{network.name} {network.coverage}{f'; not in the fit: {lost}' if lost else ''}"))
