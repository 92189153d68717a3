"""How `predict` shows what it found: layers, operators, networks and batches, and what is in no total."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from dibench.study.calibrated import Calibration
    from dibench.study.predict import Prediction

_SHOWN = 24
_BAR = 14


def show(out: Console, found: list[Prediction], fit: Calibration, path: Path, *, every: bool) -> None:
    """Print all of it: layers where there is one network, then operators, then networks and batches."""
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
