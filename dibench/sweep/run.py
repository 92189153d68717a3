"""A sweep: every case of a plan measured once, one row each, however often the program is killed on the way.

The parent plans, records and decides; workers measure, one to a device. Several devices share the cases out
among them (`steps`). What identifies a sweep stands in its manifest, and the same command goes on
where the last one ended if all of it is still the same, with as many devices of that model as there are. A
metered GPU is visited: a case gets as many visits as planned, at different times and on one card, and its row
when the last one is made.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench import files
from dibench.errors import UserError
from dibench.measure.calibration import kept_pool
from dibench.measure.calibration import path_of as calibration_path
from dibench.sweep import record
from dibench.sweep.crew import Crew, LocalCrew, Opening
from dibench.sweep.events import Event, NoPeaks, Opened
from dibench.sweep.job import Sweep
from dibench.sweep.lock import Lock
from dibench.sweep.loop import Loop
from dibench.sweep.manifest import Manifest, identity_of, refuse_other, set_aside
from dibench.sweep.visit_book import VisitBook
from dibench.sweep.worker import hang_limit_s

if TYPE_CHECKING:
    from dibench.intervals import Part
    from dibench.schema import Row

__all__ = ["Summary", "Sweep", "run_sweep"]


@attrs.frozen
class Summary:
    """How a command ended."""

    statuses: Mapping[str, int]
    """Rows in the table by status."""
    measured: int
    """Rows that this command wrote."""
    left: int
    """Cases of the plan without a row."""
    ended: str
    """`complete`, `time budget` or `interrupted`."""
    energy_source: str
    elapsed_s: float
    inside: float | None = None
    """Share of the measuring time in windows and the settling before them, where a GPU was metered."""
    kept_as: str = ""
    """Where `fresh` moved the earlier table."""


# Wide because each of these can be set on its own, and has a default.
def run_sweep(
    sweep: Sweep,
    out: Path,
    *,
    deadline: float | None = None,
    retry_failed: bool = False,
    fresh: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
    limit_s: float | None = None,
    most_deaths: int | None = None,
) -> Summary:
    """Measure the cases of a plan that have no row in `out` yet.

    Args:
        sweep: plan, backend, meter and settings.
        out: the directory of table and manifest; made if needed.
        deadline: instant of `time.monotonic()` that no case begun is expected to exceed.
        retry_failed: measure failed cases again.
        fresh: begin anew; an earlier table and manifest are renamed, once the new sweep can start.
        on_event: told what happens as it happens.
        limit_s: seconds after which a case counts as hung.
        most_deaths: of workers at cases of one kernel, after which its other cases are not tried.

    Raises:
        UserError: another sweep runs there, the earlier one differs, device or meter cannot be had, the
            disk is full. What was measured is kept.
    """
    begin = time.monotonic()
    opening = Opening(sweep.backend, sweep.meter, sweep.settings, limit_s or hang_limit_s(sweep.settings))
    with Lock(out), contextlib.closing(_crew(sweep, opening)) as crew:
        manifest, kept_as = _begin(sweep, out, crew, fresh=fresh, on_event=on_event)
        manifest.save()
        book = _open_book(out, crew)
        try:
            _tidy(out / record.TABLE, book, retry_failed)
            with contextlib.closing(record.Table(out / record.TABLE)) as table:
                loop = Loop(
                    sweep, crew, table, book, manifest.session, on_event, manifest.add_device, most_deaths
                )
                begun_with = len(loop.statuses)
                steps = loop.steps()
                total, name = len(sweep.plan.cases), _name(crew)
                on_event(Opened(name, manifest.energy_source, total, begun_with, len(steps)))
                ended = loop.run(steps, deadline)
            if book is not None:
                loop.state_again(out / record.TABLE)
                manifest.state_at(book.reference_c)
        finally:
            if book is not None:
                book.close()
        counts = Counter(loop.statuses.values())
        manifest.end(ended, loop.finished, counts, loop.restarts, loop.inside)
    return Summary(
        statuses=counts,
        measured=loop.finished,
        left=len(loop.open_cases()),
        ended=ended,
        energy_source=manifest.energy_source,
        elapsed_s=time.monotonic() - begin,
        inside=loop.inside,
        kept_as=kept_as,
    )


def _begin(
    sweep: Sweep, out: Path, crew: Crew, *, fresh: bool, on_event: Callable[[Event], None]
) -> tuple[Manifest, str]:
    """The manifest of this session, and where an earlier table was moved; refuses what must not go on."""
    for name in (record.TABLE, record.MANIFEST):
        files.remove_unfinished(out, name)
    opened = [device.opened for device in crew.devices]
    record.refuse_test_data(out, opened[0]["meter"]["source"])
    earlier = None if fresh else files.read_json_object(out / record.MANIFEST)
    identity = identity_of(sweep, opened[0])
    refuse_other(out, earlier, identity)
    kept_as = set_aside(out) if fresh else ""
    peaks = earlier["peaks"] if earlier else _peaks(crew, on_event)
    return Manifest(out, earlier, identity, sweep, opened, peaks), kept_as


def _peaks(crew: Crew, on_event: Callable[[Event], None]) -> Mapping[str, Any]:
    """Of the first device. Rows do without: where this machine cannot measure them there are none."""
    try:
        return crew.devices[0].peaks()
    except UserError as error:
        if not isinstance(crew, LocalCrew):  # a cluster's device is gone with its peaks
            raise
        on_event(NoPeaks(str(error)))
        return {}


def _crew(sweep: Sweep, opening: Opening) -> Crew:
    if not sweep.scheduler:
        return LocalCrew(opening, sweep.devices)
    from dibench.sweep.cluster import ClusterCrew

    return ClusterCrew(opening, sweep.scheduler, sweep.plan.backend, sweep.sources_sha)


def _name(crew: Crew) -> str:
    name = str(crew.devices[0].opened["device"]["name"])
    return f"{len(crew.devices)} × {name}" if len(crew.devices) > 1 else name


def _open_book(out: Path, crew: Crew) -> VisitBook | None:
    """The visits of metered GPUs, with what calibrations of them know; None where nothing is visited."""
    priors: dict[str, Part] = {}
    for one in crew.devices:
        if not one.opened["meter"]["in_visits"]:
            return None
        device = one.opened["device"]
        path = calibration_path(device["uuid"], str(device["facts"].get("driver") or ""))
        priors[str(device["uuid"])] = kept_pool(path)
    return VisitBook(out / record.VISITS, priors)


def _tidy(path: Path, book: VisitBook | None, retry_failed: bool) -> None:
    """Drop rows that are to be measured again, and those of cases that some visits are missing of."""
    if not path.exists():
        return
    record.Table(path).close()  # repaired before it is read

    def keep(row: Row) -> Row | None:
        if row.measured:
            again = book is not None and book.wants_more(row.case_id)
        else:
            again = retry_failed and row.status == "failed"
        return None if again else row

    if retry_failed or book is not None:
        record.rewrite(path, keep)
