"""Two sweeps case by case: how much more, or less, does B cost than A, and what got worse beyond noise?

A case's difference is d = ln(B/A). Its variance has three parts:

- the two rows' own intervals (`time_ci_s`, `energy_ci_j`), half-widths over Student's quantile;
- for each side what two stays at a case differ by, seen at the sentinels: the variance of their logarithms
  beyond their own intervals, pooled over both sweeps, the upper end of its one-sided 80% interval.
  Rows that carry such a part already (`ci_drift_j`, from visits) get none.

A case is worse when the one-sided t-test of d ≤ ln(1 + margin) is significant at 5% after Holm's adjustment
over the cases (Holm 1979). The whole is worse when the 95% t-interval of the mean d over the cases lies
above ln(1 + margin). The Wilcoxon signed-rank test of "no difference" stands beside it. What no row can tell
is the state of the machine at either time (temperature, neighbours, firmware): it moves all cases of a sweep
alike. The margin is there for it, and comparing two sweeps of the same program shows how large it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.errors import UserError
from dibench.intervals import Part, t_975
from dibench.layer import DIMENSIONS
from dibench.schema import MEASURED_SOURCES, NO_LAYER
from dibench.study.sign_flips import holm

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

LEVEL = 0.05
_BUDGETED_DF = 8.0
"""Of an interval that an error budget of visits made: what `measure.budget` knows about repeats at least."""

INTERVALS = {"time_s": "time_ci_s", "energy_j": "energy_ci_j"}
"""What is compared, and the column of its 95% half-width."""


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
    own = [_measured(frame) for frame in (a, b)]
    pairs = _joined(["case_id"], *own) if by_case else None
    matched_by = "case"
    if pairs is None or not len(pairs):
        matched_by = "layer"
        own = [_fastest(frame) for frame in own]
        pairs = _joined([*DIMENSIONS, "dtype"], *own)
    if not len(pairs):
        raise UserError("tables", "must have a case or a layer in common, these have none")
    quantities, why = [], {}
    for column, interval in INTERVALS.items():
        usable = _usable(pairs, column)
        if isinstance(usable, str):
            why["energy" if column == "energy_j" else "time"] = usable
            continue
        quantities.append(_quantity(usable, (a, b), column, interval, margin))
    return Comparison(
        matched_by=matched_by,
        quantities=tuple(quantities),
        not_compared=why,
        newly_failed=_newly_failed(own[0], b) if matched_by == "case" else (),
        only_a=len(own[0]) - len(pairs),
        only_b=len(own[1]) - len(pairs),
        devices=(_values(own[0], "device"), _values(own[1], "device")),
        differs=_settings_that_differ(own[0], own[1]),
    )


def _measured(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows that were measured, sentinels aside; of a case measured twice the last row."""
    kept = frame[frame["status"].isin(("ok", "flagged"))]
    if "sentinel" in kept:
        kept = kept[kept["sentinel"].fillna(0) != 1]
    if "case_id" in kept:
        known = kept["case_id"].fillna("") != ""
        kept = kept[~(known & kept.duplicated("case_id", keep="last"))]
    return kept.reset_index(drop=True)


