"""Networks through PyTorch's library beside our kernels, as two fits predict them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench.intensity import OPERATORS
from dibench.numbers import UNKNOWN, bracketed, number, with_interval
from dibench.show.blocks import Block, Column, Sentence, Table
from dibench.show.partial import cost_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dibench.study.findings.prediction import BesideLibrary, Library, PredictedCost, Prediction

_NOTE = (
    "Above 1 ours takes less. 95% intervals; the two fits err independently. What a library saves by fusing "
    "layers is in neither."
)


def blocks(ours: Sequence[Prediction], found: Library) -> list[Block]:
    """One table: by operator of one network at one batch, else the total of each network and batch."""
    alone = len(ours) == 1
    rows = _by_operator(ours[0], found.beside[0]) if alone else []
    rows += [
        _row("total" if alone else f"{own.network}, batch {own.batch}", own, other)
        for own, other in zip(ours, found.beside, strict=True)
    ]
    columns = (
        Column("operator" if alone else "network", text=True, wraps=True),
        Column("ours", text=True, wraps=True),
        Column("library", text=True, wraps=True),
        Column("library / ours", text=True),
    )
    which = f": {ours[0].network}, batch {ours[0].batch}" if alone else ""
    quantity = "Time" if found.origin.is_time else "Energy"
    title = f"{quantity} per inference through our kernels and PyTorch's library{which}"
    return [Table(title, columns, rows, _NOTE), *_left_out(ours, found)]


def _by_operator(ours: Prediction, library: BesideLibrary) -> list[list[str]]:
    theirs = library.prediction
    present = {layer.layer.op for layer in ours.layers}
    return [
        [op, _of(ours, op), _of(theirs, op), _ratio(library.ratio_by_operator.get(op))]
        for op in OPERATORS
        if op in present
    ]


def _of(found: Prediction, op: str) -> str:
    if op not in found.by_operator:
        return "not in the fit"
    return with_interval(found.by_operator[op].per(found.batch), found.unit)


def _row(name: str, ours: Prediction, library: BesideLibrary) -> list[str]:
    costs = [cost_text(one.per_inference, one.unit, one.covered) for one in (ours, library.prediction)]
    return [name, *costs, _ratio(library.ratio)]


def _ratio(found: PredictedCost | None) -> str:
    if found is None:
        return UNKNOWN
    return bracketed(found.value, found.low, found.high, lambda value: number(value, ".2f"))


def _left_out(ours: Sequence[Prediction], found: Library) -> Iterator[Block]:
    """Why some totals have no ratio, and what the library's fit lacks."""
    if any(one.ratio is None for one in found.beside):
        yield Sentence("No ratio of a partial total: what it leaves out is not known.", "warn")
    for own, other in zip(ours, found.beside, strict=True):
        lacking = [op for op in other.prediction.unpredicted_operators if op not in own.unpredicted_operators]
        if lacking:
            name = f"{own.network}, batch {own.batch}"
            yield Sentence(f"{name}: the library's fit has no rows of {', '.join(lacking)}.", "warn")
