"""Exact twins: does the energy change when weights and inputs exchange their sizes and nothing else does?

If AI is right, both halves of a pair (`twin_pairs`) cost the same. The ratio of a placebo must be one in any
case. Two tests flip the signs of the pairs' log ratios (`sign_flips`): whether the twins differ, and whether
they lie inside the margin, and so are equivalent (Schuirmann 1987). Holm's method adjusts the p values of
each over the operators: with four operators, one of them at the margin would pass for equivalent too often.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Unpack

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.numbers import count, p_text
from dibench.study.findings.twins import NOT_TESTABLE, Compared, Pairs, TwinPairs, Twins
from dibench.study.maths.sign_flips import Flips, flips, holm
from dibench.study.questions.twin_pairs import Match, matches
from dibench.study.table import rows as row_rules

if TYPE_CHECKING:
    import pandas as pd

    from dibench.numbers import Bounded

FloatArray = NDArray[np.float64]

LEAST_PAIRS = 8
"""Fewer decide nothing: with five, no sign flip test can have a p value below 0.06."""

MARGIN = math.log(1.03)
"""Twins whose costs differ by less than 3% are equivalent."""

BOTH = "both"
OPERATORS = ("standard", "grouped", "pointwise", "fc")
"""Operators that have exact twins."""


def twins(
    frame: pd.DataFrame, alpha: Bounded | None = None, **chosen: Unpack[row_rules.Choice]
) -> Twins | None:
    """Compare the pairs in a table; None where it has no twins.

    Args:
        frame: a table of the CSV contract; pairs are found by shape.
        alpha: of the fit, which twins are held against.
        chosen: `device`, `backend`, `dtype`, as `rows.select` takes them.

    Raises:
        UserError: no row can be used.
    """
    selection = row_rules.select(frame, **chosen, every_kernel=True)
    used = selection.frame
    both = matches(used)
    if not both["twins"][0]:
        return None
    found = {kind: fair for kind, (_, fair) in both.items()}
    not_exact = {kind: len(by_shape) - len(fair) for kind, (by_shape, fair) in both.items()}
    compared = {(match.op, match.variant) for match in found["twins"]}
    if compared:  # a placebo is of the same kernels
        found["placebo"] = [one for one in found["placebo"] if (one.op, one.variant) in compared]
    responses = {selection.kind: selection.response}
    if "time_s" in used and (used["time_s"] > 0).all():
        responses["time"] = "time_s"
    logs = {name: np.log(used[column].to_numpy(dtype=np.float64)) for name, column in responses.items()}
    return Twins(
        basis=selection.basis,
        measured=selection.measured,
        margin=math.expm1(MARGIN),
        least_pairs=LEAST_PAIRS,
        ratio="half with more weights over half with more inputs; placebo: wide over tall",
        responses={
            name: Compared(
                twins=tuple(
                    TwinPairs(**attrs.asdict(one, recurse=False), fitted_alpha=agreement(one, alpha))
                    for one in _compared(found["twins"], own)
                ),
                placebo=_compared(found["placebo"], own),
            )
            for name, own in logs.items()
        },
        not_exact=not_exact,
        not_testable=NOT_TESTABLE,
    )


def _compared(matches: list[Match], logs: FloatArray) -> tuple[Pairs, ...]:
    """One entry for each operator and lane mapping; Holm adjusts over the operators of a mapping."""
    groups: defaultdict[tuple[str, str], list[Match]] = defaultdict(list)
    for match in matches:
        groups[match.op, match.lanes].append(match)
    ops = [op for op in (*OPERATORS, "depthwise") if any(op == key[0] for key in groups)]
    for op in ops:
        mapped = [match for key, members in groups.items() if key[0] == op and key[1] for match in members]
        if len({match.lanes for match in mapped}) > 1:
            groups[op, BOTH] = _under_every_mapping(mapped)
    lanes_of = sorted({lanes for _, lanes in groups}, key=lambda lanes: (lanes != BOTH, lanes))
    entries = []
    for lanes in lanes_of:
        own = [(op, groups[op, lanes]) for op in ops if groups.get((op, lanes))]
        differences = [_differences(members, logs) for _, members in own]
        flipped = [flips(one) for one in differences]
        enough = [len(one.differences) >= LEAST_PAIRS for one in flipped]
        differ, within = (
            holm([p if told else math.nan for p, told in zip(values, enough, strict=True)])
            for values in ([one.p_value for one in flipped], [one.p_within(MARGIN) for one in flipped])
        )
        for (op, members), one, *p_values in zip(own, flipped, differ, within, strict=True):
            entries.append(_judged(op, lanes, members, logs, one, *p_values))
    return tuple(entries)


def _under_every_mapping(matches: list[Match]) -> list[Match]:
    """The matches of pairs that ran under every lane mapping, so that the mappings cancel."""
    lanes = {match.lanes for match in matches}
    seen: defaultdict[Any, set[str]] = defaultdict(set)
    for match in matches:
        seen[match.pair, match.variant].add(match.lanes)
    return [match for match in matches if seen[match.pair, match.variant] == lanes]


def _differences(matches: list[Match], logs: FloatArray) -> FloatArray:
    """One log ratio for each pair of layers: the mean over its kernels, which are not independent."""
    by_pair: defaultdict[Any, list[float]] = defaultdict(list)
    for match in matches:
        by_pair[match.pair].append(float(logs[match.upper] - logs[match.lower]))
    return np.array([np.mean(values) for values in by_pair.values()])


def _judged(
    op: str,
    lanes: str,
    matches: list[Match],
    logs: FloatArray,
    flipped: Flips,
    p_holm: float,
    p_equivalent: float,
) -> Pairs:
    by_variant: defaultdict[str, list[Match]] = defaultdict(list)
    for match in matches:
        by_variant[match.variant].append(match)
    difference = flipped.differences
    low, high = flipped.interval(0.95)
    decision, reason = _decide(len(difference), p_holm, p_equivalent)
    return Pairs(
        op=op,
        lanes=lanes,
        pairs=len(difference),
        kernels=len(by_variant),
        ratio=math.exp(float(difference.mean())),
        ci_low=None if low is None else math.exp(low),
        ci_high=None if high is None else math.exp(high),
        p_value=flipped.p_value,
        p_holm=None if math.isnan(p_holm) else p_holm,
        p_equivalent=None if math.isnan(p_equivalent) else p_equivalent,
        decision=decision,
        reason=reason,
        by_kernel={
            name: float(np.exp(_differences(members, logs).mean()))
            for name, members in sorted(by_variant.items())
        },
        by_pair=tuple(np.exp(difference).tolist()),
    )


def _decide(pairs: int, p_holm: float, p_equivalent: float) -> tuple[str, str]:
    if pairs < LEAST_PAIRS:
        return "undecided", f"{count(pairs, 'pair')}, at least {LEAST_PAIRS} are needed"
    if p_equivalent < 0.05:
        return "equivalent", f"inside the margin of 3%, {p_text(p_equivalent)} after Holm"
    if p_holm < 0.05:
        return "differs", f"{p_text(p_holm)} after Holm"
    return "undecided", "neither a difference nor its absence is shown"


def agreement(entry: Pairs, alpha: Bounded | None) -> str:
    """Whether twins say what fitted α says: above ½ weights cost more, so the ratio is above one."""
    if alpha is None:
        return "no comparison"
    expected = _side(alpha.ci_low, alpha.ci_high, 0.5)
    shown = _side(entry.ci_low, entry.ci_high, 1.0)
    if entry.decision == "undecided" or alpha.value is None:
        return "no comparison"
    if expected == 0 or shown == 0:
        return "agrees" if expected == shown else "compatible"
    return "agrees" if expected == shown else "contradicts"


def _side(low: float | None, high: float | None, middle: float) -> int:
    """1 where the interval lies above, -1 below, 0 where it holds the middle."""
    return 1 if low is not None and low > middle else -1 if high is not None and high < middle else 0
