"""The family of kernels: operators, knobs, what each variant teaches, and what it takes of a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dibench.intensity import OPERATORS
from dibench.numbers import UNKNOWN, count, plain
from dibench.show.blocks import Block, Column, Note, Sentence, Table, columns

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from dibench.check.resources import Needs
    from dibench.kernels import Variant


def brief(found: Sequence[Variant]) -> list[Block]:
    """A line for each variant: its operators, what stays in registers, and how many knobs it has."""
    rows = [
        [
            variant.name,
            variant.backend,
            _operators(variant.ops),
            "fast" if variant.fast else variant.stationarity,
            str(len(variant.knobs)),
        ]
        for variant in found
    ]
    heads = columns(
        "variant", "on", "operators", "stationary", "knobs", text=("on", "operators", "stationary")
    )
    note = (
        "Stationary: the operand that stays in registers; none: nothing does; fast: as fast as it can be. "
        "`--full` shows the knobs and their legal values, and what each variant teaches."
    )
    return [Table(f"{count(len(found), 'kernel variant')}", heads, rows, note)]


def _operators(ops: Collection[str]) -> str:
    """
    >>> _operators(["fc", "standard", "pointwise", "grouped"]), _operators(["fc"])
    ('all but depthwise', 'fc')
    """
    lacks = [op for op in OPERATORS if op not in ops]
    if not lacks:
        return "all"
    return f"all but {lacks[0]}" if len(lacks) == 1 else " ".join(ops)


def family(backend: str, found: Sequence[Variant]) -> list[Block]:
    """The variants of one backend, then what each teaches."""
    columns = [
        Column("variant", text=True),
        Column("operators", text=True, wraps=True),
        Column("stationary", text=True, rank=1),
        Column("knobs", text=True, wraps=True),
    ]
    if backend == "cuda":
        columns.append(Column("needs", text=True, rank=2))
    rows = []
    for variant in found:
        cells = [
            variant.name,
            " ".join(variant.ops),
            "fast" if variant.fast else variant.stationarity,
            ", ".join(f"{name} {_legal(legal)}" for name, legal in variant.knobs.items()) or "none",
        ]
        if variant.cuda:
            dtypes = [dtype for dtype in variant.dtypes if dtype != "fp32"]
            cells.append(" ".join((f"sm_{variant.cuda.least_arch}", *dtypes)))
        rows.append(cells)
    teaches = [Sentence(f"**{variant.name}**: {variant.teaches}") for variant in found]
    return [Table(f"**{backend}: {len(found)} variants**", columns, rows), *teaches]


def _legal(legal: Any) -> str:
    return "any" if legal == "any" else " ".join(map(str, legal))


def resources(variants: Iterable[Variant], needed: Sequence[Needs], archs: Sequence[int]) -> list[Block]:
    """What each CUDA variant takes of each GPU architecture, in each data type.

    Args:
        variants: CUDA variants.
        needed: what the compilers here found.
        archs: compute capabilities, such as 90, one column each.
    """
    known = {(one.variant, one.dtype, one.arch): one for one in needed}
    rows = []
    for variant in variants:
        assert variant.cuda is not None
        for dtype in variant.dtypes:
            row = [variant.name if dtype == "fp32" else f"{variant.name} {dtype}"]
            for arch in archs:
                one = known.get((variant.name, dtype, arch))
                row.append(_taken(one) if one else UNKNOWN if arch < variant.cuda.least_arch else "")
            rows.append(row)
    columns = [Column("variant", text=True), *(Column(f"sm_{arch}") for arch in archs)]
    legend = (
        "registers of a thread / KiB of shared memory of a block, + where it spills; knobs at their usual "
        f"values. {UNKNOWN}: needs a newer GPU; empty: no compiler for it is installed"
    )
    return [Table("**CUDA variants**", columns, rows), Note(legend)]


def _taken(one: Needs) -> str:
    shared = plain(one.shared_bytes / 1024)
    return f"{one.registers}/{shared}{'+' if one.spill_bytes else ''}"
