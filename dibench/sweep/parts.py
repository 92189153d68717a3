"""A sweep that is to be joined with others: read whole, and held against its own manifest and visits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from dibench import files
from dibench.errors import UserError
from dibench.schema import Row
from dibench.sweep import record
from dibench.sweep.manifest import devices_of, is_of_a_sweep
from dibench.sweep.visit_book import Visited, keep, read_visits
from dibench.table import HEADER


@attrs.frozen
class Part:
    """One sweep to be joined: its rows' cells, its visits, and what its manifest says."""

    folder: Path
    manifest: Mapping[str, Any]
    rows: tuple[Row, ...] = attrs.field(repr=False)
    visits: tuple[Visited, ...] = attrs.field(repr=False)

    @property
    def shard(self) -> str:
        """`3/16`, or empty for a sweep of the whole plan."""
        return self.manifest["identity"].get("shard") or ""

    @property
    def devices(self) -> tuple[tuple[str, str], ...]:
        """Name and uuid of each."""
        return devices_of(self.manifest)

    @property
    def left(self) -> int:
        """Cases of its plan that have no row."""
        return int(self.manifest["plan"]["cases"]) - len(self.rows)

    @property
    def cases(self) -> tuple[str, ...]:
        """Ids of what it measured, each once; a case may have been visited and have no row yet."""
        ids = [row.case_id for row in self.rows] + [visit.case_id for visit in self.visits]
        return tuple(dict.fromkeys(ids))


def read_part(folder: Path) -> Part:
    """The sweep in a directory.

    Raises:
        UserError: it cannot be read, is merged already, or contradicts itself.
    """
    manifest = _manifest(folder)
    part = Part(folder, manifest, tuple(_rows(folder / record.TABLE)), tuple(_visits(folder / record.VISITS)))
    _check_rows(part)
    _check_visits(part)
    return part


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = files.read_json_object(folder / record.MANIFEST)
    if manifest is None:
        rule = f"has no {record.MANIFEST}: must be the directory of a sweep"
        raise UserError("", rule, where=folder)
    if not is_of_a_sweep(manifest):
        raise UserError("", "is not the manifest of a sweep", where=folder / record.MANIFEST)
    if manifest["identity"].get("shard") == "merged":
        raise UserError("", "is merged already: give the sweeps that it was made of", where=folder)
    return manifest


def _sessions(manifest: Mapping[str, Any]) -> set[str]:
    return {str(session["session"]) for session in manifest["sessions"]}


def _rows(path: Path) -> list[Row]:
    if not path.exists():
        return []
    _refuse_torn(path)
    with files.explained(path, doing="read"), path.open("rb") as file:
        if file.readline() != HEADER:
            raise UserError("header", "is not a table of this version of dibench", where=path)
    return list(record.written(path))


def _visits(path: Path) -> list[Visited]:
    if not path.exists():
        return []
    _refuse_torn(path)
    return read_visits(path)


def _refuse_torn(path: Path) -> None:
    with files.explained(path, doing="read"):
        torn = not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    if torn:
        raise UserError("", "is cut off: run its sweep again, which repairs it", where=path)


def _check_rows(part: Part) -> None:
    """Rows are of the devices and sessions that the manifest knows."""
    path, sessions = part.folder / record.TABLE, _sessions(part.manifest)
    for line, row in enumerate(part.rows, start=2):
        if (row.device, row.device_uuid) not in part.devices:
            rule = f"contradicts the manifest, which was written on {_listed(part.devices)}"
            raise UserError(f"line {line}: device_uuid", rule, row.device_uuid, where=path)
        if row.session not in sessions:
            rule = "contradicts the manifest, which knows no such session"
            raise UserError(f"line {line}: session", rule, row.session, where=path)


def _check_visits(part: Part) -> None:
    """Visits are of the manifest's devices, and rows that visits made say what those visits do."""
    known = {uuid for _, uuid in part.devices}
    of_case: defaultdict[str, list[Visited]] = defaultdict(list)
    for line, visit in enumerate(part.visits, start=1):
        if visit.device_uuid not in known:
            rule = f"contradicts the manifest, which was written on {_listed(part.devices)}"
            where = part.folder / record.VISITS
            raise UserError(f"line {line}: device_uuid", rule, visit.device_uuid, where=where)
        keep(of_case[visit.case_id], visit)
    if not (part.manifest.get("meter") or {}).get("in_visits"):
        return
    for line, row in enumerate(part.rows, start=2):
        if not row.measured:
            continue
        visits = of_case[row.case_id]
        if not part.visits:
            rule = f"has no {record.VISITS}, of which its rows are made: copy it, too"
            raise UserError("", rule, where=part.folder)
        made = {
            "device_uuid": visits[-1].device_uuid if visits else "",
            "visits": len(visits),
            "launches": sum(visit.stay.launches for visit in visits),
        }
        for name, told in made.items():
            if (found := getattr(row, name)) != told:
                rule = f"contradicts {record.VISITS} beside it, by which it is {told or 'none'}"
                where = part.folder / record.TABLE
                raise UserError(f"line {line}: {name}", rule, found, where=where)


def _listed(devices: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} ({uuid})" for name, uuid in devices)
