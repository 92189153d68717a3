"""What repeats of the same cases tell: by how much visits differ, and how kernels follow the machine's paces.

Two visits to one case differ by d = ln(t₂/t₁), at paces that differ by p = ln(pace₂/pace₁), one for each
probe. A kernel's shares s, by which it follows the paces, are a regression of d on p over all its pairs.
Pairs that a disturbance of another kind has moved count less (Tukey's biweight: Beaton and Tukey,
Technometrics 16, 1974). While a kernel has few repeats, its shares are near those of all kernels together: a
normal prior.

Cases of one kernel follow the paces differently, too; that is learned from all pairs together, and the
interval of a time holds it: the farther its visits were from the usual paces, the wider.

What is left, d − s·p, is what visits differ by, whatever their own windows say. No row claims to be known
better: its interval is that of its windows or this, over the root of its visits, whichever is larger. A
kernel has its own, and that of all kernels counts, too: the more, the less kernels differ beyond chance
(Smyth, Stat. Appl. Genet. Mol. Biol. 3, 2004). Only planned visits and those to sentinels count here: cases
are visited once more *because* they were disturbed. Pairs beyond four standard deviations do not count
either: in its own row such a visit is left out (`dibench.measure.measurement`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import fmean, variance

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.intervals import VariancePart, t_975
from dibench.measure.measurement import FEWEST_OF_VISIT, time_of
from dibench.measure.pace import PACE_DIFFERS, Following, Paces
from dibench.measure.window import WindowVisit

_FEWEST_VISITS, _MOST_VISITS = 3, 60  # pairs grow as the square of them
_USUAL_DF = 4.0  # degrees of freedom with which all kernels together tell of a kernel's noise
_USUAL_SHARE, _USUAL_SD = 0.4, 0.3  # of kernels on a shared machine
_MOST_SHARE = 1.2
_USUAL_APART = 0.2  # by which cases of a kernel differ in their shares
_USUAL_PACE = 0.25  # quantile
_LEAST_NOISE = 0.001**2  # of a pair; a better agreement is chance
_MOST_DF = 30.0
_HALF = 0.6745  # half of normal values lie within so many standard deviations
_FAR = 4.0  # standard deviations
_ROUNDS = 20  # of reweighting; the shares are then settled to 1%

_Floats = NDArray[np.float64]


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
    paces: Paces
    """Empty where they are not known."""


@attrs.frozen
class _Pair:
    """Two visits to one case: differences of logarithms."""

    variant: str
    time: float
    paces: Paces
    weight: float
    """So that a case with n visits counts as n − 1 pairs."""


@attrs.frozen
class Repeated:
    """A case and the visits to it; all sentinels are one case."""

    variant: str
    visits: Sequence[WindowVisit]
    planned: int
    """So many of them, the first that tell something, were made whatever that was."""


def learn(cases: Iterable[Repeated]) -> Repeats:
    """What visits to these cases tell."""
    found = list(cases)
    follows = _follows([(case.variant, _told(case.visits, None)) for case in found])
    usual = [(case.variant, _told(case.visits, follows.get(case.variant))[: case.planned]) for case in found]
    pairs, spent = _pairs(usual), {case.variant: _spent(follows.get(case.variant)) for case in found}
    if follows:
        pairs, apart = _as_at_one_pace(pairs)
        follows = {
            variant: attrs.evolve(
                one,
                share_sds=tuple(map(math.hypot, one.share_sds, apart or [_USUAL_APART] * len(one.shares))),
                known_sds=one.share_sds,
            )
            for variant, one in follows.items()
        }
    return Repeats(_between(pairs, spent), follows)


def usual_paces(cases: Iterable[Repeated]) -> Paces:
    """The machine's usual paces in the visits to these cases; empty where they are not known."""
    return _usual(_paces_of(_told(case.visits, None) for case in cases))


def _paces_of(told: Iterable[Sequence[_Told]]) -> _Floats:
    """Logarithms, a row for each visit."""
    return np.array([one.paces for visits in told for one in visits if one.paces])


