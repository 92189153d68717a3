"""What the windows of a case say, those of all its visits together.

**Time.** Of the undisturbed machine: of the windows that nobody stretched, see `dibench.measure.undisturbed`,
and of several visits the mean of those that agree. The kernel reports what was taken from a window: our
threads waited, or the hypervisor had the core. It sees neither all nor only what matters, so it does not
decide alone: windows in which that was over 1% are left out, and where fewer than four others remain, all
are used and the interval is wider by the share taken.

**Pace.** Where the machine's paces are known for every window (`dibench.measure.pace`), and how this kernel
follows them, each window's time is stated at the machine's usual paces, before any is judged: a pace that
changes within a visit is no disturbance then. Windows far from the usual paces are left out where enough
others remain: how this case follows the paces is not fully known. Joules and power are as they were metered.

**Energy.** Joules of a metered window are not asked of another machine, they add up: total joules over total
launches of the same windows, whatever their joules. A median of them would be no total. So time and joules
have intervals of their own: that of joules is the spread of windows, that of time also says how surely
stretched windows could be told from others. Power is joules over the seconds of the very same windows.

**Interval.** 95%, Student's t with an effective number of windows, see `dibench.intervals`. Fewer than ten
windows flag the row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from dibench.intervals import VariancePart, combined_df, mean_interval, t_975
from dibench.measure.pace import mean_pace
from dibench.measure.undisturbed import Undisturbed, undisturbed_time
from dibench.numbers import count

if TYPE_CHECKING:
    from dibench.measure.pace import Following, Paces
    from dibench.measure.settings import Settings
    from dibench.measure.window import Window, WindowVisit
    from dibench.schema import Row

FEWEST_WINDOWS = 10
FEWEST_OF_VISIT = 6
"""With fewer windows a visit cannot be judged by itself."""
_FEWEST_TO_STOP = 12
_PACE_MATTERS = 0.02
_NEAR = 0.1  # relative half-width that a time may have for its window's paces
_PACE_DF = 8.0  # with which a sweep of thirty cases tells how cases differ in following the pace
_ALIKE = 0.01  # visits with smaller standard deviations count alike: a few windows know theirs badly
_UNKNOWN = 0.05  # visits may differ by so much where no repeats tell


@attrs.frozen
class Judged:
    """What a visit tells."""

    time_s: float
    """Per launch; at the usual paces, where it is known how this kernel follows them."""
    ci_s: float | None
    """Half-width of the 95% interval by its windows; None below four."""
    windows: Undisturbed
    used: tuple[Window, ...]
    """The windows that it rests on."""
    paces_s: Paces
    """The machine's paces in these; empty where they are not known."""
    off_pace: int
    """Windows left out for their paces."""

    @property
    def disturbed(self) -> bool:
        """Whether disturbed windows had to be used."""
        return any(window.disturbed for window in self.used)


@attrs.frozen
class Measurement:
    """The result of a case's windows. Times and energies are per launch, all its instances together."""

    time_s: float
    time_ci_s: float | None
    energy_j: float | None
    energy_ci_j: float | None
    power_w: float | None
    visits: int
    windows: int
    launches: int
    reached: float
    """The larger relative half-width of time and, where it varies, energy; infinite where it is not known."""
    status: str
    reason: str

    def into(self, row: Row) -> Row:
        """The case's row with these: per launch *and instance*, as the CSV has them."""
        instances = row.instances or 1

        def each(value: float | None) -> float | None:
            return None if value is None else value / instances

        return attrs.evolve(
            row,
            time_s=each(self.time_s),
            time_ci_s=each(self.time_ci_s),
            energy_j=each(self.energy_j),
            energy_ci_j=each(self.energy_ci_j),
            ci_spread_j=each(self.energy_ci_j),
            power_w=self.power_w,
            visits=self.visits,
            windows=self.windows,
            launches=self.launches,
            status=self.status,
            reason=self.reason,
        )


