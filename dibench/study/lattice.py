"""The reuse lattice: what one access of each operand costs, from one layer under many boxes.

One layer keeps M, W, X and Y; the box tile_p × tile_k × tile_c turns how often each operand is read. So

    E = P₀·time + e_mac[kernel]·macs + e_w·weight reads + e_x·input reads + e_y·(output reads + writes)

by least squares on log E. Each box runs on all, half and a quarter of the multiprocessors: the same accesses
at two and four times the time. Without that, time follows from the accesses and P₀·time hides in the slopes.

A box rereads each element often, so a slope belongs to the level that answers rereads: the cache that the
kernel's loads are held to, or shared memory where they are staged. What the first touch costs (memory where
operands are cold) is the same for every box and stands in e_mac. A slope also belongs to the lane mapping: it
decides which operand's read is one broadcast sector. α here is e_w/(e_w + e_x) at that level and mapping; it
is never averaged with the α of shapes.

Intervals are jackknifed by box (CV3: Bell and McCaffrey 2002; MacKinnon, Nielsen and Webb 2023), α's is
Fieller's (1954), and has no end where e_w + e_x is not told from zero.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Unpack

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.layer import DIMENSIONS
from dibench.study import rows as row_rules
from dibench.study.estimate import condition_number, fit_log
from dibench.study.inference import student_quantile

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]

PICO = 1e12
LEAST_BOXES = 8
WORST_CONDITION = 30.0
"""Belsley, Kuh and Welsch 1980: beyond it, coefficients are harmed."""

TOLERANCE = 0.20
"""Lattice and anchor that differ by more are reported."""

COUNTS = ("macs_executed", "weight_reads", "input_reads", "output_reads", "output_writes")
SLOPES = ("weight", "input", "output")
BYTES = 4  # of an element: fp32

RANGES = {
    "L2 read": (15.0 * BYTES, 50.0 * BYTES),
    "shared read": (2.0 * BYTES, 10.0 * BYTES),
    "L1 read": (2.0 * BYTES, 10.0 * BYTES),
    "DRAM read": (5.0 * 8 * BYTES, 12.0 * 8 * BYTES),
    "multiply-add": (6.0, 15.0),
}
"""What published figures lead one to expect, in pJ an element or multiply-add of a GPU: no facts, a reason
to look where a coefficient lies outside."""

ANCHORS = {
    "anchor_fma": ("macs_executed", "multiply-add"),
    "anchor_l1": ("input_reads", "L1 read"),
    "anchor_l2": ("input_reads", "L2 read"),
    "anchor_dram_read": ("input_reads", "DRAM read"),
    "anchor_dram_write": ("output_writes", "DRAM write"),
}
"""What each anchor kernel does, by the column that counts it."""


@attrs.frozen
class Slope:
    """A coefficient: pJ (or ps) an access or multiply-add, W for the time term; bounds None where unknown."""

    value: float
    ci_low: float | None
    ci_high: float | None


@attrs.frozen
class Check:
    """A coefficient beside what it should be: an anchor's, or a published range."""

    what: str
    value: float
    expected: tuple[float, float]
    agrees: bool


@attrs.frozen
class Lattice:
    """The coefficients of one layer at one level under one lane mapping."""

    level: str
    lanes: str
    layer: dict[str, int]
    operands_bytes: int
    rows: int
    boxes: int
    shares: tuple[int, ...]
    """Multiprocessors that the rows ran on; empty where the table does not say."""
    coefficients: dict[str, Slope]
    """`power` (W), `weight`, `input`, `output`, and `mac/VARIANT` of each kernel."""
    alpha: Slope | None
    condition: float
    reason: str
    """Why the coefficients are not to be relied on; empty where they are."""
    checks: tuple[Check, ...] = ()


