"""The visits of a sweep: one line of `visits.jsonl` each, and the rows of the table that they make.

All visits of a case are made on one card, and leakage and spread are learned for each card: sensors differ.

The lines are what was measured; rows follow from them. A metered GPU visits a case as often as planned,
minutes apart, so a sweep may end between visits; the next command makes those that are missing. Everywhere
else a case is visited once, or twice on a noisy machine, and again if it was disturbed. What a
row says may depend on later visits, so rows are stated again when a command ends.
"""

from __future__ import annotations

import io
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from dibench import case_ids, files
from dibench.cells import encoding_of
from dibench.errors import UserError
from dibench.intervals import VariancePart
from dibench.measure.budget import BETWEEN, Pool
from dibench.measure.measurement import Measurement, measurement
from dibench.measure.settings import Settings
from dibench.measure.visit import Visit, with_visits
from dibench.measure.window import WindowVisit
from dibench.numbers import count
from dibench.sweep import record
from dibench.sweep.repeats import Repeated, Repeats, learn, usual_paces

if TYPE_CHECKING:
    from dibench.measure.pace import Paces
    from dibench.plan import Case
    from dibench.schema import Row
    from dibench.sweep.worker import CaseResult

GAP_BOUND_S = 50e-6
"""The gap between two launches is a microsecond or two: over two percent of launches shorter than this."""

SENTINELS = "sentinels"

NO_VISIT = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What `Entry.of_line` raises of a line that is not a visit of this version."""

_MOST_LOST = 3
"""Visits of a case that do not count because they lay in a spell; further ones do."""


@attrs.frozen
class Entry:
    """A line of the book: one visit, and what it is of."""

    case_id: str
    device_uuid: str
    group: str
    """Visits of one group are repeats of each other: those of a case, or of all sentinels."""
    visits: int
    """Planned for the case; a disturbed case may have more."""
    instances: int
    cells: Mapping[str, Any]
    """Cells of the row that need no other visit: counts, and what the device reported."""
    took_s: float
    visit: Visit | WindowVisit

    @property
    def lost(self) -> bool:
        """Whether the visit lay in a spell, so that it does not count as one of those planned."""
        return isinstance(self.visit, WindowVisit) and self.visit.lost

    def line(self) -> bytes:
        """One line of JSON."""
        fields = {**attrs.asdict(self, recurse=False), "visit": self.visit.to_json()}
        return json.dumps(fields, allow_nan=False).encode() + b"\n"

    @classmethod
    def of_line(cls, line: str) -> Entry:
        """The entry of `line`.

        Raises:
            ValueError, KeyError, TypeError or AttributeError: it is none.
        """
        found = json.loads(line)
        visit = found.pop("stay", None) or found["visit"]  # "stay" in older files
        ids = {name: case_ids.present_form(found[name]) for name in ("case_id", "group")}
        return cls(**{**found, **ids, "visit": visit_from_json(visit)})


def visit_from_json(found: Mapping[str, Any]) -> Visit | WindowVisit:
    """The visit of either kind that `to_json` wrote."""
    return WindowVisit.from_json(found) if "windows" in found else Visit.from_json(found)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, read as they are asked for.

    A last line without its end, of a killed program, is left out.

    Raises:
        UserError: it cannot be read.
    """
    with files.explained(path, doing="read"), path.open("rb") as raw:
        lines = io.TextIOWrapper(raw, encoding=encoding_of(raw.peek(4)), errors="replace", newline="\n")
        for number, line in enumerate(lines, start=1):
            if not line.endswith("\n"):
                return
            yield number, line


def read_entries(path: Path) -> Iterator[Entry]:
    """The entries of a file, in order, read as they are asked for: in memory they take 7 kB each.

    Raises:
        UserError: it cannot be read, or a line is not a visit.
    """
    for number, line in read_lines(path):
        try:
            entry = Entry.of_line(line)
        except NO_VISIT:
            rule = (
                "is not a visit of this version of dibench: delete the line, and its case is visited "
                "again; or move the file away, and all are"
            )
            raise UserError(f"line {number}", rule, where=path) from None
        yield entry


