"""The section of `fit` on layers and networks of families that it has not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dibench.cli.output import plain_table
from dibench.show.numbers import number
from dibench.words import MODEL_NAMES

if TYPE_CHECKING:
    from rich.console import Console


def show_held_out(out: Console, figures: dict[str, Any]) -> None:
    """Errors per layer and per network, beside those of a naive split; why there are none."""
    found = figures["held_out"]
    reason = found["undecided"]["layers"]
    if reason is not None:
        out.print(f"\nUnseen families: undecided, {reason}.", soft_wrap=True)
        return
    left = [family["rows_left"] for family in found["families"]]
    rows = f"{min(left)} to {max(left)} rows left"
    title = f"Unseen families: {len(left)} left out with every shape they share ({rows}); naive: random rows"
    table = plain_table(title)
    table.add_column("model", no_wrap=True)
    for name in ("layers", "MAPE", "naive", "ρ", "naive", "networks", "MAPE", "naive", "ρ", "naive"):
        table.add_column(name, justify="right")
    for name, model in found["models"].items():
        cells = []
        for what in ("layers", "networks"):
            errors, naive = model[what], model[f"{what}_naive"]
            cells.append(str(errors["n"]))
            cells += [number(errors["mape"], ".1%"), number(naive["mape"], ".1%")]
            cells += [number(errors["spearman"], ".3f"), number(naive["spearman"], ".3f")]
        table.add_row(MODEL_NAMES[name], *cells)
    out.print()
    out.print(table)
    if found["skipped"]:
        said = ", ".join(f"{name} leaves {rows}" for name, rows in found["skipped"].items())
        out.print(f"Not left out, as too few rows would remain: {said}; {found['rows_needed']} needed")
    if found["undecided"]["networks"] is not None:
        out.print(f"Networks: undecided, {found['undecided']['networks']}.", soft_wrap=True)
