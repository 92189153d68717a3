"""What a sweep leaves on disk, above all its table.

- `visits.jsonl`, where a GPU is metered, has a line for each visit, and grows like the table below.
- `sweep.csv` only ever grows, one `os.write` per row, so a killed program leaves whole rows and at most one
  torn last line, which the next start cuts off. Rows survive the death of the program at once; they are
  forced to the disk (fdatasync) at most every five seconds and at the end, so a power failure may
  cost the last five seconds, never an older row.
- `manifest.json` is replaced whole: written beside, forced to disk, renamed.
- `sweep.lock` is held by flock, which ends with its process however that dies, and names the process id.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dibench import schema
from dibench.errors import UserError
from dibench.files import explained, replace_file

if TYPE_CHECKING:
    from dibench.plan import Case

TABLE, VISITS, MANIFEST, LOCK = "sweep.csv", "visits.jsonl", "manifest.json", "sweep.lock"
_SYNC_EVERY_S = 5.0

Write = Callable[[int, bytes], int]


def refuse_test_data(out: Path, source: str) -> None:
    """Replayed joules never lie where measured ones are published.

    Raises:
        UserError: `out` lies under `results/`, and not under `results/local/`.
    """
    parts = out.resolve().parts
    if source == "simulated" and "results" in parts and parts[parts.index("results") + 1 :][:1] != ("local",):
        raise UserError("--out", "must not be under results/: simulated energy is test data", str(out))


_OF_THE_BOX = ("tile_p", "tile_k", "tile_c", "lanes")
_OF_A_NETWORK = {"N", "C", "H", "W", "inputs"}


def case_cells(case: Case, stationarity: str) -> dict[str, Any]:
    """The cells of a row that are known before anything is measured."""
    cells = {
        "case_id": case.case_id,
        "order": case.order,
        "sentinel": int(case.sentinel),
        "backend": case.backend,
        "op": schema.NETWORK if case.network else case.op,
        "dtype": case.dtype,
        "variant": case.variant,
        "instances": case.instances,
        "knobs": _further_knobs(case),
        "data": case.data,
        "seed": case.seed,
    }
    if case.anchor:
        return cells
    layer = case.layer
    sizes: dict[str, Any] = {
        **layer.dims,
        "macs": layer.macs,
        "weights": layer.weights,
        "inputs": layer.inputs,
        "outputs": layer.outputs,
        "ai": layer.ai,
    }
    if case.network:
        sizes = {name: value for name, value in sizes.items() if name in _OF_A_NETWORK}
    box = {knob: case.knobs.get(knob) for knob in _OF_THE_BOX}
    return cells | {"name": layer.name, **sizes, "stationarity": stationarity, **box}


def _further_knobs(case: Case) -> str:
    further = {knob: value for knob, value in case.knobs.items() if knob not in _OF_THE_BOX}
    if case.sms != "all":
        further["sms"] = case.sms
    if case.cold:
        further["cold"] = 1
    return ";".join(f"{knob}={value}" for knob, value in further.items())


def line_of(row: Mapping[str, Any]) -> bytes:
    """A row as one line of the table.

    Raises:
        ValueError: a cell that is no column, or not finite.
    """
    unknown = set(row) - set(schema.NAMES)
    if unknown:
        raise ValueError(f"not columns of the table: {', '.join(sorted(unknown))}")
    return _csv_line([schema.format_value(row.get(name)) for name in schema.NAMES])


def _csv_line(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


HEADER = _csv_line(list(schema.NAMES))


class GrowingFile:
    """A file of whole lines, open for appending; to be opened under the directory's lock only."""

    def __init__(self, path: Path, *, header: bytes = b"", write: Write = os.write) -> None:
        """Open the file, cut off a torn last line, write the header where there is none.

        Raises:
            UserError: the file cannot be written, or begins with another header.
        """
        self.path = path
        self._header, self._write = header, write
        self._synced_at = time.monotonic()
        with self._explained():
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o644)
        try:
            self._size = self._repair()
            if self._size == 0 and header:
                self.append_line(header)
        except BaseException:
            os.close(self._fd)
            raise

    def _repair(self) -> int:
        """Truncate to the last whole line; the size then."""
        with self._explained():
            data = self.path.read_bytes()
            whole = data.rfind(b"\n") + 1
            first = data[: data.find(b"\n") + 1] or data  # a torn header has no newline yet
            torn_header = whole == 0 and self._header.startswith(data)
            if self._header and not torn_header and first.replace(b"\r\n", b"\n") != self._header:
                rule = "is not a table of this version of dibench: take another --out, or --fresh"
                raise UserError("header", rule, where=self.path)
            if whole < len(data):
                os.ftruncate(self._fd, whole)
            return whole

    def append_line(self, line: bytes) -> None:
        """Write one line, whole or not at all.

        Raises:
            UserError: the disk is full or the file cannot be written; all earlier lines are kept.
        """
        with self._explained():
            try:
                written = 0
                while written < len(line):  # a nearly full disk writes a part first
                    written += self._write(self._fd, line[written:])
            except OSError:
                self._cut()
                raise
        self._size += len(line)
        if time.monotonic() - self._synced_at >= _SYNC_EVERY_S:
            self.sync()

    def sync(self) -> None:
        """Force what is written to the disk."""
        with self._explained():
            os.fdatasync(self._fd)
        self._synced_at = time.monotonic()

    def close(self) -> None:
        """Leave a file of whole rows, on the disk, even if a write was interrupted."""
        try:
            if os.fstat(self._fd).st_size != self._size:
                self._cut()
            self.sync()
        finally:
            os.close(self._fd)

    def _cut(self) -> None:
        with contextlib.suppress(OSError):  # the next start repairs it
            os.ftruncate(self._fd, self._size)

    @contextlib.contextmanager
    def _explained(self) -> Any:
        with explained(self.path, "rows before this one are kept; the same command resumes"):
            yield