@attrs.frozen
class Entries:
    """The entries of a file, read anew each time that they are gone through."""

    path: Path
    number: int | None = None
    """How many: a file may have grown since they were counted. None: all."""

    def __iter__(self) -> Iterator[Entry]:
        return islice(read_entries(self.path), self.number)

    def lines(self) -> Iterator[tuple[str, str, bytes]]:
        """UUID of the device, id of the case and line of each, in the present form.

        They are known to be visits: this looks at no more than it tells.
        """
        for _, line in islice(read_lines(self.path), self.number):
            found = json.loads(line)
            case = case_ids.present_form(found["case_id"])
            former = "stay" in found or case != found["case_id"]
            yield found["device_uuid"], case, Entry.of_line(line).line() if former else line.encode()


NO_VISITS = Entries(Path(), 0)


def take_in_kept(path: Path) -> int:
    """Add the visits that an earlier sweep had to write beside this file; returns how many were not in it.

    Raises:
        UserError: a file cannot be read or written, or a line is not a visit.
    """
    kept = path.with_name(record.KEPT)
    if not kept.exists():
        return 0
    lines = [entry.line() for entry in read_entries(path)] if path.exists() else []
    known = set(lines)
    missing = [line for entry in read_entries(kept) if (line := entry.line()) not in known]
    missing = list(dict.fromkeys(missing))
    if missing:
        files.replace_file(path, b"".join([*lines, *missing]))
    with files.explained(kept):
        kept.unlink()
    return len(missing)


def keep(entries: list[Entry], entry: Entry) -> None:
    """Add a visit to those that make its case's row: all those of the last card that visited it."""
    if entries and entries[-1].device_uuid != entry.device_uuid:
        entries.clear()  # the first card was lost: the case started over on another
    entries.append(entry)


