"""Does the verdict depend on a choice that could have been made otherwise?

Rows at the power cap, launch-bound rows, convolutions only, the data type, and time in place of energy are
combined in every way. Each operator and each family of networks left out, each term of the hardware beside
AI and DI, and energy above another baseline change the fit one at a time. Every choice is judged by the rule
of the verdict (`ladder.quick`); none is better than another, so none is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Unpack

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.errors import UserError
from dibench.intensity import ELEMENT_BYTES
from dibench.study.findings.choices import Choices, ReasonableChoice
from dibench.study.ladder.alpha import ROWS_OF_A_SEARCH, sample
from dibench.study.ladder.beside import TIME
from dibench.study.ladder.guards import EnergyCosts, guards_alone
from dibench.study.ladder.ladder import AiAgainstDi, Ladder
from dibench.study.ladder.models import FULL, Data, Terms, data_of
from dibench.study.ladder.quick import Quick, quick_verdict
from dibench.study.ladder.unseen import rows_needed
from dibench.study.ladder.verdict import withhold
from dibench.study.table.columns import numbers, texts
from dibench.study.table.rows import ENERGY_COLUMNS, Choice, Selection, repeats_of, select
from dibench.study.table.subsets import capped, launch_bound, repeated_module, warm_operands
from dibench.words import BESIDE_NAMES

if TYPE_CHECKING:
    import pandas as pd

Mask = NDArray[np.bool_]
Changes = tuple[str, ...]

MOST_FAMILIES = 24
"""That are left out one at a time: those of the most rows."""

TIME_INSTEAD = "time in place of energy"
CONVOLUTIONS = "convolutions only"
NOT_LAUNCH_BOUND = "without launch-bound rows"
ENERGY_INSTEAD = {
    "energy_above_active_idle_j": "energy above active idle",
    "energy_above_idle_j": "energy above idle",
    "energy_j": "gross energy",
}


@attrs.frozen(eq=False)
class _Asked:
    """One choice before it is judged."""

    changes: Changes
    selection: Selection
    rows: Mask
    """Of the selection."""
    data: Data
    """Of these rows."""
    response: str
    further: Mapping[str, Terms]
    terms: Terms | None = None
    """Beside which AI and DI are compared; None for the fewest with which the model does not miss."""


def choices(frame: pd.DataFrame, ladder: Ladder, **chosen: Unpack[Choice]) -> Choices | None:
    """The verdict under each choice; None where there is none but the fit itself.

    Args:
        frame: the table of the fit.
        ladder: the fit.
        chosen: `device`, `backend`, `dtype`, as of `fit`; a data type that was chosen is not changed.
    """
    judged, too_few = [_as_fitted(ladder)], []
    for asked in (*_combined(frame, ladder, chosen), *_one_at_a_time(frame, ladder)):
        if len(asked.data) < rows_needed(asked.data):
            too_few.append(", ".join(asked.changes))
        else:
            judged.append(_judge(asked, ladder))
    if len(judged) == 1:
        return None
    counted = dict.fromkeys(("DI", "AI", "undecided"), 0)
    for one in judged:
        counted[one.verdict] = counted.get(one.verdict, 0) + 1
    return Choices(
        answers=dict(sorted(counted.items(), key=lambda entry: -entry[1])),
        changes=tuple(dict.fromkeys(change for one in judged for change in one.changes)),
        choices=tuple(sorted(judged, key=_by_alpha)),
        too_few=tuple(too_few),
        at_most=ROWS_OF_A_SEARCH if any(one.rows > ROWS_OF_A_SEARCH for one in judged) else None,
    )


def _by_alpha(one: ReasonableChoice) -> tuple[bool, float]:
    return not one.bounded, one.alpha.value or 0.0


def _as_fitted(ladder: Ladder) -> ReasonableChoice:
    return _answer((), len(ladder.data), ladder.selection.response, ladder.comparison)


def _judge(asked: _Asked, ladder: Ladder) -> ReasonableChoice:
    found = quick_verdict(sample(asked.data), ladder.catalogue, asked.further, asked.terms)
    if found.verdict.decision in ("AI", "DI"):
        again = int(repeated_module(asked.selection.frame)[asked.rows].sum())
        energy = None
        if asked.response != "time_s":
            energy = EnergyCosts(found.costs, asked.selection.setting["dtype"])
        guards = guards_alone(asked.data, energy, again, found)
        found = attrs.evolve(found, verdict=withhold(found.verdict, guards))
    return _answer(asked.changes, len(asked.data), asked.response, found)


def _answer(changes: Changes, rows: int, response: str, found: Quick | AiAgainstDi) -> ReasonableChoice:
    verdict = found.verdict
    return ReasonableChoice(
        changes=changes,
        rows=rows,
        response=response,
        alpha=found.alpha.known(verdict.determined),
        alpha_by_family=found.alpha_by_family.known(verdict.determined),
        verdict=verdict.decision,
        brief=verdict.reasons[0].brief,
    )


def _combined(frame: pd.DataFrame, ladder: Ladder, chosen: Choice) -> Iterator[_Asked]:
    """Every combination of data type, rows at the cap, launch-bound rows, convolutions, and time for energy.

    Those that leave the same rows of the same response are one.
    """
    for named, selection in _selections(frame, ladder, chosen):
        further = _terms(ladder, selection)
        seen = set() if named else {(selection.response, bytes(np.ones(len(ladder.data), dtype=bool)))}
        for of, response in _responses(selection):
            data = _data_of(frame, selection, response)
            for cut, rows in _row_choices(selection.frame, data):
                rows = rows & (data.y > 0) & np.isfinite(data.y)
                if rows.any() and (response, bytes(rows)) not in seen:
                    seen.add((response, bytes(rows)))
                    changes = (*named, *cut, *of)
                    yield _Asked(changes, selection, rows, data.only(rows), response, further)


def _selections(frame: pd.DataFrame, ladder: Ladder, chosen: Choice) -> Iterator[tuple[Changes, Selection]]:
    """That of the fit first, then other data types, each with and without rows at the power cap."""
    first = ladder.selection
    own, at_cap = first.setting["dtype"], bool(capped(first.frame).any())
    others = [] if chosen.get("dtype") else sorted(set(texts(frame, "dtype").tolist()) - {own, ""})
    for dtype, with_cap in product((own, *others), (at_cap, not at_cap)):
        named = () if dtype == own else (dtype,)
        if with_cap == at_cap:
            cut: Changes = ()
        else:
            cut = (f"{'with' if with_cap else 'without'} rows at the power cap",)
        if not named and not cut:
            yield (), first
            continue
        try:
            found = select(frame, **{**chosen, "dtype": dtype}, at_cap=with_cap, networks=first.networks)
        except UserError:  # no row of this data type can be fitted, or all are at the cap
            continue
        if found.response == first.response and (not cut or capped(found.frame).any() == with_cap):
            yield (*named, *cut), found


def _responses(selection: Selection) -> Iterator[tuple[Changes, str]]:
    yield (), selection.response
    if selection.kind == "energy":
        yield (TIME_INSTEAD,), "time_s"


def _data_of(frame: pd.DataFrame, selection: Selection, response: str) -> Data:
    own = response == selection.response
    again = selection.repeats if own else repeats_of(frame, selection, response)
    return data_of(selection.frame, response, again)


def _row_choices(frame: pd.DataFrame, data: Data) -> Iterator[tuple[Changes, Mask]]:
    every = np.ones(len(data), dtype=bool)
    for (cut, some), (kind, others) in product(
        [((), every), ((NOT_LAUNCH_BOUND,), ~launch_bound(frame))],
        [((), every), ((CONVOLUTIONS,), data.op != "fc")],
    ):
        yield (*cut, *kind), some & others


def _terms(ladder: Ladder, selection: Selection | None = None) -> dict[str, Terms]:
    """Terms of the hardware by name, of the sizes that fit best: the cache in elements of the data type."""
    further = {name: one.terms for name, one in ladder.beside.items() if name != TIME}
    own, other = (
        ELEMENT_BYTES.get(one.setting["dtype"]) for one in (ladder.selection, selection or ladder.selection)
    )
    if own is None or other is None or own == other:
        return further
    return {
        name: terms if terms.cache is None else attrs.evolve(terms, cache=terms.cache * own / other)
        for name, terms in further.items()
    }


def _one_at_a_time(frame: pd.DataFrame, ladder: Ladder) -> Iterator[_Asked]:
    """The fit of fewer rows, beside other terms, and of energy above another baseline."""
    data, selection, further = ladder.data, ladder.selection, _terms(ladder)
    every = np.ones(len(data), dtype=bool)
    for change, rows in _fewer_rows(ladder):
        yield _Asked((change,), selection, rows, data.only(rows), selection.response, further)
    for change, terms in _other_terms(ladder, further):
        yield _Asked((change,), selection, every, data, selection.response, further, terms)
    for column in ENERGY_COLUMNS if selection.kind == "energy" else ():
        if column != selection.response and (numbers(selection.frame, column) > 0).all():
            other = _data_of(frame, selection, column)
            yield _Asked((ENERGY_INSTEAD[column],), selection, every, other, column, further)


def _fewer_rows(ladder: Ladder) -> Iterator[tuple[str, Mask]]:
    for op in ladder.by_operator:
        if op != "fc" and len(ladder.by_operator) > 1:  # without fc: convolutions only
            yield f"without {op}", ladder.data.op != op
    by_rows = sorted(ladder.unseen.values(), key=lambda one: -int(one.rows.sum()))
    for one in by_rows[:MOST_FAMILIES] if len(by_rows) > 1 else ():
        yield f"without {one.family}", one.left
    warm = warm_operands(ladder.selection.frame)
    if warm.any() and not warm.all():
        yield "without rows with warm operands", ~warm


def _other_terms(ladder: Ladder, further: Mapping[str, Terms]) -> Iterator[tuple[str, Terms]]:
    beside = ladder.comparison.adequacy.beside
    for name, terms in further.items():
        if name != beside:
            yield f"beside {BESIDE_NAMES[name]}", terms
    if beside:
        yield "AI and DI alone", FULL