def measurement(visits: Sequence[WindowVisit], settings: Settings) -> Measurement:
    """What the windows of all visits to a case say together.

    Args:
        visits: at least one, in the order they were made.
        settings: target, and the budget that a row's reason names.
    """
    estimate = Estimate(
        [visit.windows for visit in visits],
        varies=visits[0].varies,
        between=settings.between,
        follows=settings.follows,
    )
    return estimate.measurement(settings, len(visits))


def time_of(visit: Sequence[Window], follows: Following | None = None) -> Judged:
    """The undisturbed time per launch that a visit tells, and what it rests on.

    Args:
        visit: its windows, at least one.
        follows: how this kernel follows the machine's paces, where that is known.
    """
    judged, times_s = visit, [window.time_s / window.launches for window in visit]
    if follows is not None and all(window.paces_s for window in visit):
        judged = _at_usual_pace(visit, follows)
        times_s = [window.time_s / window.launches / follows.slowdown(window.paces_s) for window in judged]
    found = undisturbed_time(times_s, [window.disturbed for window in judged])
    used = tuple(window for window, counts in zip(judged, found.used, strict=True) if counts)
    known = [window.paces_s for window in used if window.paces_s]
    paces_s = mean_pace(known) if len(known) == len(used) else ()
    return Judged(found.time_s, found.ci_s, found, used, paces_s, len(visit) - len(judged))


def _at_usual_pace(visit: Sequence[Window], follows: Following) -> Sequence[Window]:
    """The windows near the usual paces, where enough of them are undisturbed; else all.

    The probes choose, not the windows' own times, so this moves no time.
    """
    most = _NEAR / t_975(math.inf)
    near = [window for window in visit if follows.sd(window.paces_s) <= most]
    return near if sum(not window.disturbed for window in near) >= FEWEST_OF_VISIT else visit


def _parts(visits: Sequence[Sequence[Window]]) -> list[list[Window]]:
    """Windows visit by visit; visits of so few windows that they cannot be judged are taken together."""
    parts: list[list[Window]] = []
    for windows in visits:
        if parts and min(len(parts[-1]), len(windows)) < FEWEST_OF_VISIT:
            parts[-1] += windows
        else:
            parts.append(list(windows))
    return parts


