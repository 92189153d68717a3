"""Joules of a case from its visits, with the error budget; all parts are relative until the last step.

    ln J(visit) = ln(power · time per launch) − leakage · (T − T_reference)

The interval of gross energy has three parts, whose squares add up:

- tick: the instants of the sensor's updates are known only to the few milliseconds between readings;
- spread: ripple within a visit, from its updates and their autocorrelation;
- drift: differences between visits beyond that, *pooled over all repeats and sentinels of the sweep*, since
  two or three visits say nothing about their own spread; and the uncertainty of leakage.

A fourth part, the baselines', enters only energies above a baseline. The number of visits is fixed
beforehand: measuring never stops because an interval happens to be small. The budget does not contain the
sensor's gain, ±5% to 13% against an external meter (Yang, Adamek and Armour, SC24), the same factor in all
rows of a card.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import chain

import attrs
import numpy as np

from dibench.intervals import VariancePart, combined_df, t_975

BETWEEN = VariancePart(0.005**2, 8.0)
"""Spread between visits before any was repeated: 0.5%, as repeats in random order show (design section 3)."""

LEAKAGE_PER_C, LEAKAGE_SD = 0.002, 0.0007
"""Energy per degree and its standard deviation, before visits tell: +0.2%, at most about +0.35%."""

_LEAST_BETWEEN = 0.001
_FEWEST_FOR_GAIN, _LEAST_GAIN = 6, 0.01
_NORMAL_OF_MEDIAN = 1.4826  # standard deviations to the median of absolute deviations


@attrs.frozen
class VisitJoules:
    """Joules of a launch, as one estimator read them at one visit."""

    energy_j: float
    spread: VariancePart
    """Relative variance of the mean over the visit."""
    tick: float
    """Relative variance."""
    celsius: float | None
    """Mean of the chip's temperature at begin and end; None where it cannot be read."""

    def warmer_c(self, reference_c: float | None) -> float:
        """Degrees above a reference; none where either is unknown, so that nothing is corrected."""
        return 0.0 if self.celsius is None or reference_c is None else self.celsius - reference_c


@attrs.frozen
class Energy:
    """Joules of a launch at the reference temperature; half-widths of 95% intervals."""

    energy_j: float
    ci_j: float
    ci_tick_j: float
    ci_spread_j: float
    ci_drift_j: float


@attrs.frozen
class Gain:
    """What the first estimator shows over the second, at all visits alike."""

    ratio: float
    sd: float
    """Relative standard deviation."""

    @property
    def told(self) -> bool:
        """Whether it is more than 1 and chance, so that a reader should know."""
        return abs(math.log(self.ratio)) > max(3 * self.sd, _LEAST_GAIN)


class Pool:
    """What all visits of one device tell together about leakage and the spread of repeats.

    A visit at which the estimators differ by more than they do at all visits tells neither: its joules are
    overruled or in doubt (`dibench.measure.visit`), and their error is no spread of repeats.
    """

    def __init__(self, between: VariancePart = BETWEEN) -> None:
        """An empty pool; `between` is the prior, such as a calibration's A/A noise."""
        self._prior = between
        self._groups: dict[Hashable, list[tuple[VisitJoules, VisitJoules | None]]] = {}
        self._ratios: list[float] = []
        self._known: tuple[tuple[float, float], VariancePart] | None = None

    def add(self, case: Hashable, estimate: VisitJoules, other: VisitJoules | None = None) -> None:
        """Take a visit's joules into account; those of one case (all sentinels are one) are repeats.

        Args:
            case: what was visited.
            estimate: joules by the estimator of the rows.
            other: by the second one, if there is one.
        """
        self._groups.setdefault(case, []).append((estimate, other))
        if other is not None:
            self._ratios.append(math.log(estimate.energy_j / other.energy_j))
        self._known = None

    def gain(self) -> Gain | None:
        """What the first estimator shows over the second: the median of the visits, so that few are odd.

        None below six visits with both: one alone cannot tell a gain from an error of its own.
        """
        if len(self._ratios) < _FEWEST_FOR_GAIN:
            return None
        ratios = np.array(self._ratios)
        middle = float(np.median(ratios))
        spread = _NORMAL_OF_MEDIAN * float(np.median(np.abs(ratios - middle)))
        return Gain(math.exp(middle), math.sqrt(math.pi / 2 / len(ratios)) * spread)

    def typical_c(self) -> float | None:
        """The median of the visits' temperatures, at which rows are stated, since few are far from it.

        None before the first visit, and where no temperature can be read.
        """
        known = (one.celsius for one, _ in chain.from_iterable(self._groups.values()))
        degrees = [celsius for celsius in known if celsius is not None]
        return float(np.median(degrees)) if degrees else None

    def leakage(self) -> tuple[float, float]:
        """Energy per degree and its standard deviation: a regression within repeats, with the prior.

        Normal prior, normal likelihood: precisions add up.
        """
        return self._learned()[0]

    def between(self) -> VariancePart:
        """Variance between visits of the same case, beyond the variance within a visit."""
        return self._learned()[1]

    def _learned(self) -> tuple[tuple[float, float], VariancePart]:
        """Leakage and spread, cached until a visit is added, since every row asks for them."""
        if self._known is None:
            repeated = self._repeated()
            leakage = self._leakage(repeated)
            self._known = leakage, self._between(repeated, leakage[0])
        return self._known

    def _leakage(self, repeated: Sequence[Sequence[VisitJoules]]) -> tuple[float, float]:
        sxx = sxy = 0.0
        for repeats in repeated:
            estimates = [one for one in repeats if one.celsius is not None]
            if not estimates:
                continue
            c = np.array([one.celsius for one in estimates], np.float64)
            y = np.log([one.energy_j for one in estimates])
            sxx += float(((c - c.mean()) ** 2).sum())
            sxy += float(((c - c.mean()) * (y - y.mean())).sum())
        noise = self._prior.variance + _within(repeated)
        precision = 1 / LEAKAGE_SD**2 + sxx / noise
        return (LEAKAGE_PER_C / LEAKAGE_SD**2 + sxy / noise) / precision, 1 / math.sqrt(precision)

    def _between(self, repeated: Sequence[Sequence[VisitJoules]], leakage: float) -> VariancePart:
        squares, df = self._prior.variance * self._prior.df, self._prior.df
        middle_c = self.typical_c()
        for estimates in repeated:
            y = np.array([math.log(one.energy_j) - leakage * one.warmer_c(middle_c) for one in estimates])
            within = np.mean([one.spread.variance + one.tick for one in estimates])
            squares += float(((y - y.mean()) ** 2).sum() - (len(y) - 1) * within)
            df += len(y) - 1
        return VariancePart(max(squares / df, _LEAST_BETWEEN**2), df)

    def _repeated(self) -> list[list[VisitJoules]]:
        """Visits that are repeats of others, without those that stray from the gain."""
        gain = self.gain()
        groups = [
            [one for one, other in pairs if not _strays(one, other, gain)]
            for pairs in self._groups.values()
            if len(pairs) > 1
        ]
        return [estimates for estimates in groups if len(estimates) > 1]


