"""A sweep: every case of a plan gets one row, however often the program is killed on the way.

The parent process plans and records; workers measure, one for each device. Several devices share the cases
(`steps`). The manifest holds what identifies a sweep. If none of it has changed, the same command resumes
where the last one ended, with as many devices of that model as there are now. Where a GPU is metered, each
case is visited as often as planned, at different times and on one card; its row follows the last visit.
Elsewhere the machine's noise is measured first, and cases that other processes disturbed are visited again at
the end.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench import files, temporary
from dibench.errors import UserError
from dibench.measure.calibration import kept_pool
from dibench.measure.calibration import path_of as calibration_path
from dibench.meters import NOT_METERED
from dibench.numbers import count
from dibench.sweep import record
from dibench.sweep.crew import Crew, LocalCrew, Opening
from dibench.sweep.events import Event, FilesMended, NoiseMeasured, NoPeaks, SweepBegan
from dibench.sweep.job import Sweep
from dibench.sweep.lock import Lock
from dibench.sweep.loop import Loop
from dibench.sweep.manifest import Manifest, identity_of, refuse_other, set_aside
from dibench.sweep.mending import mend_table, mend_visits, remedied
from dibench.sweep.noise import Noise, measure_noise, time_for
from dibench.sweep.under_way import MOST_DEATHS, WHY, UnderWay
from dibench.sweep.visit_book import VisitBook, take_in_kept
from dibench.sweep.worker import hang_limit_s

if TYPE_CHECKING:
    from dibench.intervals import VariancePart
    from dibench.measure.settings import Settings
    from dibench.schema import Row

_PEAKS, _NOISE = "peaks", "noise"
_PEAKS_S = 5.0
"""Within which the peaks of a processor are measured."""

__all__ = ["Summary", "Sweep", "run_sweep"]


@attrs.frozen
class Summary:
    """How a command ended."""

    statuses: Mapping[str, int]
    """Rows in the table by status."""
    measured: int
    """Rows written by this start of the program."""
    left: int
    """Cases of the plan without a row."""
    ended: str
    """`complete`, `time budget` or `interrupted`."""
    energy_source: str
    elapsed_s: float
    next_s: float = 0.0
    """Expected of the next case without a row; 0 where none is left."""
    inside: float | None = None
    """Share of the measuring time in windows and the settling before them, where a GPU was metered."""
    revisited: int = 0
    """Disturbed cases that were measured again."""
    came_good: int = 0
    """Of them those that are not flagged any more."""
    kept_as: str = ""
    """Where `fresh` moved the earlier table."""
    target: float = 0.0
    """Relative half-width up to which rows are `ok`, where it is more than was asked for."""
    counter_over_power: tuple[float, ...] = ()
    """Of each card whose energy counter and power differ by the same factor at all visits."""


# Long because it opens everything that has to be closed again, in order.
def run_sweep(
    sweep: Sweep,
    out: Path,
    *,
    deadline: float | None = None,
    retry_failed: bool = False,
    fresh: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Summary:
    """Measure the cases of a plan that have no row in `out` yet.

    Args:
        sweep: plan, backend, meter and settings.
        out: the directory of table and manifest; made if needed.
        deadline: instant of `time.monotonic()`; no case starts that is expected to end later, and a worker
            that has no answer by then is ended.
        retry_failed: measure failed cases again.
        fresh: start over; an earlier table and manifest are renamed once the new sweep can start.
        on_event: called with each event as it happens.

    Raises:
        UserError: another sweep runs there, the earlier one differs, device or meter cannot be opened, the
            disk is full. What was measured is kept.
    """
    begin = time.monotonic()
    limit_s = sweep.limit_s or hang_limit_s(sweep.settings)
    opening = Opening(sweep.backend, sweep.meter, sweep.settings, limit_s, deadline, sweep.idle)
    with (
        Lock(out) as lock,
        contextlib.closing(UnderWay(out / record.UNDER_WAY)) as under_way,
        contextlib.closing(_crew(sweep, opening)) as crew,
    ):
        manifest, kept_as = _begin(sweep, lock, crew, under_way, fresh=fresh, on_event=on_event)
        manifest.save()
        settings = _aiming(sweep, Noise(**manifest.noise) if manifest.noise else None)
        book = _open_book(lock, crew, settings, on_event)
        try:
            book.learn(sweep.plan.cases)
            _tidy(sweep, out / record.TABLE, book, retry_failed, on_event)
            with contextlib.closing(record.RowsFile(out / record.TABLE, held=lock.check)) as table:
                loop = Loop(
                    sweep, crew, table, book, under_way, manifest.session, on_event, manifest.add_device
                )
                ended = _measure(sweep, crew, loop, book, manifest, deadline, on_event)
                if ended == "complete":
                    under_way.settle()
                if ended != "interrupted":
                    _peaks_again(crew, manifest, under_way, deadline, on_event)
                book.check()
                table.check()
            loop.learn()
            loop.state_again(out / record.TABLE)
            manifest.state_at(book.reference_c, book.counter_over_power)
            if not loop.in_visits:
                manifest.state_windows(book.settings.target, book.repeats, book.usual_pace_s)
        finally:
            book.close()
        counts = Counter(loop.statuses.values())
        manifest.end(
            ended,
            counts,
            rows=loop.finished,
            worker_restarts=loop.restarts,
            revisited=len(loop.revisited),
            came_good=loop.came_good,
            share_in_windows_and_settling=loop.inside,
        )
    return Summary(
        statuses=counts,
        measured=loop.finished,
        left=len(loop.open_cases()),
        ended=ended,
        energy_source=manifest.energy_source,
        elapsed_s=time.monotonic() - begin,
        next_s=loop.next_s(),
        inside=loop.inside,
        revisited=len(loop.revisited),
        came_good=loop.came_good,
        target=book.settings.target if book.settings.target > sweep.settings.target else 0.0,
        kept_as=kept_as,
        counter_over_power=tuple(book.counter_over_power.values()),
    )


def _begin(
    sweep: Sweep,
    lock: Lock,
    crew: Crew,
    under_way: UnderWay,
    *,
    fresh: bool,
    on_event: Callable[[Event], None],
) -> tuple[Manifest, str]:
    """The manifest of this session, and where an earlier table was moved; refuses a sweep that differs."""
    out = lock.directory
    temporary.remove_orphans(out)
    setups = [device.setup for device in crew.devices]
    if sweep.needs_sensor:
        for setup in setups:
            if why := setup.meter.facts.get(NOT_METERED):
                raise no_sensor(setup.device.name, why)
    record.refuse_test_data(out, setups[0].meter.source)
    earlier = None if fresh else files.read_json_object(out / record.MANIFEST)
    identity = identity_of(sweep, setups[0])
    refuse_other(out, earlier, identity)
    kept_as = set_aside(out) if fresh else ""
    if fresh:
        under_way.forget()
    peaks = earlier["peaks"] if earlier else _peaks(crew, under_way, on_event)
    return Manifest(out, earlier, identity, sweep, setups, peaks, lock.check), kept_as


def no_sensor(device: str, why: str) -> UserError:
    """The error of a sweep that needs measured joules where none can be had."""
    rule = (
        f"no sensor of {device} can be used ({why}). `python -m dibench doctor` shows what each one lacks. "
        "To go on without measured joules, on purpose: --meter model"
    )
    return UserError("--meter", rule)


def _peaks(crew: Crew, under_way: UnderWay, on_event: Callable[[Event], None]) -> Mapping[str, Any]:
    """Peaks of the first device; empty where they cannot be measured, which rows do not need."""
    if under_way.deaths(_PEAKS) >= MOST_DEATHS:
        on_event(NoPeaks(f"measuring them took this program down {MOST_DEATHS} times ({WHY})"))
        return {}
    under_way.began(_PEAKS)
    try:
        return crew.devices[0].peaks()
    except UserError as error:
        if not isinstance(crew, LocalCrew):  # a cluster's device is gone with its peaks
            raise
        on_event(NoPeaks(str(error)))
        return {}
    finally:
        under_way.done(_PEAKS)


def _peaks_again(
    crew: Crew,
    manifest: Manifest,
    under_way: UnderWay,
    deadline: float | None,
    on_event: Callable[[Event], None],
) -> None:
    """Measure the peaks of this machine once more, as they may have been disturbed; the larger stays."""
    time_left = deadline is None or time.monotonic() + _PEAKS_S < deadline
    if not (manifest.peaks and time_left and isinstance(crew, LocalCrew) and crew.devices):
        return
    device = crew.devices[0]
    if not (device.ended or device.setup.meter.in_visits):
        manifest.raise_peaks(_peaks(crew, under_way, on_event))


def _crew(sweep: Sweep, opening: Opening) -> Crew:
    if not sweep.scheduler:
        return LocalCrew(opening, sweep.devices)
    from dibench.sweep.cluster import ClusterCrew

    return ClusterCrew(opening, sweep.scheduler, sweep.plan.backend, sweep.sources_sha)


def _name(crew: Crew) -> str:
    name = crew.devices[0].setup.device.name
    return f"{len(crew.devices)} × {name}" if len(crew.devices) > 1 else name


def _began(crew: Crew, total: int, finished: int, steps: int) -> SweepBegan:
    """The event; it says, too, why the energy is not of a better source."""
    meter = crew.devices[0].setup.meter
    because = str(meter.facts.get(NOT_METERED) or meter.facts.get("instead_of") or "")
    return SweepBegan(_name(crew), meter.source, total, finished, steps, not meter.in_visits, because)


def _open_book(lock: Lock, crew: Crew, settings: Settings, on_event: Callable[[Event], None]) -> VisitBook:
    """All visits so far; for metered GPUs with what their calibrations say."""
    path = lock.directory / record.VISITS
    for what in mend_visits(path):
        on_event(FilesMended(what))
    if taken := take_in_kept(path):
        on_event(FilesMended(f"{count(taken, 'visit')} taken in from {record.KEPT}"))
    priors: dict[str, VariancePart] = {}
    for one in crew.devices:
        if one.setup.meter.in_visits:
            device = one.setup.device
            kept = calibration_path(device.uuid, str(device.facts.get("driver") or ""))
            priors[device.uuid] = kept_pool(kept)
    return VisitBook(path, priors, settings, lock.check)


def _aiming(sweep: Sweep, noise: Noise | None) -> Settings:
    """The settings with what noise asks for: wider intervals, and its target unless one was given."""
    if noise is None:
        return sweep.settings
    target = sweep.settings.target if sweep.keep_target else noise.target
    return attrs.evolve(sweep.settings, target=target, between=noise.between)


# Wide because it acts between everything that a sweep has opened.
def _measure(
    sweep: Sweep,
    crew: Crew,
    loop: Loop,
    book: VisitBook,
    manifest: Manifest,
    deadline: float | None,
    on_event: Callable[[Event], None],
) -> str:
    """Noise first, then all cases, then the disturbed ones again; returns how that ended."""
    begun_with = len(loop.statuses)
    loop.visits_each = Noise(**manifest.noise).visits if manifest.noise else 1
    on_event(_began(crew, len(sweep.plan.cases), begun_with, len(loop.steps())))
    ended = "interrupted"
    with contextlib.suppress(KeyboardInterrupt):
        cases = len(loop.open_cases())
        if not begun_with and (
            noise := _learn_noise(sweep, crew, book, manifest, loop.under_way, cases, deadline)
        ):
            loop.visits_each = noise.visits
            on_event(NoiseMeasured(noise, sweep.settings.target, len(loop.steps())))
        ended = loop.run(loop.steps(), deadline)
        ended = loop.revisit(deadline) if ended == "complete" else ended
    return ended


# Wide because it is a step of _measure.
def _learn_noise(
    sweep: Sweep,
    crew: Crew,
    book: VisitBook,
    manifest: Manifest,
    under_way: UnderWay,
    cases: int,
    deadline: float | None,
) -> Noise | None:
    """Measure the machine's noise, once in a sweep, and aim at what it allows."""
    device = crew.devices[0]
    reference = next((case for case in sweep.plan.cases if case.sentinel), None)
    left_s = math.inf if deadline is None else deadline - time.monotonic()
    limit_s = time_for(cases, sweep.settings, left_s)
    if manifest.noise or device.setup.meter.in_visits or reference is None or not limit_s:
        return None
    if under_way.deaths(_NOISE) >= MOST_DEATHS:
        return None
    under_way.began(_NOISE)
    noise = measure_noise(device, reference, sweep.settings, limit_s)
    under_way.done(_NOISE)
    if noise is not None:
        if sweep.keep_target:
            noise = attrs.evolve(noise, target=sweep.settings.target)
        book.settings = _aiming(sweep, noise)
        manifest.note_noise(noise)
    return noise


def _tidy(
    sweep: Sweep, path: Path, book: VisitBook, retry_failed: bool, on_event: Callable[[Event], None]
) -> None:
    """Drop rows that are to be measured again, and rows of cases that still need visits; state the others.

    A killed sweep may have visited a case again and not stated its row.
    """
    if not path.exists():
        return
    for what in mend_table(path):
        on_event(FilesMended(what))
    record.RowsFile(path).close()  # has a header
    with remedied():
        rows = list(record.written(path, sweep.plan.ids))

    def keep(row: Row) -> Row | None:
        if row.measured:
            return None if book.wants_more(row.case_id) else book.row(row) or row
        return None if retry_failed and row.status == "failed" else row

    record.write(path, [kept for row in rows if (kept := keep(row)) is not None])
