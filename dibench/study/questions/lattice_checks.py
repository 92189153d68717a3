"""What a lattice is compared with: anchor kernels that exercise one level each, and published figures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dibench.study.findings.lattice import Check, Slope
from dibench.study.findings.plain import PICO
from dibench.study.maths.estimate import fit_log
from dibench.study.maths.inference import classical_errors, student_quantile
from dibench.study.maths.slopes import slope

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

TOLERANCE = 0.20
"""Lattice and anchor that differ by more are reported."""

BYTES = 4  # of an element: fp32

RANGES = {
    "L2 read": (15.0 * BYTES, 50.0 * BYTES),
    "shared read": (2.0 * BYTES, 10.0 * BYTES),
    "L1 read": (2.0 * BYTES, 10.0 * BYTES),
    "DRAM read": (5.0 * 8 * BYTES, 12.0 * 8 * BYTES),
    "multiply-add": (6.0, 15.0),
}
"""Published figures of GPUs, in pJ per element or multiply-add. They are no facts: a coefficient outside is a
reason to look closer."""

ANCHORS = {
    "anchor_fma": ("macs_executed", "multiply-add"),
    "anchor_l1": ("input_reads", "L1 read"),
    "anchor_l2": ("input_reads", "L2 read"),
    "anchor_dram_read": ("input_reads", "DRAM read"),
    "anchor_dram_write": ("output_writes", "DRAM write"),
}
"""What each anchor kernel does, by the column that counts it."""


def anchor_costs(rows: pd.DataFrame, response: str, *, energy: bool) -> dict[str, Slope]:
    """What one access of each anchor costs: E = P₀·time + e·n over shares of the multiprocessors."""
    found = {}
    for name, (count, _) in ANCHORS.items():
        own = rows[(rows["variant"] == name) & rows[count].notna()] if count in rows else rows.iloc[:0]
        if not energy and len(own):
            own = own[own["sms"] == own["sms"].max()] if "sms" in own else own
        if not len(own):
            continue
        columns = own[[count]].to_numpy(float)
        if energy:
            if len(own) < 3 or len(shares_of(own)) < 2:
                continue  # power times time cannot be separated from the accesses
            columns = np.column_stack([columns, own["time_s"].to_numpy(float)])
        fitted = fit_log(columns, own[response].to_numpy(float))
        degrees = len(own) - columns.shape[1]
        error = float(classical_errors(fitted.jacobian, fitted.residuals)[0]) if degrees > 0 else math.nan
        half = error * student_quantile(degrees) if degrees > 0 else math.nan
        found[name] = slope(fitted.parameters[0] * PICO, half * PICO)
    return found


def anchor_checks(anchors: Mapping[str, Slope]) -> tuple[Check, ...]:
    """The anchors compared with published figures."""
    kinds = {name: ANCHORS[name][1] for name in anchors}
    return tuple(_in_range(kind, anchors[name], name) for name, kind in kinds.items() if kind in RANGES)


def lattice_checks(
    level: str, lanes: str, costs: Mapping[str, Slope], anchors: Mapping[str, Slope], *, ranged: bool
) -> tuple[Check, ...]:
    """A lattice compared with anchors that do the same, and where `ranged` with published figures."""
    macs = [cost for name, cost in costs.items() if name.startswith("mac/")]
    pairs = [("multiply-add", sorted(macs, key=lambda cost: cost.value)[len(macs) // 2], "anchor_fma")]
    # Under lanes p neighbouring lanes read neighbouring inputs, as those of the anchors do.
    cache = level[:2]
    if lanes == "p" and cache in ("L1", "L2"):
        pairs.append((f"{cache} read", costs["input"], f"anchor_{cache.lower()}"))
    checks = []
    for what, cost, anchor in pairs:
        if anchor in anchors:
            expected = anchors[anchor].value
            low, high = expected * (1 - TOLERANCE), expected * (1 + TOLERANCE)
            checks.append(
                Check(f"{what} against {anchor}", cost.value, (low, high), low <= cost.value <= high)
            )
    if ranged:
        checks += [_in_range(what, cost, what) for what, cost, _ in pairs]
        if level.startswith("shared"):
            checks.append(_in_range("shared read", costs["input"], "shared read"))
    return tuple(checks)


def _in_range(kind: str, cost: Slope, what: str) -> Check:
    """Whether any value of the interval lies in the range."""
    low, high = RANGES[kind]
    least = cost.value if cost.ci_low is None else cost.ci_low
    most = cost.value if cost.ci_high is None else cost.ci_high
    return Check(
        f"{what} in the range of published figures", cost.value, (low, high), least <= high and most >= low
    )


def shares_of(rows: pd.DataFrame) -> tuple[int, ...]:
    """Multiprocessors that rows ran on; empty where the table does not say."""
    if "sms" not in rows:
        return ()
    return tuple(sorted(int(value) for value in rows["sms"].dropna().unique()))
