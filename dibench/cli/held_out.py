"""The section of `fit` on layers and networks of families that it has not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_NAMES = {"macs": "MACs", "ai": "AI", "di_weighted": "DI weighted", "di_disjoint": "DI disjoint"}


def show_held_out(out: Console, figures: dict[str, Any]) -> None:
    """Errors per layer and per network, beside those of a naive split; why there are none."""
    from rich.table import Table

    found = figures["held_out"]
    reason = found["undecided"]["layers"]
    if reason is not None:
        out.print(f"\nUnseen families: undecided, {reason}.", soft_wrap=True)
        return
    left = [family["rows_left"] for family in found["families"]]
    rows = f"{min(left)} to {max(left)} rows left"
    title = f"Unseen families: {len(left)} left out with every shape they share ({rows}); naive: random rows"
    table = Table(box=None, header_style="bold", title=title, title_justify="left", title_style="")
    table.add_column("model", no_wrap=True)
    for name in ("layers", "MAPE", "naive", "ρ", "naive", "networks", "MAPE", "naive", "ρ", "naive"):
        table.add_column(name, justify="right")
    for name, model in found["models"].items():
        cells = []
        for what in ("layers", "networks"):
            errors, naive = model[what], model[f"{what}_naive"]
            cells.append(str(errors["n"]))
            cells += [_number(errors["mape"], ".1%"), _number(naive["mape"], ".1%")]
            cells += [_number(errors["spearman"], ".3f"), _number(naive["spearman"], ".3f")]
        table.add_row(_NAMES.get(name, name), *cells)
    out.print()
    out.print(table)
    if found["skipped"]:
        said = ", ".join(f"{name} leaves {rows}" for name, rows in found["skipped"].items())
        out.print(f"Not left out, as too few rows would remain: {said}; {found['rows_needed']} needed")
    if found["undecided"]["networks"] is not None:
        out.print(f"Networks: undecided, {found['undecided']['networks']}.", soft_wrap=True)


def _number(value: float | None, spec: str) -> str:
    return "–" if value is None else format(value, spec)
