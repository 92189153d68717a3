"""What `fit --twins` shows: pairs of layers whose weights and inputs are exchanged, beside their placebo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dibench.cli.output import plain_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_STYLE = {"equivalent": "green", "differs": "bold", "undecided": "yellow"}
_LANES = {"": "–", "both": "p and k"}


def show(out: Console, values: dict[str, Any] | None) -> None:
    """The pairs of each response, what is not testable, and what to measure where there are none."""
    if values is None:
        out.print(
            "[yellow]No exact twins in these rows.[/yellow] "
            "`dibench sweep twins` measures eight pairs of each operator that has them."
        )
        _show_not_testable(out)
        return
    colour = "default" if values["measured"] else "yellow"
    out.print(
        f"[bold]Exact twins[/bold]: weights and inputs exchanged, all else equal. Of [{colour}]"
        f"{values['basis']}[/{colour}]."
    )
    out.print(
        "Ratio: the half with more weights over the half with more inputs. AI says 1; above 1, weights cost "
        f"more. Equivalent: within {values['margin']:.0%}.\nPlacebo: height and width exchanged, all counts "
        "equal; what shows there is no data type."
    )
    for response, kinds in values["responses"].items():
        out.print(_table(response, kinds))
    _show_not_testable(out)
    left_out = sum(values["not_exact"].values())
    if left_out:
        out.print(
            f"[dim]{left_out} pairs of rows left out: the kernel tiles by the layer and reads or does more "
            "in one half.[/dim]"
        )


def _show_not_testable(out: Console) -> None:
    from dibench.study.findings.twins import NOT_TESTABLE

    for what, why in NOT_TESTABLE.items():
        out.print(f"[dim]{what}: not testable, {why}.[/dim]")


def _table(response: str, kinds: dict[str, Any]) -> Table:
    table = plain_table(f"\n{response}", style="bold")
    table.add_column("operator", no_wrap=True)
    table.add_column("lanes")
    for name in ("pairs", "ratio", "95%", "p (Holm)"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("says")
    table.add_column("fitted α")
    table.add_column("placebo")
    placebo = {(one["op"], one["lanes"]): one for one in kinds["placebo"]}
    for one in kinds["twins"]:
        beside = placebo.pop((one["op"], one["lanes"]), None)
        table.add_row(*_cells(one), one["fitted_alpha"], _placebo(beside))
    for one in placebo.values():
        lanes = _LANES.get(one["lanes"], one["lanes"])
        table.add_row(one["op"], lanes, "", "", "", "", "[dim]no twins[/dim]", "", _placebo(one))
    return table


def _cells(one: dict[str, Any]) -> list[str]:
    style = _STYLE[one["decision"]]
    says = f"[{style}]{one['decision']}[/{style}]"
    if one["decision"] == "undecided":
        says += f": {one['reason']}"
    p = one["p_holm"]
    return [
        one["op"],
        _LANES.get(one["lanes"], one["lanes"]),
        str(one["pairs"]),
        f"{one['ratio']:.3f}",
        _interval(one),
        "–" if p is None else f"{p:.2g}",
        says,
    ]


def _interval(one: dict[str, Any]) -> str:
    if one["ci_low"] is None:
        return "unbounded"
    return f"{one['ci_low']:.3f} to {one['ci_high']:.3f}"


def _placebo(one: dict[str, Any] | None) -> str:
    if one is None:
        return "none measured"
    return f"{one['ratio']:.3f} ({_interval(one)}), {one['pairs']} pairs: {one['decision']}"
