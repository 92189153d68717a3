"""What `fit` shows of our fastest kernels beside a library on the same layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dibench.cli.output import plain_table
from dibench.words import interval

if TYPE_CHECKING:
    from rich.console import Console


def show(out: Console, values: dict[str, Any] | None) -> None:
    """One line an operator and data type; nothing where there is no library in the rows."""
    if values is None:
        return
    title = (
        f"Our fastest kernels beside {values['library']}: its time and gross joules over ours, "
        "above 1 ours take less"
    )
    table = plain_table(title)
    table.add_column("operator", no_wrap=True)
    for name in ("dtype", "layers", "time", "joules"):
        table.add_column(name, justify="right" if name == "layers" else "left")
    for one in values["by"]:
        table.add_row(
            one["op"], one["dtype"], str(one["time"]["layers"]), ratio(one["time"]), ratio(one["energy"])
        )
    out.print()
    out.print(table)
    if not values["measured"]:
        what = f"{values['energy_source'].upper()} joules" if values["energy_source"] else "No joules"
        out.print(f"[yellow]{what}: no evidence.[/yellow]")


def ratio(found: dict[str, Any] | None) -> str:
    """`1.08 (1.02 to 1.14)`; of a single layer the ratio alone."""
    if found is None:
        return "not measured"
    return f"{found['value']:.2f}" if found["ci_low"] is None else interval(found)
