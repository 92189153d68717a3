"""Exact twins: does the energy change when weights and inputs exchange their sizes and nothing else does?

The two halves of a pair have the same multiply-adds, outputs, AI, reduction depth, kernel and knobs; W of
the one is X of the other. AI says that they cost the same. Pairs are found by their shapes, in anybody's
table. Transposed pairs (H with W, R with S) are the placebo: all counts equal, so the ratio must be one.

The test flips the signs of the pairs' log ratios (Fisher 1935, exact up to EXACT_PAIRS pairs), the interval
inverts that test by the means of subsets (Hartigan, "Using Subsample Values as Typical Values", JASA 1969),
Holm (1979) adjusts over the operators, equivalence is the 90% interval inside the margin (Schuirmann 1987).
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Unpack

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.layer import DIMENSIONS
from dibench.study import rows as row_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

FloatArray = NDArray[np.float64]

LEAST_PAIRS = 8
"""Fewer decide nothing: with five, no sign flip test can have a p value below 0.06."""

MARGIN = math.log(1.03)
"""Twins whose cost differs by less than 3% are called equivalent."""

EXACT_PAIRS = 14
DRAWS = 9_999
SEED = 20_200_806
BOTH = "both"
OPERATORS = ("standard", "grouped", "pointwise", "fc")
"""Operators that have exact twins."""

NOT_TESTABLE = {
    "depthwise": "has no exact twin, its weights and inputs share the channels; "
    "what is tested instead: α over depthwise layers of different sizes in the ladder",
    "fc at N = 1": "has no exact twin, W = M whatever the shape; "
    "what is tested instead: twins of fc at N > 1, and the reuse lattice",
}

EQUAL = {
    "twins": ("macs_executed", "output_reads", "output_writes"),
    "placebo": (
        "macs_executed", "weight_reads", "input_reads", "output_reads", "output_writes",
        "weight_sectors", "input_sectors", "output_sectors",
    ),
}  # fmt: skip
"""Effective counts that must be equal in both halves, where the table has them."""

_KERNEL = ("variant", "tile_p", "tile_k", "tile_c", "instances", "knobs")
_FILTER = ("C", "R", "S", "groups", "stride_h", "stride_w", "pad_h", "pad_w", "dil_h", "dil_w")
_TURN = {"H": "W", "P": "Q", "R": "S", "stride_h": "stride_w", "pad_h": "pad_w", "dil_h": "dil_w"}


@attrs.frozen
class Pairs:
    """One group of pairs: how the cost of one half compares with the other's.

    The ratio of twins is the half with more weights over the one with more inputs; of a placebo the wide
    image over the tall one.
    """

    op: str
    lanes: str
    """`p`, `k`, empty where kernels have no lanes, or `both`: each pair's mean over the mappings."""
    pairs: int
    kernels: int
    ratio: float | None
    """Geometric mean over the pairs."""
    ci_low: float | None
    """Ends of the 95% interval; None where so few pairs bound nothing."""
    ci_high: float | None
    p_value: float | None
    p_holm: float | None
    decision: str
    """`equivalent`, `differs` or `undecided`."""
    reason: str
    by_kernel: dict[str, float]
    """Geometric mean ratio of each kernel variant."""
    by_pair: tuple[float, ...]
    """Ratio of each pair of layers, over its kernels."""