class Estimate:
    """What the windows of a case say, those of several visits together.

    Each visit has its own undisturbed time, and their mean counts, weighted by their variances: a visit at
    paces far from the usual ones tells less. A visit that
    is farther from the others than visits differ by is left out. Where the machine's pace is not known, the
    shortest visit is right: it can only have been stretched. Where times are stated at the usual pace, the
    middle one is. Visits that differ by more than their intervals say widen that of the mean (Birge, Phys.
    Rev. 40, 1932).
    """

    def __init__(
        self,
        visits: Sequence[Sequence[Window]],
        *,
        varies: bool,
        between: float = 0.0,
        follows: Following | None = None,
    ) -> None:
        self._all = [window for windows in visits for window in windows]
        self._visits, self._follows, self._varies, self._between = len(visits), follows, varies, between
        judged = [time_of(part, follows) for part in _parts(visits)]
        self._kept = _agreeing(judged, between, follows)
        self._used = [window for visit in self._kept for window in visit.used]
        self._disturbed = [window for window in self._used if window.disturbed]
        self._stretched = sum(visit.windows.stretched for visit in self._kept)
        self._left_out = len(judged) - len(self._kept)
        self._variance, self._weights = _of_mean(self._kept, between, follows)
        self.time_s = math.fsum(w * visit.time_s for w, visit in zip(self._weights, self._kept, strict=True))

    @property
    def number(self) -> int:
        """Of windows that count."""
        return len(self._used)

    @property
    def _doubt(self) -> str:
        return next((visit.windows.doubt for visit in self._kept if visit.windows.doubt), "")

    def finished(self, settings: Settings) -> bool:
        """Whether no more windows are needed."""
        few_stretched = self.number >= _FEWEST_TO_STOP and 2 * self._stretched < len(self._all)
        return few_stretched and not self._doubt and self.reached(at_usual_pace=False) <= settings.target

    def _time_ci_s(self, *, at_usual_pace: bool = True) -> float | None:
        """Of the visits, of the pace, and what was taken from windows that had to be used all the same."""
        if self._variance is None:
            return None
        of_visits = t_975(self._variance.df) * math.sqrt(self._variance.variance)
        taken_s = math.fsum(min(window.waited_s, window.time_s) for window in self._disturbed)
        taken_s /= sum(window.launches for window in self._used)
        of_pace = self._pace_ci() if at_usual_pace else 0.0
        return math.hypot(of_visits, of_pace) * self.time_s + taken_s

    def _paces(self) -> Paces:
        """The machine's paces in the visits used; empty where they are not known."""
        known = [visit.paces_s for visit in self._kept if visit.paces_s]
        return mean_pace(known, self._weights) if len(known) == len(self._kept) else ()

    def _pace_ci(self) -> float:
        """Relative, since it is not fully known how this kernel follows the paces."""
        paces_s = self._paces()
        return t_975(_PACE_DF) * self._follows.sd(paces_s) if self._follows and paces_s else 0.0

    def _energy(self) -> tuple[float | None, float | None]:
        joules = [each.energy_j / each.launches for each in self._used if each.energy_j is not None]
        if len(joules) < self.number:
            return None, None
        if not self._varies:
            return joules[0], None
        mean_j, half_j = mean_interval(joules)
        if half_j is None:
            return mean_j, None
        # Joules are as they were metered; by how much they follow the pace is not known.
        off_pace = self._follows.off(self._paces()) if self._follows and self._paces() else 0.0
        least = self._between / math.sqrt(len(self._kept))
        return mean_j, math.hypot(max(half_j, least * mean_j), off_pace * mean_j)

    def reached(self, *, at_usual_pace: bool = True) -> float:
        """The larger relative half-width of time and, where it varies, energy.

        Not `at_usual_pace`: without the doubt about the pace, which no further window makes smaller.
        """
        widths = [_relative(self.time_s, self._time_ci_s(at_usual_pace=at_usual_pace))]
        if self._varies:
            widths.append(_relative(*self._energy()))
        return max(widths)

    def measurement(self, settings: Settings, visits: int) -> Measurement:
        """All of it, for a row."""
        energy_j, energy_ci_j = self._energy()
        reasons = self._flags(settings, visits)
        seconds = math.fsum(window.time_s for window in self._used)
        metered = self._varies and energy_j is not None and seconds > 0
        joules = math.fsum(window.energy_j or 0.0 for window in self._used)
        return Measurement(
            time_s=self.time_s,
            time_ci_s=self._time_ci_s(),
            energy_j=energy_j,
            energy_ci_j=energy_ci_j,
            power_w=joules / seconds if metered else None,
            visits=visits,
            windows=self.number,
            launches=sum(window.launches for window in self._used),
            reached=self.reached(),
            status="flagged" if reasons else "ok",
            reason="; ".join(reasons + self._disturbances()),
        )

    def _disturbances(self) -> list[str]:
        """How many windows were disturbed, if there are any: those that count and those that do not."""
        told = [f"{self._doubt}: the interval reaches down to them"] if self._doubt else []
        if self._disturbed:
            told.append(f"other processes had the cores in {len(self._disturbed)} of {self.number} windows")
        if self._left_out:
            told.append(f"{self._left_out} of {self._visits} visits left out: disturbed or far off")
        off_pace, stretched = sum(visit.off_pace for visit in self._kept), self._stretched
        windows = sum(len(visit.windows.used) for visit in self._kept) + off_pace
        left_out = windows - self.number
        taken = left_out - off_pace - stretched
        causes = [f"other processes had the cores in {taken}"] if taken else []
        causes += [f"{stretched} stretched"] if stretched else []
        causes += [f"{off_pace} far from the machine's usual pace"] if off_pace else []
        if causes:
            told.append(f"{left_out} of {windows} windows left out: {', '.join(causes)}")
        slower = self._follows.slowdown(self._paces()) - 1 if self._follows and self._paces() else 0.0
        if abs(slower) > _PACE_MATTERS:
            which = "slower" if slower > 0 else "faster"
            percent = f"{100 * abs(slower):.0f}%"
            told.append(f"the machine was {percent} {which} for this kernel than usual: time allows for it")
        return told

    def _flags(self, settings: Settings, visits: int) -> list[str]:
        """Reasons to flag the row."""
        reasons = []
        if self.number < FEWEST_WINDOWS:
            where = f"the case budget of {settings.case_budget_s:g} s" if visits == 1 else f"{visits} visits"
            reasons.append(f"{count(self.number, 'window')} in {where}, {FEWEST_WINDOWS} wanted")
        elif self.reached() > settings.target:
            stayed = f" in {visits} visits" if visits > 1 else ""
            reasons.append(
                f"interval ±{100 * self.reached():.3g}% from {count(self.number, 'window')}{stayed}, "
                f"target ±{100 * settings.target:g}%"
                + (f"; visits differ by ±{100 * self._between:.2g}%" if self._between else "")
            )
        if self._varies and self._energy()[0] is None:
            why = next((window.reason for window in self._used if window.reason), "")
            reasons.append("the meter did not read every window" + (f": {why}" if why else ""))
        return reasons


