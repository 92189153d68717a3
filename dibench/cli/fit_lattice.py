"""What `fit --lattice` shows: the cost of one access of each operand, by level and lane mapping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dibench.cli.output import plain_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def show(out: Console, values: dict[str, Any] | None) -> None:
    """Coefficients, what keeps them from being relied on, anchors and published ranges."""
    if values is None:
        out.print(
            "[yellow]No reuse lattice in these rows[/yellow]: one layer under eight boxes or more, with "
            "counted accesses. `dibench sweep lattice` measures it."
        )
        return
    colour = "default" if values["measured"] else "yellow"
    out.print(
        f"[bold]Reuse lattice[/bold]: what one access costs, in {values['unit']}. Of "
        f"[{colour}]{values['basis']}[/{colour}]."
    )
    out.print(
        "α = weight / (weight + input), of this level and lane mapping only: never the α of shapes. "
        "In brackets 95%."
    )
    out.print(_table(values))
    numbered = enumerate(values["lattices"], start=1)
    for number, one in numbered:
        if one["reason"]:
            out.print(f"[yellow]{number}: not to be relied on, {one['reason']}.[/yellow]")
        for check in one["checks"]:
            _show_check(out, f"{number}: {check['what']}", check, values["unit"])
    for name, slope in values["anchors"].items():
        out.print(f"{name}: {_slope(slope)} {values['unit']}")
    for check in values["anchor_checks"]:
        _show_check(out, check["what"], check, values["unit"])
    if not values["anchors"]:
        out.print("[dim]No anchor kernels in these rows: nothing checks the slopes from outside.[/dim]")


def _table(values: dict[str, Any]) -> Table:
    table = plain_table()
    table.add_column("", justify="right")
    for name in ("level", "lanes", "operands"):
        table.add_column(name, no_wrap=True)
    for name in ("boxes", "SMs", "MAC", "weight", "input", "output", "α"):
        table.add_column(name, justify="right")
    if values["kind"] == "energy":
        table.add_column("P₀ (W)", justify="right")
    for number, one in enumerate(values["lattices"], start=1):
        slopes = one["coefficients"]
        macs = [slope["value"] for name, slope in slopes.items() if name.startswith("mac/")]
        mac = _number(min(macs)) if len(macs) == 1 else f"{_number(min(macs))} to {_number(max(macs))}"
        cells = [str(number), one["level"], one["lanes"] or "–", f"{one['operands_bytes'] / 1e6:.3g} MB"]
        cells += [str(one["boxes"]), ", ".join(map(str, one["shares"])) or "–", mac]
        cells += [_slope(slopes[name]) for name in ("weight", "input", "output")]
        cells.append("not determined" if one["alpha"] is None else _slope(one["alpha"]))
        if values["kind"] == "energy":
            cells.append(_slope(slopes["power"]) if "power" in slopes else "–")
        style = "dim" if one["reason"] else None
        table.add_row(*cells, style=style)
    return table


def _show_check(out: Console, what: str, check: dict[str, Any], unit: str) -> None:
    low, high = check["expected"]
    said = "in" if check["agrees"] else "[bold yellow]out[/bold yellow]"
    out.print(f"{what}: {check['value']:.3g} {unit}, expected {low:.3g} to {high:.3g}: {said}")


def _slope(slope: dict[str, Any]) -> str:
    """`61.2 (58.0 to 64.4)`.

    >>> _slope({"value": 0.25, "ci_low": None, "ci_high": None})
    '0.25'
    """
    if slope["ci_low"] is None:
        return _number(slope["value"])
    return f"{_number(slope['value'])} ({_number(slope['ci_low'])} to {_number(slope['ci_high'])})"


def _number(value: float) -> str:
    """Three digits, without an exponent where it is large.

    >>> _number(0.01234), _number(1234.5)
    ('0.0123', '1234')
    """
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
