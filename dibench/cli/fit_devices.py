"""What `fit` shows of several cards: α of each, between them, together with a gain per card; their claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dibench.cli import fit_claims
from dibench.cli.output import plain_table
from dibench.words import gain_text, gains_text, interval

if TYPE_CHECKING:
    from rich.console import Console


def show(out: Console, figures: dict[str, Any]) -> None:
    """One line a card, then the joint fit and the differences."""
    title = "Each card on its own"
    table = plain_table(title)
    table.add_column("card", overflow="fold")
    for name in ("rows", "response", "α (95%)", "says"):
        table.add_column(name, justify="right" if name == "rows" else "left", overflow="fold")
    for card in figures["cards"]:
        own = card["fit"]
        if own is None:
            table.add_row(card["label"], "–", "–", "–", card["why_not"])
            continue
        alpha = interval(own["alpha"]["weighted"]) if own["reliable"] else "–"
        source = own["response"] if own["evidence"] else f"{own['response']}, no measured energy"
        table.add_row(card["label"], str(own["rows_used"]), source, alpha, own["verdict"])
    out.print(table)
    joint = figures["joint"]
    if joint is None:
        why = figures["why_not_joint"] or "the rows do not tell"
        out.print(f"\nNot fitted together: {why}", markup=False)
    else:
        gains = ", ".join(map(gain_text, joint["cards"], joint["gains"]))
        alpha = interval(joint["alpha"])
        out.print(
            f"\nTogether, {joint['rows']} rows, a gain per card: α {alpha}; gains {gains}", markup=False
        )
    for one in figures["differences"]:
        out.print(f"α of {one['first']} less that of {one['second']}: {interval(one['alpha'])}", markup=False)
    if "gains" in figures:
        out.print(f"\nAll cards as one. {gains_text(figures)}", markup=False)
        return
    for card in figures["cards"]:
        if card["fit"] is not None:
            out.print(f"\nThe paper's claims on {card['label']}:", markup=False)
            fit_claims.show(out, card["fit"]["claims"])
    out.print("\nOne card in full: --device NAME. Twins, lattice: --twins, --lattice")
