"""What repeats of the same cases tell: by how much visits differ, and how kernels follow the machine's pace.

Two visits to one case differ by d = ln(t₂/t₁), at paces that differ by p = ln(pace₂/pace₁). Each pair with
p ≠ 0 gives a slope d/p: the share by which that kernel follows the pace. A kernel's share is the median of
its slopes, weighted by |p|: a visit that was disturbed otherwise moves it little (Sievers, "Weighted rank
statistics for simple linear regression", J. Am. Stat. Assoc. 73, 1978). While a kernel has few repeats, its
share is near that of all kernels together.

What is left, d − share·p, is what visits differ by, whatever their own windows say. No row claims to be known
better: its interval is that of its windows or this, over the root of its visits, whichever is larger. A
kernel has its own, and with few repeats that of the others counts, too (Smyth, Stat. Appl. Genet. Mol. Biol.
3, 2004). Only planned visits and those to sentinels count here: cases are visited once more *because* they
were disturbed. Pairs beyond four standard deviations do not count either: in its own row such a visit is left
out (`dibench.measure.measurement`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import median

import attrs

from dibench.intervals import t_975
from dibench.measure.measurement import FEWEST_OF_VISIT, time_of
from dibench.measure.pace import Following
from dibench.measure.window import WindowVisit

PACE_DIFFERS = 0.05
"""Below this a machine has one pace: the probe itself differs by a percent or two."""

_FEWEST_VISITS, _MOST_VISITS = 3, 60  # pairs grow as the square of them
_USUAL_DF = 4.0  # what all kernels together tell of one counts like so many repeats of its own
_USUAL_SHARE, _USUAL_SD = 0.7, 0.25  # of kernels on a shared machine
_USUAL_WEIGHT = 0.05  # a third of that of a pair at ordinary differences of pace
_HALF = 0.6745  # half of normal values lie within so many standard deviations
_FAR = 4.0  # standard deviations


@attrs.frozen
class Repeats:
    """What visits to the same cases tell."""

    between: Mapping[str, float] = attrs.field(factory=dict)
    """By variant, the relative half-width of the 95% interval of one visit, by how much visits differ; empty
    where there are too few repeats."""
    follows: Mapping[str, Following] = attrs.field(factory=dict)
    """By variant; empty where the machine has one pace."""


@attrs.frozen
class _Told:
    """What one visit says: logarithms."""

    time: float
    pace: float | None


@attrs.frozen
class _Pair:
    """Two visits to one case: differences of logarithms."""

    variant: str
    time: float
    pace: float
    weight: float
    """So that a case with n visits counts as n − 1 pairs."""


@attrs.frozen
class Repeated:
    """A case and the visits to it; all sentinels are one case."""

    variant: str
    visits: Sequence[WindowVisit]
    planned: int
    """So many of them, the first, were made whatever they found."""


def learn(cases: Iterable[Repeated]) -> Repeats:
    """What visits to these cases tell."""
    found = list(cases)
    follows = _follows([(case.variant, _told(case.visits, None)) for case in found])
    usual = [(case.variant, _told(case.visits[: case.planned], follows.get(case.variant))) for case in found]
    return Repeats(_between(_pairs(usual), {case.variant for case in found}), follows)


def _told(visits: Sequence[WindowVisit], follows: Following | None) -> list[_Told]:
    """What visits with enough undisturbed windows say; of very many, some evenly spread."""
    told = []
    for visit in visits[:: math.ceil(len(visits) / _MOST_VISITS) or 1]:
        found = time_of(visit.windows, follows)
        if len(found.used) >= FEWEST_OF_VISIT and not found.disturbed:
            told.append(_Told(math.log(found.time_s), found.pace_s and math.log(found.pace_s)))
    return told


def _pairs(cases: Iterable[tuple[str, Sequence[_Told]]]) -> list[_Pair]:
    return [
        _Pair(
            variant,
            b.time - a.time,
            0.0 if a.pace is None or b.pace is None else b.pace - a.pace,
            2 / len(visits),
        )
        for variant, visits in cases
        for a, b in combinations(visits, 2)
    ]


def _follows(cases: Sequence[tuple[str, Sequence[_Told]]]) -> dict[str, Following]:
    """How each variant follows the pace; nothing where the machine has but one."""
    paces = sorted(one.pace for _, visits in cases for one in visits if one.pace is not None)
    few = len(paces) // 10
    if not paces or paces[-1 - few] - paces[few] <= PACE_DIFFERS:
        return {}
    pairs = _pairs(cases)
    of_variant = defaultdict(list)
    for pair in pairs:
        of_variant[pair.variant].append(pair)
    usual, _, noise = _share(pairs, _USUAL_SHARE)
    shares = {variant: _share(of_variant[variant], usual, noise) for variant, _ in cases}
    return {
        variant: Following(math.exp(median(paces)), share, sd) for variant, (share, sd, _) in shares.items()
    }


def _share(pairs: Sequence[_Pair], usual: float, usual_noise: float = 0.0) -> tuple[float, float, float]:
    """The share, its standard error, and the variance of a pair; what is usual counts like a few pairs."""
    slopes = [(pair.time / pair.pace, abs(pair.pace) * pair.weight) for pair in pairs if pair.pace]
    slopes += [(usual + step * _USUAL_SD, _USUAL_WEIGHT) for step in (-1, 0, 1)]
    share = min(max(_weighted_median(slopes), 0.0), 1.2)
    squares = math.fsum(pair.weight * pair.pace**2 for pair in pairs)
    degrees = _degrees(pairs)
    own = 2 * _variance([attrs.evolve(pair, time=pair.time - share * pair.pace) for pair in pairs])
    noise = (degrees * own + _USUAL_DF * usual_noise) / (degrees + _USUAL_DF) if usual_noise else own
    known = squares / noise * 2 / math.pi if noise > 0 else 0.0  # a median knows less than a mean
    return share, 1 / math.sqrt(1 / _USUAL_SD**2 + known), noise


def _between(pairs: Sequence[_Pair], variants: set[str]) -> dict[str, float]:
    """Each kernel's own; with few repeats, near that of the others, as Smyth weighs variances."""
    if _degrees(pairs) < _FEWEST_VISITS - 1:
        return {}
    between = {}
    for variant in variants:
        own = [pair for pair in pairs if pair.variant == variant]
        others = [pair for pair in pairs if pair.variant != variant]
        usual_df = min(_USUAL_DF, _degrees(others))
        df = _degrees(own) + usual_df
        variance = (_degrees(own) * _variance(own) + usual_df * _variance(others)) / df
        between[variant] = t_975(df) * math.sqrt(variance)
    return between


def _degrees(pairs: Sequence[_Pair]) -> float:
    """Degrees of freedom of what visits differ by."""
    return math.fsum(pair.weight for pair in pairs)


def _variance(pairs: Sequence[_Pair]) -> float:
    """Of a visit's log time, by these pairs; those too far apart are left out."""
    if not pairs:
        return 0.0
    usual = _weighted_median((abs(pair.time), pair.weight) for pair in pairs) / _HALF
    near = [pair for pair in pairs if abs(pair.time) <= _FAR * usual]
    squares = math.fsum(pair.weight * pair.time**2 for pair in near)
    return squares / (2 * math.fsum(pair.weight for pair in near))


def _weighted_median(values: Iterable[tuple[float, float]]) -> float:
    """The lower one.

    >>> _weighted_median([(3.0, 1.0), (1.0, 1.0), (2.0, 5.0)])
    2.0
    """
    rising = sorted(values)
    half, below = math.fsum(weight for _, weight in rising) / 2, 0.0
    for value, weight in rising:
        below += weight
        if below >= half:
            return value
    raise ValueError("there must be a value")
