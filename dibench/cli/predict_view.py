"""How `predict` shows what it found: layers, operators, networks and batches, and what is in no total."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dibench.cli.output import escape, plain_table
from dibench.show.numbers import short

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from dibench.study.findings.fitted_model import FittedModel
    from dibench.study.use.predict import Prediction

_SHOWN = 24
_BAR = 14
_LAYER_COLUMNS = (
    "layer", "op", "MACs", "AI", "cost", "95% interval", "share", "", "dominant",
    "outside the measured range",
)  # fmt: skip
_BATCH_COLUMNS = (
    "network", "batch", "MACs per inference", "M/W", "M/A", "AI", "per inference", "relative", "per MAC",
)  # fmt: skip


def show(out: Console, found: list[Prediction], fit: FittedModel, path: Path, *, every: bool) -> None:
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


def _layer_table(found: Prediction, fit: FittedModel, *, every: bool) -> Table:
    """The costliest layers in execution order, each with a bar of its share."""
    import numpy as np

    costs = found.costs
    rank = np.argsort(np.where(costs.known, -costs.mean, 0.0), kind="stable")
    shown = sorted(rank.tolist() if every else rank[:_SHOWN].tolist())
    which = (
        "every layer"
        if len(shown) == len(costs.layers)
        else f"the {len(shown)} costliest of {len(costs.layers)} layers, --all shows every one"
    )
    title = f"{found.network.name}, batch {found.network.batch}: {which}"
    table = plain_table(escape(title), pad_edge=False)
    for name in _LAYER_COLUMNS:
        right = name in ("MACs", "AI", "cost", "share")
        folds = name in ("layer", _LAYER_COLUMNS[-1])
        table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=not folds)
    most = np.nanmax(costs.mean, initial=0.0)
    for row in shown:
        layer = costs.layers[row]
        head = (escape(layer.name.partition("/")[2]), layer.op, short(layer.macs), f"{layer.ai:.1f}")
        if costs.known[row]:
            bar = "█" * max(1, round(_BAR * costs.mean[row] / most))
            table.add_row(*head, *_layer_cells(found, row, fit.unit, bar))
        else:
            table.add_row(*head, "–", "", "", "", "", "operator not in the fit")
    return table


def _layer_cells(found: Prediction, row: int, unit: str, bar: str) -> tuple[str, ...]:
    """What a layer costs, from `cost` on."""
    costs = found.costs
    value = costs.mean[row]
    term = max(costs.terms, key=lambda term: costs.terms[term][row])
    return (
        short(value, unit),
        f"{short(costs.low[row], unit)} to {short(costs.high[row], unit)}",
        f"{value / found.total.value:.1%}",
        bar,
        f"{term} {costs.terms[term][row] / value:.0%}",
        _farthest(costs.outside[row]),
    )


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


def _operator_table(found: list[Prediction], fit: FittedModel) -> Table:
    """Per inference, by operator and in total; one column for each network and batch."""
    from dibench.cli.fitted import interval
    from dibench.intensity import OPERATORS

    title = f"{'Time' if fit.kind == 'time' else 'Energy'} per inference, with 95% intervals"
    table = plain_table(title, pad_edge=False)
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


def _batch_table(found: list[Prediction], fit: FittedModel) -> Table:
    """How reuse and cost change from network to network and batch to batch."""
    from dibench.cli.fitted import interval

    table = plain_table("Reuse and cost", pad_edge=False)
    for name in _BATCH_COLUMNS:
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
