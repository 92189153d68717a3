"""Tables of the sweep: what was measured, how precisely, what failed, which layers are fast, the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dibench.layer import DIMENSIONS, Layer
from dibench.numbers import UNKNOWN, count, percent, plain, shape_text, short
from dibench.show.axes import called
from dibench.show.blocks import Table, columns

if TYPE_CHECKING:
    import pandas as pd

    from dibench.study.findings.described import ErrorPart, Speed

_ENDS = 8  # layers in each of the tables of the fastest and the slowest

_SOURCES_OF_ERROR = {
    "ci_tick_j": "sensor's ticks",
    "ci_spread_j": "ripple within a visit",
    "ci_drift_j": "between visits, and temperature",
    "ci_baseline_j": "baseline (of energy above it only)",
    "energy_ci_j": "gross energy, together",
}


def error_budget(errors: Sequence[ErrorPart]) -> Table:
    """How wide the intervals of energy are, and how much each source of error adds."""
    found = [
        [_SOURCES_OF_ERROR[one.column], *map(percent, (one.low, one.median, one.high))] for one in errors
    ]
    return Table(
        "Error budget: half-widths of 95% intervals over gross energy",
        columns("part", "5% of rows below", "median", "95% of rows below"),
        found,
        "Squares add up. Without the sensor's gain, the same factor in all its rows: intervals of fitted "
        "joules include what is declared for it (`gain_accuracy_pct`).",
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
        columns("status", "reason", "rows", text=["reason"], wraps=["reason"]),
        cells,
    )


def operators(speeds: Mapping[str, Speed], used: pd.DataFrame) -> Table:
    """What was measured, and how fast the fastest kernels are, by operator.

    Args:
        speeds: by operator.
        used: the rows of the fit, one of each layer; without a fit, those of the fastest kernels.
    """
    layers = Counter(used["op"])
    cells = [
        [
            op,
            count(own.rows),
            count(layers[op]),
            short(own.median_s_per_mac, "s"),
            short(own.most_mac_per_s, "MAC/s"),
            percent(own.median_share),
            percent(own.best_share),
        ]
        for op, own in speeds.items()
    ]
    speed = ("median time per MAC", "fastest", "median share of roof", "best share")
    return Table(
        "What was measured, by operator",
        columns("operator", "rows", "layers", *speed),
        cells,
        "Layers: those of the fit. Times and shares: the fastest kernel of each operator. What the roof of a "
        "layer is, Roofline says.",
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
    text = ["operator", "shape", "kernel"]  # first what answers, which a narrow page shows without scrolling
    header = columns("layer", "per MAC", "time", "operator", "shape", "kernel", "MACs", "AI", text=text)
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
        called(row.name) or "unnamed",
        short(row.ps_per_mac * 1e-12, "s"),
        short(row.time_s, "s"),
        row.op,
        shape_text(Layer(**{name: getattr(row, name) for name in DIMENSIONS})),
        row.variant or UNKNOWN,
        short(row.macs),
        plain(row.ai),
    ]


def facts(manifest: Mapping[str, Any]) -> Table:
    """The manifest flattened: `device.name`, `versions.numpy`, one line each."""
    rows = [[name, value] for name, value in _flat(manifest)]
    return Table("The manifest", columns("what", "value", text=["value"], wraps=["value"]), rows)


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
