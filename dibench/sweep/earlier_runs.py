"""Read what earlier runs of a campaign measured on this model of card; their files stay as they are.

A row counts if it has the same model and the same kind of energy, and its kernel's source has not changed
since. Rows of a changed kernel are left out of everything, and their cases are measured again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from dibench import files, kernels
from dibench.errors import UserError
from dibench.schema import LIBRARY, is_measured
from dibench.sweep import record
from dibench.sweep.kept_rows import KeptRow, keep_rows
from dibench.sweep.parts import Joined, Part, has_result

_COLUMNS = ("case_id", "device", "device_uuid", "variant", "status", "reason", "energy_source", "order")


def read_earlier(
    paths: Iterable[Path],
    *,
    device: str = "",
    simulated: bool = False,
    but: Path | None = None,
    option: str = "--resume",
) -> Joined:
    """The rows that count, of tables or of all tables below directories; each case of a card once.

    Args:
        paths: of `sweep.csv` files or directories.
        device: the model of the card at hand; by default that of the first row.
        simulated: whether it is a replayed card, whose rows are never joined with measured ones.
        but: a directory below these that is not read: the one that this run writes to.
        option: that named the paths, for messages.

    Raises:
        UserError: nothing is there, no table of this program, another model, another kind of energy.
    """
    tables = find_tables(paths, but=but, option=option)
    manifests = {path: files.read_json_object(path.with_name(record.MANIFEST)) or {} for path in tables}
    parts = [Part(path.parent, manifests[path], tuple(keep_rows(path, _COLUMNS))) for path in tables]
    return choose(parts, device=device, simulated=simulated)


def choose(runs: Sequence[Part], *, device: str = "", simulated: bool = False) -> Joined:
    """These runs with the rows of each that count; see `read_earlier`.

    Raises:
        UserError: another model, another kind of energy.
    """
    counting: dict[tuple[str, str], tuple[int, KeptRow]] = {}
    stale: Counter[str] = Counter()
    for number, run in enumerate(runs):
        for row in run.rows:
            device = device or row.device
            _check(row, device, simulated)
            key = (row.device_uuid, row.case_id)
            if row.measured and not simulated and not is_measured(row.energy_source):
                continue  # without joules; its case is measured again
            if row.backend != LIBRARY and not _same_kernel(row.variant, run.manifest):
                stale[row.variant] += 1
            elif key not in counting or not has_result(counting[key][1]):  # it failed in the earlier run
                counting[key] = number, row
    rows_of: list[list[KeptRow]] = [[] for _ in runs]
    for number, row in counting.values():
        rows_of[number].append(row)
    parts = tuple(attrs.evolve(run, rows=tuple(rows)) for run, rows in zip(runs, rows_of, strict=True))
    rows = tuple(row for part in parts for row in part.rows)
    return Joined(parts, rows, dict(stale.most_common()))


def find_tables(paths: Iterable[Path], *, but: Path | None = None, option: str) -> list[Path]:
    """The tables at these paths or below, each once.

    Args:
        paths: of `sweep.csv` files or directories.
        but: a directory that is left out.
        option: that named the paths, for messages.

    Raises:
        UserError: there are none.
    """
    but = None if but is None else but.resolve()
    found: list[Path] = []
    for path in paths:
        below = sorted(path.rglob(record.TABLE)) if path.is_dir() else [path.with_name(record.TABLE)]
        if not below or not all(table.is_file() for table in below) or not path.exists():
            raise UserError(option, f"must be a {record.TABLE} or a directory that has one", str(path))
        found += [table for table in below if table.parent.resolve() != but]
    return list({table.resolve(): table for table in found}.values())


def _check(row: KeptRow, device: str, simulated: bool) -> None:
    if row.device != device:
        raise UserError("device", f"must hold rows of {device}", row.device, where=row.table)
    if row.energy_source and simulated != (row.energy_source == "simulated"):
        kind = "simulated" if simulated else "measured"
        raise UserError("energy_source", f"must hold {kind} rows only", row.energy_source, where=row.table)


def _same_kernel(variant: str, manifest: Mapping[str, Any]) -> bool:
    """Whether the kernel's source is still that of the manifest; an older one has one SHA for all sources."""
    known = manifest.get("kernels")
    if isinstance(known, dict) and variant in known:
        return bool(known[variant] == kernels.kernel_shas("cuda").get(variant))
    return bool(manifest.get("sources_sha") == kernels.sources_sha("cuda"))
