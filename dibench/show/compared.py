"""Two sweeps side by side: the answer in words, the cases that changed, and what the answer rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench.numbers import UNKNOWN, count, p_text, p_value, percent, percent_apart, short, times
from dibench.show.blocks import Block, Column, Headline, Note, Sentence, Table, Tone

if TYPE_CHECKING:
    from dibench.study.findings.comparison import Comparison, Quantity

_SHOWN = 8
_WORDS = {"time_s": ("time", "s"), "energy_j": ("energy", "J")}
_TONES: dict[str, Tone] = {"worse": "bad", "better": "good"}


def blocks(found: Comparison) -> list[Block]:
    """The answer in words first, then the cases that changed, then what the answer rests on."""
    made: list[Block] = [Headline(_answer(one), _TONES.get(_overall(one), "")) for one in found.quantities]
    made += [Sentence(f"{what.capitalize()} is not compared: {why}.")
             for what, why in found.not_compared.items()]  # fmt: skip
    if found.newly_failed:
        made.append(Headline(f"Measured in A, failed in B: {len(found.newly_failed)}", "bad"))
        made += [Sentence(f"  {line}") for line in found.newly_failed[:_SHOWN]]
    made += [_changed(one, found.matched_by) for one in found.quantities if any(c.verdict for c in one.cases)]
    return [*made, *_basis(found)]


def _overall(quantity: Quantity) -> str:
    return "worse" if quantity.having("worse") else quantity.verdict


def _answer(quantity: Quantity) -> str:
    """The change of all cases together, and how many single cases changed beyond noise."""
    what, _ = _WORDS[quantity.column]
    if quantity.source:
        what += f" ({quantity.source})"
    verdict = {
        "worse": f"B takes more {what} than A",
        "better": f"B takes less {what} than A",
        "same": f"B takes as much {what} as A, within {percent(quantity.margin, 0)}",
    }[quantity.verdict]
    interval = ""
    if quantity.low is not None and quantity.high is not None:
        interval = f" (95% {_change(quantity.low)} to {_change(quantity.high)})"
        inside = quantity.low > 1 / (1 + quantity.margin) and quantity.high < 1 + quantity.margin
        if quantity.verdict == "same" and not inside:
            verdict = f"Whether B takes more {what} than A is not decided"
    worse, better = len(quantity.having("worse")), len(quantity.having("better"))
    single = (
        f"{worse} worse, {better} better beyond noise" if worse or better else "none changed beyond noise"
    )
    cases = count(len(quantity.cases), "case")
    return f"{verdict}: {_change(quantity.ratio)}{interval} over {cases}; singly, {single}."


def _change(ratio: float) -> str:
    """
    >>> _change(1.0312), _change(0.5), _change(3.0)
    ('+3.1%', '−50.0%', '3.00×')
    """
    return times(ratio) if ratio >= 2 else percent_apart(ratio - 1)


def _changed(quantity: Quantity, matched_by: str) -> Table:
    what, unit = _WORDS[quantity.column]
    worse, better = quantity.having("worse"), quantity.having("better")
    title = f"Changed {what} beyond noise and {percent(quantity.margin, 0)}"
    if len(worse) > _SHOWN or len(better) > _SHOWN:
        title += f", the largest {_SHOWN} of each direction"
    # Matched by layer, A and B have kernels of their own.
    kernel = () if matched_by == "layer" else (Column("kernel", text=True, rank=2),)
    columns = (
        Column("layer", text=True, wraps=True), Column("op", text=True, rank=3), *kernel,
        Column("A", rank=1), Column("B", rank=1), Column("change"), Column("95%"), Column("p (Holm)"),
    )  # fmt: skip
    shown = [(case, case.p_worse) for case in worse[:_SHOWN]]
    shown += [(case, case.p_better) for case in better[:_SHOWN]]
    rows = []
    for case, p in shown:
        words = [case.name or case.case_id, case.op]
        words += [" ".join(filter(None, (case.variant, case.knobs)))] if kernel else []
        low, high = (UNKNOWN if end is None else _change(end) for end in (case.low, case.high))
        costs = [short(case.a, unit), short(case.b, unit), _change(case.ratio)]
        rows.append([*words, *costs, f"{low} to {high}", p_value(p)])
    return Table(title, columns, rows)


def _basis(found: Comparison) -> list[Block]:
    """What the answer rests on: how rows were matched, noise, tests, what differs, what is missing."""
    how = "by case" if found.matched_by == "case" else "by layer, the fastest row of each: no case in common"
    lines = [f"Matched {how}. Rows of A without partner: {found.only_a}, of B: {found.only_b}."]
    for quantity in found.quantities:
        what, _ = _WORDS[quantity.column]
        without = sum(case.low is None for case in quantity.cases)
        lines.append(
            f"{what.capitalize()}: Wilcoxon signed-rank {p_text(quantity.p_wilcoxon)}; between visits "
            f"at the reference case {percent(quantity.between)}"
            + (f"; {count(without, 'case')} without interval" if without else "")
            + "."
        )
    if any(found.flagged):
        lines.append(
            f"Flagged rows, used with their intervals: {found.flagged[0]} in A, {found.flagged[1]} in B."
        )
    names = dict(found.differs)
    if "device" in names:
        names.pop("device_uuid", None)
    lines += [f"{name} differs: {a or UNKNOWN} in A, {b or UNKNOWN} in B." for name, (a, b) in names.items()]
    return [Note(line) for line in lines]