def _strays(one: VisitJoules, other: VisitJoules | None, gain: Gain | None) -> bool:
    return other is not None and gain is not None and disagreement(one, other, gain) != ""


def _within(repeated: Sequence[Sequence[VisitJoules]]) -> float:
    estimates = list(chain.from_iterable(repeated))
    return float(np.mean([one.spread.variance + one.tick for one in estimates])) if estimates else 0.0


def combine(estimates: Sequence[VisitJoules], pool: Pool, reference_c: float | None) -> Energy:
    """Joules of a launch from the visits of a case: their geometric mean at the reference temperature.

    Args:
        estimates: of one estimator, one a visit; at least one.
        pool: all visits of the sweep so far, these included.
        reference_c: the temperature energies are stated at; None where none is known.
    """
    n = len(estimates)
    leakage, leakage_sd = pool.leakage()
    warmer_c = math.fsum(one.warmer_c(reference_c) for one in estimates) / n
    logs = math.fsum(math.log(one.energy_j) for one in estimates) / n
    energy_j = math.exp(logs - leakage * warmer_c)
    between = pool.between()
    spreads = [VariancePart(one.spread.variance / n**2, one.spread.df) for one in estimates]
    spread = math.fsum(part.variance for part in spreads)
    tick = math.fsum(one.tick for one in estimates) / n**2
    drift = between.variance / n + (leakage_sd * warmer_c) ** 2
    t = t_975(
        combined_df(
            [
                *spreads,
                VariancePart(between.variance / n, between.df),
                VariancePart(drift - between.variance / n + tick),
            ]
        )
    )
    parts = [t * math.sqrt(variance) * energy_j for variance in (tick, spread, drift)]
    return Energy(energy_j, math.hypot(*parts), *parts)


def disagreement(counter: VisitJoules, power: VisitJoules, gain: Gain | None = None) -> str:
    """A phrase if two estimators of one visit differ by more than their uncertainties allow, else empty.

    Both read the same sensor at the same visit, so drift between visits explains nothing here. Their
    half-widths add up: what one visit in twenty exceeds by chance would flag too many of a sweep. What they
    differ by at all visits, if that is known, is no disagreement of this one.
    """
    allowed = math.fsum(
        t_975(combined_df([one.spread, VariancePart(one.tick)])) * math.sqrt(one.spread.variance + one.tick)
        for one in (counter, power)
    )
    usual = 0.0 if gain is None else math.log(gain.ratio)
    if gain is not None:
        allowed += 2 * gain.sd
    apart = abs(math.log(counter.energy_j / power.energy_j) - usual)
    if apart <= allowed:
        return ""
    beyond = f" beyond the {100 * (gain.ratio - 1):+.2g}% of all visits" if gain and gain.told else ""
    return (
        f"two estimators differ by {100 * apart:.2g}%{beyond}, allowed {100 * allowed:.2g}%: "
        f"counter {counter.energy_j:.6g} J, power {power.energy_j:.6g} J per launch"
    )