def _usual(paces: _Floats) -> Paces:
    return tuple(np.exp(np.quantile(paces, _USUAL_PACE, axis=0)).tolist()) if len(paces) else ()


def _as_at_one_pace(pairs: Sequence[_Pair]) -> tuple[list[_Pair], tuple[float, ...]]:
    """The pairs without what cases of one kernel follow the paces differently; and by how much they do.

    Large layers of a kernel may wait for memory and small ones not. So the squares of what is left of pairs
    grow with those of their differences of pace: variance = noise + Σ apart²·p², by least squares, weighted
    by the inverse squares of the variances; what is usual counts like one good pair. Without a pair whose
    paces are known, nothing is told.
    """
    from scipy.optimize import nnls

    known = [pair for pair in pairs if pair.paces]
    if not known:
        return list(pairs), ()
    squares = np.array([pair.time**2 for pair in known])
    weights = np.array([pair.weight for pair in known])
    terms = np.column_stack([np.ones(len(known)), np.array([pair.paces for pair in known]) ** 2])
    usual = (_weighted_median(zip(np.sqrt(squares), weights, strict=True)) / _HALF) ** 2
    expected = np.full(len(known), max(usual, _LEAST_NOISE))
    likely = np.ones(terms.shape[1] - 1)
    prior = np.column_stack([0 * likely, np.diag(likely) / _USUAL_APART**2])
    for _ in range(_ROUNDS):
        near = np.minimum(squares, _FAR**2 * expected)
        scale = np.sqrt(weights) / expected
        parts = nnls(np.vstack([terms * scale[:, None], prior]), np.append(near * scale, likely))[0]
        parts[0] = max(parts[0], _LEAST_NOISE)
        expected = terms @ parts
    at_one = dict(zip(map(id, known), np.sqrt(parts[0] / expected).tolist(), strict=True))
    apart = tuple(np.sqrt(parts[1:]).tolist())
    return [attrs.evolve(pair, time=pair.time * at_one.get(id(pair), 1.0)) for pair in pairs], apart


def _told(visits: Sequence[WindowVisit], follows: Following | None) -> list[_Told]:
    """What visits with enough undisturbed windows say; of very many, some evenly spread."""
    told = []
    for visit in visits[:: math.ceil(len(visits) / _MOST_VISITS) or 1]:
        found = time_of(visit.windows, follows)
        if len(found.used) >= FEWEST_OF_VISIT and not found.disturbed:
            told.append(_Told(math.log(found.time_s), tuple(map(math.log, found.paces_s))))
    return told


def _pairs(cases: Iterable[tuple[str, Sequence[_Told]]]) -> list[_Pair]:
    return [
        _Pair(
            variant,
            b.time - a.time,
            tuple(of_b - of_a for of_a, of_b in zip(a.paces, b.paces, strict=False)),  # one may have none
            2 / len(visits),
        )
        for variant, visits in cases
        for a, b in combinations(visits, 2)
    ]


def _follows(cases: Sequence[tuple[str, Sequence[_Told]]]) -> dict[str, Following]:
    """How each variant follows the paces; nothing where the machine has but one of each."""
    paces = _paces_of(visits for _, visits in cases)
    if not len(paces) or (np.diff(np.quantile(paces, [0.1, 0.9], axis=0), axis=0) <= PACE_DIFFERS).all():
        return {}
    usual_s = _usual(paces)
    pairs = [pair for pair in _pairs(cases) if pair.paces]
    of_variant = defaultdict(list)
    for pair in pairs:
        of_variant[pair.variant].append(pair)
    usual, _, noise = _shares(pairs, np.full(len(usual_s), _USUAL_SHARE))
    follows = {}
    for variant in {variant for variant, _ in cases}:
        shares, sds, _ = _shares(of_variant[variant], usual, noise)
        follows[variant] = Following(usual_s, tuple(shares.tolist()), tuple(sds.tolist()))
    return follows


