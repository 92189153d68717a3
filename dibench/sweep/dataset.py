"""The runs of a campaign joined into one dataset, to be committed: measured joules of one model of card only.

Rows are those that `earlier` counts, each case of a card once; visits are those of these rows. What was found
of kernels and sensors lies beside, one file for each card, and the hardware's counters where a run has them.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from dibench import __version__, files, kernels
from dibench.errors import UserError
from dibench.schema import MEASURED_SOURCES, Row
from dibench.sweep import record
from dibench.sweep.earlier import read_earlier
from dibench.sweep.manifest import devices_of, is_of_a_sweep, utc_now
from dibench.table import csv_line, read_rows, read_texts

CALIBRATION, SELFTEST, COUNTERS = "calibration", "selftest", "counters.csv"


@attrs.frozen
class Dataset:
    """What is to be committed."""

    device: str
    """The model."""
    rows: tuple[Row, ...] = attrs.field(repr=False)
    manifests: tuple[Mapping[str, Any], ...] = attrs.field(repr=False)
    """Of the runs, in the order of their begin."""
    folders: tuple[Path, ...]
    """Of the runs."""
    stale: Mapping[str, int]
    """Rows left out, by variant whose source has changed since."""

    @property
    def sessions(self) -> list[Mapping[str, Any]]:
        """Every start of the program, once, with the cards that it had."""
        found: dict[str, Mapping[str, Any]] = {}
        for manifest in self.manifests:
            uuids = [uuid for _, uuid in devices_of(manifest)]
            for session in manifest["sessions"]:
                known = {key: manifest.get(key) for key in ("driver", "cuda", "energy_source")}
                found.setdefault(session["session"], {"device_uuids": uuids, **known, **session})
        return sorted(found.values(), key=lambda session: str(session.get("started_at")))

    @property
    def arch(self) -> int:
        """Compute capability of the card, 90 for sm_90."""
        return int(self.manifests[-1]["device"]["facts"].get("arch", 0))


def gather(paths: Iterable[Path]) -> Dataset:
    """The dataset that runs, or datasets, make.

    Args:
        paths: directories of runs, or above them; of tables, for those that hold a case of a card twice, the
            first one counts.

    Raises:
        UserError: nothing is there, two models, two ways of measuring, or joules that no sensor measured.
    """
    paths = list(paths)
    first = next((path for given in paths for path in _tables(given)), None)
    if first is None:
        raise UserError(
            "RUN", "must be the directory of a campaign's run, or one above", ", ".join(map(str, paths))
        )
    found = read_earlier(
        paths,
        device=_device(first),
        simulated=False,
        kernels=kernels.kernel_shas("cuda"),
        sources_sha=kernels.sources_sha("cuda"),
    )
    for path in found.tables:
        _check_measured(path)
    manifests = [_manifest(path.parent) for path in found.tables]
    order = sorted(range(len(manifests)), key=lambda index: str(manifests[index]["started_at"]))
    _check_alike([manifests[index] for index in order], [found.tables[index].parent for index in order])
    if not found.rows:
        raise UserError("RUN", "must have a row of kernels as they are now")
    return Dataset(
        _device(first),
        found.rows,
        tuple(manifests[index] for index in order),
        tuple(found.tables[index].parent for index in order),
        found.stale,
    )


def _tables(path: Path) -> list[Path]:
    return sorted(path.rglob(record.TABLE)) if path.is_dir() else []


def _device(path: Path) -> str:
    return next((row.device for row in read_rows(path)), "")


def _check_measured(path: Path) -> None:
    for line, row in enumerate(read_rows(path), start=2):
        if row.measured and row.energy_source not in MEASURED_SOURCES:
            rule = "must be a sensor's: only measured joules are committed"
            raise UserError(f"line {line}: energy_source", rule, row.energy_source, where=path)


def _manifest(folder: Path) -> dict[str, Any]:
    found = files.read_json_object(folder / record.MANIFEST)
    if found is None or not is_of_a_sweep(found):
        raise UserError("", "must be the manifest of a sweep", where=folder / record.MANIFEST)
    return found


def _check_alike(manifests: Sequence[Mapping[str, Any]], folders: Sequence[Path]) -> None:
    """Rows stand beside each other only where they were measured alike."""
    for manifest, folder in zip(manifests, folders, strict=True):
        for what in ("energy_source", "settings"):
            if manifest.get(what) != manifests[0].get(what):
                rule = f"must be as in {folders[0]}, {manifests[0].get(what)!r}"
                raise UserError(what, rule, manifest.get(what), where=folder / record.MANIFEST)


def write(dataset: Dataset, out: Path) -> None:
    """Table, visits, manifest, what was checked and calibrated, counters: into a directory that is there.

    Raises:
        UserError: a file cannot be read or written.
    """
    record.write(out / record.TABLE, dataset.rows)
    visits = b"".join(_visits(dataset))
    if visits:
        files.replace_file(out / record.VISITS, visits)
    files.write_json(out / record.MANIFEST, _joined_manifest(dataset))
    for name in (CALIBRATION, SELFTEST):
        _bring(dataset.folders, name, out)
    _write_counters(dataset.folders, out)


def _visits(dataset: Dataset) -> Iterator[bytes]:
    """Lines of the visits that the rows were made of, each once."""
    kept = {(row.device_uuid, row.case_id) for row in dataset.rows}
    seen: set[str] = set()
    for folder in dataset.folders:
        path = folder / record.VISITS
        if not path.is_file():
            continue
        with files.explained(path, doing="read"):
            lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines:
            visit = json.loads(line)
            if (visit["device_uuid"], visit["case_id"]) in kept and line not in seen:
                seen.add(line)
                yield line.encode() + b"\n"


def _joined_manifest(dataset: Dataset) -> dict[str, Any]:
    """As a sweep's, of the last run; of several cards the list, of several runs all sessions."""
    last = dataset.manifests[-1]
    devices: dict[str, Any] = {}
    for manifest in dataset.manifests:
        meter = {"meter": manifest["meter"], "reference_c": manifest.get("reference_c")}
        for one in manifest.get("devices") or [{**manifest["device"], **meter}]:
            devices[one["uuid"]] = one
    used = {row.device_uuid for row in dataset.rows}
    kept = [one for uuid, one in devices.items() if uuid in used]
    peaks = [manifest["peaks"] for manifest in dataset.manifests if manifest["peaks"]]
    names = set.intersection(*map(set, peaks)) if peaks else ()
    return {
        **last,
        "device": {key: kept[0][key] for key in ("name", "uuid", "facts")},
        **({"devices": kept} if len(kept) > 1 else {}),
        # What could be reached: the best that any run saw.
        "peaks": {name: max(one[name] for one in peaks) for name in sorted(names)},
        "plan": {**last["plan"], "cases": len(dataset.rows)},
        "kernels": dict(kernels.kernel_shas("cuda")),
        "sources_sha": kernels.sources_sha("cuda"),
        "versions": {**last.get("versions", {}), "dibench": __version__},
        "published_at": utc_now(),
        "started_at": min(str(manifest["started_at"]) for manifest in dataset.manifests),
        "ended_at": max(str(manifest.get("ended_at") or "") for manifest in dataset.manifests) or None,
        "rows": dict(Counter(row.status for row in dataset.rows)),
        "sessions": list(dataset.sessions),
    }


def _bring(folders: Sequence[Path], name: str, out: Path) -> None:
    """The newest file of that name for each card: `name.json`, and of further cards `name-UUID.json`."""
    newest: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob(f"{name}*.json")):
            found = files.read_json_object(path) or {}
            if uuid := str(found.get("device_uuid") or ""):
                newest[uuid] = path
    for number, (uuid, path) in enumerate(newest.items()):
        with files.explained(out):
            shutil.copyfile(path, out / (f"{name}-{uuid}.json" if number else f"{name}.json"))


def _write_counters(folders: Sequence[Path], out: Path) -> None:
    """The rows of all runs' counters, each case once."""
    rows: dict[str, dict[str, str]] = {}
    for folder in folders:
        if (path := folder / COUNTERS).is_file():
            rows |= {row["case_id"]: row for row in read_texts(path, ("case_id",))}
    if rows:
        names = list(next(iter(rows.values())))
        lines = [csv_line(names), *(csv_line([row.get(name, "") for name in names]) for row in rows.values())]
        files.replace_file(out / COUNTERS, b"".join(lines))
