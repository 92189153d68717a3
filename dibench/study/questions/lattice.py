"""The reuse lattice: what one access of each operand costs, from one layer under many boxes.

A layer fixes M, W, X and Y; the box tile_p × tile_k × tile_c sets how often each operand is read. So

    E = P₀·time + e_mac[kernel]·macs + e_w·weight reads + e_x·input reads + e_y·(output reads + writes)

by least squares on log E. Each box runs on all, half and a quarter of the multiprocessors: the same accesses
at two and four times the time. Otherwise time would follow from the accesses, and P₀·time would be hidden in
the slopes.

A box rereads each element often, so a slope belongs to the level that answers rereads: the cache that the
kernel's loads go through, or shared memory where operands are staged. The first touch (of memory, where
operands are cold) costs the same under every box and is part of e_mac. A slope also belongs to the lane
mapping, which decides which operand's read is one broadcast sector. α here is e_w/(e_w + e_x) at that level
and mapping; it is never averaged with the α of shapes.

Intervals are jackknifed by box, α's is Fieller's (`slopes`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.layer import DIMENSIONS
from dibench.schema import unpack_knobs
from dibench.study.findings.lattice import BoxCost, Lattice, Lattices, Slope
from dibench.study.findings.plain import PICO
from dibench.study.maths.estimate import LogFit, condition_number, fit_log
from dibench.study.maths.inference import student_quantile
from dibench.study.maths.slopes import jackknife, share, slope
from dibench.study.questions.lattice_checks import (
    BYTES,
    anchor_checks,
    anchor_costs,
    lattice_checks,
    shares_of,
)
from dibench.study.table import rows as row_rules
from dibench.study.table.columns import counts, texts
from dibench.study.table.gain import with_gain

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]

LEAST_BOXES = 8
WORST_CONDITION = 30.0
"""Belsley, Kuh and Welsch 1980: beyond it, coefficients are unreliable."""

COUNTS = ("macs_executed", "weight_reads", "input_reads", "output_reads", "output_writes")

MODEL = "P0*time + e_mac[kernel]*macs + e_w*weight_reads + e_x*input_reads + e_y*output_accesses"


def lattice(frame: pd.DataFrame, **chosen: Unpack[row_rules.Choice]) -> Lattices | None:
    """Fit every reuse lattice in a table; None where it has none.

    A lattice is one layer, level and lane mapping under LEAST_BOXES boxes or more, whose reads differ.

    Args:
        frame: a table of the CSV contract with counted accesses.
        chosen: `device`, `backend`, `dtype`, as `rows.select` takes them.

    Raises:
        UserError: no row can be used.
    """
    if any(name not in frame for name in COUNTS):
        return None
    selection = row_rules.select(frame, **chosen, every_kernel=True)
    used = selection.frame[selection.frame[list(COUNTS)].notna().all(axis=1)].reset_index(drop=True)
    used = used.assign(level=_levels(used), lanes=texts(used, "lanes"), box=_boxes(used))
    energy = selection.kind == "energy"
    gain = selection.gain_accuracy
    anchors = _with_gain(
        anchor_costs(row_rules.anchors(frame, selection), selection.response, energy=energy), gain
    )
    # Published ranges are of GPUs.
    ranged = energy and selection.measured and selection.setting["backend"] == "cuda"
    keys = [name for name in (*DIMENSIONS, "instances", "level", "lanes") if name in used]
    # Most layers of a sweep of networks have a box or two: dropped in one step, which is fast.
    used = used[used.groupby(keys, dropna=False)["box"].transform("nunique") >= LEAST_BOXES]
    found = []
    for _, rows in used.groupby(keys, sort=False, dropna=False):
        one = fit_lattice(rows, selection.response, energy=energy)
        if one is not None:
            one = attrs.evolve(one, coefficients=_with_gain(one.coefficients, gain))
            checks = lattice_checks(one.level, one.lanes, one.coefficients, anchors, ranged=ranged)
            found.append(attrs.evolve(one, checks=checks))
    if not found:
        return None
    return Lattices(
        basis=selection.basis,
        kind=selection.kind,
        measured=selection.measured,
        lattices=tuple(sorted(found, key=lambda one: (one.operands_bytes, one.level, one.lanes))),
        anchors=anchors,
        anchor_checks=anchor_checks(anchors) if ranged else (),
        unit="pJ" if energy else "ps",
        model=MODEL,
    )


def fit_lattice(rows: pd.DataFrame, response: str, *, energy: bool) -> Lattice | None:
    """The coefficients of one layer's rows; None where they are no lattice.

    Args:
        rows: with the counts, `level`, `lanes` and `box`; of one layer, level and mapping.
        response: the column explained.
        energy: whether that is energy: then power times time is a term, where the multiprocessors vary.
    """
    shares = shares_of(rows)
    if not energy and len(shares) > 1:  # time itself scales with the share
        rows = rows[rows["sms"] == max(shares)]
        shares = (max(shares),)
    # A kernel with one box tells only its own e_mac.
    rows = rows[rows.groupby("variant")["box"].transform("nunique") >= 2]
    boxes = int(rows["box"].nunique())
    names, columns = _columns(rows, with_time=energy and len(shares) > 1)
    if boxes < LEAST_BOXES or len(rows) <= len(names) or not _reads_differ(rows):
        return None
    fitted = fit_log(columns, rows[response].to_numpy(float))
    condition = condition_number(fitted.jacobian)
    coefficients, alpha = _told(names, fitted, rows["box"].to_numpy(), boxes)
    first = rows.iloc[0]
    count = counts(rows.iloc[:1])
    return Lattice(
        level=str(first["level"]),
        lanes=str(first["lanes"]),
        layer={name: int(first[name]) for name in DIMENSIONS},
        operands_bytes=BYTES * int(sum(count[name][0] for name in ("weights", "inputs", "outputs"))),
        rows=len(rows),
        boxes=boxes,
        shares=shares,
        coefficients=coefficients,
        alpha=alpha,
        per_box=_per_box(rows, response, shares),
        condition=condition,
        reason=_doubt(condition, coefficients, energy, shares),
    )


def _with_gain(costs: Mapping[str, Slope], gain: float | None) -> dict[str, Slope]:
    """Costs in joules with the sensor's gain in their intervals."""
    ends = {name: with_gain(one.value, one.ci_low, one.ci_high, gain) for name, one in costs.items()}
    return {name: Slope(one.value, *ends[name]) for name, one in costs.items()}


