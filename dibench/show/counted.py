"""What the hardware counted over what we count, by variant and operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dibench.numbers import UNKNOWN, from_to, plain
from dibench.show.blocks import Block, Column, Sentence, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_SHOWN = {
    "fma_ratio": "FMA",
    "mma_ratio": "MMA",
    "accesses_ratio": "accesses",
    "l1_load_sectors_ratio": "L1 sectors",
}


def blocks(rows: Sequence[Mapping[str, Any]], kept: Path) -> list[Block]:
    """The range of each ratio, and where the table of all cases lies.

    Args:
        rows: of `check.counters.rows`.
        kept: the table's file.
    """
    columns = [Column("variant", text=True), Column("op", text=True), Column("cases")]
    columns += [Column(name) for name in (*_SHOWN.values(), "DRAM, cold")]
    cells = []
    for variant, op in dict.fromkeys((row["variant"], row["op"]) for row in rows):
        group = [row for row in rows if (row["variant"], row["op"]) == (variant, op)]
        ratios = [_range(row.get(ratio) for row in group) for ratio in _SHOWN]
        cold = _range(row["dram_ratio"] for row in group if row["cold"])
        cells.append([variant, op, str(len(group)), *ratios, cold])
    return [Table("**Measured over ours**", columns, cells), Sentence(f"Every case: {kept}")]


def _range(ratios: Iterable[float | None]) -> str:
    """The least and the largest of the ratios that are known.

    >>> _range([1.0, None, 1.25]), _range([2.0]), _range([None])
    ('1 to 1.25', '2', '–')
    """
    known = [ratio for ratio in ratios if ratio is not None]
    if not known:
        return UNKNOWN
    return from_to(plain(min(known), 4), plain(max(known), 4))
