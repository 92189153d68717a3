"""What became of somebody's table: what was taken for what, what followed, and the lines that are no row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

from dibench.errors import UserError
from dibench.numbers import count, short
from dibench.show.blocks import Block, Table, columns, facts
from dibench.study.findings.plain import plain as values

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dibench.importing import Imported
    from dibench.importing.convert import Refused

_UNITS = {"time_s": "s", "power_w": "W"}
_MOST_STRETCHES = 12


def plain(found: Imported, out: Path | None) -> dict[str, Any]:
    """The same for programs; `path` is None where the table went to standard output."""
    told = attrs.asdict(found, recurse=False) | {
        "path": out and str(out),
        "rows": len(found.rows),
        "refused": [attrs.asdict(one) for one in found.refused],
        "medians": found.medians,
    }
    made: dict[str, Any] = values(told)
    return made


def imported(found: Imported) -> list[Block]:
    """Where each column came from, and one line for each kind of refusal with the lines it is about."""
    medians = found.medians.items()
    lines = [
        ("taken", ", ".join(_equations(found))),
        ("set", ", ".join(f"{name} = {text}" for name, text in found.constants.items())),
        ("as it was", ", ".join(found.same)),
        ("derived", ", ".join(found.derived)),
        ("assumed", ", ".join(f"{name} = {value}" for name, value in found.assumed.items())),
        ("kept as text", ", ".join(found.kept)),
        ("left out", ", ".join(found.left_out)),
        ("medians", ", ".join(f"{name} {short(value, _UNITS.get(name, 'J'))}" for name, value in medians)),
    ]
    caption = f"{count(len(found.rows), 'row')} of {count(found.read, 'line')}"
    caption += f"; {count(len(found.refused))} refused" if found.refused else ""
    told: list[Block] = [facts(caption, *(line for line in lines if line[1]))]
    if found.refused:
        heads = columns("lines", "why", "which", text=["why", "which"], wraps=["why", "which"])
        told.append(Table("Refused", heads, _refusals(found.refused)))
    return told


def _equations(found: Imported) -> Iterator[str]:
    """`H = W = size`: columns that one formula fills stand together."""
    by_formula: dict[str, list[str]] = {}
    for name, said in found.taken.items():
        by_formula.setdefault(said, []).append(name)
    for said, names in by_formula.items():
        yield " = ".join([*names, said])


def _refusals(refused: Sequence[Refused]) -> list[tuple[str, str, str]]:
    """Refusals that differ in their numbers alone are one kind; the first of them speaks for it."""
    kinds: dict[str, list[Refused]] = {}
    for one in refused:
        kinds.setdefault(f"{one.field}: {re.sub('[0-9]+', '0', one.rule)}", []).append(one)
    return [
        (count(len(kind)), _said(kind[0]), _stretches([one.line for one in kind])) for kind in kinds.values()
    ]


def _said(refused: Refused) -> str:
    value = () if refused.value is None else (refused.value,)
    return str(UserError(refused.field, refused.rule, *value))


def _stretches(lines: Sequence[int]) -> str:
    """
    >>> _stretches([2, 3, 4, 9])
    'lines 2-4, 9'
    """
    found: list[list[int]] = []
    for line in lines:
        if found and line == found[-1][1] + 1:
            found[-1][1] = line
        else:
            found.append([line, line])
    shown = [f"{first}-{last}" if last > first else str(first) for first, last in found[:_MOST_STRETCHES]]
    left = sum(last - first + 1 for first, last in found[_MOST_STRETCHES:])
    return (
        f"line{'s' if len(lines) > 1 else ''} "
        + ", ".join(shown)
        + (f" and {count(left)} more" if left else "")
    )