def _told(
    names: list[str], fitted: LogFit, box: NDArray[Any], boxes: int
) -> tuple[dict[str, Slope], Slope | None]:
    """The coefficients in their units with intervals, and α; bounds None where boxes are too few."""
    scale = np.array([1.0 if name == "power" else PICO for name in names])
    values = fitted.parameters * scale
    t = student_quantile(boxes - len(names)) if boxes > len(names) else math.nan
    variance = jackknife(fitted.jacobian, fitted.residuals, box)
    if variance is None:
        return {name: slope(value, math.nan) for name, value in zip(names, values, strict=True)}, None
    variance = variance * np.outer(scale, scale)
    half = t * np.sqrt(np.diag(variance))
    w, x = names.index("weight"), names.index("input")
    alpha = share(values[[w, x]], variance[np.ix_([w, x], [w, x])], t)
    return {name: slope(value, width) for name, value, width in zip(names, values, half, strict=True)}, alpha


def _per_box(rows: pd.DataFrame, response: str, shares: tuple[int, ...]) -> tuple[BoxCost, ...]:
    """The cost of a multiply-add of the layer, executed or not, under each box."""
    sides = ["tile_p", "tile_k", "tile_c"]
    if not set(sides) <= set(rows):
        return ()
    rows = rows[rows[sides].notna().all(axis=1)]
    rows = rows[rows["sms"] == max(shares)] if shares else rows
    costs: defaultdict[tuple[int, int, int], list[float]] = defaultdict(list)
    per_mac = PICO * rows[response].to_numpy(float) / counts(rows)["macs"]
    for p, k, c, cost in zip(*(rows[side].astype(int) for side in sides), per_mac.tolist(), strict=True):
        costs[p, k, c].append(cost)
    return tuple(BoxCost(*box, float(np.median(own))) for box, own in sorted(costs.items()))


def _columns(rows: pd.DataFrame, *, with_time: bool) -> tuple[list[str], FloatArray]:
    count = {name: rows[name].to_numpy(float) for name in COUNTS}
    columns = {"power": rows["time_s"].to_numpy(float)} if with_time else {}
    columns |= {
        "weight": count["weight_reads"],
        "input": count["input_reads"],
        "output": count["output_reads"] + count["output_writes"],
    }
    variant = rows["variant"].to_numpy()
    for name in sorted(set(variant)):
        columns[f"mac/{name}"] = np.where(variant == name, count["macs_executed"], 0.0)
    return list(columns), np.column_stack(list(columns.values()))


def _reads_differ(rows: pd.DataFrame) -> bool:
    """Whether reads per multiply-add of weights, of inputs and of outputs vary, each in its own way."""
    per_mac = rows[list(COUNTS[1:4])].to_numpy(float) / rows[["macs_executed"]].to_numpy(float)
    centred = per_mac - per_mac.mean(axis=0)
    return bool((np.ptp(per_mac, axis=0) > 1e-9).all() and np.linalg.matrix_rank(centred, tol=1e-9) == 3)


def _doubt(condition: float, found: dict[str, Slope], energy: bool, shares: tuple[int, ...]) -> str:
    if energy and len(shares) < 2:
        return (
            "every row ran on the same multiprocessors: power times time hides in the slopes, "
            "which may be several times too high"
        )
    if condition > WORST_CONDITION:
        return (
            f"the columns hardly differ: condition number {condition:.0f}, harmful from {WORST_CONDITION:.0f}"
        )
    below = [name for name, slope in found.items() if slope.ci_high is not None and slope.ci_high < 0]
    if below:
        return f"{', '.join(below)} fitted below zero: costs that add up do not describe these rows"
    alone = any(slope.ci_low is None for slope in found.values())
    return "some coefficient stands on one box alone" if alone else ""


def _levels(rows: pd.DataFrame) -> list[str]:
    """Which level answers a kernel's rereads, and whether its operands start cold, by its knobs."""
    levels = []
    for backend, text in zip(texts(rows, "backend"), texts(rows, "knobs").tolist(), strict=True):
        knobs = unpack_knobs(text)
        where = {"ca": "L1", "cg": "L2"}.get(knobs.get("cache", ""), "caches")
        if "1" in (knobs.get("stage_w"), knobs.get("stage_x")):
            where = "shared"
        cold = "cold" if knobs.get("cold") == "1" else "warm"
        levels.append(where if backend == "cpu" else f"{where}, {cold}")
    return levels


def _boxes(rows: pd.DataFrame) -> list[str]:
    """Kernel and box of each row: the cluster of the jackknife, whatever the share of multiprocessors."""
    names = ("variant", "tile_p", "tile_k", "tile_c")
    return [" ".join(parts) for parts in zip(*(texts(rows, name) for name in names), strict=True)]
