"""Run cases on all devices until done, out of time or interrupted.

Where windows are measured, cases come first, once or on a noisy machine twice, and give up early if they are
disturbed. Then disturbed cases are visited again, the worst first, while time is left.

Each device measures in a thread of its own. Everything else, above all writing, happens in the thread that
calls `run`.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from statistics import median
from typing import TYPE_CHECKING

import attrs
import numpy as np

from dibench.errors import UserError
from dibench.measure.measurement import FEWEST_WINDOWS
from dibench.measure.visit import Visit
from dibench.plan.ordering import VISIT_BLOCK, in_visits
from dibench.sweep import record
from dibench.sweep.crew import Crew, DeviceLostError, OpenDevice, failed, uuid_of
from dibench.sweep.duration import NextCase
from dibench.sweep.events import (
    CaseBegan,
    CaseEnded,
    CaseRevisited,
    CutShort,
    DeviceJoined,
    DeviceLost,
    DeviceRefused,
    Event,
    RevisitsBegan,
    VisitEnded,
    WorkerRestarted,
)
from dibench.sweep.manifest import utc_now
from dibench.sweep.noise import reachable
from dibench.sweep.steps import Steps, key_of
from dibench.sweep.under_way import MOST_DEATHS, WHY, UnderWay
from dibench.sweep.visit_book import VisitBook

if TYPE_CHECKING:
    from pathlib import Path

    from dibench.measure.settings import Settings
    from dibench.plan import Case
    from dibench.schema import Row
    from dibench.sweep.job import Sweep
    from dibench.sweep.worker import CaseResult, Setup

_LOOK_AHEAD = 8
"""Cases that a backend may prepare while another is measured: compile their kernels, draw their operands."""

_POLL_S = 1.0
_MOST_DEVICES = 4096
_MOST_REVISITS = 3
"""Times that one command visits a disturbed case again."""

_ENOUGH_CASES, _MOST_CASES = 10, 0.9
"""So many tell what can be reached here: what this share of them did."""

_FIRST_LESSON = 32
"""Visits after which the sweep learns from them for the first time; then whenever they have doubled."""

_MOST_LOSSES = 3
"""A case that was running each of so many times when a device was lost is taken for the cause: it fails."""

_STUCK, _STUCK_S = 3.0, 5.0
"""A case that the deadline ends was stuck if it took so many times what was expected, and so many seconds."""


@attrs.frozen
class _UnderWay:
    device: OpenDevice
    case: Case
    started_at: str
    begin: float
    expected_s: float


class Loop:
    """Measures the open cases of a sweep, for one start of the program."""

    # Wide because it stands between everything that a sweep has opened.
    def __init__(
        self,
        sweep: Sweep,
        crew: Crew,
        table: record.RowsFile,
        book: VisitBook,
        under_way: UnderWay,
        session: str,
        on_event: Callable[[Event], None],
        on_join: Callable[[Setup], object],
    ) -> None:
        """Begin from what the table and the book already hold.

        Args:
            sweep: what is measured.
            crew: the devices.
            table: where rows go.
            book: where visits go; its settings are those that cases are measured with.
            under_way: where cases are noted that are being measured.
            session: the name of this start of the program, for the rows.
            on_event: called with each event.
            on_join: called with the description of a device that joins, before it has a row.
        """
        self._plan, self._crew = sweep.plan, crew
        self._table, self._book, self._session, self._on_event = table, book, session, on_event
        self._on_join, self.under_way = on_join, under_way
        self.in_visits = crew.devices[0].setup.meter.in_visits
        cores = len(os.sched_getaffinity(0)) if sweep.plan.backend == "cpu" and not sweep.scheduler else 0
        self._expected = NextCase(sweep.settings, in_visits=self.in_visits, cores=cores)
        self._inside_s = self._took_s = 0.0
        self._under_way: dict[Future[CaseResult], _UnderWay] = {}
        self._losses: Counter[str] = Counter()
        self._deaths: Counter[str] = Counter()
        self._most_deaths = sweep.most_deaths
        self._last_loss = ""
        self._asked, self._keep_target = sweep.settings.target, sweep.keep_target
        self._aim = book.settings.target
        self._made, self._next_lesson = 0, _FIRST_LESSON
        self.statuses: dict[str, str] = {}
        self._written_on: dict[str, str] = {}
        for row in record.written(table.path):
            self.statuses[row.case_id] = row.status
            self._written_on[row.case_id] = row.device_uuid
        self.visits_each = 1
        """Visits to each case where windows are measured."""
        self.finished = 0
        """Cases finished by this start of the program."""
        self._begun: set[str] = set()
        """Cases that this start of the program visited and that need more visits for their row, by id."""
        self.revisited: set[str] = set()
        """Disturbed cases that this start of the program measured again, by id."""
        self._were_flagged: set[str] = set()
        self.restarts = 0
        self.setups: dict[str, Setup] = {uuid_of(one): one.setup for one in crew.devices}
        """Every device that measured, by UUID."""

    @property
    def inside(self) -> float | None:
        """Share of the measuring time in windows and settling; None before the first visit to a GPU."""
        return self._inside_s / self._took_s if self._took_s > 0 else None

    @property
    def came_good(self) -> int:
        """Revisited cases whose row was flagged and is not any more."""
        return sum(self.statuses[case_id] == "ok" for case_id in self._were_flagged)

    def open_cases(self) -> list[Case]:
        """Cases of the plan without a row."""
        return [case for case in self._plan.cases if case.case_id not in self.statuses]

    def next_s(self) -> float:
        """Seconds that the next of them is expected to take; 0 where none is left."""
        return next((self._visits(case) * self._expected.seconds(case) for case in self.open_cases()), 0.0)

    def steps(self) -> Steps:
        """Each open case once for every visit that it still needs, in measuring order."""
        self._fail_deadly()
        cases, book, homes = self.open_cases(), self._book, self._homes()
        made = {case.case_id: book.number(case.case_id) if key_of(case) in homes else 0 for case in cases}
        steps = []
        block = VISIT_BLOCK * len(self._crew.devices)
        for index, number in in_visits(list(map(self._visits, cases)), self._plan.seed, block):
            case = cases[index]
            if number > made[case.case_id]:
                steps.append(case)
            elif number == self._visits(case):  # all made, but the program was killed before it wrote the row
                row = book.row(case.row())
                assert row is not None
                self._write(case, self.setups[book.device(case.case_id)], utc_now(), row)
        # A case that may have taken the program down goes last: the others are measured first.
        steps.sort(key=lambda case: self.under_way.deaths(case.case_id))
        return Steps(steps, homes, made)

    def _fail_deadly(self) -> None:
        """Write the rows of open cases that were under way whenever the program died."""
        for case in self.open_cases():
            if (deaths := self.under_way.deaths(case.case_id)) >= MOST_DEATHS:
                reason = f"the sweep and its worker died {deaths} times while it was measured ({WHY})"
                setup = self._crew.devices[0].setup
                self._write(case, setup, utc_now(), failed(case, reason, setup))
                self.under_way.done(case.case_id)

    def _visits(self, case: Case) -> int:
        """Visits that a case needs to have its row."""
        return case.visits if self.in_visits else 1 if case.sentinel else self.visits_each

    def _disturbed(self) -> Steps:
        """Each case that is not known as well as is aimed at, the worst first, where further visits can help.

        On its own device only, and not where a visit has so few windows that a few visits make no difference.
        """
        found: list[tuple[float, Case]] = []
        for case in self._plan.cases:
            now = self._book.in_windows(case.case_id, case.variant)
            if self.under_way.deaths(case.case_id) >= MOST_DEATHS:
                continue
            if now is None or self._book.device(case.case_id) not in self.setups:
                continue
            if now.status == "ok" and now.reached <= self._aim:
                continue
            if now.windows * (1 + _MOST_REVISITS / now.visits) >= FEWEST_WINDOWS:
                found.append((now.reached, case))
        found.sort(key=lambda one: -one[0])
        return Steps([case for _, case in found], self._homes(), {})

    def _homes(self) -> dict[str | int, str]:
        """The device that each case is bound to, where that device is present."""
        homes: dict[str | int, str] = {}
        for case in self._plan.cases:
            visited = self._book.device(case.case_id)
            home = visited or (self._written_on.get(case.case_id, "") if case.together else "")
            if home in self.setups:
                homes[key_of(case)] = home
        return homes

    def run(self, steps: Steps, deadline: float | None) -> str:
        """Measure these steps; returns how it ended: `complete`, `time budget` or `interrupted`.

        Raises:
            UserError: the disk is full, or no device is left.
        """
        pool = ThreadPoolExecutor(_MOST_DEVICES, thread_name_prefix="device")
        try:
            while True:
                self._welcome(self._crew.joined())
                in_time = self._hand_out(pool, steps, deadline)
                if not self._under_way:
                    in_time = in_time and (not steps or deadline is None or time.monotonic() < deadline)
                    if steps and in_time:  # no device is left to take them
                        self._welcome(self._crew.replacement(self._last_loss))
                        continue
                    return "complete" if in_time else "time budget"
                done, _ = wait(self._under_way, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                self._take_all_in(done, steps)
        except KeyboardInterrupt:
            return "interrupted"
        finally:
            if self._under_way:  # do not wait for running cases
                self._crew.close()
            pool.shutdown()

    def revisit(self, deadline: float | None) -> str:
        """Visit disturbed cases again until none is left; returns how it ended, as `run` does.

        Raises:
            UserError: as `run`.
        """
        ended = "complete"
        for _ in range(_MOST_REVISITS):
            self.learn()
            steps = self._disturbed()
            if ended != "complete" or not steps:
                break
            self._on_event(RevisitsBegan(len(steps)))
            ended = self.run(steps, deadline)
        return ended

    def learn(self) -> None:
        """Learn from all visits so far by how much visits differ, and what can be reached.

        Visits aim at what half of the cases reach, and no less than what visits differ by allows nine of ten.
        Rows are `ok` up to what nine of ten reach: one that misses that was disturbed more than others.
        """
        book, cases = self._book, [case for case in self._plan.cases if not case.sentinel]
        book.learn(self._plan.cases)
        if self._keep_target or self.in_visits:
            return
        found = [(case, book.in_windows(case.case_id, case.variant)) for case in cases]
        whole = [(case, told) for case, told in found if told is not None and told.visits >= self.visits_each]
        if len(whole) >= _ENOUGH_CASES:
            widths = [told.reached for _, told in whole]
            floor = float(np.quantile([book.floor(case.variant) for case, _ in whole], _MOST_CASES))
            half = max(median(widths), floor / math.sqrt(self.visits_each))
            self._aim = reachable(half, self._asked)
            most = float(np.quantile(widths, _MOST_CASES, method="higher"))
            target = reachable(max(most, self._aim), self._asked)
            book.settings = attrs.evolve(book.settings, target=target)

    def _settings(self, case: Case) -> Settings:
        """For a visit: once its own windows say more than visits differ by, another visit says more.

        The visits of a row average.
        """
        settings = self._book.settings_for(case.variant)
        target = max(self._aim * math.sqrt(self.visits_each), self._book.floor(case.variant))
        return attrs.evolve(settings, target=target, gives_up=case.case_id not in self.statuses)

    def _welcome(self, devices: Sequence[OpenDevice]) -> None:
        for why in self._crew.refused():
            self._on_event(DeviceRefused(why))
        for device in devices:
            self.setups[uuid_of(device)] = device.setup
            self._on_join(device.setup)
            self._on_event(DeviceJoined(f"{device.setup.device.name} ({uuid_of(device)})"))

    def _hand_out(self, pool: ThreadPoolExecutor, steps: Steps, deadline: float | None) -> bool:
        """Give every free device a step; False once there is no time for another."""
        busy = {id(each.device) for each in self._under_way.values()}
        uuids = [uuid_of(device) for device in self._crew.devices]
        for device in self._crew.devices:
            if id(device) in busy:
                continue
            case = steps.take(uuid_of(device), uuids)
            if case is None:
                continue
            begin = time.monotonic()
            expected_s = self._expected.seconds(case)
            if deadline is not None and begin + expected_s > deadline:
                steps.put_back(case)
                return False
            self.under_way.began(case.case_id)
            self._on_event(CaseBegan(case))
            future = pool.submit(device.measure, case, self._settings(case), steps.upcoming(_LOOK_AHEAD))
            self._under_way[future] = _UnderWay(device, case, utc_now(), begin, expected_s)
        return True

    def _take_all_in(self, done: Iterable[Future[CaseResult]], steps: Steps) -> None:
        """Record what devices found; an error with one costs no other."""
        errors = []
        for future in done:
            try:
                self._take_in(self._under_way.pop(future), future, steps)
            except UserError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _take_in(self, begun: _UnderWay, future: Future[CaseResult], steps: Steps) -> None:
        """Record what a device found, or that it was lost."""
        case, device = begun.case, begun.device
        self.under_way.done(case.case_id)
        try:
            found = future.result()
        except DeviceLostError as error:
            self._lost(begun, steps, str(error))
            return
        if found.late:
            self._cut_short(begun, steps)
            return
        if found.died:
            self.restarts += 1
            self._on_event(WorkerRestarted(found.died))
        took_s, row = time.monotonic() - begun.begin, found.row
        if case.case_id in self.statuses:
            self._revisited(case, uuid_of(device), found)
            self._expected.learn(case, took_s, None)
            return
        if found.visit is not None:
            visited = self._visited(case, uuid_of(device), found, steps)
            if visited is None:
                self._expected.learn(case, took_s, None)
                return
            row = visited
        steps.drop(case)
        self._write(case, device.setup, begun.started_at, row)
        self._expected.learn(case, took_s, row.time_s)
        if found.died:
            self._give_up(case, device.setup, steps)

    def _cut_short(self, begun: _UnderWay, steps: Steps) -> None:
        """A case was ended by the deadline: failed if it was stuck, else the next command measures it."""
        case, took_s = begun.case, time.monotonic() - begun.begin
        stuck = took_s > _STUCK * begun.expected_s + _STUCK_S
        self._on_event(CutShort(case, took_s, stuck))
        if case.case_id in self.statuses:  # a further visit: the row stands
            return
        if not stuck:
            self._expected.learn(case, took_s, None)
            steps.put_back(case)
            return
        steps.drop(case)
        reason = (
            f"time budget: no answer in {took_s:.0f} s, where {begun.expected_s:.1g} s were expected, "
            "so it was ended at the deadline"
        )
        setup = begun.device.setup
        self._write(case, setup, begun.started_at, failed(case, reason, setup))

    def _revisited(self, case: Case, uuid: str, found: CaseResult) -> None:
        """Record a further visit; one that failed changes nothing: the row stands."""
        if found.visit is not None:
            self._book.add(case, self._visits(case), uuid, found)
            self.revisited.add(case.case_id)
            if self.statuses[case.case_id] == "flagged":
                self._were_flagged.add(case.case_id)
        row = self._book.row(case.row())
        assert row is not None
        self.statuses[case.case_id] = row.status
        self._on_event(CaseRevisited(case, row))

    def _give_up(self, case: Case, setup: Setup, steps: Steps) -> None:
        """Fail the remaining cases of a kernel that keeps crashing workers: each crash costs a restart."""
        self._deaths[case.variant] += 1
        if self._deaths[case.variant] != self._most_deaths:
            return
        reason = f"not tried: {case.variant} ended {self._most_deaths} workers before"
        for other in steps.drop_variant(case.variant):
            self._write(other, setup, utc_now(), failed(other, reason, setup))

    def _lost(self, begun: _UnderWay, steps: Steps, why: str) -> None:
        case, device = begun.case, begun.device
        self._crew.remove(device)
        self._last_loss = why
        self._on_event(DeviceLost(why))
        if case.case_id in self.statuses:  # visits of a case are made on one device: its row stands
            steps.forget(uuid_of(device))
            return
        self._losses[case.case_id] += 1
        if self._losses[case.case_id] < _MOST_LOSSES:
            steps.put_back(case)
        else:
            steps.drop(case)
            reason = f"{_MOST_LOSSES} devices were lost while it was measured, the last: {why}"
            self._write(case, device.setup, begun.started_at, failed(case, reason, device.setup))
        steps.lose(uuid_of(device))

    def _visited(self, case: Case, uuid: str, found: CaseResult, steps: Steps) -> Row | None:
        """Record a visit; returns the case's row if this was its last visit.

        One that lay in a spell is made once more, after some other cases.
        """
        if isinstance(found.visit, Visit):
            self._took_s += found.took_s
            self._inside_s += found.visit.inside_s
        self._book.add(case, self._visits(case), uuid, found)
        self._made += 1
        if self._made == self._next_lesson and not self.in_visits:
            self._next_lesson *= 2
            self.learn()
        if self._book.wants_more(case.case_id):
            self._begun.add(case.case_id)
            if lost := self._book.lost(case.case_id):
                steps.put_back(case, after=VISIT_BLOCK)
            self._on_event(VisitEnded(case, self._book.number(case.case_id), self._visits(case), lost))
            return None
        return self._book.row(found.row)

    def _write(self, case: Case, setup: Setup, started_at: str, row: Row) -> None:
        row = self._signed(row, setup.device.name, setup.device.uuid, started_at)
        self._table.append(row)
        self.statuses[case.case_id] = row.status
        self.finished += 1
        self._on_event(CaseEnded(case, row))

    def _signed(self, row: Row, device: str, uuid: str, started_at: str) -> Row:
        """The row with session, start and device filled in."""
        return attrs.evolve(
            row, session=self._session, started_at=started_at, device=device, device_uuid=uuid
        )

    def state_again(self, path: Path) -> None:
        """State all rows again by what all visits tell, and add those of visited cases that have none.

        A case whose only visits lay in spells stays open: they tell nothing of it.

        Replaces the table, which must be closed. What it holds counts: Ctrl-C may have come between the
        writing of a row and the noting of it here.
        """
        book = self._book
        name = next(iter(self.setups.values())).device.name  # all devices of a sweep are of one model

        rows = [(book.row(row) or row) if row.measured else row for row in record.written(path)]
        written = {row.case_id for row in rows}
        rows += [
            self._signed(row, name, book.device(case.case_id), utc_now())
            for case in self._plan.cases
            if case.case_id not in written
            and book.number(case.case_id)
            and (row := book.row(case.row())) is not None
        ]
        record.write(path, rows)
        self.finished += sum(row.case_id in self._begun - written for row in rows)
        self.statuses = {row.case_id: row.status for row in rows}
