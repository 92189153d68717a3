"""Two sweeps side by side: the answer in words, the cases that changed, and what the answer rests on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dibench.numbers import (
    UNKNOWN,
    bracketed,
    count,
    from_to,
    p_text,
    p_value,
    percent,
    percent_apart,
    short,
    times,
)
from dibench.show import noise
from dibench.show.blocks import Block, Column, Headline, Note, Sentence, Table, Tone

if TYPE_CHECKING:
    from dibench.study.findings.comparison import Comparison, PaceApart, Quantity

_SHOWN = 8
_WORDS = {"time_s": ("time", "s"), "energy_j": ("energy", "J")}
_INTERVALS = "the brackets are 95% intervals."
_ONE_MEASUREMENT = "A and B are one measurement, so nothing differs"
_TONES: dict[str, Tone] = {"worse": "bad", "better": "good"}


def blocks(found: Comparison) -> list[Block]:
    """The answer in words first, then the cases that changed, then what the answer rests on."""
    if found.one_measurement and found.verdict != "worse":
        return [*_one_measurement(found), *_basis(found)]
    made: list[Block] = []
    if found.verdict == "too noisy":
        made.append(Headline("Too noisy to tell.", "warn"))
    made += [Headline(_answer(one), _TONES.get(_overall(one), "")) for one in found.quantities]
    made += [Sentence(_why_noisy(one)) for one in found.quantities if one.too_noisy]
    made += [Sentence(_power(one)) for one in found.quantities if one.detectable is not None]
    made += [Sentence(f"{what.capitalize()} is not compared: {why}.")
             for what, why in found.not_compared.items()]  # fmt: skip
    made += _failed(found)
    made += _paces(found)
    made += [_changed(one, found.matched_by) for one in found.quantities if any(c.verdict for c in one.cases)]
    return [*made, *_basis(found)]


def brief(found: Comparison, *, full: str = "--full", accept: str = "--fail-above") -> list[Block]:
    """What changed, how sure that is and what to do next, then the cases that changed.

    Args:
        found: of two sweeps.
        full: how one asks for all of it.
        accept: how one accepts more change.
    """
    if found.one_measurement and found.verdict != "worse":
        return _one_measurement(found)
    first = next((one for one in found.quantities if one.too_noisy), found.quantities[0])
    noisy = found.verdict == "too noisy"
    first_answer, *others = (_answer(one).rstrip(".") for one in found.quantities)
    answer = "; ".join([first_answer, *(re.sub("^Whether", "whether", one) for one in others)])
    worst = next((tone for tone in map(_overall, found.quantities) if tone == "worse"), _overall(first))
    if noisy:
        of = " of single cases" if first.too_noisy == "single" else ""
        answer = f"Too noisy to tell{of}: {answer[:1].lower()}{answer[1:]}"
    made: list[Block] = [
        Headline(f"{answer}.", "warn" if noisy else _TONES.get(worst, "")),
        Sentence(_how_sure(found, first), "warn" if noisy or found.pace_apart else ""),
        Sentence(_next(found, accept)),
        *_failed(found),
    ]
    changed = [one for one in found.quantities if any(case.verdict for case in one.cases)]
    more = f"`{full}` says on what this rests"
    made += [_changed(one, found.matched_by, "" if number else more) for number, one in enumerate(changed)]
    return made if changed else [*made, Note(f"{more}.")]


def _one_measurement(found: Comparison) -> list[Block]:
    cases = count(len(found.quantities[0].cases), "case")
    return [
        Headline(f"{_ONE_MEASUREMENT}: every number of {cases} is the same."),
        Sentence("How sure: certain, and of no use: it says nothing of what a second measurement would say."),
        Sentence("Next: measure again into another directory, and compare with that."),
    ]


def _how_sure(found: Comparison, first: Quantity) -> str:
    """In one sentence, with what was not compared and how the machine itself differed."""
    sure = _why_noisy(first) if first.too_noisy else _power(first) if first.detectable else _INTERVALS
    parts = [sure, *(f"{what} is not compared: {why}" for what, why in found.not_compared.items())]
    if found.pace_apart is not None:
        parts.append(pace_text(found.pace_apart, "A", "B"))
    told = (part.rstrip(".") for part in parts)
    return f"How sure: {'; '.join(f'{part[:1].lower()}{part[1:]}' for part in told)}."


def _paces(found: Comparison) -> list[Block]:
    return [] if found.pace_apart is None else [Sentence(pace_text(found.pace_apart, "A", "B"), "warn")]


def pace_text(apart: PaceApart, a: str, b: str) -> str:
    """In one line, how differently the machine itself ran, and that times allow for it."""
    factor = bracketed(apart.ratio, apart.low, apart.high)
    return (
        f"The machine's own pace differed: in {b} a typical case took {factor} times as long as in {a} for "
        f"that alone; times of {b} are stated at the pace of {a}, and intervals hold that doubt."
    )


def _next(found: Comparison, accept: str) -> str:
    if found.verdict == "too noisy":
        if found.quantities[0].too_noisy in ("flagged", "few flagged"):
            return f"Next: {noise.REMEDY}."
        return f"Next: measure both for longer, or accept more change with `{accept}`."
    if found.verdict == "worse" and found.differs:
        names = ", ".join(list(found.differs)[:3])
        return f"Next: see whether what differs between A and B explains it: {names}."
    if found.verdict == "worse":
        return "Next: measure B once more; what is worse twice is no chance."
    return "Next: nothing here got worse, so B can be what later sweeps are compared with."


def _failed(found: Comparison) -> list[Block]:
    if not found.newly_failed:
        return []
    lines = [Sentence(f"  {line}") for line in found.newly_failed[:_SHOWN]]
    return [Headline(f"Measured in A, failed in B: {len(found.newly_failed)}", "bad"), *lines]


def in_a_line(found: Comparison) -> str:
    """The answer on time, and on energy where it could be compared: a line each."""
    if found.one_measurement and found.verdict != "worse":
        return f"{_ONE_MEASUREMENT}."
    told = [_answer(one) for one in found.quantities]
    return "\n".join([*(["Too noisy to tell."] if found.verdict == "too noisy" else []), *told][:2])


def _overall(quantity: Quantity) -> str:
    if quantity.too_noisy:
        return ""
    return "worse" if quantity.having("worse") else quantity.verdict


def _answer(quantity: Quantity) -> str:
    """The change of all cases together, and how many single cases changed beyond noise."""
    what, _ = _WORDS[quantity.column]
    if quantity.source:
        what += f" ({quantity.source})"
    margin = _margin(quantity.margin)
    verdict = {
        "worse": f"B takes more {what} than A",
        "better": f"B takes less {what} than A",
        "same": f"B takes as much {what} as A, within {margin}",
        "undecided": f"Whether B takes {margin} more {what} than A is not decided",
    }[quantity.verdict]
    if quantity.too_noisy == "flagged" or (quantity.too_noisy and quantity.verdict == "worse"):
        verdict = f"Whether B takes {margin} more {what} than A is not decided"
    elif quantity.verdict == "same" and quantity.low is not None and quantity.low < 1 / (1 + quantity.margin):
        verdict = f"B takes no more {what} than A, within {margin}"
    interval = ""
    if quantity.low is not None and quantity.high is not None:
        interval = f" (95% {_change(quantity.low)} to {_change(quantity.high)})"
    worse, better = len(quantity.having("worse")), len(quantity.having("better"))
    changed = f"{worse} worse, {better} better" if worse or better else "none changed"
    single = f"{changed} beyond noise"
    if quantity.margin_of_case != quantity.margin:
        single += f" and {_margin(quantity.margin_of_case)}"
    cases = count(len(quantity.cases), "case")
    return f"{verdict}: {_change(quantity.ratio)}{interval} over {cases}; singly, {single}."


def _power(quantity: Quantity) -> str:
    """The changes that the comparison would not have missed."""
    what, _ = _WORDS[quantity.column]
    of_all = quantity.detectable_of_all
    together = "" if of_all is None else f", and of {_slowdown(of_all)} and more in all together"
    return (
        f"Can see changes of {_slowdown(quantity.detectable)} and more in a typical case's {what}{together} "
        "(in four of five comparisons)."
    )


def _why_noisy(quantity: Quantity) -> str:
    """Why the sweeps cannot tell, and what would help."""
    margin = _margin(quantity.margin)
    flagged = count(len(quantity.having("undecided")), "flagged case")
    remedy = "measure longer or beside fewer neighbours, or accept more."
    return {
        "flagged": f"{percent(quantity.flagged)} of the pairs have a flagged row: what disturbed it would be "
        "taken for a change.",
        "all": f"The interval of all cases holds {margin}: {remedy}",
        "single": f"In a typical single case only a change of {_slowdown(quantity.detectable)} or more would "
        f"be seen, too coarse for {margin}: {remedy}",
        "few flagged": f"What disturbed them may be all that makes {flagged} look worse: measure again.",
    }[quantity.too_noisy]


def _slowdown(by: float | None) -> str:
    """
    >>> _slowdown(0.0486), _slowdown(2.0), _slowdown(None)
    ('4.9%', '3×', '–')
    """
    if by is None:
        return UNKNOWN
    return percent(by, 1) if by < 1 else times(min(1 + by, 100), 0)


def _margin(fraction: float) -> str:
    """A whole percentage as it is.

    >>> _margin(0.03), _margin(0.005)
    ('3%', '0.5%')
    """
    return percent(fraction, 0 if abs(100 * fraction - round(100 * fraction)) < 1e-9 else 1)


def _change(ratio: float) -> str:
    """
    >>> _change(1.0312), _change(0.5), _change(3.0)
    ('+3.1%', '−50.0%', '3.00×')
    """
    return times(ratio) if ratio >= 2 else percent_apart(ratio - 1)


def _changed(quantity: Quantity, matched_by: str, more: str = "") -> Table:
    what, unit = _WORDS[quantity.column]
    worse, better = quantity.having("worse") + quantity.having("undecided"), quantity.having("better")
    title = f"Changed {what} beyond noise and {_margin(quantity.margin_of_case)}"
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
        words = [case.layer or case.case_id, case.op]
        words += [" ".join(filter(None, (case.variant, case.knobs)))] if kernel else []
        low, high = (UNKNOWN if end is None else _change(end) for end in (case.low, case.high))
        costs = [short(case.a, unit), short(case.b, unit), _change(case.ratio)]
        rows.append([*words, *costs, from_to(low, high), p_value(p)])
    return Table("; ".join(filter(None, (title, more))), columns, rows)


def _basis(found: Comparison) -> list[Block]:
    """What the answer rests on: how rows were matched, noise, tests, what differs, what is missing."""
    how = "by case" if found.matched_by == "case" else "by layer, the fastest row of each: no case in common"
    lines = [f"Matched {how}. Rows of A without partner: {found.only_a}, of B: {found.only_b}."]
    for quantity in found.quantities:
        what, _ = _WORDS[quantity.column]
        without = sum(case.low is None for case in quantity.cases)
        lines.append(
            f"{what.capitalize()}: Wilcoxon signed-rank {p_text(quantity.p_wilcoxon)}; between visits "
            f"at a case {percent(quantity.between)} beyond its own interval"
            + (f"; {count(without, 'case')} without interval" if without else "")
            + "."
        )
    if any(found.flagged):
        lines.append(
            f"Flagged rows, judged by their own spread: {found.flagged[0]} in A, {found.flagged[1]} in B."
        )
    names = dict(found.differs)
    if "device" in names:
        names.pop("device_uuid", None)
    lines += [f"{name} differs: {a or UNKNOWN} in A, {b or UNKNOWN} in B." for name, (a, b) in names.items()]
    return [Note(line) for line in lines]
