"""Sweeps to be taken together, each checked against its own manifest and visits.

Rows and visits are never in memory whole: their files are gone through once to check them, once to copy them.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

import attrs

from dibench import files
from dibench.backends.cuda_cache import NOT_COMPILED
from dibench.errors import UserError
from dibench.schema import LIBRARY
from dibench.sweep import record
from dibench.sweep.duration import VISIT_S
from dibench.sweep.kept_rows import KeptRow, keep_rows, lines_of
from dibench.sweep.manifest import devices_of, is_of_a_sweep
from dibench.sweep.visit_book import NO_VISITS, Entries
from dibench.table import HEADER

_COLUMNS = ("case_id", "order", "device", "device_uuid", "session", "status", "energy_source")


@attrs.frozen
class Part:
    """One sweep to be joined: its manifest, its rows and its visits."""

    folder: Path
    manifest: Mapping[str, Any]
    rows: tuple[KeptRow, ...] = attrs.field(repr=False)
    visits: Entries = attrs.field(default=NO_VISITS, repr=False)
    begun: tuple[str, ...] = attrs.field(default=(), repr=False)
    """Ids of cases that were visited and have no row yet."""

    @property
    def shard(self) -> str:
        """`3/16`, or empty for a sweep of the whole plan."""
        return self.manifest["identity"].get("shard") or ""

    @property
    def devices(self) -> tuple[tuple[str, str], ...]:
        """Name and UUID of each."""
        return devices_of(self.manifest)

    @property
    def left(self) -> int:
        """Cases of its plan that have no row."""
        return int(self.manifest["plan"]["cases"]) - len(self.rows)

    @property
    def cases(self) -> tuple[str, ...]:
        """Ids of what it measured, each once."""
        return tuple(dict.fromkeys(chain((row.case_id for row in self.rows), self.begun)))


def has_result(row: KeptRow) -> bool:
    """Whether the case is settled: it was measured, or this model of card cannot run it.

    What was skipped because something was not installed may be measured another time.
    """
    if row.status == "skipped":
        return row.backend != LIBRARY and NOT_COMPILED not in row.reason
    return row.measured


@attrs.frozen
class Joined:
    """Several sweeps taken together."""

    parts: tuple[Part, ...] = ()
    rows: tuple[KeptRow, ...] = attrs.field(default=(), repr=False)
    """The rows of all parts that count."""
    stale: Mapping[str, int] = attrs.field(factory=dict)
    """Rows left out, by variant whose source has changed since."""
    visits: int = 0
    """Written beside the rows, where they were written."""

    @property
    def statuses(self) -> Mapping[str, int]:
        """Rows by status."""
        return Counter(row.status for row in self.rows)

    @property
    def cards(self) -> tuple[str, ...]:
        """UUIDs of the devices that measured the rows."""
        return tuple(dict.fromkeys(row.device_uuid for row in self.rows))

    @property
    def done(self) -> set[str]:
        """Ids of cases that need not be measured again."""
        return {row.case_id for row in self.rows if has_result(row)}

    @property
    def last_order(self) -> int:
        """The highest position in a plan so far."""
        return max((row.order or 0 for row in self.rows), default=0)

    @property
    def devices(self) -> Mapping[str, int]:
        """How many devices of each name."""
        return Counter(name for name, _ in dict.fromkeys(one for part in self.parts for one in part.devices))

    def row_lines(self) -> Iterator[bytes]:
        """The rows as they are in their tables, in the form that dibench writes."""
        return lines_of(self.rows)

    def visit_lines(self) -> Iterator[bytes]:
        """The visits that the rows were made of, as they are in their files."""
        for part in self.parts:
            own = {(row.device_uuid, row.case_id) for row in part.rows}
            for uuid, case, line in part.visits.lines():
                if (uuid, case) in own:
                    yield line

    @property
    def visit_s(self) -> float:
        """Seconds of a visit, preparing included; the usual ones where nothing was visited."""
        took = array("d", (visit.took_s for part in self.parts for visit in part.visits))
        return fmean(took) if took else VISIT_S

    @property
    def missing_shards(self) -> tuple[str, ...]:
        """Shards of the plan that are not among the parts, such as `3/16`."""
        of = int(self.parts[0].shard.partition("/")[2] or 0)
        given = {part.shard for part in self.parts}
        return tuple(shard for index in range(1, of + 1) if (shard := f"{index}/{of}") not in given)

    @property
    def sessions(self) -> list[Mapping[str, Any]]:
        """Every start of the program once, with its cards. Two machines of a batch may name theirs alike."""
        found: dict[tuple[str, ...], Mapping[str, Any]] = {}
        for part in self.parts:
            if not is_of_a_sweep(part.manifest):
                continue
            known = {key: part.manifest.get(key) for key in ("driver", "cuda", "energy_source")}
            known["device_uuids"] = [uuid for _, uuid in part.devices]
            for session in part.manifest["sessions"]:
                one = {**known, **session}
                found.setdefault((part.shard, one["session"], *one["device_uuids"]), one)
        return sorted(found.values(), key=lambda session: str(session.get("started_at")))


def read_part(folder: Path, *, cut_off: bool = False) -> Part:
    """The sweep in a directory.

    Args:
        folder: with table and manifest.
        cut_off: whether a torn last line, as a killed sweep leaves it, is ignored instead of refused.

    Raises:
        UserError: it cannot be read, is merged already, or contradicts itself.
    """
    manifest = _manifest(folder)
    table, visits, kept = folder / record.TABLE, folder / record.VISITS, folder / record.KEPT
    if kept.exists():
        raise UserError("", f"has visits that belong in {visits.name}: run its sweep again", where=kept)
    if not cut_off:
        _check_whole(table, HEADER)
        _check_whole(visits)
    rows = tuple(keep_rows(table, _COLUMNS)) if table.exists() else ()
    part = Part(folder, manifest, rows, Entries(visits) if visits.exists() else NO_VISITS)
    _check_rows(part)
    return _with_checked_visits(part)


def _check_whole(path: Path, header: bytes = b"") -> None:
    """Refuse a file of another version, and one with a torn last line."""
    if not path.exists():
        return
    with files.explained(path, doing="read"), path.open("rb") as file:
        first = file.read(len(header))
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        last = file.read(1)
    if first != header:
        rule = "is not that of a table of this version of dibench; if it was edited, run its sweep again"
        raise UserError("header", rule, where=path)
    if last not in (b"", b"\n"):
        raise UserError("", "is cut off: run its sweep again, which repairs it", where=path)


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = files.read_json_object(folder / record.MANIFEST)
    if manifest is None:
        raise UserError("", f"has no {record.MANIFEST}: must be the directory of a sweep", where=folder)
    if not is_of_a_sweep(manifest):
        raise UserError("", "is not the manifest of a sweep", where=folder / record.MANIFEST)
    if manifest["identity"].get("shard") == "merged":
        raise UserError("", "is merged already: give the sweeps that it was made of", where=folder)
    return manifest


def _check_rows(part: Part) -> None:
    """Refuse rows of devices or sessions that the manifest does not know, and a case measured twice."""
    sessions, seen = {session["session"] for session in part.manifest["sessions"]}, set[tuple[str, str]]()
    for line, row in enumerate(part.rows, start=2):
        key = (row.device_uuid, row.case_id)
        if (row.device, row.device_uuid) not in part.devices:
            _refuse(part, record.TABLE, line, "device_uuid", _known_devices(part), row.device_uuid)
        if row.session not in sessions:
            by = "the manifest, which knows no such session"
            _refuse(part, record.TABLE, line, "session", by, row.session)
        if key in seen:
            by = "a line before, which is of the same case"
            _refuse(part, record.TABLE, line, "case_id", by, row.case_id)
        seen.add(key)


def _with_checked_visits(part: Part) -> Part:
    """Refuse visits of devices that the manifest does not know, and rows that contradict their visits.

    The part then has as many visits as were seen here, and knows the cases that have no row.
    """
    known = {uuid for _, uuid in part.devices}
    made, last_on, line = dict[tuple[str, str], tuple[int, int]](), dict[str, str](), 0
    for line, visit in enumerate(part.visits, start=1):
        if visit.device_uuid not in known:
            _refuse(part, record.VISITS, line, "device_uuid", _known_devices(part), visit.device_uuid)
        key = (visit.device_uuid, visit.case_id)
        if last_on.get(visit.case_id) != visit.device_uuid:
            made[key] = (0, 0)  # the earlier card was lost, and the case started again on this one
        last_on[visit.case_id] = visit.device_uuid
        visits, launches = made[key]
        made[key] = (visits + 1, launches + visit.visit.launches)
    if (part.manifest.get("meter") or {}).get("in_visits"):
        _check_made(part, made)
    rows = {row.case_id for row in part.rows}
    begun = tuple(case for case in last_on if case not in rows)
    seen = Entries(part.folder / record.VISITS, line)
    return attrs.evolve(part, visits=seen, begun=begun)


def _check_made(part: Part, made: Mapping[tuple[str, str], tuple[int, int]]) -> None:
    """Refuse rows that their visits did not make: how many there were of each case, and their launches."""
    for line, row in enumerate(part.rows, start=2):
        if not row.measured:
            continue
        if not made:
            rule = f"has no {record.VISITS}, of which its rows are made: copy it, too"
            raise UserError("", rule, where=part.folder)
        told = zip(("visits", "launches"), made.get((row.device_uuid, row.case_id), (0, 0)), strict=True)
        for name, number in told:
            if (got := getattr(row, name)) != number:
                what = f"{record.VISITS} beside it, by which it is {number or 'none'}"
                _refuse(part, record.TABLE, line, name, what, got)


def _known_devices(part: Part) -> str:
    listed = ", ".join(f"{name} ({uuid})" for name, uuid in part.devices)
    return f"the manifest, which was written on {listed}"


def _refuse(part: Part, file: str, line: int, what: str, by: str, got: object) -> None:
    raise UserError(f"line {line}: {what}", f"contradicts {by}", got, where=part.folder / file)
