"""Guards against false evidence: what a fit's rows can show without saying anything of data movement.

=================  =====================================================================================
`time alone`       power is the same in all rows: joules are seconds in another unit
`power cap`        rows at the cap are joules that are time, rows below it a selection of small layers
`launch-bound`     a framework's calls below 100 µs: the call and not the layer takes the time
`warm operands`    operands that the cache still holds from the launch before
`repeated module`  weights that the cache still holds while activations come from memory: α comes out low
`implausible cost` e_w or e_a beyond what any memory costs: they stand for something else
=================  =====================================================================================

Each is judged here; `verdict.withhold` turns what they doubt into `undecided`. A verdict stands if it is the
same with and without rows in doubt. docs/study.md has how often each is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np

from dibench.intensity import ELEMENT_BYTES
from dibench.numbers import UNDETERMINED, bracketed, count, interval, number, percent, plain
from dibench.study.findings.estimate import Alpha
from dibench.study.findings.guards import Guard, OtherRows
from dibench.study.findings.ladder import MARGIN
from dibench.study.ladder.adequacy import MISS_MARGIN, judge
from dibench.study.ladder.models import Data, data_of
from dibench.study.ladder.rungs import FittedTerm, NoRung, Rung
from dibench.study.table.rows import AT_CAP
from dibench.study.table.subsets import capped, launch_bound, repeated_module, warm_operands

if TYPE_CHECKING:
    from dibench.study.ladder.ladder import AiAgainstDi
    from dibench.study.ladder.quick import Quick
    from dibench.study.table.rows import Selection

CAP, LAUNCH, WARM = "power cap", "launch-bound", "warm operands"
TIME_ALONE, REPEATED, COST = "time alone", "repeated module", "implausible cost"

_ANSWERS = ("AI", "DI")

OUTLIER = 4.0
"""Standard deviations beyond which a row's power counts as no further off: a few readings that a sensor lost
say nothing of the others. Up to one row in sixteen may be lost."""

LARGEST_ERROR = 0.05
"""Of a row: rows that are worse cannot show that power is the same, and count as if they were this good."""

HBM_PER_BYTE_J = (8 * 5e-12, 8 * 12e-12)
"""Joules of a byte from HBM, all the way to the multiprocessor: 5 to 12 pJ a bit."""

MOST_PER_BYTE_J = 2.6e-9 / 8
"""Joules of a byte from the costliest memory published: DRAM, 2.6 nJ for 64 bits (Horowitz, ISSCC 2014,
fig. 1.1.9). That is 41 pJ a bit: three times HBM is left for operands that a kernel reads again."""


@attrs.frozen(eq=False)
class Doubtful:
    """Rows in doubt, and the choice of rows that the fit did not make."""

    name: str
    rows: int
    """In doubt."""
    others: Data
    used: bool
    """Whether the fit uses the rows in doubt; `others` are then the rows without them, else with them."""


def doubtful_rows(
    selection: Selection, data: Data, with_capped: Callable[[], Selection]
) -> tuple[Doubtful, ...]:
    """Of a selection and its arrays; `with_capped` selects again, with the rows at the power cap."""
    frame, found = selection.frame, []
    for name, rows in ((CAP, capped(frame)), (LAUNCH, launch_bound(frame)), (WARM, warm_operands(frame))):
        if rows.any():
            found.append(Doubtful(name, int(rows.sum()), data.only(~rows), used=True))
    if left_out := selection.excluded.get(AT_CAP):
        more = with_capped()
        if more.response == selection.response:
            others = data_of(more.frame, more.response, more.repeats)
            found.insert(0, Doubtful(CAP, left_out, others, used=False))
    return tuple(found)


def guards_of(
    selection: Selection,
    data: Data,
    comparison: AiAgainstDi,
    rung: Rung | NoRung,
    doubtful: Mapping[Doubtful, AiAgainstDi | None],
) -> tuple[Guard, ...]:
    """All that is found in the rows of a fit.

    Args:
        selection, data: the rows.
        comparison: AI against DI on them, its verdict not yet withheld.
        rung: weighted DI with its coefficients.
        doubtful: rows in doubt, with AI against DI on the other choice of rows; None where it has no row.
    """
    energy = None
    if selection.kind == "energy":
        costs = rung.coefficients if isinstance(rung, Rung) else ()
        energy = EnergyCosts(costs, selection.setting["dtype"])
    alone = guards_alone(data, energy, int(repeated_module(selection.frame).sum()), comparison)
    return (*alone, *(other_rows(one, comparison, other) for one, other in doubtful.items()))


@attrs.frozen
class EnergyCosts:
    """Coefficients of weighted DI, in joules, and the data type of their elements."""

    terms: Sequence[FittedTerm]
    dtype: str


def guards_alone(
    data: Data, energy: EnergyCosts | None, again: int, comparison: AiAgainstDi | Quick
) -> tuple[Guard, ...]:
    """What is found without another choice of rows.

    Args:
        data: the rows.
        energy: None where time is explained.
        again: how many of them called one module again and again.
        comparison: AI against DI on them.
    """
    found = [repeated(again, comparison)]
    if energy is not None:
        found = [time_alone(data), implausible_cost(energy, len(data)), *found]
    return tuple(one for one in found if one is not None)


def time_alone(data: Data) -> Guard | None:
    """Whether power is the same in all rows, to within their errors and the miss that any model is allowed.

    The rule is that of lack of fit (`adequacy.judge`) asked of E = power·t: found where a spread of power of
    MISS_MARGIN or less is not rejected at 5%. Rows of unknown error count as exact, which finds it less
    often. α of energy and of time then differ by no more than such a miss moves α, at most 0.07.
    """
    usable = (data.time > 0) & np.isfinite(data.time)
    if not usable.all() or not len(data):
        return None
    error = np.minimum(np.nan_to_num(data.error), LARGEST_ERROR)
    power = np.log(data.y / data.time)
    usual = float(np.median(power))
    most = OUTLIER * np.sqrt(error**2 + MISS_MARGIN**2)
    found = judge(np.clip(power - usual, -most, most), error, 1, data.layer)
    if not found.adequate or found.residual is None or found.rows_error is None:
        return None
    figure = f"{number(float(np.exp(usual)), '.1f')} W in all rows to within {percent(found.residual, 1)}"
    text = (
        f"power is {figure}, where the rows are good to {percent(found.rows_error, 1)} and "
        f"{percent(MISS_MARGIN, 0)} beyond say nothing of α: these joules are time, and an answer is of time"
    )
    return Guard(TIME_ALONE, True, "these joules are time", figure, text, len(data))


def implausible_cost(energy: EnergyCosts, rows: int) -> Guard | None:
    """Whether an element costs more than the costliest memory takes for it."""
    width = ELEMENT_BYTES.get(energy.dtype)
    if width is None:
        return None
    most = MOST_PER_BYTE_J * width
    beyond = [term for term in energy.terms if term.name in ("e_w", "e_a") and (term.value or 0.0) > most]
    if not beyond:
        return None
    costs = " and ".join(
        f"{term.name} = {bracketed(term.value, term.ci_low, term.ci_high, _nano)} nJ" for term in beyond
    )
    open_end = any(term.ci_low is None or term.ci_low <= most for term in beyond)
    text = (
        f"{costs} for an element of {count(width, 'byte')}, where the costliest memory takes {_nano(most)} "
        f"and HBM {_nano(HBM_PER_BYTE_J[0] * width)} to {_nano(HBM_PER_BYTE_J[1] * width)}"
        f"{' (the interval does not rule that out)' if open_end else ''}: not what moving it costs, but "
        "something that goes with it, as multiprocessors that idle on small maps do"
    )
    brief = f"no memory costs {' and '.join(term.name for term in beyond)}"
    return Guard(COST, True, brief, f"{costs}, memory at most {_nano(most)}", text, rows)


def _nano(joules: float | None) -> str:
    return plain(None if joules is None else joules * 1e9)


_ROWS = {CAP: "rows at the power cap", LAUNCH: "launch-bound rows", WARM: "rows with warm operands"}
_IN_DOUBT = {
    CAP: "are at the power cap, where energy is the cap times time",
    LAUNCH: "are calls of a framework below 100 µs, of which the call takes much",
    WARM: "are of layers that the cache may hold from launch to launch",
}


def other_rows(doubtful: Doubtful, comparison: AiAgainstDi, other: AiAgainstDi | None) -> Guard:
    """Whether the verdict is the same with the other choice of rows; `other` is None where it has no row."""
    own, their = ("with", "without") if doubtful.used else ("without", "with")
    told, instead = None, "no row left"
    if other is not None:
        verdict, instead = other.verdict, _says(other)
        told = OtherRows(len(doubtful.others), other.alpha.known(verdict.determined), verdict.decision)
    figure = f"{count(doubtful.rows, 'row')}: {_says(comparison)} {own} them, {instead} {their} them"
    stands = other is not None and _supports(other, comparison)
    return Guard(
        name=doubtful.name,
        withholds=comparison.verdict.decision in _ANSWERS and not stands,
        brief=f"not {their} {_ROWS[doubtful.name]}",
        figure=figure,
        text=f"{count(doubtful.rows, 'row')} {_IN_DOUBT[doubtful.name]}{figure[figure.index(':') :]}",
        rows=doubtful.rows,
        other=told,
    )


def repeated(rows: int, comparison: AiAgainstDi | Quick) -> Guard | None:
    """Whether the verdict is one that warm weights could make: of α above the margin they cannot."""
    if not rows:
        return None
    verdict, alpha = comparison.verdict, comparison.alpha.value
    low = verdict.decision == "AI" or (verdict.decision == "DI" and alpha is not None and alpha < MARGIN[1])
    figure = f"{count(rows, 'row')}: only α above {MARGIN[1]} is safe from it"
    text = (
        f"{count(rows, 'row')} called one module again and again, and the cache may hold its weights while "
        f"activations come from memory, which makes α low: only α above {MARGIN[1]} is safe from it"
    )
    return Guard(REPEATED, low, "warm weights make α low", figure, text, rows)


def _says(found: AiAgainstDi) -> str:
    alpha = interval(found.alpha) if found.verdict.determined else UNDETERMINED
    return f"α {alpha} ({found.verdict.decision})"


def _supports(other: AiAgainstDi, comparison: AiAgainstDi) -> bool:
    """Whether other rows say the same by α's interval: inside the margin, or beyond the same end of it.

    That fewer rows are of fewer families is not held against them.
    """
    told = other.verdict.determined and other.adequacy.adequate is not False
    return told and _where(other.alpha) == _where(comparison.alpha) != ""


def _where(alpha: Alpha) -> str:
    """`below` the margin, `above` it or `inside`; empty where an interval lies across an end or lacks one."""
    low, high = alpha.ci_low, alpha.ci_high
    if low is None or high is None:
        return ""
    if MARGIN[0] <= low and high <= MARGIN[1]:
        return "inside"
    return "below" if high < MARGIN[0] else "above" if low > MARGIN[1] else ""