def _fastest(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each layer and data type: the fastest, or the one of least energy without times."""
    frame = frame[~frame["op"].isin(NO_LAYER)]
    by = next((column for column in INTERVALS if column in frame and frame[column].notna().any()), None)
    ordered = frame if by is None else frame.sort_values(by, kind="stable")
    return ordered.drop_duplicates([*DIMENSIONS, "dtype"]).reset_index(drop=True)


def _joined(keys: list[str], a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    if keys == ["case_id"]:
        a, b = (frame[frame["case_id"].fillna("") != ""] for frame in (a, b))
    return a.merge(b, on=keys, suffixes=("_a", "_b"), how="inner", sort=False)


def _usable(pairs: pd.DataFrame, column: str) -> pd.DataFrame | str:
    """The pairs in which both know the quantity, or why there is none."""
    sides = [f"{column}_{side}" for side in "ab"]
    if not all(side in pairs for side in sides):
        return f"no column {column} in both tables"
    found = pairs[(pairs[sides[0]] > 0) & (pairs[sides[1]] > 0)]
    if column != "energy_j":
        return found if len(found) else "no case has a time in both tables"
    sources = [_values(pairs, f"energy_source_{side}") for side in "ab"]
    sensors = [tuple(source for source in own if source in MEASURED_SOURCES) for own in sources]
    if not all(sensors):
        said = [", ".join(own) for own in sources]
        return f"energy_source is {said[0]} in A and {said[1]} in B: not measured in both"
    found = found[found["energy_source_a"].isin(MEASURED_SOURCES)]
    alike = found[found["energy_source_a"] == found["energy_source_b"]]
    if not len(alike):
        return f"energy_source is {sensors[0][0]} in A and {sensors[1][0]} in B: two kinds of sensor"
    return alike


def _quantity(
    pairs: pd.DataFrame, tables: tuple[pd.DataFrame, ...], column: str, interval: str, margin: float
) -> Quantity:
    d = np.log(_numbers(pairs, f"{column}_b") / _numbers(pairs, f"{column}_a"))
    between = _between(tables, column, interval)
    variance, df = _variance(pairs, column, interval, between)
    half = _quantile(df) * np.sqrt(variance)
    worse, better = _p_values(d, variance, df, math.log1p(margin))
    low, high = _mean_interval(d)
    sources = _values(pairs, "energy_source_a") if column == "energy_j" else ()
    cases = []
    for i, row in enumerate(pairs.to_dict("records")):
        cases.append(
            Difference(
                **{name: _text(row, name) for name in ("case_id", "name", "op", "variant", "knobs")},
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
        p_wilcoxon=_wilcoxon(d),
        between=math.sqrt(between.variance),
        margin=margin,
        source=", ".join(sources),
    )


def _variance(pairs: pd.DataFrame, column: str, interval: str, between: Part) -> tuple[Floats, Floats]:
    """Variance of ln(B/A) of each case and its degrees of freedom; NaN where a row has no interval."""
    variances, weighted = [], []
    for side in "ab":
        relative = _numbers(pairs, f"{interval}_{side}") / _numbers(pairs, f"{column}_{side}")
        windows = _numbers(pairs, f"windows_{side}")
        budgeted = (column == "energy_j") & np.isfinite(_numbers(pairs, f"ci_drift_j_{side}"))
        # Correlated windows count for about half (`dibench.intervals`); a table that tells no number of
        # windows is taken by its word: half-width over 1.96.
        df = np.where(np.isfinite(windows), np.maximum(2.0, windows / 2 - 1), math.inf)
        df = np.where(budgeted, _BUDGETED_DF, df)
        own = (relative / _quantile(df)) ** 2
        stays = np.where(budgeted, 0.0, between.variance)
        variances += [own, stays]
        weighted += [own**2 / df, stays**2 / between.df]
    variance, below = sum(variances, np.zeros(len(pairs))), sum(weighted, np.zeros(len(pairs)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return variance, np.where(below > 0, variance**2 / below, math.inf)  # Welch and Satterthwaite


def _quantile(df: Floats) -> Floats:
    """Student's 97.5% quantile of each."""
    from scipy.special import stdtrit

    known = np.isfinite(df)
    return np.where(known, stdtrit(np.where(known, df, 1.0), 0.975), t_975(math.inf))


def _between(tables: Sequence[pd.DataFrame], column: str, interval: str) -> Part:
    """Relative variance between stays at the reference case beyond the rows' own, pooled over the tables.

    The upper end of its one-sided 80% interval: a few sentinels often look quieter than the machine is, and
    every case rests on them alike.
    """
    from scipy.special import chdtri

    squares, own_squares, df = 0.0, 0.0, 0.0
    for frame in tables:
        if "sentinel" not in frame or column not in frame:
            continue
        own = frame[(frame["sentinel"].fillna(0) == 1) & frame["status"].isin(("ok", "flagged"))]
        value, half = _numbers(own, column), _numbers(own, interval)
        good = value > 0
        if good.sum() < 2:
            continue
        half = np.where(np.isfinite(half), half, 0.0)  # of rows without interval all spread counts
        logs, within = np.log(value[good]), (half[good] / value[good] / t_975(math.inf)) ** 2
        squares += float(((logs - logs.mean()) ** 2).sum())
        own_squares += float((good.sum() - 1) * within.mean())
        df += float(good.sum() - 1)
    if not df:
        return Part(0.0)
    return Part(max(0.0, squares / float(chdtri(df, 0.8)) - own_squares / df), df)


def _p_values(d: Floats, variance: Floats, df: Floats, margin: float) -> tuple[list[float], list[float]]:
    """Holm's p of worse and of better than the margin for each case; NaN where a row has no interval."""
    from scipy.special import ndtr, stdtr

    def one_sided(distance: Floats) -> list[float]:
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(distance == 0, 0.0, distance / np.sqrt(variance))  # a model's rows have no variance
        p = np.where(np.isfinite(df), stdtr(np.where(np.isfinite(df), df, 1.0), -t), ndtr(-t))
        return holm([float(one) for one in np.where(np.isnan(variance), math.nan, p)])

    return one_sided(d - margin), one_sided(-d - margin)


def _mean_interval(d: Floats) -> tuple[float, float]:
    """95% t-interval of the mean over the cases; NaN below two."""
    if len(d) < 2:
        return math.nan, math.nan
    half = t_975(len(d) - 1.0) * float(d.std(ddof=1)) / math.sqrt(len(d))
    return float(d.mean()) - half, float(d.mean()) + half


def _wilcoxon(d: Floats) -> float | None:
    """Two-sided p of the signed-rank test; None where no case differs."""
    from scipy.stats import wilcoxon

    return float(wilcoxon(d).pvalue) if np.any(d != 0) else None


def _newly_failed(a: pd.DataFrame, b: pd.DataFrame) -> tuple[str, ...]:
    if "case_id" not in b:
        return ()
    last = b.drop_duplicates("case_id", keep="last")
    failed = last[last["status"] == "failed"].set_index("case_id")
    both = [case for case in a["case_id"] if case in failed.index]
    found = []
    for case in both:
        row = dict(failed.loc[case])
        words = [case, _text(row, "name"), _text(row, "variant")]
        found.append(f"{' '.join(filter(None, words))}: {_text(row, 'reason') or 'no reason given'}")
    return tuple(found)


def _settings_that_differ(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, tuple[str, str]]:
    found = {}
    for name in ("device", "device_uuid", "backend", "dtype", "energy_source"):
        values = [", ".join(_values(frame, name)) for frame in (a, b)]
        if values[0] != values[1]:
            found[name] = (values[0], values[1])
    return found


def _values(frame: pd.DataFrame, column: str) -> tuple[str, ...]:
    return tuple(sorted({str(v) for v in frame[column].dropna()})) if column in frame else ()


def _numbers(frame: pd.DataFrame, column: str) -> Floats:
    if column not in frame:
        return np.full(len(frame), math.nan)
    return frame[column].to_numpy(dtype=np.float64, na_value=math.nan)


def _text(row: dict[Any, Any], name: str) -> str:
    """A cell of a joined row, A's where both have it."""
    value = row.get(name, row.get(f"{name}_a"))
    return "" if value is None or value != value else str(value)


def _exp(value: float) -> float | None:
    return None if math.isnan(value) else math.exp(value)