class Table(GrowingFile):
    """`sweep.csv`."""

    def __init__(self, path: Path, *, write: Write = os.write) -> None:
        """See GrowingFile."""
        super().__init__(path, header=HEADER, write=write)

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row, whole or not at all.

        Raises:
            UserError: the disk is full or the file cannot be written; all earlier rows are kept.
        """
        self.append_line(line_of(row))


def read_statuses(path: Path) -> dict[str, str]:
    """Status by `case_id` of every row of the table; empty where there is no table.

    Raises:
        UserError: a row has no id or status of this contract, or an id twice.
    """
    statuses: dict[str, str] = {}
    if not path.exists():
        return statuses
    with explained(path, doing="read"), path.open(encoding="utf-8", newline="", errors="replace") as file:
        try:
            for row in csv.DictReader(file, strict=True):
                case_id, status = row["case_id"], row["status"]
                if not case_id or status not in schema.STATUSES or None in row:
                    raise UserError("status", "must be one of " + ", ".join(schema.STATUSES), status)
                if case_id in statuses:
                    raise UserError("case_id", "must stand in one row only", case_id)
                statuses[case_id] = status
        except (csv.Error, KeyError) as error:
            raise UserError("", f"is not a table of this program: {error}", where=path) from None
        except UserError as error:
            place = f"{path}: row {len(statuses) + 1}"
            raise UserError(error.field, error.rule, error.value, where=place) from None
    return statuses


def column(path: Path, name: str) -> dict[str, str]:
    """One cell of every row of a table of ours, by `case_id`; empty where there is no table."""
    if not path.exists():
        return {}
    with explained(path, doing="read"), path.open(encoding="utf-8", newline="", errors="replace") as file:
        return {row["case_id"]: row[name] for row in csv.DictReader(file)}


def rewrite(
    path: Path,
    change: Callable[[dict[str, str]], Mapping[str, Any] | None],
    further: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Replace the table, at once, by one with each row changed.

    Args:
        path: of the table.
        change: from the cells of a row, as text, to those that differ; None drops the row.
        further: rows to be added.
    """
    lines = [HEADER]
    with explained(path), path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            changed = change(row)
            if changed is not None:
                cells = row | {name: schema.format_value(value) for name, value in changed.items()}
                lines.append(_csv_line([cells[name] for name in schema.NAMES]))
    replace_file(path, b"".join([*lines, *map(line_of, further)]))
