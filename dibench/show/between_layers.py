"""What whole networks will cost, with what runs between their layers, and how well that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench.numbers import count, percent, short, times, with_interval
from dibench.show.blocks import Block, Note, Sentence

if TYPE_CHECKING:
    from dibench.study.findings.between_layers import Between, WholeCost, WholeCosts

_WORDS = {
    "layers": "its layers",
    "elements": "what passes over their outputs (such as activations)",
    "calls": "a constant for each layer (such as calls)",
}


def blocks(found: WholeCosts) -> list[Block]:
    """Each network as a whole, then what that stands on."""
    made: list[Block] = [Sentence(_whole(one)) for one in found.predicted]
    if found.between is None:
        made.append(Note(f"What runs between layers is not predicted: {found.reason}."))
    else:
        made.append(Sentence(_between(found.between)))
    if found.not_used:
        made.append(Note(f"Not taken as whole networks: {'; '.join(found.not_used)}."))
    return made


def _whole(one: WholeCost) -> str:
    whole, layers = one.total.per(one.batch), one.layers.value / one.batch
    factor = f"{times(one.factor.value)} ({times(one.factor.low)} to {times(one.factor.high)})"
    said = (
        f"{one.network}, batch {one.batch}, the whole network: **{with_interval(whole, one.unit)}** per "
        f"inference, {factor} the {short(layers, one.unit)} of its layers, from {one.others} other networks"
    )
    if len(one.terms) > 1:
        parts = (
            f"{_WORDS[term]} {percent(part / one.total.value)}" for term, part in one.terms.items() if part
        )
        said = f"{said}: {', '.join(parts)}"
    if one.measured is None:
        return f"{said}."
    where = "inside" if one.inside else "outside"
    return f"{said}. Measured: {short(one.measured / one.batch, one.unit)}, {where} the interval."


def _between(one: Between) -> str:
    least, mean, most = map(times, one.factors)
    return (
        f"Networks measured whole take {mean} ({least} to {most}) what is predicted for their layers "
        f"({count(one.networks, 'network')} of {one.families} families). Predicted without its family, a "
        f"network lies {percent(one.unseen)} from what was measured (standard deviation); "
        f"{one.inside} of {one.measurements} lie inside the 95% interval."
    )
