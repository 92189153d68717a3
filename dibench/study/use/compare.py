"""Two sweeps case by case: how much more, or less, does B cost than A, and what got worse beyond noise?

A case's difference is d = ln(B/A), its noise that of `compare_noise`. A case is worse when the one-sided
t-test of d ≤ ln(1 + margin) is significant at 5% after Holm's adjustment over the cases. The whole is worse
when the 95% t-interval of the mean d over the cases lies above ln(1 + margin). The Wilcoxon signed-rank
test of "no difference" stands beside it. What no row can tell is the state of the machine at either time
(temperature, neighbours, firmware): it moves all cases of a sweep alike. The margin is there for it, and
comparing two sweeps of the same program shows how large it is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dibench.errors import UserError
from dibench.layer import DIMENSIONS
from dibench.study.table.columns import numbers
from dibench.study.use.compare_noise import (
    between_stays,
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

LEVEL = 0.05


@attrs.frozen
class Difference:
    """One case in both sweeps: B over A with its 95% interval, and Holm's p of each direction."""

    case_id: str
    name: str
    op: str
    variant: str
    knobs: str
    a: float
    b: float
    ratio: float
    low: float | None
    """None, as `high`, where a row has no interval."""
    high: float | None
    p_worse: float | None
    p_better: float | None

    @property
    def verdict(self) -> str:
        """`worse`, `better` or empty: beyond noise and margin."""
        if self.p_worse is not None and self.p_worse < LEVEL:
            return "worse"
        return "better" if self.p_better is not None and self.p_better < LEVEL else ""


@attrs.frozen
class Quantity:
    """Time or energy over all cases that both sweeps measured."""

    column: str
    cases: tuple[Difference, ...]
    ratio: float
    """Geometric mean of B/A."""
    low: float | None
    """95% interval; None below two cases."""
    high: float | None
    p_wilcoxon: float | None
    between: float
    """Relative standard deviation between stays at one case, from the sentinels of both sweeps."""
    margin: float
    source: str = ""
    """`energy_source` of both, for energy."""

    @property
    def verdict(self) -> str:
        """`worse`, `better` or `same`: whether all cases together lie beyond the margin."""
        if self.low is not None and self.low > 1 + self.margin:
            return "worse"
        return "better" if self.high is not None and self.high < 1 / (1 + self.margin) else "same"

    def having(self, verdict: str) -> tuple[Difference, ...]:
        """Cases of that verdict, the largest change first."""
        found = [case for case in self.cases if case.verdict == verdict]
        return tuple(sorted(found, key=lambda case: -abs(math.log(case.ratio))))


@attrs.frozen
class Comparison:
    """Two sweeps side by side."""

    matched_by: str
    """`case` (same case_id) or `layer` (same dimensions and data type, the fastest row of each)."""
    quantities: tuple[Quantity, ...]
    not_compared: dict[str, str]
    """Quantity and why it could not be compared."""
    newly_failed: tuple[str, ...]
    """Cases measured in A that failed in B, with B's reason."""
    only_a: int
    only_b: int
    devices: tuple[tuple[str, ...], tuple[str, ...]]
    differs: dict[str, tuple[str, str]]
    """Settings of all rows that differ between the sweeps."""

    @property
    def worse(self) -> bool:
        """Whether anything got worse: all cases together, one of them, or a case fails that did not."""
        return bool(self.newly_failed) or any(
            quantity.verdict == "worse" or quantity.having("worse") for quantity in self.quantities
        )

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values."""
        plain = attrs.asdict(self)
        plain["worse"] = self.worse
        for quantity, own in zip(self.quantities, plain["quantities"], strict=True):
            own["verdict"] = quantity.verdict
            for case, cells in zip(quantity.cases, own["cases"], strict=True):
                cells["verdict"] = case.verdict
        return plain


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
    return Comparison(
        matched_by=matched_by,
        quantities=tuple(quantities),
        not_compared=why,
        newly_failed=newly_failed(own[0], b) if matched_by == "case" else (),
        only_a=len(own[0]) - len(pairs),
        only_b=len(own[1]) - len(pairs),
        devices=(values_of(own[0], "device"), values_of(own[1], "device")),
        differs=settings_that_differ(own[0], own[1]),
    )


def _quantity(pairs: pd.DataFrame, tables: tuple[pd.DataFrame, ...], column: str, margin: float) -> Quantity:
    d = np.log(numbers(pairs, f"{column}_b") / numbers(pairs, f"{column}_a"))
    between = between_stays(tables, column)
    variance, df = variance_of_cases(pairs, column, between)
    half = quantile(df) * np.sqrt(variance)
    worse, better = p_values(d, variance, df, math.log1p(margin))
    low, high = mean_interval(d)
    sources = values_of(pairs, "energy_source_a") if column == "energy_j" else ()
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
                p_worse=None if math.isnan(worse[i]) else worse[i],
                p_better=None if math.isnan(better[i]) else better[i],
            )
        )
    return Quantity(
        column=column,
        cases=tuple(cases),
        ratio=math.exp(float(d.mean())),
        low=_exp(low),
        high=_exp(high),
        p_wilcoxon=wilcoxon_p(d),
        between=math.sqrt(between.variance),
        margin=margin,
        source=", ".join(sources),
    )


def _exp(value: float) -> float | None:
    return None if math.isnan(value) else math.exp(value)
