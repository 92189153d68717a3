"""Errors on layers and networks of families that a fit has not seen, and of a naive split."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dibench.numbers import count, number, percent
from dibench.show.blocks import Block, Note, Sentence, Table, columns
from dibench.words import MODEL_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dibench.study.findings.held_out import Errors, HeldOut, ModelErrors
    from dibench.study.findings.ladder import FoldNames

_COLUMNS = (
    "model", "layers", "MAPE", "naive MAPE", "ρ", "naive ρ",
    "networks", "networks’ MAPE", "networks’ naive MAPE", "networks’ ρ", "networks’ naive ρ",
)  # fmt: skip
_RANKS = {"naive ρ": 4, "networks’ naive ρ": 4, "networks’ ρ": 3, "networks’ naive MAPE": 2, "ρ": 1}


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
    counted = "A layer that several families have is left out with each of them, and counts once for each."
    table = Table(caption, columns(*_COLUMNS, ranks=_RANKS), rows, counted)
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


_MOST_FAMILIES, _MOST_MEMBERS = 12, 4
"""Shown by name; JSON has all."""


def _named(found: HeldOut) -> list[Block]:
    """Which networks outside the 25 were taken for one family: by their names, which may mislead, unless the
    table states families."""
    several = {family: members for family, members in found.named.items() if members != (family,)}
    how = {"by name (a column family overrides them)": several, "as the table states them": found.stated}
    return [Note(f"Families {what}: {_members(which)}.") for what, which in how.items() if which]


def _members(families: Mapping[str, tuple[str, ...]]) -> str:
    told = []
    for family, members in list(families.items())[:_MOST_FAMILIES]:
        more = len(members) - _MOST_MEMBERS
        names = [*members[:_MOST_MEMBERS], *([f"{count(more)} more"] if more > 0 else [])]
        told.append(f"{family} ({', '.join(names) or 'rows without a name'})")
    more = len(families) - _MOST_FAMILIES
    return ", ".join([*told, *([f"{count(more)} more families"] if more > 0 else [])])


_SIZES = re.compile(r"\d+(x\d+)+")
"""How a layer without a name is told in JSON."""


def of_no_family(folds: FoldNames) -> list[Block]:
    """Which rows no fold by family holds out; nothing where every row has a family, or none."""
    if not folds.rows_without or not folds.families:
        return []
    named = [name for name in folds.without if not _SIZES.fullmatch(name)]
    names, more = named[:_MOST_FAMILIES], len(named) - _MOST_FAMILIES
    names += [f"{count(more)} more"] if more > 0 else []
    names += ["layers without a name"] if len(named) < len(folds.without) else []
    return [Note(f"Of no family: {count(folds.rows_without, 'row')} ({', '.join(names)}).")]


def _row(name: str, model: ModelErrors) -> list[str]:
    return [
        MODEL_NAMES[name],
        *_cells(model.layers, model.layers_naive),
        *_cells(model.networks, model.networks_naive),
    ]


def _cells(unseen: Errors, naive: Errors) -> list[str]:
    errors = [percent(one.mape, 1) for one in (unseen, naive)]
    return [count(unseen.n), *errors, *(number(one.spearman, ".3f") for one in (unseen, naive))]
