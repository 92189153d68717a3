"""A sweep: every case of a plan measured once, one row each, however often the program is killed on the way.

The parent plans, records and decides; the worker measures. What identifies a sweep stands in its manifest,
and the same command goes on where the last one ended if all of it is still the same. A metered GPU is
visited: a case gets as many visits as planned, at different times, and its row when the last one is made.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench import files, record
from dibench.calibration import kept_pool
from dibench.calibration import path_of as calibration_path
from dibench.errors import UserError
from dibench.manifest import Manifest, identity_of, refuse_other, set_aside, utc_now
from dibench.measure import Settings
from dibench.ordering import in_visits
from dibench.visit_book import VisitBook
from dibench.worker import Worker, WorkerDiedError, hang_limit_s

if TYPE_CHECKING:
    from dibench.plan import Case, Plan

_LOOK_AHEAD = 8
"""Cases that a backend may prepare for while one is measured: a GPU's kernels are compiled meanwhile."""


@attrs.frozen
class Opened:
    """Device and meter answered; `finished` of `total` cases stand in the table already.

    `steps` are to be measured: the other cases, each as often as it is to be visited.
    """

    device: str
    energy_source: str
    total: int
    finished: int
    steps: int


@attrs.frozen
class CaseBegan:
    """A case went to the worker."""

    case: Case


@attrs.frozen
class CaseEnded:
    """A row was written."""

    case: Case
    row: Mapping[str, Any]


@attrs.frozen
class VisitEnded:
    """A visit was written down, of a case that more visits follow."""

    case: Case
    number: int


@attrs.frozen
class WorkerRestarted:
    """The worker died and a new one took its place."""

    reason: str


Event = Opened | CaseBegan | VisitEnded | CaseEnded | WorkerRestarted


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


@attrs.frozen(kw_only=True)
class Sweep:
    """What to measure and how: all that two commands must share to continue one another.

    `sources_sha` identifies the kernel sources, `kernel_shas` each of them for later reading; `stationarity`
    names a variant's operand held in registers.
    """

    plan: Plan
    backend: str
    meter: str
    settings: Settings
    sources_sha: str
    stationarity: Callable[[str], str]
    command_line: Sequence[str] = ()
    kernel_shas: Mapping[str, str] = attrs.field(factory=dict, repr=False)


