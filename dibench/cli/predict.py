"""`predict MODEL`: what a network will cost on the fitted device, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from dibench.study.calibrated import Calibration
    from dibench.study.measured import Check
    from dibench.study.predict import Prediction

_SHOWN = 24
_BAR = 14


def predict(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A network of `networks`, or what `layers` reads.")
    ],
    fit: Annotated[
        Path, typer.Option("--fit", metavar="FIT.json", help="What `fit … --json FIT.json` wrote.")
    ],
    batch: Annotated[str, typer.Option("--batch", "-N", help="One batch size, or several: 1,8,32.")] = "1",
    compare: Annotated[
        str, typer.Option("--compare", metavar="MODEL2", help="A second network beside the first.")
    ] = "",
    by: Annotated[
        str, typer.Option("--model", help="macs, ai, di_weighted or di_disjoint of that fit.")
    ] = "di_weighted",
    dtype: Annotated[str, typer.Option(help="Data type of the network: must be the fit's.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Every layer, not the costliest only.")] = False,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(
            "--input-shape",
            metavar="[NAME=]1,3,224,224",
            help="As of `layers`; --batch replaces its first number.",
        ),
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="Whole networks of `sweep --models`, to hold the prediction against."
        ),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write figures there, as SVG and PNG.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs instead of tables.")] = False,
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
    from dibench.study import predict as engine

    found = engine.predict(wanted, calibration)
    checks = _checks(measured, found, calibration)
    if figures is not None:
        _draw(figures, found, calibration)
    if as_json:
        _print_json(found, calibration, checks)
        return
    from dibench.cli.output import console

    _show(console(), found, calibration, fit, every=every)
    if measured is not None:
        _show_checks(console(), checks, calibration)
    if figures is not None:
        console().print(f"Figures: {figures}", soft_wrap=True, markup=False)


def _draw(folder: Path, found: list[Prediction], fit: Calibration) -> None:
    """Layers and operators of each network at its first batch, and all of them side by side."""
    from dibench.cli.fitted import kind_of
    from dibench.report import costs
    from dibench.report.drawn import write_figures

    drawings = []
    for one in {one.network.name: one for one in reversed(found)}.values():
        shown = (one.costs.terms, fit.unit, kind_of(fit))
        drawings += [
            costs.layer_bars(one.network.name, one.costs, *shown),
            costs.operator_bars(one, *shown),
        ]
    if len(found) > 1:
        drawings.append(costs.comparison(found, fit.unit, kind_of(fit)))
    write_figures(folder, drawings)


def _checks(path: Path | None, found: list[Prediction], fit: Calibration) -> list[Check]:
    if path is None:
        return []
    from dibench.schema import read_csv
    from dibench.study.measured import check

    frame = read_csv(path)
    made = [check(frame, one, fit) for one in found]
    return [one for one in made if one is not None]


def _show_checks(out: Console, checks: list[Check], fit: Calibration) -> None:
    from dibench.cli.output import short

    out.print()
    for one in checks:
        where = "inside" if one.inside else "outside"
        cost = f"measured {short(one.measured, fit.unit)} a batch ({one.backend})"
        said = f"predicted for its layers is {one.ratio:.2f}× of that, the measurement {where} the interval"
        out.print(f"{one.network}, batch {one.batch}, whole: {cost}; {said}.", soft_wrap=True, markup=False)
    if not checks:
        out.print("No whole network of these was measured at these batch sizes.")


def _print_json(found: list[Prediction], fit: Calibration, checks: list[Check]) -> None:
    import json

    from dibench.cli.fitted import origin
    from dibench.study import predict as engine

    content = {
        **origin(fit),
        "predictions": [engine.as_json(one, fit) for one in found],
        "measured_networks": [attrs.asdict(one) for one in checks],
    }
    typer.echo(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))


def _show(out: Console, found: list[Prediction], fit: Calibration, path: Path, *, every: bool) -> None:
    from dibench.cli.fitted import introduce

    introduce(out, fit, path)
    networks = list(dict.fromkeys(one.network.name for one in found))
    if len(networks) == 1:
        out.print()
        out.print(_layer_table(found[0], fit, every=every))
    out.print()
    out.print(_operator_table(found, fit))
    out.print(_outside_line(found), soft_wrap=True)
    if len(found) > 1:
        out.print()
        out.print(_batch_table(found, fit))
    for one in {one.network.name: one for one in reversed(found)}.values():
        _show_missing(out, one)


def _layer_table(found: Prediction, fit: Calibration, *, every: bool) -> Table:
    """The costliest layers in execution order, each with a bar of its share."""
    import numpy as np
    from rich.markup import escape
    from rich.table import Table

    from dibench.cli.output import short

    costs = found.costs
    rank = np.argsort(np.where(costs.known, -costs.mean, 0.0), kind="stable")
    shown = sorted(rank.tolist() if every else rank[:_SHOWN].tolist())
    which = (
        "every layer"
        if len(shown) == len(costs.layers)
        else f"the {len(shown)} costliest of {len(costs.layers)} layers, --all shows every one"
    )
    title = f"{found.network.name}, batch {found.network.batch}: {which}"
    table = Table(
        box=None,
        header_style="bold",
        title=escape(title),
        title_justify="left",
        title_style="",
        pad_edge=False,
    )
    for name in (
        "layer",
        "op",
        "MACs",
        "AI",
        "cost",
        "95% interval",
        "share",
        "",
        "dominant",
        "outside the measured range",
    ):
        right = name in ("MACs", "AI", "cost", "share")
        table.add_column(
            name,
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=not name.startswith(("out", "layer")),
        )
    most = np.nanmax(costs.mean, initial=0.0)
    for row in shown:
        layer = costs.layers[row]
        name = escape(layer.name.partition("/")[2])
        head = (name, layer.op, short(layer.macs), f"{layer.ai:.1f}")
        if not costs.known[row]:
            table.add_row(*head, "–", "", "", "", "", "operator not in the fit")
            continue
        value = costs.mean[row]
        term = max(costs.terms, key=lambda term: costs.terms[term][row])
        table.add_row(
            *head,
            short(value, fit.unit),
            f"{short(costs.low[row], fit.unit)} to {short(costs.high[row], fit.unit)}",
            f"{value / found.total.value:.1%}",
            "█" * max(1, round(_BAR * value / most)),
            f"{term} {costs.terms[term][row] / value:.0%}",
            _farthest(costs.outside[row]),
        )
    return table


def _farthest(outside: str) -> str:
    """The one count that lies farthest outside, and how many more do.

    >>> _farthest("macs 1.2× below, inputs 5× below"), _farthest("")
    ('inputs 5× below, 1 more', '')
    """
    said = outside.split(", ")
    if len(said) < 2:
        return outside
    farthest = max(said, key=lambda words: float(words.split()[1].rstrip("×")))
    return f"{farthest}, {len(said) - 1} more"


def _outside_share(found: Prediction) -> float:
    """Share of the cost in layers that lie outside the range that was measured."""
    costs = found.costs
    outside = [costs.mean[row] for row, said in enumerate(costs.outside) if said and costs.known[row]]
    return float(sum(outside) / found.total.value) if outside else 0.0


def _outside_line(found: list[Prediction]) -> str:
    shares = {f"{one.network.name} at batch {one.network.batch}": _outside_share(one) for one in found}
    said = [f"{share:.0%} of the cost of {name}" for name, share in shares.items() if share]
    if not said:
        return "Every layer lies inside the range that was measured."
    return f"[yellow]Outside the range that was measured, so extrapolated: {'; '.join(said)}.[/yellow]"


def _operator_table(found: list[Prediction], fit: Calibration) -> Table:
    """Per inference, by operator and in total; one column for each network and batch."""
    from rich.markup import escape
    from rich.table import Table

    from dibench.cli.fitted import interval
    from dibench.intensity import OPERATORS

    title = f"{'Time' if fit.kind == 'time' else 'Energy'} per inference, with 95% intervals"
    table = Table(
        box=None, header_style="bold", title=title, title_justify="left", title_style="", pad_edge=False
    )
    table.add_column("operator")
    for one in found:
        table.add_column(escape(f"{one.network.name}, batch {one.network.batch}"), justify="left")
    for op in OPERATORS:
        if any(op in one.by_operator or op in one.unpredicted for one in found):
            cells = [
                interval(one.by_operator[op].per(one.network.batch), fit.unit)
                if op in one.by_operator
                else "not in the fit"
                if op in one.unpredicted
                else "–"
                for one in found
            ]
            table.add_row(op, *cells)
    table.add_row(
        "[bold]total[/bold]", *(f"[bold]{interval(one.per_inference, fit.unit)}[/bold]" for one in found)
    )
    return table


def _batch_table(found: list[Prediction], fit: Calibration) -> Table:
    """How reuse and cost change from network to network and batch to batch."""
    from rich.markup import escape
    from rich.table import Table

    from dibench.cli.fitted import interval
    from dibench.cli.output import short

    table = Table(
        box=None,
        header_style="bold",
        title="Reuse and cost",
        title_justify="left",
        title_style="",
        pad_edge=False,
    )
    for name in (
        "network",
        "batch",
        "MACs per inference",
        "M/W",
        "M/A",
        "AI",
        "per inference",
        "relative",
        "per MAC",
    ):
        table.add_column(name, justify="left" if name in ("network", "per inference") else "right")
    first = found[0].per_inference.value
    for one in found:
        layers = one.network.layers
        m, w, a = (
            sum(getattr(layer, what) for layer in layers) for what in ("macs", "weights", "activations")
        )
        cost = one.per_inference
        table.add_row(
            escape(one.network.name),
            str(one.network.batch),
            short(m / one.network.batch),
            short(m / w) if w else "–",
            short(m / a) if a else "–",
            f"{m / (w + a):.1f}" if w + a else "–",
            interval(cost, fit.unit),
            f"{cost.value / first:.2f}×" if first else "–",
            short(one.total.value / m, fit.unit) if m else "–",
        )
    return table


def _show_missing(out: Console, found: Prediction) -> None:
    """What the total leaves out."""
    from rich.markup import escape

    name = escape(found.network.name)
    if found.unpredicted:
        lost = [layer for layer in found.costs.layers if layer.op in found.unpredicted]
        share = sum(layer.macs for layer in lost) / max(found.network.macs, 1)
        out.print(
            f"[yellow]{name}: no {', '.join(found.unpredicted)} layer is in the fit; {len(lost)} layers, "
            f"{share:.1%} of the MACs, are in no total.[/yellow]",
            soft_wrap=True,
        )
    out.print(f"\n{name} {escape(found.network.coverage)}", soft_wrap=True)
    for part in found.network.not_covered:
        out.print(
            f"  not covered: {escape(part.name)} ({escape(part.op)}): {escape(part.reason)}", soft_wrap=True
        )
