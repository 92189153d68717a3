"""Our fastest kernels beside a library on the same layers: its cost over ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench.numbers import UNKNOWN, count, interval, number
from dibench.show.blocks import Block, Section, Sentence, Table, columns

if TYPE_CHECKING:
    from dibench.study.findings.peer import Peers, Ratio


def section(found: Peers) -> Section:
    """The table, and a warning where its joules are no evidence."""
    what = f"{found.energy_source.upper()} joules" if found.energy_source else "No joules"
    told: list[Block] = [
        table(found),
        *([] if found.measured else [Sentence(f"{what}: no evidence.", "warn")]),
    ]
    return Section("library", "Library", f"How do our kernels compare with {found.library}?", told)


def table(found: Peers) -> Table:
    """One line an operator and data type."""
    rows = [
        [
            one.op,
            one.dtype,
            count(one.time.layers),
            _ratio(one.time),
            _ratio(one.energy),
            ", ".join(one.variants),
        ]
        for one in found.by
    ]
    joules = "measured" if found.measured else f"{found.energy_source or 'not'}, not measured: no evidence"
    return Table(
        f"Our fastest kernels beside {found.library}: its cost over ours",
        columns(
            *("operator", "type", "layers", "time", "joules", "ours"),
            text=["type", "ours"],
            wraps=["ours"],
            ranks={"ours": 2, "layers": 1},
        ),
        rows,
        "Above 1 ours take less. Geometric mean over layers with its 95% interval; a layer's fastest kernel "
        f"on both sides. Joules are gross, {joules}.",
    )


def _ratio(found: Ratio | None) -> str:
    """`1.08 (1.02 to 1.14)`; of a single layer the ratio alone."""
    if found is None:
        return UNKNOWN
    return number(found.value, ".2f") if found.ci_low is None else interval(found)