def run_sweep(
    sweep: Sweep,
    out: Path,
    *,
    deadline: float | None = None,
    retry_failed: bool = False,
    fresh: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
    limit_s: float | None = None,
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

    Raises:
        UserError: another sweep runs there, the earlier one differs, device or meter cannot be had, the
            disk is full. What was measured is kept.
    """
    begin = time.monotonic()
    with record.Lock(out), _Device(sweep, limit_s or hang_limit_s(sweep.settings), on_event) as device:
        _refuse_test_data(out, device.opened["meter"]["source"])
        earlier = None if fresh else files.read_json_object(out / record.MANIFEST)
        identity = identity_of(sweep.plan, sweep.backend, sweep.settings, sweep.sources_sha, device.opened)
        refuse_other(out, earlier, identity)
        kept_as = set_aside(out) if fresh else ""
        peaks = earlier["peaks"] if earlier else device.peaks()
        manifest = Manifest(
            out,
            earlier,
            identity,
            plan=sweep.plan,
            settings=sweep.settings,
            sources_sha=sweep.sources_sha,
            kernel_shas=sweep.kernel_shas,
            command_line=sweep.command_line,
            opened=device.opened,
            peaks=peaks,
        )
        manifest.save()
        book = _open_book(out, device.opened)
        try:
            _tidy(out / record.TABLE, book, retry_failed)
            with contextlib.closing(record.Table(out / record.TABLE)) as table:
                loop = _Loop(sweep, device, table, book, manifest.session, on_event)
                begun_with = len(loop.statuses)
                left = loop.open_cases()
                steps = loop.steps()
                total = len(sweep.plan.cases)
                on_event(Opened(device.name, manifest.energy_source, total, begun_with, len(steps)))
                ended = loop.run(steps, deadline)
            if book is not None:
                loop.state_again(out / record.TABLE)
                manifest.state_at(book.reference_c)
        finally:
            if book is not None:
                book.close()
        counts = Counter(loop.statuses.values())
        measured = loop.finished
        manifest.end(ended, measured, counts, device.restarts, loop.inside)
    return Summary(
        statuses=counts,
        measured=measured,
        left=len(left) - measured,
        ended=ended,
        energy_source=manifest.energy_source,
        elapsed_s=time.monotonic() - begin,
        inside=loop.inside,
        kept_as=kept_as,
    )


def _refuse_test_data(out: Path, source: str) -> None:
    """Replayed joules never lie where measured ones are published."""
    parts = out.resolve().parts
    if source == "simulated" and "results" in parts and parts[parts.index("results") + 1 :][:1] != ("local",):
        raise UserError("--out", "must not be under results/: simulated energy is test data", str(out))


def _open_book(out: Path, opened: Mapping[str, Any]) -> VisitBook | None:
    """The visits of a metered GPU, with what a calibration of it knows; None where nothing is visited."""
    if not opened["meter"]["in_visits"]:
        return None
    device = opened["device"]
    prior = kept_pool(calibration_path(device["uuid"], str(device["facts"].get("driver"))))
    return VisitBook(out / record.VISITS, prior)


def _tidy(path: Path, book: VisitBook | None, retry_failed: bool) -> None:
    """Drop rows that are to be measured again, and those of cases that some visits are missing of."""
    if not path.exists():
        return
    record.Table(path).close()  # repaired before it is read

    def keep(row: dict[str, str]) -> dict[str, str] | None:
        if row["status"] in ("failed", "skipped"):
            return None if retry_failed and row["status"] == "failed" else {}
        return None if book is not None and book.wants_more(row["case_id"]) else {}

    if retry_failed or book is not None:
        record.rewrite(path, keep)


class _Device:
    """The worker and, after a crash, its successor."""

    def __init__(self, sweep: Sweep, limit_s: float, on_event: Callable[[Event], None]) -> None:
        self._sweep, self._limit_s, self._on_event = sweep, limit_s, on_event
        self.restarts = 0
        self.opened: dict[str, Any] = {}

    def __enter__(self) -> _Device:
        self._start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._worker.close()

    @property
    def name(self) -> str:
        return str(self.opened["device"]["name"])

    def _start(self) -> None:
        self._worker = Worker(self._sweep.backend, self._sweep.meter, self._sweep.settings)
        try:
            opened = self._worker.open()
            same = ("uuid", "name")
            if self.opened and any(opened["device"][key] != self.opened["device"][key] for key in same):
                raise UserError("device", f"must stay {self.name}", opened["device"]["name"])
        except WorkerDiedError as death:
            self._worker.close()
            rule = f"{self._sweep.backend} could not be opened: {death}"
            raise UserError("--backend", rule) from None
        except BaseException:
            self._worker.close()
            raise
        self.opened = opened

    def peaks(self) -> dict[str, Any]:
        try:
            return self._worker.peaks()
        except WorkerDiedError as death:
            raise UserError(
                "--backend", f"{self._sweep.backend} could not measure its peaks: {death}"
            ) from None

    def measure(self, case: Case, upcoming: Sequence[Case] = ()) -> dict[str, Any]:
        """The measured cells; a crash is a failed case and one restart."""
        try:
            return self._worker.measure(case, self._limit_s, upcoming)
        except WorkerDiedError as death:
            self._worker.close()
            self._start()
            self.restarts += 1
            self._on_event(WorkerRestarted(str(death)))
            source = self.opened["meter"]["source"]
            return {"status": "failed", "reason": str(death), "energy_source": source}


class _Loop:
    """Case after case until there is none, no time, or an interrupt."""

    def __init__(
        self,
        sweep: Sweep,
        device: _Device,
        table: record.Table,
        book: VisitBook | None,
        session: str,
        on_event: Callable[[Event], None],
    ) -> None:
        self._sweep, self._device, self._table, self._book = sweep, device, table, book
        self._session, self._on_event = session, on_event
        self._expected = Expected(sweep.settings, in_visits=book is not None)
        self._inside_s = self._took_s = 0.0
        self.statuses = record.read_statuses(table.path)
        self.finished = 0
        """Cases that this command finished."""

    @property
    def inside(self) -> float | None:
        """Share of the time in windows and settling."""
        return self._inside_s / self._took_s if self._took_s > 0 else None

    def open_cases(self) -> list[Case]:
        """Cases of the plan without a row."""
        return [case for case in self._sweep.plan.cases if case.case_id not in self.statuses]

    def run(self, steps: Sequence[Case], deadline: float | None) -> str:
        """Measure what is open; how it ended, in one or two words."""
        try:
            for index, case in enumerate(steps):
                if case.case_id in self.statuses:  # it failed at an earlier visit
                    continue
                if deadline is not None and time.monotonic() + self._expected.seconds(case) > deadline:
                    return "time budget"
                upcoming = steps[index + 1 : index + 1 + _LOOK_AHEAD]
                self._one(case, upcoming)
        except KeyboardInterrupt:
            return "interrupted"
        return "complete"

    def steps(self) -> list[Case]:
        """Each open case as often as it is to be visited, in measuring order."""
        cases = self.open_cases()
        if self._book is None:
            return cases
        steps = []
        for index, number in in_visits([case.visits for case in cases], self._sweep.plan.seed):
            made = self._book.number(cases[index].case_id)
            if number > made:
                steps.append(cases[index])
            elif number == cases[index].visits:  # the program was killed before it could write the row
                self._write(cases[index], utc_now(), self._book.cells(cases[index].case_id) or {})
        return steps

    def _one(self, case: Case, upcoming: Sequence[Case]) -> None:
        self._on_event(CaseBegan(case))
        started_at, begin = utc_now(), time.monotonic()
        measured: dict[str, Any] | None = self._device.measure(case, upcoming)
        if self._book is not None and measured is not None and "stay" in measured:
            measured = self._visited(case, measured)
        took_s = time.monotonic() - begin
        if measured is None:
            self._expected.learn(case, took_s, {})
            return
        row = self._write(case, started_at, measured)
        self._expected.learn(case, took_s, row)

    def _visited(self, case: Case, found: Mapping[str, Any]) -> dict[str, Any] | None:
        """Write a visit down; the row's cells if it was the last one."""
        assert self._book is not None
        self._took_s += found["took_s"]
        self._inside_s += found["stay"]["inside_s"]
        common = {name: found[name] for name in ("energy_source", "meter_period_s")}
        self._book.add(case, common | found["cells"], found["stay"], found["took_s"])
        if self._book.wants_more(case.case_id):
            self._on_event(VisitEnded(case, self._book.number(case.case_id)))
            return None
        return self._book.cells(case.case_id)

    def _write(self, case: Case, started_at: str, measured: Mapping[str, Any]) -> dict[str, Any]:
        row = self._row(case, started_at, measured)
        self._table.append(row)
        self.statuses[case.case_id] = row["status"]
        self.finished += 1
        self._on_event(CaseEnded(case, row))
        return row

    def _row(self, case: Case, started_at: str, measured: Mapping[str, Any]) -> dict[str, Any]:
        device = self._device.opened["device"]
        return {
            **record.case_cells(case, self._sweep.stationarity(case.variant)),
            "session": self._session,
            "started_at": started_at,
            "device": device["name"],
            "device_uuid": device["uuid"],
            **measured,
        }

    def state_again(self, path: Path) -> None:
        """Rows by what all visits together tell, and flagged ones of cases that were visited too seldom yet.

        The table is closed by now, and is replaced whole.
        """
        book = self._book
        assert book is not None

        def again(row: dict[str, str]) -> Mapping[str, Any]:
            return {} if row["status"] in ("failed", "skipped") else book.cells(row["case_id"]) or {}

        partly = [
            self._row(case, utc_now(), cells)
            for case in self.open_cases()
            if (cells := book.cells(case.case_id)) is not None
        ]
        record.rewrite(path, again, partly)


class Expected:
    """How long the next case will take, learned from those before it: rather too long than too short."""

    def __init__(self, settings: Settings, *, in_visits: bool = False) -> None:
        visit = settings.visit
        first = visit.settle_s + visit.visit_s if in_visits else settings.case_budget_s
        self._walls = deque([first], maxlen=20)
        self._s_per_mac: dict[tuple[str, str], float] = {}

    def learn(self, case: Case, wall_s: float, row: Mapping[str, Any]) -> None:
        """Take a finished case into account."""
        self._walls.append(wall_s)
        if row.get("time_s"):
            key, rate = (case.layer.op, case.variant), row["time_s"] / case.layer.macs
            self._s_per_mac[key] = max(rate, self._s_per_mac.get(key, 0.0))

    def seconds(self, case: Case) -> float:
        """The longest of the last twenty cases, or a warm-up and a window of one launch each."""
        rate = self._s_per_mac.get((case.layer.op, case.variant), 0.0)
        return max(*self._walls, 2 * rate * case.layer.macs * case.instances, 0.0)
