"""Two sweeps case by case: how much more, or less, does B cost than A, and what got worse beyond noise?

A case's difference is d = ln(B/A), its noise that of `compare_noise`. A case is worse when the one-sided
t-test of d ≤ ln(1 + margin) is significant at 5% after Holm's adjustment over the cases. The whole is worse
when the 95% t-interval of the mean d over the cases lies above ln(1 + margin). The Wilcoxon signed-rank
test of "no difference" stands beside it. The state of the machine (temperature, neighbours, firmware) moves
all cases of a sweep alike, and no row shows it. The margin allows for it; comparing two sweeps of the same
program shows how large it must be.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dibench.errors import UserError
from dibench.layer import DIMENSIONS
from dibench.study.findings.comparison import Comparison, Difference, Quantity
from dibench.study.table.columns import numbers
from dibench.study.use.compare_noise import (
    between_visits,
    mean_interval,
    p_values,
    quantile,
    variance_of_cases,
    wilcoxon_p,
)
from dibench.study.use.compare_rows import (
    INTERVALS,
    fastest,
    joined,
    measured,
    newly_failed,
    settings_that_differ,
    text,
    usable,
    values_of,
)

if TYPE_CHECKING:
    import pandas as pd

_LEVEL = 0.05


def compare(a: pd.DataFrame, b: pd.DataFrame, *, margin: float = 0.03) -> Comparison:
    """Compare two tables of the CSV contract, row by row of the same case.

    Args:
        a: what is compared with.
        b: what may have got worse.
        margin: a change is worse from this on, 0.03 for 3%.

    Raises:
        UserError: the tables have no case and no layer in common.
    """
    by_case = all("case_id" in frame for frame in (a, b))
    own = [measured(frame) for frame in (a, b)]
    pairs = joined(["case_id"], *own) if by_case else None
    matched_by = "case"
    if pairs is None or not len(pairs):
        matched_by = "layer"
        own = [fastest(frame) for frame in own]
        pairs = joined([*DIMENSIONS, "dtype"], *own)
    if not len(pairs):
        raise UserError("tables", "must have a case or a layer in common, these have none")
    quantities, why = [], {}
    for column in INTERVALS:
        both = usable(pairs, column)
        if isinstance(both, str):
            why["energy" if column == "energy_j" else "time"] = both
        else:
            quantities.append(_quantity(both, (a, b), column, margin))
    failed = newly_failed(own[0], b) if matched_by == "case" else ()
    return Comparison(
        matched_by=matched_by,
        quantities=tuple(quantities),
        not_compared=why,
        newly_failed=failed,
        only_a=len(own[0]) - len(pairs),
        only_b=len(own[1]) - len(pairs),
        flagged=(int((a["status"] == "flagged").sum()), int((b["status"] == "flagged").sum())),
        devices=(values_of(own[0], "device"), values_of(own[1], "device")),
        differs=settings_that_differ(own[0], own[1]),
        worse=bool(failed) or any(one.verdict == "worse" or one.having("worse") for one in quantities),
    )


def _quantity(pairs: pd.DataFrame, tables: tuple[pd.DataFrame, ...], column: str, margin: float) -> Quantity:
    d = np.log(numbers(pairs, f"{column}_b") / numbers(pairs, f"{column}_a"))
    between = between_visits(tables, column)
    variance, df = variance_of_cases(pairs, column, between)
    half = quantile(df) * np.sqrt(variance)
    worse, better = (list(map(_known, p)) for p in p_values(d, variance, df, math.log1p(margin)))
    low, high = map(_exp, mean_interval(d))
    cases = []
    for i, row in enumerate(pairs.to_dict("records")):
        cases.append(
            Difference(
                **{name: text(row, name) for name in ("case_id", "name", "op", "variant", "knobs")},
                a=float(row[f"{column}_a"]),
                b=float(row[f"{column}_b"]),
                ratio=math.exp(d[i]),
                low=_exp(d[i] - half[i]),
                high=_exp(d[i] + half[i]),
                p_worse=worse[i],
                p_better=better[i],
                verdict=_verdict_of_case(worse[i], better[i]),
            )
        )
    return Quantity(
        column=column,
        cases=tuple(cases),
        ratio=math.exp(float(d.mean())),
        low=low,
        high=high,
        p_wilcoxon=wilcoxon_p(d),
        between=math.sqrt(between.variance),
        margin=margin,
        source=", ".join(values_of(pairs, "energy_source_a")) if column == "energy_j" else "",
        verdict=_verdict_of_all(low, high, margin),
    )


def _verdict_of_case(p_worse: float | None, p_better: float | None) -> str:
    if p_worse is not None and p_worse < _LEVEL:
        return "worse"
    return "better" if p_better is not None and p_better < _LEVEL else ""


def _verdict_of_all(low: float | None, high: float | None, margin: float) -> str:
    if low is not None and low > 1 + margin:
        return "worse"
    return "better" if high is not None and high < 1 / (1 + margin) else "same"


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _exp(value: float) -> float | None:
    return None if math.isnan(value) else math.exp(value)
