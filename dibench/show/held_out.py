"""Errors on layers and networks of families that a fit has not seen, and of a naive split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench.numbers import count, number, percent
from dibench.show.blocks import Block, Note, Sentence, Table, columns
from dibench.words import MODEL_NAMES

if TYPE_CHECKING:
    from dibench.study.findings.held_out import Errors, HeldOut, ModelErrors

_COLUMNS = (
    "model", "layers", "MAPE", "naive", "ρ", "naive ρ", "networks", "MAPE", "naive", "ρ", "naive ρ",
)  # fmt: skip


def blocks(found: HeldOut) -> list[Block]:
    """A line for each model, and what could not be left out or decided; or why there is no table."""
    if found.undecided.layers is not None:
        return [Sentence(f"Unseen families: undecided, {found.undecided.layers}."), *_named(found)]
    left = [family.rows_left for family in found.families]
    caption = (
        f"Unseen families: {len(left)} left out with every shape they share ({min(left)} to {max(left)} rows "
        "left); naive: random rows"
    )
    rows = [_row(*one) for one in found.models.items()]
    table = Table(caption, columns(*_COLUMNS, ranks={"ρ": 1, "naive ρ": 2}), rows)
    shown: list[Block] = [table]
    if found.skipped:
        said = ", ".join(f"{name} leaves {rows}" for name, rows in found.skipped.items())
        shown.append(
            Sentence(f"Not left out, as too few rows would remain: {said}; {found.rows_needed} needed.")
        )
    if found.small:
        said = ", ".join(f"{name} {layers}" for name, layers in found.small.items())
        shown.append(
            Sentence(f"Not counted, as they have fewer than {found.layers_needed} different layers: {said}.")
        )
    if found.undecided.networks is not None:
        shown.append(Sentence(f"Networks: undecided, {found.undecided.networks}."))
    return [*shown, *_named(found)]


def _named(found: HeldOut) -> list[Block]:
    """Which networks outside the 25 were taken for one family: their names decide, and may mislead."""
    several = {family: members for family, members in found.named.items() if members != (family,)}
    told = ", ".join(f"{family} ({', '.join(members)})" for family, members in several.items())
    return [Note(f"Families by name: {told}.")] if several else []


def _row(name: str, model: ModelErrors) -> list[str]:
    return [
        MODEL_NAMES[name],
        *_cells(model.layers, model.layers_naive),
        *_cells(model.networks, model.networks_naive),
    ]


def _cells(unseen: Errors, naive: Errors) -> list[str]:
    errors = [percent(one.mape, 1) for one in (unseen, naive)]
    return [count(unseen.n), *errors, *(number(one.spearman, ".3f") for one in (unseen, naive))]