@attrs.frozen
class Twins:
    """Twins and their placebo by response; `to_json()` gives plain values."""

    basis: str
    responses: dict[str, dict[str, tuple[Pairs, ...]]]
    """Response (`energy`, `time`) → `twins` and `placebo` → one entry for each operator and lane mapping."""
    measured: bool
    not_exact: dict[str, int]
    """Pairs of rows left out because the kernel executes or moves more in one half, by kind."""

    def decisive(self, kind: str = "twins") -> tuple[Pairs, ...]:
        """The entries of the first response, which is energy where energy was measured."""
        return next(iter(self.responses.values()))[kind]

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values, None where it is not known."""
        return {
            "basis": self.basis,
            "measured": self.measured,
            "margin": math.expm1(MARGIN),
            "least_pairs": LEAST_PAIRS,
            "ratio": "half with more weights over half with more inputs; placebo: wide over tall",
            "responses": {
                response: {kind: [attrs.asdict(one) for one in entries] for kind, entries in groups.items()}
                for response, groups in self.responses.items()
            },
            "not_exact": self.not_exact,
            "not_testable": NOT_TESTABLE,
        }


def twins(frame: pd.DataFrame, **chosen: Unpack[row_rules.Choice]) -> Twins | None:
    """Compare the pairs in a table; None where it has no twins.

    Args:
        frame: a table of the CSV contract; pairs are found by shape.
        chosen: `device`, `backend`, `dtype`, as `rows.select` takes them.

    Raises:
        UserError: no row can be used.
    """
    selection = row_rules.select(frame, **chosen, every_kernel=True)
    used = selection.frame
    by_shape = {"twins": _found(used, _twin_sides), "placebo": _found(used, _placebo_sides)}
    found = {kind: _exact(used, matches, EQUAL[kind]) for kind, matches in by_shape.items()}
    found["twins"] = _controlled(used, found["twins"])
    if not by_shape["twins"]:
        return None
    compared = {(match.op, match.variant) for match in found["twins"]}
    if compared:  # a placebo is of the same kernels
        found["placebo"] = [one for one in found["placebo"] if (one.op, one.variant) in compared]
    responses = {selection.kind: selection.response}
    if "time_s" in used and (used["time_s"] > 0).all():
        responses["time"] = "time_s"
    source = "measured" if selection.measured else " or ".join(selection.sources)
    return Twins(
        basis=f"{source} {selection.kind} ({selection.response})",
        responses={
            name: {kind: _compared(used, members, column) for kind, members in found.items()}
            for name, column in responses.items()
        },
        measured=selection.measured,
        not_exact={kind: len(by_shape[kind]) - len(found[kind]) for kind in found},
    )


@attrs.frozen
class _Match:
    """Two rows, by position, of one pair under one kernel."""

    op: str
    lanes: str
    variant: str
    pair: tuple[Any, ...]
    upper: int
    lower: int


def _exact(frame: pd.DataFrame, matches: list[_Match], columns: tuple[str, ...]) -> list[_Match]:
    """The matches whose effective counts are equal too, as far as the table has them."""
    known = [name for name in columns if name in frame]
    counts = frame[known].to_numpy(dtype=np.float64, na_value=np.nan)

    def equal(match: _Match) -> bool:
        upper, lower = counts[match.upper], counts[match.lower]
        return bool(np.all((upper == lower) | np.isnan(upper) | np.isnan(lower)))

    return [match for match in matches if equal(match)]


def _controlled(frame: pd.DataFrame, matches: list[_Match]) -> list[_Match]:
    """The matches whose halves read weights and inputs equally often, or as often as the other's swapped.

    A kernel that chooses its tiles by the layer reads otherwise in each half, and its cost differs for that.
    """
    if "weight_reads" not in frame or "input_reads" not in frame:
        return matches
    reads = frame[["weight_reads", "input_reads"]].to_numpy(dtype=np.float64, na_value=np.nan)

    def alike(match: _Match) -> bool:
        upper, lower = reads[match.upper], reads[match.lower]
        if np.isnan([upper, lower]).any():
            return True
        return bool((upper == lower).all() or (upper == lower[::-1]).all())

    return [match for match in matches if alike(match)]


def _found(frame: pd.DataFrame, sides: Any) -> list[_Match]:
    counts = row_rules.counts(frame)
    named = [name for name in ("op", "lanes", *_KERNEL) if name in frame]
    texts = {name: frame[name].astype(object).fillna("").astype(str).tolist() for name in named}
    kernel = list(zip(*(texts[name] for name in (*_KERNEL, "lanes", "op") if name in texts), strict=True))
    dims = frame[list(DIMENSIONS)].to_numpy(dtype=np.int64).tolist()
    waiting: defaultdict[Any, list[tuple[int, tuple[int, ...]]]] = defaultdict(list)
    matches = []
    for row, (own, shape) in enumerate(zip(kernel, dims, strict=True)):
        layer = dict(zip(DIMENSIONS, shape, strict=True))
        here, there, is_upper = sides(layer, {name: int(values[row]) for name, values in counts.items()})
        if is_upper is None:
            continue
        if waiting[own, there]:
            other, partner = waiting[own, there].pop(0)
            upper, lower = (row, other) if is_upper else (other, row)
            pair = (tuple(shape), partner) if is_upper else (partner, tuple(shape))
            op, lanes, variant = (
                texts[name][row] if name in texts else "" for name in ("op", "lanes", "variant")
            )
            matches.append(_Match(op, lanes, variant, pair, upper, lower))
        else:
            waiting[own, here].append((row, tuple(shape)))
    return matches


def _twin_sides(layer: Mapping[str, int], count: Mapping[str, int]) -> tuple[Any, Any, bool | None]:
    """What identifies this half, what its twin would have, and whether this one has more weights."""
    same_size = layer["stride_h"] == layer["stride_w"] == 1 and (layer["P"], layer["Q"]) == (
        layer["H"],
        layer["W"],
    )
    W, X = count["weights"], count["inputs"]
    depthwise = layer["groups"] == layer["C"] > 1
    fc = layer["groups"] == 1 and all(layer[name] == 1 for name in "HWRSPQ")
    if W == X or not same_size or depthwise or (fc and 1 in (layer["N"], layer["K"])):
        return None, None, None
    # Filters of several taps reach into the padding: an equal share of it needs an equal image.
    image = (layer["H"], layer["W"]) if layer["R"] * layer["S"] > 1 else ()
    common = (*(layer[name] for name in _FILTER), image, count["macs"], count["outputs"])
    return (common, W, X), (common, X, W), W > X


def _placebo_sides(layer: Mapping[str, int], count: Mapping[str, int]) -> tuple[Any, Any, bool | None]:
    swap = {**_TURN, **{second: first for first, second in _TURN.items()}}
    here = tuple(layer[name] for name in DIMENSIONS)
    there = tuple(layer[swap.get(name, name)] for name in DIMENSIONS)
    return here, there, None if here == there else (layer["W"], layer["S"]) > (layer["H"], layer["R"])


def _compared(frame: pd.DataFrame, matches: list[_Match], column: str) -> tuple[Pairs, ...]:
    logs = np.log(frame[column].to_numpy(dtype=np.float64))
    groups: defaultdict[tuple[str, str], list[_Match]] = defaultdict(list)
    for match in matches:
        groups[match.op, match.lanes].append(match)
    ops = [op for op in (*OPERATORS, "depthwise") if any(op == key[0] for key in groups)]
    for op in ops:
        mapped = [match for key, members in groups.items() if key[0] == op and key[1] for match in members]
        if len({match.lanes for match in mapped}) > 1:
            groups[op, BOTH] = _under_every_mapping(mapped)
    lanes_of = sorted({lanes for _, lanes in groups}, key=lambda lanes: (lanes != BOTH, lanes))
    entries = []
    for lanes in lanes_of:
        own = [(op, groups[op, lanes]) for op in ops if groups.get((op, lanes))]
        differences = [_differences(members, logs) for _, members in own]
        adjusted = holm([flip_test(one) if len(one) >= LEAST_PAIRS else math.nan for one in differences])
        for (op, members), difference, p_holm in zip(own, differences, adjusted, strict=True):
            entries.append(_judged(op, lanes, members, difference, p_holm, logs))
    return tuple(entries)


def _under_every_mapping(matches: list[_Match]) -> list[_Match]:
    """The matches of pairs that were run under each lane mapping alike, so that mappings cancel."""
    lanes = {match.lanes for match in matches}
    seen: defaultdict[Any, set[str]] = defaultdict(set)
    for match in matches:
        seen[match.pair, match.variant].add(match.lanes)
    return [match for match in matches if seen[match.pair, match.variant] == lanes]


def _differences(matches: list[_Match], logs: FloatArray) -> FloatArray:
    """One log ratio for each pair of layers: the mean over its kernels, which are no independent evidence."""
    by_pair: defaultdict[Any, list[float]] = defaultdict(list)
    for match in matches:
        by_pair[match.pair].append(float(logs[match.upper] - logs[match.lower]))
    return np.array([np.mean(values) for values in by_pair.values()])


def _judged(
    op: str, lanes: str, matches: list[_Match], difference: FloatArray, p_holm: float, logs: FloatArray
) -> Pairs:
    by_variant: defaultdict[str, list[_Match]] = defaultdict(list)
    for match in matches:
        by_variant[match.variant].append(match)
    mean = float(difference.mean())
    low, high = interval(difference, 0.95)
    inner = interval(difference, 0.90)
    decision, reason = _decide(len(difference), p_holm, *inner)
    return Pairs(
        op=op,
        lanes=lanes,
        pairs=len(difference),
        kernels=len(by_variant),
        ratio=math.exp(mean),
        ci_low=None if low is None else math.exp(low),
        ci_high=None if high is None else math.exp(high),
        p_value=flip_test(difference),
        p_holm=None if math.isnan(p_holm) else p_holm,
        decision=decision,
        reason=reason,
        by_kernel={
            name: float(np.exp(_differences(members, logs).mean()))
            for name, members in sorted(by_variant.items())
        },
        by_pair=tuple(np.exp(difference).tolist()),
    )


def _decide(pairs: int, p_holm: float, low: float | None, high: float | None) -> tuple[str, str]:
    if pairs < LEAST_PAIRS:
        return "undecided", f"{pairs} pairs, at least {LEAST_PAIRS} are needed"
    if low is not None and high is not None and low > -MARGIN and high < MARGIN:
        return "equivalent", "the 90% interval lies inside the margin of 3%"
    if p_holm < 0.05:
        return "differs", f"p = {p_holm:.2g} after Holm"
    return "undecided", "neither a difference nor its absence is shown"


def flip_test(difference: FloatArray) -> float:
    """Two-sided p value of the sign flip test that the differences are symmetric about zero.

    Of all 2ⁿ sign patterns up to EXACT_PAIRS differences, of DRAWS seeded ones beyond.

    >>> flip_test(np.array([0.1, 0.2, 0.3]))
    0.25
    """
    flipped, exact = _patterns(len(difference))
    drawn = (1 - 2.0 * flipped) @ difference
    observed = abs(float(difference.sum()))
    reached = int(np.count_nonzero(np.abs(drawn) >= observed * (1 - 1e-9)))
    return reached / len(drawn) if exact else (1 + reached) / (1 + len(drawn))


def interval(difference: FloatArray, level: float) -> tuple[float | None, float | None]:
    """The centres of symmetry that the sign flip test does not reject; None for an end that is not bounded.

    Flipping the subset F about a centre δ raises the mean exactly where the mean over F is at most δ. So the
    ends are order statistics of the means of the subsets.
    """
    flipped, _ = _patterns(len(difference))
    flipped = flipped[flipped.any(axis=1)]
    means = np.sort(flipped @ difference / flipped.sum(axis=1))
    rank = int((1 - level) / 2 * (1 + len(means)) * (1 + 1e-12))
    return (None, None) if rank < 1 else (float(means[rank - 1]), float(means[-rank]))


def _patterns(n: int) -> tuple[NDArray[np.bool_], bool]:
    """Which differences each pattern flips, shape (patterns, n), and whether these are all patterns."""
    if n <= EXACT_PAIRS:
        return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool), True
    return np.random.default_rng(SEED).random((DRAWS, n)) < 0.5, False


def holm(p_values: list[float]) -> list[float]:
    """Holm's adjusted p values; a p value that is not a number is no test and stays so.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    tests = sorted((p, at) for at, p in enumerate(p_values) if not math.isnan(p))
    adjusted, most = [math.nan] * len(p_values), 0.0
    for rank, (p, at) in enumerate(tests):
        most = max(most, min(1.0, (len(tests) - rank) * p))
        adjusted[at] = most
    return adjusted


def agreement(entry: Pairs, alpha: Mapping[str, Any]) -> str:
    """What fitted α says of these twins, and whether they agree.

    α above ½ says that weights cost more than activations, so the ratio is above one.

    Args:
        entry: of twins.
        alpha: `value`, `ci_low` and `ci_high` as a fit's JSON has them.
    """
    expected = _side(alpha["ci_low"], alpha["ci_high"], 0.5)
    shown = _side(entry.ci_low, entry.ci_high, 1.0)
    if entry.decision == "undecided" or alpha["value"] is None:
        return "no comparison"
    if expected == 0 or shown == 0:
        return "agrees" if expected == shown else "compatible"
    return "agrees" if expected == shown else "contradicts"


def _side(low: float | None, high: float | None, middle: float) -> int:
    """1 where the interval lies above, -1 below, 0 where it holds the middle."""
    return 1 if low is not None and low > middle else -1 if high is not None and high < middle else 0
