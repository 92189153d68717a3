"""The reuse lattice: what one access of each operand costs, from one layer under many boxes."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from dibench.study.findings.plain import Result


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
class BoxCost:
    """What a multiply-add costs under a box: the median over kernels, on most multiprocessors."""

    tile_p: int
    tile_k: int
    tile_c: int
    per_mac: float
    """pJ or ps."""


@attrs.frozen
class Lattice:
    """The coefficients of one layer at one level under one lane mapping."""

    level: str
    lanes: str
    layer: Mapping[str, int]
    operands_bytes: int
    rows: int
    boxes: int
    shares: tuple[int, ...]
    """Multiprocessors that the rows ran on; empty where the table does not say."""
    coefficients: Mapping[str, Slope]
    """`power` (W), `weight`, `input`, `output`, and `mac/VARIANT` of each kernel."""
    alpha: Slope | None
    per_box: tuple[BoxCost, ...]
    """Ascending by the sides of the box."""
    condition: float
    reason: str
    """Why the coefficients are not to be relied on; empty where they are."""
    checks: tuple[Check, ...] = ()


@attrs.frozen
class Lattices(Result):
    """Every lattice of a table, and its anchors."""

    basis: str
    kind: str
    """What costs: `energy` or `time`."""
    measured: bool
    lattices: tuple[Lattice, ...]
    anchors: Mapping[str, Slope]
    anchor_checks: tuple[Check, ...]
    unit: str
    """Of a cost: pJ or ps."""
    model: str
