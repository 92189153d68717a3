"""Sums over part of a model's multiply-adds, and what they leave out: none passes for the whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dibench.numbers import count, percent, short, with_interval
from dibench.show.blocks import Sentence

if TYPE_CHECKING:
    from dibench.models import NotCovered
    from dibench.models.model import MacShare
    from dibench.numbers import Spanned
    from dibench.study.findings.prediction import Prediction


def at_least(text: str, covered: MacShare) -> str:
    """A sum over layers as it may be told of the model: `≥ 636 µs, 28% of MACs` where it is partial."""
    return f"≥ {text}, {covered.text}" if covered.partial else text


def cost_text(cost: Spanned, unit: str, covered: MacShare) -> str:
    """A predicted total with its interval."""
    return at_least(with_interval(cost, unit), covered)


def part_of(share: float, covered: MacShare) -> str:
    """A layer's share of a total: of a partial one it is the most that it can be of the whole.

    >>> from dibench.models.model import MacShare
    >>> part_of(0.5, MacShare(macs=1, macs_known=1)), part_of(0.5, MacShare(macs=1, macs_known=4))
    ('50%', '≤ 50%')
    """
    return f"≤ {percent(share)}" if covered.partial else percent(share)


def transposed_text(found: Prediction) -> str:
    """How much of a prediction is of transposed convolutions; empty where there is none."""
    turned = [one.value for one in found.layers if one.layer.transposed and one.known]
    if not turned:
        return ""
    how_many, part = count(len(turned), "transposed convolution"), percent(sum(turned) / found.total.value)
    return (
        f"{found.network}: {how_many}, {part} of what is predicted, modelled by its gradient's convolution."
    )


def not_covered(parts: Sequence[NotCovered]) -> Iterator[Sentence]:
    """One line for each kind of what is no layer, with the first name."""
    kinds: dict[tuple[str, str], list[NotCovered]] = {}
    for part in parts:
        kinds.setdefault((part.op, part.reason), []).append(part)
    for (op, reason), alike in kinds.items():
        known = [part.macs for part in alike if part.macs is not None]
        macs = f"{short(sum(known))} MACs" if known else "MACs not known"
        name = alike[0].name.partition("/")[2] + (" …" if len(alike) > 1 else "")
        yield Sentence(f"**not covered**: {len(alike)} × {op}, {reason}: {macs} ({name})")