@attrs.frozen
class Study:
    """Every lattice of a table, and its anchors; `to_json()` gives plain values."""

    basis: str
    kind: str
    measured: bool
    lattices: tuple[Lattice, ...]
    anchors: dict[str, Slope]
    anchor_checks: tuple[Check, ...]

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values, None where it is not known."""
        values = attrs.asdict(self)
        values["unit"] = "pJ" if self.kind == "energy" else "ps"
        values["model"] = (
            "P0*time + e_mac[kernel]*macs + e_w*weight_reads + e_x*input_reads + e_y*output_accesses"
        )
        return values


def lattice(frame: pd.DataFrame, **chosen: Unpack[row_rules.Choice]) -> Study | None:
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
    used = used.assign(level=_levels(used), lanes=_text(used, "lanes"), box=_boxes(used))
    energy = selection.kind == "energy"
    anchors = _anchors(row_rules.anchors(frame, selection), selection.response, energy)
    # Published ranges are of GPUs.
    ranged = energy and selection.measured and selection.setting["backend"] == "cuda"
    keys = (
        [*DIMENSIONS, "instances", "level", "lanes"]
        if "instances" in used
        else [*DIMENSIONS, "level", "lanes"]
    )
    # Layers of a sweep of networks have a box or two each: asked for together, not one by one.
    used = used[used.groupby(keys, dropna=False)["box"].transform("nunique") >= LEAST_BOXES]
    found = []
    for _, rows in used.groupby(keys, sort=False, dropna=False):
        fitted = fit_lattice(rows, selection.response, energy=energy)
        if fitted is not None:
            found.append(attrs.evolve(fitted, checks=_checks(fitted, anchors, ranged)))
    if not found:
        return None
    return Study(
        basis=selection.basis,
        kind=selection.kind,
        measured=selection.measured,
        lattices=tuple(sorted(found, key=lambda one: (one.operands_bytes, one.level, one.lanes))),
        anchors=anchors,
        anchor_checks=tuple(
            _in_range(name, slope, ANCHORS[name][1]) for name, slope in anchors.items()
            if ranged and ANCHORS[name][1] in RANGES
        ),
    )  # fmt: skip


def fit_lattice(rows: pd.DataFrame, response: str, *, energy: bool) -> Lattice | None:
    """The coefficients of one layer's rows; None where they are no lattice.

    Args:
        rows: with the counts, `level`, `lanes` and `box`; of one layer, level and mapping.
        response: the column explained.
        energy: whether that is energy: then power times time is a term, where the multiprocessors vary.
    """
    shares = _shares(rows)
    if not energy and len(shares) > 1:  # time itself scales with the share
        rows = rows[rows["sms"] == max(shares)]
        shares = (max(shares),)
    per_variant = rows.groupby("variant")["box"].transform("nunique")
    rows = rows[per_variant >= 2]  # a kernel of one box says nothing beside its own e_mac
    boxes = int(rows["box"].nunique())
    names, columns = _columns(rows, with_time=energy and len(shares) > 1)
    if boxes < LEAST_BOXES or len(rows) <= len(names) or not _reads_differ(rows):
        return None
    y = rows[response].to_numpy(float)
    found = fit_log(columns, y)
    condition = condition_number(found.jacobian)
    variance = jackknife(found.jacobian, found.residuals, rows["box"].to_numpy())
    scale = np.array([1.0 if name == "power" else PICO for name in names])
    values = found.parameters * scale
    t = student_quantile(boxes - len(names)) if boxes > len(names) else math.nan
    alpha = None
    if variance is not None:
        variance = variance * np.outer(scale, scale)
        w, x = names.index("weight"), names.index("input")
        alpha = share(values[[w, x]], variance[np.ix_([w, x], [w, x])], t)
    errors = np.full(len(names), math.nan) if variance is None else np.sqrt(np.diag(variance))
    coefficients = {
        name: _slope(value, t * error) for name, value, error in zip(names, values, errors, strict=True)
    }
    first = rows.iloc[0]
    layer = {name: int(first[name]) for name in DIMENSIONS}
    return Lattice(
        level=str(first["level"]),
        lanes=str(first["lanes"]),
        layer=layer,
        operands_bytes=BYTES * int(sum(row_rules.counts(rows.iloc[:1])[name][0] for name in
                                       ("weights", "inputs", "outputs"))),
        rows=len(rows),
        boxes=boxes,
        shares=shares,
        coefficients=coefficients,
        alpha=alpha,
        condition=condition,
        reason=_doubt(condition, coefficients, energy, shares),
    )  # fmt: skip


def jackknife(jacobian: FloatArray, residuals: FloatArray, cluster: NDArray[Any]) -> FloatArray | None:
    """The covariance (k, k) of coefficients by leaving out one cluster after the other, CV3.

    The step of leaving out g is −(J′J − J_g′J_g)⁻¹·J_g′·r_g at the fit; V = (G−1)/G·Σ δ_g·δ_g′. None where
    the rest of some cluster cannot carry the coefficients.
    """
    length = np.linalg.norm(jacobian, axis=0)
    if not length.all() or not np.isfinite(length).all():
        return None
    scaled = jacobian / length
    gram = scaled.T @ scaled
    steps = []
    for label in np.unique(cluster):
        own = cluster == label
        rest = gram - scaled[own].T @ scaled[own]
        if np.linalg.cond(rest) > 1e10:
            return None
        steps.append(np.linalg.solve(rest, -scaled[own].T @ residuals[own]) / length)
    delta = np.array(steps)
    return np.asarray((len(delta) - 1) / len(delta) * delta.T @ delta)


def share(pair: FloatArray, variance: FloatArray, t: float) -> Slope | None:
    """α = e_w/(e_w + e_x) with Fieller's interval; None where the sum is not told from zero.

    The interval holds every α at which (1−α)·e_w − α·e_x lies within t of its standard error of zero.

    >>> share(np.array([1.0, 3.0]), np.zeros((2, 2)), 2.0)
    Slope(value=0.25, ci_low=0.25, ci_high=0.25)
    """
    total = float(pair.sum())
    if not math.isfinite(t) or total == 0:
        return None
    ww, xx, wx = variance[0, 0], variance[1, 1], variance[0, 1]
    # (e_w − α·s)² ≤ t²·(v_w − 2·α·c + α²·v_s), s the sum, c = cov(e_w, s).
    v_s, c = ww + xx + 2 * wx, ww + wx
    a = total**2 - t**2 * v_s
    b = float(pair[0]) * total - t**2 * c
    root = b**2 - a * (float(pair[0]) ** 2 - t**2 * ww)
    if a <= 0:
        return None
    half = math.sqrt(max(float(root), 0.0))
    return Slope(float(pair[0]) / total, float((b - half) / a), float((b + half) / a))


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


def _anchors(rows: pd.DataFrame, response: str, energy: bool) -> dict[str, Slope]:
    """What one access of each anchor costs: E = P₀·time + e·n over shares of the multiprocessors."""
    found = {}
    for name, (count, _) in ANCHORS.items():
        own = rows[(rows["variant"] == name) & rows[count].notna()] if count in rows else rows.iloc[:0]
        if not energy and len(own):
            own = own[own["sms"] == own["sms"].max()] if "sms" in own else own
        if not len(own):
            continue
        n, y = own[count].to_numpy(float), own[response].to_numpy(float)
        columns = n[:, None]
        if energy:
            if len(own) < 3 or len(_shares(own)) < 2:
                continue  # power times time cannot be told from the accesses
            columns = np.column_stack([n, own["time_s"].to_numpy(float)])
        fitted = fit_log(columns, y)
        degrees = len(own) - columns.shape[1]
        error = math.nan
        if degrees > 0:
            inverse = np.linalg.pinv(fitted.jacobian.T @ fitted.jacobian)
            error = student_quantile(degrees) * math.sqrt(inverse[0, 0] * fitted.rss / degrees)
        found[name] = _slope(fitted.parameters[0] * PICO, error * PICO)
    return found


def _checks(one: Lattice, anchors: dict[str, Slope], ranged: bool) -> tuple[Check, ...]:
    """The lattice beside anchors that do the same, and beside published ranges."""
    checks = []
    macs = [slope.value for name, slope in one.coefficients.items() if name.startswith("mac/")]
    # Under lanes p neighbouring lanes read neighbouring inputs, as those of the anchors do.
    pairs = [("multiply-add", float(np.median(macs)), "anchor_fma")]
    if one.lanes == "p" and one.level.startswith(("L1", "L2")):
        reads = "L1 read" if one.level.startswith("L1") else "L2 read"
        pairs.append(
            (reads, one.coefficients["input"].value, "anchor_l1" if reads == "L1 read" else "anchor_l2")
        )
    for what, value, anchor in pairs:
        if anchor in anchors:
            expected = anchors[anchor].value
            ends = (expected * (1 - TOLERANCE), expected * (1 + TOLERANCE))
            checks.append(Check(f"{what} against {anchor}", value, ends, ends[0] <= value <= ends[1]))
    if ranged:
        for what, value, _ in pairs:
            checks.append(_in_range(what, Slope(value, None, None), what))
        if one.level.startswith("shared"):
            checks.append(_in_range("shared read", one.coefficients["input"], "shared read"))
    return tuple(checks)


def _in_range(what: str, slope: Slope, kind: str) -> Check:
    low, high = RANGES[kind]
    return Check(
        f"{what} in the range of published figures", slope.value, (low, high), low <= slope.value <= high
    )


def _slope(value: float, half: float) -> Slope:
    known = math.isfinite(half)
    return Slope(float(value), float(value - half) if known else None, float(value + half) if known else None)


def _shares(rows: pd.DataFrame) -> tuple[int, ...]:
    if "sms" not in rows:
        return ()
    return tuple(sorted(int(value) for value in rows["sms"].dropna().unique()))


def _text(rows: pd.DataFrame, name: str) -> list[str]:
    if name not in rows:
        return [""] * len(rows)
    return [str(value) for value in rows[name].astype(object).fillna("")]


def _levels(rows: pd.DataFrame) -> list[str]:
    """Where a kernel's rereads are answered, and where its operands come from, by its knobs."""
    levels = []
    for backend, text in zip(_text(rows, "backend"), _text(rows, "knobs"), strict=True):
        knobs = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
        where = {"ca": "L1", "cg": "L2"}.get(knobs.get("cache", ""), "caches")
        if "1" in (knobs.get("stage_w"), knobs.get("stage_x")):
            where = "shared"
        cold = "cold" if knobs.get("cold") == "1" else "warm"
        levels.append(where if backend == "cpu" else f"{where}, {cold}")
    return levels


def _boxes(rows: pd.DataFrame) -> list[str]:
    """Kernel and box of each row, whatever its share of the multiprocessors: one draw of the lattice."""
    names = ("variant", "tile_p", "tile_k", "tile_c")
    return [" ".join(parts) for parts in zip(*(_text(rows, name) for name in names), strict=True)]
