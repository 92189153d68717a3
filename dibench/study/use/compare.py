"""Two sweeps case by case: how much more, or less, does B cost than A, what got worse, and can they tell?

A case's difference is d = ln(B/A), its noise that of `compare_noise`. All cases together are worse where
the 95% interval of the middle mean of d lies above ln(1 + margin). A single case is worse where a one-sided
t-test of d ≤ ln(1 + margin), after the shift of all cases that the machine explains, is significant at 1% by
Holm's adjustment over the cases. The Wilcoxon signed-rank test of "no difference" stands beside it.

Where nobody names a margin, it is `USUAL` for all cases together. For single ones, whose noise the sweeps
show better, it is one standard deviation of a typical d, from `LEAST` to `USUAL`. A shift of all cases that
is accepted is then no change of single ones either.

Two sweeps are too noisy to tell where nothing is worse by these tests and

- the interval of all cases holds ln(1 + margin): they may be worse or not; or
- a typical case would have to get slower by more than `RESOLVED` times the margin to be named, with 80%
  probability; or
- a flagged case looks worse, and too few are flagged to say how far apart flagged ones are by noise.

Where more than half of the pairs have a flagged row, or where a typical case might take twice as long unseen,
they are too noisy whatever the tests say: such a machine moves all cases alike, too.

Where both manifests hold the usual paces of the machine, times of B are stated at those of A first (`paces`).

Where every pair has the same numbers in A and B, both are one measurement: nothing differs, however noisy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np

from dibench.errors import UserError
from dibench.intervals import t_975
from dibench.layer import DIMENSIONS
from dibench.study.findings.comparison import RESOLVED, Comparison, Difference, PaceApart, Quantity
from dibench.study.table.columns import numbers
from dibench.study.table.row_errors import quantile
from dibench.study.use.compare_noise import Noise, flagged_pairs, noise_of, p_values, wilcoxon_p
from dibench.study.use.compare_rows import (
    INTERVALS,
    compared,
    fastest,
    joined,
    measured,
    newly_failed,
    same_numbers,
    settings_that_differ,
    usable,
    values_of,
    words,
)
from dibench.study.use.paces import at_paces_of

if TYPE_CHECKING:
    import pandas as pd

    from dibench.study.use.paces import Manifest

USUAL = 0.03
"""Accepted of all cases together unless somebody names a margin, and the most that is chosen for a case."""

LEAST = 0.005
"""Accepted of a single case however small the noise: repeating a program does not show what another layout of
code and data in memory does to it (Mytkowicz et al., ASPLOS 2009)."""

_LEVEL = 0.01
_UNSEEN = 1.0  # twice as long
_POWER_80 = 0.8416  # the normal distribution's 80% quantile


def compare(
    a: pd.DataFrame,
    b: pd.DataFrame,
    *,
    margin: float | None = None,
    manifests: tuple[Manifest, Manifest] = (None, None),
) -> Comparison:
    """Compare two tables of the CSV contract, row by row of the same case.

    Args:
        a: what is compared with.
        b: what may have got worse.
        margin: a change is worse from this on, 0.03 for 3%; None chooses it, for single cases from the noise.
        manifests: of both sweeps, where there are such: they tell the machine's paces.

    Raises:
        UserError: the tables have no case and no layer in common.
    """
    a, b = compared(a), compared(b)
    by_case = all("case_id" in frame for frame in (a, b))
    restated, apart = at_paces_of(*manifests, b)
    own = [measured(frame) for frame in (a, restated)]
    pairs = joined(["case_id"], *own) if by_case else None
    matched_by = "case"
    if pairs is None or not len(pairs):
        matched_by = "layer"
        own = [fastest(frame) for frame in own]
        pairs = joined([*DIMENSIONS, "dtype"], *own)
    if not len(pairs):
        raise UserError("tables", "must have a case or a layer in common, these have none")
    devices = (values_of(own[0], "device"), values_of(own[1], "device"))
    repeats = matched_by == "case" and devices[0] == devices[1]
    quantities, why = [], {}
    for column in INTERVALS:
        both = usable(pairs, column)
        if isinstance(both, str):
            why["energy" if column == "energy_j" else "time"] = both
        else:
            quantities.append(_quantity(both, (a, b), column, margin, repeats, apart))
    if not quantities:
        raise UserError("tables", f"must have times or measured energy in common: {'; '.join(why.values())}")
    one_measurement = same_numbers(pairs)
    if one_measurement:
        quantities = [attrs.evolve(one, verdict="same", too_noisy="") for one in quantities]
    failed = newly_failed(own[0], b) if matched_by == "case" else ()
    return Comparison(
        verdict=_verdict(quantities, failed),
        matched_by=matched_by,
        quantities=tuple(quantities),
        not_compared=why,
        newly_failed=failed,
        only_a=len(own[0]) - len(pairs),
        only_b=len(own[1]) - len(pairs),
        flagged=(int((a["status"] == "flagged").sum()), int((b["status"] == "flagged").sum())),
        devices=devices,
        differs=settings_that_differ(own[0], own[1]),
        pace_apart=apart,
        one_measurement=one_measurement,
    )


def _verdict(quantities: Sequence[Quantity], failed: Sequence[str]) -> str:
    if failed or any(one.worse for one in quantities):
        return "worse"
    return "too noisy" if any(one.too_noisy for one in quantities) else "not worse"


def _quantity(
    pairs: pd.DataFrame,
    tables: tuple[pd.DataFrame, ...],
    column: str,
    margin: float | None,
    repeats: bool,
    apart: PaceApart | None,
) -> Quantity:
    d = np.log(numbers(pairs, f"{column}_b") / numbers(pairs, f"{column}_a"))
    noise = noise_of(pairs, d, tables, column, repeats=repeats, moved=_moved(apart, column))
    half = quantile(noise.df) * np.sqrt(noise.variance)
    of_case = _margin_of_case(noise) if margin is None else margin
    margin = USUAL if margin is None else margin
    shift = noise.shift(math.log1p(margin) - math.log1p(of_case))
    worse, better = (list(map(_known, p)) for p in p_values(d, noise, math.log1p(of_case), shift))
    cases = []
    of_a, of_b = (numbers(pairs, f"{column}_{side}") for side in "ab")
    for i, named in enumerate(words(pairs)):
        cases.append(
            Difference(
                **named,
                a=float(of_a[i]),
                b=float(of_b[i]),
                ratio=math.exp(d[i]),
                low=_exp(d[i] - half[i]),
                high=_exp(d[i] + half[i]),
                p_worse=worse[i],
                p_better=better[i],
                verdict=_verdict_of_case(worse[i], better[i], bool(noise.judged[i])),
            )
        )
    found = Quantity(
        column=column,
        cases=tuple(cases),
        ratio=math.exp(noise.centre),
        low=_exp(noise.centre - noise.half),
        high=_exp(noise.centre + noise.half),
        p_wilcoxon=wilcoxon_p(d),
        between=noise.beyond,
        detectable=_detectable(noise, of_case),
        detectable_of_all=_detectable_of_all(noise, margin),
        margin=margin,
        margin_of_case=of_case,
        flagged=float(flagged_pairs(pairs).mean()),
        source=", ".join(values_of(pairs, "energy_source_a")) if column == "energy_j" else "",
        verdict="undecided",
        too_noisy="",
    )
    found = attrs.evolve(found, verdict=_verdict_of_all(found))
    return attrs.evolve(found, too_noisy=_too_noisy(found))


def _moved(apart: PaceApart | None, column: str) -> float:
    """Standard deviation of what the machine's pace leaves open in all cases alike.

    Joules are as they were metered. They follow the pace as times do, at most.
    """
    if apart is None:
        return 0.0
    if column == "time_s":
        return apart.common_sd
    return math.hypot(apart.common_sd, math.log(apart.ratio) / t_975(math.inf))


def _seen(noise: Noise) -> float | None:
    """How far beyond the margin, on the scale of d, a typical case is named with 80% probability."""
    at = 1 - _LEVEL / len(noise.variance)
    seen = (quantile(noise.df, at) + _POWER_80) * np.sqrt(noise.variance)
    known = seen[np.isfinite(seen)]
    return float(np.median(known)) if len(known) else None


def _detectable(noise: Noise, margin: float) -> float | None:
    """The slow-down from which on a typical case is named with 80% probability."""
    seen = _seen(noise)
    return None if seen is None else math.expm1(math.log1p(margin) + seen)


def _detectable_of_all(noise: Noise, margin: float) -> float | None:
    """Likewise of all cases together."""
    if not math.isfinite(noise.half):
        return None
    return math.expm1(math.log1p(margin) + noise.half * (1 + _POWER_80 / t_975(math.inf)))


def _margin_of_case(noise: Noise) -> float:
    """One standard deviation of a typical case, in tenths of a percent."""
    known = noise.variance[np.isfinite(noise.variance)]
    typical = math.sqrt(float(np.median(known))) if len(known) else 0.0
    return min(max(math.ceil(1000 * typical) / 1000, LEAST), USUAL)


def _too_noisy(found: Quantity) -> str:
    if found.flagged > 0.5:
        return "flagged"
    seen, wanted = found.detectable or 0.0, RESOLVED * found.margin
    if seen > max(_UNSEEN, wanted):
        return "single"
    if found.verdict == "worse" or found.having("worse"):
        return ""
    if found.verdict == "undecided":
        return "all"
    if seen > wanted:
        return "single"
    return "few flagged" if found.having("undecided") else ""


def _verdict_of_case(p_worse: float | None, p_better: float | None, judged: bool) -> str:
    if p_worse is not None and p_worse < _LEVEL:
        return "worse" if judged else "undecided"
    return "better" if p_better is not None and p_better < _LEVEL and judged else ""


def _verdict_of_all(found: Quantity) -> str:
    if found.low is None or found.high is None:
        return "undecided"
    if found.low > 1 + found.margin:
        return "worse"
    if found.high > 1 + found.margin:
        return "undecided"
    return "better" if found.high < 1 / (1 + found.margin) else "same"


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _exp(value: float) -> float | None:
    return None if math.isnan(value) else math.exp(value)
