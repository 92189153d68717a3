"""What one metered GPU can resolve: noise by window length, spread between visits, visits to make.

The same load is measured again and again (A/A): whatever differs is noise. One uninterrupted run is cut into
windows of several lengths. Then separate visits, the filler running between them, show what a visit adds. The
file is kept for each device and driver, and the pool of the next sweep starts from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dibench import files
from dibench.errors import UserError
from dibench.intervals import FEWEST, VariancePart, t_975
from dibench.kernels import compilers
from dibench.measure import budget
from dibench.measure.metering import Metering
from dibench.measure.settings import VisitSettings
from dibench.measure.visit import Visit

if TYPE_CHECKING:
    from dibench.backends import Prepared
    from dibench.meters.gpu import GpuMeter
    from dibench.meters.load_step import Busy

TARGET = 0.01
"""Relative half-width that the recommended number of visits reaches."""

WINDOWS_S = (0.2, 0.5, 1.0, 2.0, 3.0, 5.0)
_VISITS = (1, 2, 3, 5, 9)
_BETWEEN_VISITS_S = 0.5


@attrs.frozen
class Effort:
    """How long a calibration runs, and how many visits it makes."""

    run_s: float
    visits: int


BRIEF, SHORT, LONG = Effort(5.0, 3), Effort(9.5, 4), Effort(60.0, 20)
"""About 33 s, 43 s and three minutes, baselines included."""


@attrs.frozen
class Calibration:
    """The result; powers in W, noise relative (1σ)."""

    device_uuid: str
    driver: str
    meter: Mapping[str, Any]
    idle_power_w: float | None
    idle_ci_w: float | None
    active_idle_power_w: float
    active_idle_ci_w: float
    noise: Mapping[str, float]
    """Noise of a window by its length in seconds, from one uninterrupted run."""
    between: float
    """Spread between visits, beyond the spread within a visit."""
    between_df: float
    half_width: Mapping[str, float]
    """Relative half-width of the 95% interval by number of visits."""
    visits: int | None
    """Visits that reach TARGET; None where nine do not."""
    notes: tuple[str, ...]

    @property
    def pool(self) -> VariancePart:
        """The prior of the next sweep's pool."""
        return VariancePart(self.between**2, self.between_df)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return attrs.asdict(self)


def calibrate(
    meter: GpuMeter,
    busy: Busy,
    prepared: Prepared,
    *,
    driver: str,
    effort: Effort = SHORT,
    until_s: float = math.inf,
) -> Calibration:
    """Calibrate a meter that has started, on launches of one case.

    Args:
        meter: whose noise is found.
        busy: the backend's filler.
        prepared: what launches.
        driver: of the GPU.
        effort: how long and how often.
        until_s: instant of the meter's clock. Neither the run nor a visit begins that would end later, by how
            long such a one may take; a note then says what there was.

    Raises:
        DeviceFaultError: the GPU is lost.
    """
    clock = meter.clock
    metering = Metering(meter, busy, VisitSettings(visit_s=effort.run_s))
    run = metering.visit(prepared) if clock.now() + metering.longest_visit_s <= until_s else None
    metering = Metering(meter, busy)
    visit_s = metering.longest_visit_s + _BETWEEN_VISITS_S
    visits: list[Visit] = []
    pool = budget.Pool()
    while len(visits) < effort.visits and clock.now() + visit_s <= until_s:
        with busy():
            clock.sleep(_BETWEEN_VISITS_S)
        visits.append(metering.visit(prepared))
        if (energy := visits[-1].energy) is not None:
            pool.add("visits", energy, visits[-1].alternative)
    made = [*([run] if run else []), *visits]
    notes = [reason for visit in made for reason in visit.checked(pool.gain()).reasons]
    if run is None:
        notes.append("time was up before the run that shows noise by length")
    if len(visits) < effort.visits:
        notes.append(f"time was up after {len(visits)} of {effort.visits} visits")
    between = pool.between()
    widths = half_widths([visit.energy for visit in visits if visit.energy is not None], between)
    return Calibration(
        device_uuid=meter.sensor.uuid,
        driver=driver,
        meter=dict(meter.facts),
        idle_power_w=None if meter.idle is None else meter.idle.power_w,
        idle_ci_w=None if meter.idle is None else meter.idle.ci_w,
        active_idle_power_w=meter.active_idle.power_w,
        active_idle_ci_w=meter.active_idle.ci_w,
        noise={
            f"{length_s:g}": sd
            for length_s, sd in noise(run.steps_w if run else (), meter.period_s or 1.0).items()
        },
        between=math.sqrt(between.variance),
        between_df=between.df,
        half_width={str(number): width for number, width in widths.items()},
        visits=next((number for number, width in widths.items() if width <= TARGET), None),
        notes=tuple(dict.fromkeys(notes)),
    )


def noise(steps_w: Sequence[float], period_s: float) -> dict[float, float]:
    """Relative standard deviation of windows cut from a run, by their length in seconds.

    From differences of neighbours, √(Σ(x[i+1] − x[i])²/2(n − 1)), the Allan deviation: a chip that
    warms during the run does not count as noise. Lengths with fewer than four windows are left out.

    >>> noise([1.0, 3.0] * 20, 0.1)[0.2]
    0.0
    """
    found = {}
    for length_s in WINDOWS_S:
        size = round(length_s / period_s)
        number = len(steps_w) // size if size else 0
        if number >= FEWEST:
            means = np.reshape(steps_w[: number * size], (number, size)).mean(axis=1)
            found[length_s] = float(np.sqrt((np.diff(means) ** 2).mean() / 2) / means.mean())
    return found


def half_widths(visits: Sequence[budget.VisitJoules], between: VariancePart) -> dict[int, float]:
    """Relative half-width to expect from 1, 2, 3, 5 and 9 visits like these; empty without any."""
    if not visits:
        return {}
    within = float(np.mean([visit.spread.variance + visit.tick for visit in visits]))
    return {number: t_975(between.df) * math.sqrt((between.variance + within) / number) for number in _VISITS}


def path_of(uuid: str, driver: str) -> Path:
    """The file of a device's calibration under a driver."""
    return compilers.cache_directory() / "calibration" / f"{uuid}-{driver}.json"


def write(calibration: Calibration, path: Path) -> None:
    """Write a calibration to its file.

    Raises:
        UserError: the file cannot be written.
    """
    with files.explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, calibration.as_json())


def kept_pool(path: Path) -> VariancePart:
    """The prior from a calibration's file, or the general one where there is no file.

    Raises:
        UserError: there is a file, but not one that `write` made.
    """
    found = files.read_json_object(path)
    if found is None:
        return budget.BETWEEN
    try:
        between, df = float(found["between"]), float(found["between_df"])
        if not (math.isfinite(between) and between >= 0 and df > 0):
            raise ValueError(between, df)
        return VariancePart(between**2, df)
    except (KeyError, TypeError, ValueError, OverflowError):
        rule = "is not a calibration: delete it, or run python -m dibench calibrate"
        raise UserError("", rule, where=path) from None