def _agreeing(judged: Sequence[Judged], between: float, follows: Following | None) -> list[Judged]:
    """The visits that agree; only those without disturbed windows, if there are any."""
    known = [visit for visit in judged if visit.ci_s is not None] or judged
    known = [visit for visit in known if not visit.disturbed] or known
    rising = sorted(known, key=lambda visit: visit.time_s)
    right = rising[0 if follows is None else (len(rising) - 1) // 2]

    def reach_s(visit: Judged) -> float:
        of_pace = t_975(math.inf) * _pace_sd(visit, follows)
        return max(visit.ci_s or 0.0, math.hypot(between or _UNKNOWN, of_pace) * visit.time_s)

    return [v for v in known if abs(v.time_s - right.time_s) <= reach_s(v) + reach_s(right)]


def _pace_sd(visit: Judged, follows: Following | None) -> float:
    """Relative standard error of a visit's time because of how badly its case's shares are known."""
    return follows.sd(visit.paces_s) if follows and visit.paces_s else 0.0


def _of_mean(
    visits: Sequence[Judged], between: float, follows: Following | None
) -> tuple[VariancePart | None, list[float]]:
    """Relative variance of the visits' mean, None if one of them has none; and the weights of the visits.

    Without that of the pace: it is the same for all visits at one pace, and no mean makes it smaller.
    """
    number = len(visits)
    if any(visit.ci_s is None for visit in visits):
        return None, [1 / number] * number
    parts = [_relative_variance(visit, between) for visit in visits]
    inverse = [
        1 / (max(part.variance, _ALIKE**2) + _pace_sd(visit, follows) ** 2)
        for part, visit in zip(parts, visits, strict=True)
    ]
    weights = [each / math.fsum(inverse) for each in inverse]
    mean = VariancePart(
        math.fsum(w * w * part.variance for w, part in zip(weights, parts, strict=True)),
        combined_df([VariancePart(w * w * p.variance, p.df) for w, p in zip(weights, parts, strict=True)]),
    )
    if number == 1:
        return mean, weights
    centre = math.fsum(w * visit.time_s for w, visit in zip(weights, visits, strict=True))
    spread = math.fsum(w * (v.time_s / centre - 1) ** 2 for w, v in zip(weights, visits, strict=True))
    spread /= number - 1
    if spread <= mean.variance:
        return mean, weights
    return VariancePart(spread, mean.df if between else number - 1.0), weights


def _relative_variance(visit: Judged, between: float) -> VariancePart:
    """Of a visit's time: by its own windows or by what visits usually differ by, whichever is larger."""
    assert visit.ci_s is not None
    df = visit.windows.df
    own = VariancePart((visit.ci_s / visit.time_s / t_975(df)) ** 2, df)
    usual = VariancePart((between / t_975(math.inf)) ** 2)
    return max(own, usual, key=lambda part: part.variance)


def _relative(mean: float | None, half_width: float | None) -> float:
    if mean is None or half_width is None or mean <= 0:
        return math.inf
    return half_width / mean
