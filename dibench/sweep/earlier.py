"""What earlier runs of a campaign have measured on this model of card, read only.

A row counts where it is of the same model, of the same kind of energy, and of a kernel whose source has not
changed since; a row of a changed kernel is left out of everything, and its case is measured again.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from dibench import files
from dibench.backends.cuda_cache import NOT_COMPILED
from dibench.errors import UserError
from dibench.measure import calibration
from dibench.schema import LIBRARY, MEASURED_SOURCES, Row
from dibench.sweep import record
from dibench.sweep.checked import Checked, path_of
from dibench.table import read_rows

_NEEDED = ("case_id", "device", "device_uuid", "variant", "status", "reason", "energy_source", "order")


@attrs.frozen
class Earlier:
    """Rows of earlier runs."""

    tables: tuple[Path, ...] = ()
    rows: tuple[Row, ...] = attrs.field(default=(), repr=False)
    """That count, each case of a card once."""
    stale: Mapping[str, int] = attrs.field(factory=dict)
    """Rows left out, by variant whose source has changed."""

    def done(self) -> set[str]:
        """Ids of cases that need not be measured again."""
        return {row.case_id for row in self.rows if has_result(row)}

    def cards(self) -> Counter[str]:
        """Rows by UUID of the card."""
        return Counter(row.device_uuid for row in self.rows)

    @property
    def last_order(self) -> int:
        """The highest position in a plan so far."""
        return max((row.order or 0 for row in self.rows), default=0)


def read_earlier(
    paths: Iterable[Path],
    *,
    device: str,
    simulated: bool,
    kernels: Mapping[str, str],
    sources_sha: str,
    but: Path | None = None,
) -> Earlier:
    """The rows of tables, or of all tables below directories.

    Args:
        paths: of `sweep.csv` files or directories.
        device: the model of the card at hand.
        simulated: whether it is a replayed one: its rows and measured ones never lie in one data set.
        kernels: SHA-256 of each kernel source now.
        sources_sha: of all of them together, for manifests that do not name each.
        but: a directory that is not read though it lies below another: the one that this run writes to.

    Raises:
        UserError: nothing is there, no table of this program, another model, another kind of energy.
    """
    tables = _tables(paths, None if but is None else but.resolve())
    rows: dict[tuple[str, str], Row] = {}
    stale: Counter[str] = Counter()
    for path in tables:
        manifest = files.read_json_object(path.with_name(record.MANIFEST)) or {}
        for row in read_rows(path, _NEEDED):
            _check(row, path, device, simulated)
            key = row.device_uuid, row.case_id
            if not simulated and row.measured and row.energy_source not in MEASURED_SOURCES:
                continue  # no joules: its case is measured again
            if row.backend != LIBRARY and not _same_kernel(row.variant, manifest, kernels, sources_sha):
                stale[row.variant] += 1
            elif key not in rows or not has_result(rows[key]):  # failed at first
                rows[key] = row
    return Earlier(tuple(tables), tuple(rows.values()), dict(stale.most_common()))


def has_result(row: Row) -> bool:
    """Whether it is measured, or this model of card cannot; what was not installed may be another time."""
    if row.status == "skipped":
        return row.backend != LIBRARY and NOT_COMPILED not in row.reason
    return row.measured


def _tables(paths: Iterable[Path], but: Path | None) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        below = sorted(path.rglob(record.TABLE)) if path.is_dir() else [path.with_name(record.TABLE)]
        if not below or not all(table.is_file() for table in below) or not path.exists():
            raise UserError("--resume", f"must be a {record.TABLE} or a directory that has one", str(path))
        found += [table for table in below if table.parent.resolve() != but]
    return list({table.resolve(): table for table in found}.values())


def _check(row: Row, path: Path, device: str, simulated: bool) -> None:
    if row.device != device:
        raise UserError("device", f"must hold rows of {device}", row.device, where=path)
    source = row.energy_source
    if source and simulated != (source == "simulated"):
        kind = "simulated" if simulated else "measured"
        raise UserError("energy_source", f"must hold {kind} rows only", source, where=path)


def _same_kernel(
    variant: str, manifest: Mapping[str, Any], kernels: Mapping[str, str], sources_sha: str
) -> bool:
    known = manifest.get("kernels")
    if isinstance(known, dict) and variant in known:
        return bool(known[variant] == kernels.get(variant))
    return bool(manifest.get("sources_sha") == sources_sha)


def bring_calibration(files_beside: Iterable[Path], uuid: str, driver: str) -> Path:
    """Where the calibration of this card and driver lies; one beside an earlier table is put there.

    Args:
        files_beside: files of earlier runs, in whose directories it may lie.
        uuid: of the card.
        driver: in force.
    """
    kept = calibration.path_of(uuid, driver)
    for beside in _beside(files_beside, "calibration*.json"):
        found = None
        with contextlib.suppress(UserError):
            found = files.read_json_object(beside) if not kept.is_file() else None
        if found and (found.get("device_uuid"), found.get("driver")) == (uuid, driver):
            with files.explained(kept):
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(beside, kept)
    return kept


def bring_checked(
    files_beside: Iterable[Path], uuid: str, driver: str, sources: Mapping[str, str]
) -> Checked:
    """What is known of the kernels on this card under this driver: here, and beside earlier tables.

    Args:
        files_beside: as of `bring_calibration`.
        uuid: of the card.
        driver: in force.
        sources: SHA-256 of each kernel source now.
    """
    checked = Checked.read(path_of("cuda", uuid, driver), uuid, driver)
    for beside in _beside(files_beside, "selftest*.json"):
        there = Checked.read(beside, uuid, driver)
        new = set(there.known(sources, small=True)) - set(checked.known(sources, small=True))
        checked.kernels.update({name: there.kernels[name] for name in new})
    if checked.kernels:
        with contextlib.suppress(UserError, OSError):
            checked.path.parent.mkdir(parents=True, exist_ok=True)
            files.write_json(checked.path, checked.as_json())
    return checked


def _beside(files_beside: Iterable[Path], pattern: str) -> list[Path]:
    folders = dict.fromkeys(path.parent for path in files_beside)
    return [path for folder in folders for path in sorted(folder.glob(pattern))]
