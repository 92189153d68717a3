"""Which rows of two sweeps belong together, and which of their quantities can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dibench.layer import DIMENSIONS, Layer
from dibench.numbers import shape_text
from dibench.schema import NO_LAYER, is_measured

if TYPE_CHECKING:
    import pandas as pd

INTERVALS = {"time_s": "time_ci_s", "energy_j": "energy_ci_j"}
"""What is compared, and the column of its 95% half-width."""

SETTINGS = ("device", "device_uuid", "backend", "dtype", "energy_source")

COLUMNS = (
    "case_id", "sentinel", "op", "name", "variant", "knobs", *DIMENSIONS, *SETTINGS, "status", "reason",
    "windows", "ci_drift_j", *INTERVALS, *INTERVALS.values(),
)  # fmt: skip
"""All that a comparison reads of a table."""


def compared(frame: pd.DataFrame) -> pd.DataFrame:
    """The table without the columns that no comparison reads."""
    return frame[[name for name in COLUMNS if name in frame]]


def measured(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows that were measured, without sentinels; the last row of a case measured twice."""
    kept = frame[frame["status"].isin(("ok", "flagged"))]
    if "sentinel" in kept:
        kept = kept[kept["sentinel"].fillna(0) != 1]
    if "case_id" in kept:
        known = kept["case_id"].fillna("") != ""
        kept = kept[~(known & kept.duplicated("case_id", keep="last"))]
    return kept.reset_index(drop=True)


def fastest(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each layer and data type: the fastest, or without times the one of least energy."""
    frame = frame[~frame["op"].isin(NO_LAYER)]
    by = next((column for column in INTERVALS if column in frame and frame[column].notna().any()), None)
    ordered = frame if by is None else frame.sort_values(by, kind="stable")
    return ordered.drop_duplicates([*DIMENSIONS, "dtype"]).reset_index(drop=True)


def joined(keys: list[str], a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Rows of both with equal keys side by side; columns end in `_a` and `_b`."""
    if keys == ["case_id"]:
        a, b = (frame[frame["case_id"].fillna("") != ""] for frame in (a, b))
    return a.merge(b, on=keys, suffixes=("_a", "_b"), how="inner", sort=False)


def usable(pairs: pd.DataFrame, column: str) -> pd.DataFrame | str:
    """The pairs in which both sides have the quantity, or why there is none."""
    sides = [f"{column}_{side}" for side in "ab"]
    if not all(side in pairs for side in sides):
        return f"no column {column} in both tables"
    found = pairs[(pairs[sides[0]] > 0) & (pairs[sides[1]] > 0)]
    if column != "energy_j":
        return found if len(found) else "no case has a time in both tables"
    sources = [values_of(pairs, f"energy_source_{side}") for side in "ab"]
    sensors = [tuple(source for source in own if is_measured(source)) for own in sources]
    if not all(sensors):
        lacks = [
            f"{side} ({', '.join(own) or 'not said'})"
            for side, own, read in zip("AB", sources, sensors, strict=True)
            if not read
        ]
        return f"no sensor measured the joules of {' and '.join(lacks)}"
    found = found[found["energy_source_a"].map(is_measured).astype(bool)]
    alike = found[found["energy_source_a"] == found["energy_source_b"]]
    if not len(alike):
        return f"A was measured by {sensors[0][0]} and B by {sensors[1][0]}, two kinds of sensor"
    return alike


def same_numbers(pairs: pd.DataFrame) -> bool:
    """Whether each pair has one status, and every quantity with its interval is the same in A and B."""
    found = [name for name in (*INTERVALS, *INTERVALS.values(), "status") if f"{name}_a" in pairs]
    of_a, of_b = (pairs[[f"{name}_{side}" for name in found]].set_axis(found, axis=1) for side in "ab")
    return bool(of_a.equals(of_b))


def newly_failed(a: pd.DataFrame, b: pd.DataFrame) -> tuple[str, ...]:
    """Cases measured in A (the rows that `measured` gave) whose last row in B failed, with B's reason."""
    if "case_id" not in b:
        return ()
    last = b.drop_duplicates("case_id", keep="last")
    failed = last[last["status"] == "failed"].set_index("case_id")
    both = [case for case in a["case_id"] if case in failed.index]
    found = []
    for case in both:
        row = dict(failed.loc[case])
        words = [case, layer_text(row), text(row, "variant")]
        found.append(f"{' '.join(filter(None, words))}: {text(row, 'reason') or 'no reason given'}")
    return tuple(found)


def settings_that_differ(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Device, data type and the like where the sweeps differ: column → values in A, in B."""
    found = {}
    for name in SETTINGS:
        of_a, of_b = (", ".join(values_of(frame, name)) for frame in (a, b))
        if of_a != of_b:
            found[name] = (of_a, of_b)
    return found


def values_of(frame: pd.DataFrame, column: str) -> tuple[str, ...]:
    """The different values of a column; none where the table lacks it."""
    return tuple(sorted({str(v) for v in frame[column].dropna().unique()})) if column in frame else ()


def words(pairs: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Of each pair, what a reader knows its case by: its id, operator, variant, knobs and layer.

    Row by row, as a million of them would not fit into memory with all their cells.
    """
    sides = {name: name if name in pairs else f"{name}_a" for name in (*_WORDS, "name", *DIMENSIONS)}
    columns = {name: pairs[side].tolist() for name, side in sides.items() if side in pairs}
    for cells in zip(*columns.values(), strict=True):
        row = dict(zip(columns, cells, strict=True))
        yield {**{name: text(row, name) for name in _WORDS}, "layer": layer_text(row)}


_WORDS = ("case_id", "op", "variant", "knobs")


def text(row: dict[Any, Any], name: str) -> str:
    """A cell of a row as text."""
    value = row.get(name)
    return "" if value is None or value != value else str(value)


def layer_text(row: dict[Any, Any]) -> str:
    """The layer of a row by its name, without one by its shape; empty where it is no layer."""
    name = text(row, "name")
    if name or text(row, "op") in NO_LAYER:
        return name
    dims = {dim: row.get(dim) for dim in DIMENSIONS}
    if any(value is None or value != value for value in dims.values()):
        return ""
    whole: dict[str, Any] = {dim: int(value) for dim, value in dims.items() if value is not None}
    return shape_text(Layer(**whole))
