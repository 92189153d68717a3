"""The record of a visit, and the row that the visits of one case make together.

A record holds everything that its row needs, baselines included, so rows can be stated again at any time. All
visits of a sweep tell about temperature and repeats, so an early row's interval becomes as well founded as a
late one's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from dibench.intervals import VariancePart, t_975
from dibench.measure import budget
from dibench.measure.budget import Pool, VisitJoules
from dibench.meters.baseline import Baseline
from dibench.schema import Row


@attrs.frozen
class Condition:
    """The state of the GPU during a visit's window, as far as it may be read."""

    temp_start_c: float | None
    temp_end_c: float | None
    sm_clock_mhz: float | None
    mem_clock_mhz: float | None
    clock_events: tuple[str, ...]


@attrs.frozen
class Visit:
    """What one visit to a case found. Joules and seconds are per launch, all instances together."""

    time_s: float
    time: VariancePart | None
    """Relative variance of `time_s`."""
    energy: VisitJoules | None
    alternative: VisitJoules | None
    power_w: float | None
    steps_w: tuple[float, ...]
    """Power of each update of the sensor in the window."""
    launches: int
    condition: Condition | None
    idle: Baseline | None
    active_idle: Baseline
    counters: Mapping[str, float]
    """Means over the window by column, from the card's own counters and from a second meter."""
    inside_s: float
    """Seconds of settling and window."""
    reasons: tuple[str, ...]
    """Why the row is flagged."""
    notes: tuple[str, ...] = ()
    """What else the row says, without being flagged for it."""
    by_counter: bool = True
    """Whether `energy` is by the energy counter and `alternative` by power, or the other way round."""

    def checked(self, gain: budget.Gain | None) -> Visit:
        """This visit, flagged if its estimators disagree beyond what they do at all visits (`gain`).

        Where that is known and the counter strayed from it, joules are those of power: on replayed sensors,
        ticks that lag, are late or lost move it by 0.1% at most.
        """
        first, second = self.energy, self.alternative
        if first is None or second is None:
            return self
        counter, power = (first, second) if self.by_counter else (second, first)
        if gain is not None and not self.by_counter:
            gain = attrs.evolve(gain, ratio=1 / gain.ratio)
        if not (said := budget.disagreement(counter, power, gain)):
            return self
        if gain is None or not self.by_counter:
            return attrs.evolve(self, reasons=(*self.reasons, said))
        joules = power.energy_j * gain.ratio
        return attrs.evolve(
            self,
            energy=attrs.evolve(power, energy_j=joules),
            power_w=joules / self.time_s,
            reasons=(
                *self.reasons,
                f"{said}; energy_j is by power, which no lost or late tick moves",
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Visit:
        """The visit that `to_json` wrote."""

        def estimate(fields: Mapping[str, Any] | None) -> VisitJoules | None:
            return (
                None
                if fields is None
                else VisitJoules(**{**fields, "spread": VariancePart(**fields["spread"])})
            )

        time, condition, idle = found["time"], found["condition"], found["idle"]
        if condition is not None:
            condition = Condition(**{**condition, "clock_events": tuple(condition["clock_events"])})
        parts = {
            "time": None if time is None else VariancePart(**time),
            "energy": estimate(found["energy"]),
            "alternative": estimate(found["alternative"]),
            "steps_w": tuple(found["steps_w"]),
            "condition": condition,
            "idle": None if idle is None else Baseline(**idle),
            "active_idle": Baseline(**found["active_idle"]),
            "reasons": tuple(found["reasons"]),
            "notes": tuple(found.get("notes", ())),  # not in older files
        }
        return cls(**{**found, **parts})


def with_visits(row: Row, visits: Sequence[Visit], pool: Pool) -> Row:
    """A case's row with what its visits found: per launch and instance, as the CSV has it.

    Args:
        row: of the case.
        visits: at least one.
        pool: all visits of the sweep, these included; energies are stated at its typical temperature.
    """
    gain = pool.gain()
    visits = [visit.checked(gain) for visit in visits]
    n, instances = len(visits), row.instances or 1
    time_s = math.fsum(visit.time_s for visit in visits) / n
    reasons = list(dict.fromkeys(reason for visit in visits for reason in visit.reasons))
    notes = list(dict.fromkeys(note for visit in visits for note in visit.notes))
    powers = [visit.power_w for visit in visits if visit.power_w is not None]
    return attrs.evolve(
        row,
        time_s=time_s / instances,
        time_ci_s=_time_ci_s(visits, time_s, instances),
        **_energy_cells(visits, pool, time_s, instances),
        power_w=math.fsum(powers) / len(powers) if powers else None,
        visits=n,
        windows=sum(len(visit.steps_w) for visit in visits),
        launches=sum(visit.launches for visit in visits),
        **_condition_cells([visit.condition for visit in visits if visit.condition is not None]),
        **_counter_cells(visits),
        status="flagged" if reasons else "ok",
        reason="; ".join(reasons + notes),
    )


def _energy_cells(visits: Sequence[Visit], pool: Pool, time_s: float, instances: int) -> dict[str, Any]:
    """Energies: gross, above both baselines, by the second estimator, and the budget; only what was read."""
    cells: dict[str, float] = {}
    firsts = [visit.energy for visit in visits if visit.energy is not None]
    seconds = [visit.alternative for visit in visits if visit.alternative is not None]
    reference_c = pool.typical_c()
    if reference_c is None:  # the first estimator has read nothing yet, or no temperature
        reference_c = next((one.celsius for one in seconds if one.celsius is not None), None)
    if len(seconds) == len(visits):
        cells["energy_alt_j"] = budget.combine(seconds, pool, reference_c).energy_j
    leakage = pool.leakage()[0]
    active_idle = _mean([visit.active_idle for visit in visits]).at(reference_c, leakage)
    idles = [visit.idle for visit in visits if visit.idle is not None]
    idle = _mean(idles).at(reference_c, leakage) if idles else None
    if len(firsts) == len(visits):
        energy = budget.combine(firsts, pool, reference_c)
        above, baseline_j = active_idle.above(energy.energy_j, time_s)
        cells |= {
            "energy_j": energy.energy_j,
            "energy_ci_j": energy.ci_j,
            "ci_tick_j": energy.ci_tick_j,
            "ci_spread_j": energy.ci_spread_j,
            "ci_drift_j": energy.ci_drift_j,
            "ci_baseline_j": baseline_j,
            "energy_above_active_idle_j": above,
        }
        if idle is not None:
            cells["energy_above_idle_j"] = idle.above(energy.energy_j, time_s)[0]
    powers = {"active_idle_power_w": active_idle.power_w}
    if idle is not None:
        powers["idle_power_w"] = idle.power_w
    return {name: joules / instances for name, joules in cells.items()} | powers


def _mean(baselines: Sequence[Baseline]) -> Baseline:
    """The mean baseline of some visits; their errors are not independent, so the interval does not shrink."""
    n = len(baselines)
    degrees = [b.celsius for b in baselines if b.celsius is not None]
    return Baseline(
        math.fsum(b.power_w for b in baselines) / n,
        math.fsum(b.ci_w for b in baselines) / n,
        math.fsum(degrees) / n if len(degrees) == n else None,
    )


def _time_ci_s(visits: Sequence[Visit], time_s: float, instances: int) -> float | None:
    parts = [visit.time for visit in visits if visit.time is not None]
    if len(parts) < len(visits):
        return None
    variance = math.fsum(part.variance for part in parts) / len(parts) ** 2
    return t_975(min(part.df for part in parts)) * math.sqrt(variance) * time_s / instances


def _condition_cells(conditions: Sequence[Condition]) -> dict[str, Any]:
    if not conditions:
        return {}
    events = dict.fromkeys(event for condition in conditions for event in condition.clock_events)
    return {
        "temp_start_c": conditions[0].temp_start_c,
        "temp_end_c": conditions[-1].temp_end_c,
        "sm_clock_mhz": _mean_of([condition.sm_clock_mhz for condition in conditions]),
        "mem_clock_mhz": _mean_of([condition.mem_clock_mhz for condition in conditions]),
        "clock_events": ";".join(events),
    }


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _counter_cells(visits: Sequence[Visit]) -> dict[str, Any]:
    """Means of the counters that every visit has."""
    names = set[str].intersection(*(set(visit.counters) for visit in visits))
    return {name: math.fsum(visit.counters[name] for visit in visits) / len(visits) for name in sorted(names)}