def _shares(
    pairs: Sequence[_Pair], usual: _Floats, usual_noise: float = 0.0
) -> tuple[_Floats, _Floats, float]:
    """The shares, their standard errors, and the variance of a pair; what is usual is a normal prior."""
    prior = np.eye(len(usual)) / _USUAL_SD**2
    if not pairs:
        return usual, np.full(len(usual), _USUAL_SD), usual_noise
    times = np.array([pair.time for pair in pairs])
    paces = np.array([pair.paces for pair in pairs])
    weights = np.array([pair.weight for pair in pairs])
    shares, degrees = usual, float(weights.sum())
    for _ in range(_ROUNDS):
        left = times - paces @ shares
        near = np.abs(left) <= _FAR * _weighted_median(zip(np.abs(left), weights, strict=True)) / _HALF
        own = float(weights[near] @ left[near] ** 2 / weights[near].sum())
        noise = (degrees * own + _USUAL_DF * usual_noise) / (degrees + _USUAL_DF) if usual_noise else own
        noise = max(noise, _LEAST_NOISE)
        counts = weights * np.maximum(1 - left**2 / (_FAR**2 * noise), 0.0) ** 2
        known = (paces.T * counts) @ paces / noise
        shares = usual + np.linalg.solve(known + prior, (paces.T * counts) @ (times - paces @ usual) / noise)
        shares = np.clip(shares, 0.0, _MOST_SHARE)
    return shares, np.sqrt(np.diag(np.linalg.inv(known + prior))), noise


def _between(pairs: Sequence[_Pair], spent: Mapping[str, float]) -> dict[str, float]:
    """Each kernel's own, and the nearer to that of all the fewer its repeats: Smyth's moderated variances.

    Args:
        pairs: of visits.
        spent: by variant, degrees of freedom that were spent on its shares.
    """
    usual = _variance(pairs, math.fsum(spent.values()))
    if usual.df < _FEWEST_VISITS - 1:
        return {}
    of_variant: dict[str, list[_Pair]] = {variant: [] for variant in spent}
    for pair in pairs:
        of_variant[pair.variant].append(pair)
    own = {variant: _variance(its, spent[variant]) for variant, its in of_variant.items()}
    usual = attrs.evolve(usual, df=min(_alike(list(own.values())), usual.df))
    between = {}
    for variant, part in own.items():
        df = part.df + usual.df
        between[variant] = t_975(df) * math.sqrt((part.df * part.variance + usual.df * usual.variance) / df)
    return between


def _alike(parts: Sequence[VariancePart]) -> float:
    """How alike kernels are: degrees of freedom with which all together tell of one.

    Logarithms of variances with d degrees of freedom differ by chance by trigamma(d/2); kernels whose own
    variances differ like those of d₀ degrees of freedom add trigamma(d₀/2), about 1/x + 1/2x² at x = d₀/2.
    """
    from scipy.special import polygamma

    known = [part for part in parts if part.df >= 2 and part.variance > 0]
    if len(known) < 2:
        return _USUAL_DF
    beyond = variance([math.log(part.variance) for part in known])
    beyond -= fmean(float(polygamma(1, part.df / 2)) for part in known)
    if beyond <= 0:
        return _MOST_DF
    return min(max((1 + math.sqrt(1 + 2 * beyond)) / beyond, _USUAL_DF), _MOST_DF)


def _degrees(pairs: Sequence[_Pair]) -> float:
    """Degrees of freedom of what visits differ by."""
    return math.fsum(pair.weight for pair in pairs)


def _spent(follows: Following | None) -> float:
    """Degrees of freedom that a kernel's repeats spent on its shares: as far as those are not the prior's."""
    return math.fsum(1 - (sd / _USUAL_SD) ** 2 for sd in follows.share_sds) if follows else 0.0


def _variance(pairs: Sequence[_Pair], spent: float) -> VariancePart:
    """Of a visit's log time, by these pairs; those too far apart are left out."""
    if (df := _degrees(pairs) - spent) <= 0:
        return VariancePart(0.0, 0.0)
    usual = _weighted_median((abs(pair.time), pair.weight) for pair in pairs) / _HALF
    near = [pair for pair in pairs if abs(pair.time) <= _FAR * usual]
    squares = math.fsum(pair.weight * pair.time**2 for pair in near)
    return VariancePart(squares / (2 * _degrees(near)) * _degrees(pairs) / df, df)


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