class VisitBook:
    """All visits so far, open for appending; under the directory's lock only."""

    def __init__(
        self,
        path: Path,
        priors: Mapping[str, VariancePart],
        settings: Settings | None = None,
        held: Callable[[], object] = lambda: None,
    ) -> None:
        """Read what earlier commands wrote, and cut off a torn last line.

        Args:
            path: of the file; made if needed.
            priors: spread between visits by device UUID, as known before the first visit.
            settings: target and budget of windows.
            held: raises ChangedError where the directory's lock is not held any more.

        Raises:
            UserError: the file cannot be written, or a line is not a visit.
        """
        self._file = record.GrowingFile(path, held=held)
        self._priors, self.settings = priors, settings or Settings()
        self.repeats = Repeats()
        self.usual_pace_s: Paces = ()
        self._pools: dict[str, Pool] = {}
        self._by_counter: dict[str, bool] = {}
        self._of_case: defaultdict[str, list[Entry]] = defaultdict(list)
        try:
            for entry in read_entries(path):
                self._take(entry)
        except BaseException:
            self._file.close()
            raise

    def _take(self, entry: Entry) -> None:
        keep(self._of_case[entry.case_id], entry)
        if isinstance(entry.visit, WindowVisit):
            return
        if entry.device_uuid not in self._pools:
            self._pools[entry.device_uuid] = Pool(self._priors.get(entry.device_uuid, BETWEEN))
        if (energy := entry.visit.energy) is not None:
            self._pools[entry.device_uuid].add(entry.group, energy, entry.visit.alternative)
            self._by_counter[entry.device_uuid] = entry.visit.by_counter

    def add(self, case: Case, visits: int, uuid: str, found: CaseResult) -> None:
        """Write a visit down.

        Args:
            case: what was visited.
            visits: planned for it.
            uuid: of the device.
            found: what was found there.
        """
        assert found.visit is not None
        planned = case.row().known()
        entry = Entry(
            case_id=case.case_id,
            device_uuid=uuid,
            group=SENTINELS if case.sentinel else case.case_id,
            visits=visits,
            instances=case.instances,
            cells={name: cell for name, cell in found.row.known().items() if planned.get(name) != cell},
            took_s=found.took_s,
            visit=found.visit,
        )
        try:
            self._file.append_line(entry.line())
        except record.ChangedError as error:
            self._take(entry)
            self._keep(error)
        self._take(entry)

    def check(self) -> None:
        """Look whether the file is as this program left it.

        Raises:
            UserError: another program changed it, or the lock; all visits are written beside it.
        """
        try:
            self._file.check()
        except record.ChangedError as error:
            self._keep(error)

    def _keep(self, why: record.ChangedError) -> NoReturn:
        """Write all visits into another file, and say so."""
        kept = self._file.path.with_name(record.KEPT)
        entries = [entry for entries in self._of_case.values() for entry in entries]
        with files.explained(kept), kept.open("ab") as file:
            file.writelines(entry.line() for entry in entries)
            file.flush()
            os.fsync(file.fileno())
        rule = f"{why.rule}; it takes in {count(len(entries), 'visit')} from {kept.name}"
        raise record.ChangedError("", rule, where=why.where) from None

    @property
    def reference_c(self) -> dict[str, float]:
        """The temperature at which the rows of each device are stated, by UUID."""
        stated = {uuid: pool.typical_c() for uuid, pool in self._pools.items()}
        return {uuid: celsius for uuid, celsius in stated.items() if celsius is not None}

    @property
    def counter_over_power(self) -> dict[str, float]:
        """What the energy counter of each device shows over its power, by UUID, where that is not 1."""
        told = {}
        for uuid, pool in self._pools.items():
            if (gain := pool.gain()) is not None and gain.told:
                told[uuid] = gain.ratio if self._by_counter[uuid] else 1 / gain.ratio
        return told

    def device(self, case_id: str) -> str:
        """UUID of the device that visits a case; empty for a case never visited."""
        entries = self._of_case.get(case_id)
        return entries[-1].device_uuid if entries else ""

    def number(self, case_id: str) -> int:
        """Visits of a case so far, on that device: those that count."""
        entries = self._of_case.get(case_id, ())
        return len(entries) - min(_MOST_LOST, sum(entry.lost for entry in entries))

    def wants_more(self, case_id: str) -> bool:
        """Whether a case was visited, but not as often as planned."""
        entries = self._of_case.get(case_id, [])
        return bool(entries) and self.number(case_id) < entries[-1].visits

    def lost(self, case_id: str) -> bool:
        """Whether the last visit to a case does not count."""
        return self._of_case[case_id][-1].lost

    def row(self, row: Row) -> Row | None:
        """The row with all that is known now; None for a case never visited."""
        entries = self._of_case.get(row.case_id)
        if entries is None:
            return None
        row = attrs.evolve(row, **entries[-1].cells)
        in_windows = self.in_windows(row.case_id, row.variant)
        return self._metered(row, entries) if in_windows is None else in_windows.into(row)

    def in_windows(self, case_id: str, variant: str) -> Measurement | None:
        """What all visits in windows to a case say together; None where there was none."""
        visits = self._windows_of(case_id)
        return measurement(visits, self.settings_for(variant)) if visits else None

    def floor(self, variant: str) -> float:
        """Relative half-width of one visit to this kernel by how much visits differ."""
        return self.repeats.between.get(variant, self.settings.between)

    def settings_for(self, variant: str) -> Settings:
        """The settings, with what repeats told of this kernel."""
        between = self.floor(variant)
        return attrs.evolve(self.settings, between=between, follows=self.repeats.follows.get(variant))

    def learn(self, cases: Iterable[Case]) -> None:
        """Learn from all visits to these cases by how much visits differ; rows are stated by that."""
        found: list[Repeated] = []
        sentinels: defaultdict[str, list[WindowVisit]] = defaultdict(list)
        for case in cases:
            visits = self._windows_of(case.case_id)
            if case.sentinel:
                sentinels[case.variant] += visits
            elif visits:
                found.append(Repeated(case.variant, visits, self._of_case[case.case_id][0].visits))
        found += [Repeated(variant, visits, len(visits)) for variant, visits in sentinels.items()]
        self.repeats = learn(found)
        self.usual_pace_s = usual_paces(found)

    def _windows_of(self, case_id: str) -> list[WindowVisit]:
        visits = [entry.visit for entry in self._of_case.get(case_id, ())]
        return [visit for visit in visits if isinstance(visit, WindowVisit)]

    def _metered(self, row: Row, entries: Sequence[Entry]) -> Row:
        """The row that visits to a metered GPU make.

        It is flagged if the case was not visited as often as planned, or if a launch of a single instance
        takes less than GAP_BOUND_S.
        """
        last, doubts = entries[-1], []
        visits = [entry.visit for entry in entries if isinstance(entry.visit, Visit)]
        row = with_visits(row, visits, self._pools[last.device_uuid])
        if len(entries) < last.visits:
            doubts.append(f"{len(entries)} of {last.visits} visits")
        if last.instances == 1 and row.time_s is not None and row.time_s < GAP_BOUND_S:
            doubts.append("gap_bound: a launch is so short that the gap to the next one counts")
        if doubts:
            reason = "; ".join(filter(None, (*doubts, row.reason)))
            return attrs.evolve(row, status="flagged", reason=reason)
        return row

    def close(self) -> None:
        """Force the file, whole lines only, to the disk."""
        self._file.close()
