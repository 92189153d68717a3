"""Tables of the sweep: what was measured, how precisely, what failed, which layers are fast, the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dibench.layer import DIMENSIONS
from dibench.numbers import UNKNOWN, count, plain, shape_text, share, short
from dibench.show import axes as ax
from dibench.show.blocks import Table, columns

if TYPE_CHECKING:
    import pandas as pd

    from dibench.show.roofline import Attained

_ENDS = 8  # layers in each of the tables of the fastest and the slowest

BUDGET = {
    "sensor's ticks": "ci_tick_j",
    "ripple within a visit": "ci_spread_j",
    "between visits, and temperature": "ci_drift_j",
    "baseline (of energy above it only)": "ci_baseline_j",
    "gross energy, together": "energy_ci_j",
}


def error_budget(frame: pd.DataFrame) -> Table:
    """How wide the intervals of energy are, and how much each source of error adds."""
    found = []
    for name, column in BUDGET.items():
        if column in frame and "energy_j" in frame:
            relative = (frame[column] / frame["energy_j"])[(frame[column] > 0) & (frame["energy_j"] > 0)]
            if len(relative):
                found.append([name, *map(share, relative.quantile([0.05, 0.5, 0.95]))])
    return Table(
        "Error budget: half-widths of 95% intervals over gross energy",
        columns("part", "5% of rows below", "median", "95% of rows below"),
        found,
        "Squares add up. Without the sensor's gain, which is the same factor in all rows of a card: 5 to 13% "
        "off in published comparisons.",
    )


def mishaps(rows: pd.DataFrame) -> Table:
    """Rows that are not `ok`, by status and reason, the most frequent first."""
    own = rows[rows["status"] != "ok"]
    # Reasons that differ only in their numbers count as one.
    kind = own["reason"].str.replace(r"[\d.]+(?:e[+-]?\d+)?", "…", regex=True)
    counted = Counter(zip(own["status"], kind, strict=True))
    cells = [[status, reason or UNKNOWN, count(number)] for (status, reason), number in counted.most_common()]
    return Table(
        "Rows that are not ok",
        columns("status", "reason", "rows", text=["reason"]),
        cells,
    )


def operators(rows: pd.DataFrame, shares: Mapping[str, Attained]) -> Table:
    """What was measured, and how fast the fastest kernels are, by operator."""
    usable = rows[rows["usable"]]
    fastest = usable[usable["fastest"]]
    cells = []
    for op in ax.present(usable):
        own, fast, of_roof = usable[usable["op"] == op], fastest[fastest["op"] == op], shares.get(op)
        cells.append(
            [
                op,
                count(len(own)),
                count(len(fast)),
                short(float(fast["ps_per_mac"].median()) * 1e-12, "s"),
                short(float(fast["mac_per_s"].max()), "MAC/s"),
                share(of_roof and of_roof.median),
                share(of_roof and of_roof.best),
            ]
        )
    speed = ("median time per MAC", "fastest", "median share of roof", "best share")
    return Table(
        "What was measured, by operator",
        columns("operator", "rows", "layers", *speed),
        cells,
        "Layers, times and shares: the fastest kernel of each operator. The roof counts compulsory bytes, so "
        "a layer whose data stay in a cache may exceed it.",
    )


def ends(rows: pd.DataFrame) -> list[Table]:
    """The layers with the least and the most time per MAC, by the fastest kernel of their operator."""
    fastest = rows[rows["fastest"]].sort_values("ps_per_mac")
    if len(fastest) <= 2 * _ENDS:
        chosen = [("Layers from the least to the most time per MAC", fastest)]
    else:
        chosen = [
            ("The layers with the least time per MAC", fastest.head(_ENDS)),
            ("The layers with the most time per MAC", fastest.tail(_ENDS)[::-1]),
        ]
    text = ["operator", "shape", "kernel"]
    header = columns("layer", "operator", "shape", "kernel", "MACs", "AI", "time", "per MAC", text=text)
    return [
        Table(
            caption,
            header,
            [_layer_cells(row) for row in own.astype(dict.fromkeys(DIMENSIONS, int)).itertuples()],
        )
        for caption, own in chosen
        if len(own)
    ]


def _layer_cells(row: Any) -> list[str]:
    return [
        row.name or "unnamed",
        row.op,
        shape_text(row),
        row.variant or UNKNOWN,
        short(row.macs),
        plain(row.ai),
        short(row.time_s, "s"),
        short(row.ps_per_mac * 1e-12, "s"),
    ]


def facts(manifest: Mapping[str, Any]) -> Table:
    """The manifest flattened: `device.name`, `versions.numpy`, one line each."""
    rows = [[name, value] for name, value in _flat(manifest)]
    return Table("The manifest", columns("what", "value", text=["value"]), rows)


def _flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [
            pair
            for key, own in value.items()
            for pair in _flat(own, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, (list, tuple)):
        return [(prefix, ", ".join(map(str, value)))]
    return [(prefix, UNKNOWN if value is None else str(value))]
