"""Sweeps of several machines as one: the shards of a plan, or parts of it by hand, checked and joined.

Parts belong together when they measured the same plan with the same kernels, settings and kind of sensor;
where devices differ that is said, not refused. No case may stand in two parts, and no row may contradict the
manifest beside it. Rows are joined as they stand; the visits that a GPU's rows were made of stay where they
are.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from dibench import __version__, files
from dibench.errors import UserError
from dibench.sweep import record
from dibench.sweep.manifest import utc_now

_MAY_DIFFER = ("device", "threads", "instruction set", "shard")
"""Of a sweep's identity; everything else must be equal."""


@attrs.frozen
class Part:
    """One sweep to be joined: its rows' cells, and what its manifest says."""

    folder: Path
    manifest: Mapping[str, Any]
    rows: tuple[Mapping[str, str], ...] = attrs.field(repr=False)

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


@attrs.frozen
class Merged:
    """What was joined, and what is still missing."""

    parts: tuple[Part, ...]
    rows: int
    statuses: Mapping[str, int]
    missing_shards: tuple[str, ...]

    @property
    def devices(self) -> Mapping[str, int]:
        """How many devices of each name."""
        return Counter(name for name, _ in dict.fromkeys(one for part in self.parts for one in part.devices))


def devices_of(manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Name and uuid of every device of a sweep."""
    found = manifest.get("devices") or [manifest["device"]]
    return tuple((str(one["name"]), str(one["uuid"])) for one in found)


def merge(folders: Sequence[Path], out: Path) -> Merged:
    """Join the sweeps of some directories into a new one.

    Args:
        folders: at least one directory with sweep.csv and manifest.json.
        out: the directory to be made; it must not exist, or be empty.

    Raises:
        UserError: a part cannot be read or contradicts itself or another; nothing has been written then.
    """
    _check_destination(out)
    parts = tuple(_read(folder) for folder in folders)
    for part in parts[1:]:
        _check_same_sweep(parts[0], part)
    _check_shards(parts)
    _check_cases(parts)
    rows = sorted((row for part in parts for row in part.rows), key=_position)
    statuses = Counter(row["status"] for row in rows)
    merged = Merged(parts, len(rows), statuses, _missing(parts))
    _write(merged, rows, out)
    return merged


def _check_destination(out: Path) -> None:
    with files.explained(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError("--out", "must not exist yet, or be an empty directory", str(out))


def _read(folder: Path) -> Part:
    manifest = files.read_json_object(folder / record.MANIFEST)
    if manifest is None:
        rule = f"has no {record.MANIFEST}: must be the directory of a sweep"
        raise UserError("", rule, where=folder)
    try:
        known = isinstance(manifest["identity"], dict) and isinstance(manifest["sessions"], list)
        int(manifest["plan"]["cases"])
        devices = devices_of(manifest)
        sessions = {str(session["session"]) for session in manifest["sessions"]}
    except (KeyError, TypeError, ValueError):
        known = False
    if not known:
        raise UserError("", "is not the manifest of a sweep", where=folder / record.MANIFEST)
    if manifest["identity"].get("shard") == "merged":
        raise UserError("", "is merged already: give the sweeps that it was made of", where=folder)
    path = folder / record.TABLE
    rows = tuple(_rows(path))
    for line, row in enumerate(rows, start=2):
        if (row["device"], row["device_uuid"]) not in devices:
            written = ", ".join(f"{name} ({uuid})" for name, uuid in devices)
            rule = f"contradicts the manifest, which was written on {written}"
            raise UserError(f"line {line}: device_uuid", rule, row["device_uuid"], where=path)
        if row["session"] not in sessions:
            rule = "contradicts the manifest, which knows no such session"
            raise UserError(f"line {line}: session", rule, row["session"], where=path)
    return Part(folder, manifest, rows)


def _rows(path: Path) -> Iterator[Mapping[str, str]]:
    if not path.exists():
        return
    record.read_statuses(path)  # every row has an id and a status, and no id stands twice
    with files.explained(path), path.open(encoding="utf-8", newline="") as file:
        if file.readline() != record.HEADER.decode():
            raise UserError("header", "is not a table of this version of dibench", where=path)
        file.seek(0)
        for line, row in enumerate(csv.DictReader(file, strict=True), start=2):
            if None in row or None in row.values():
                rule = "must have as many cells as the header: run its sweep again, which repairs it"
                raise UserError(f"line {line}", rule, where=path)
            yield row


def _check_same_sweep(first: Part, other: Part) -> None:
    a, b = first.manifest["identity"], other.manifest["identity"]
    for what in dict.fromkeys([*a, *b]):
        if what not in _MAY_DIFFER and a.get(what) != b.get(what):
            rule = f"must be the same in all parts: {a.get(what)!r} in {first.folder}, {b.get(what)!r} here"
            raise UserError(what, rule, where=other.folder)


def _check_shards(parts: Sequence[Part]) -> None:
    """Parts of one division, each once."""
    seen: dict[str, Part] = {}
    for part in parts:
        first = parts[0]
        if part.shard.partition("/")[2] != first.shard.partition("/")[2]:
            rule = f"must divide the plan alike: {first.shard or 'the whole plan'} in {first.folder}"
            raise UserError("shard", rule, part.shard or "the whole plan", where=part.folder)
        if part.shard and part.shard in seen:
            rule = f"must be given once, is in {seen[part.shard].folder} too"
            raise UserError("shard", rule, part.shard, where=part.folder)
        seen[part.shard] = part


def _check_cases(parts: Sequence[Part]) -> None:
    seen: dict[str, Part] = {}
    for part in parts:
        for row in part.rows:
            case = row["case_id"]
            if case in seen:
                rule = f"must stand in one part only, is in {seen[case].folder} too"
                raise UserError("case_id", rule, case, where=part.folder)
            seen[case] = part


def _missing(parts: Sequence[Part]) -> tuple[str, ...]:
    if not parts[0].shard:
        return ()
    of = int(parts[0].shard.partition("/")[2])
    given = {part.shard for part in parts}
    return tuple(shard for index in range(1, of + 1) if (shard := f"{index}/{of}") not in given)


def _position(row: Mapping[str, str]) -> tuple[int, str]:
    return int(row["order"] or 0) if row["order"].isdecimal() else 0, row["case_id"]


def _write(merged: Merged, rows: Sequence[Mapping[str, str]], out: Path) -> None:
    """Both files in a new directory beside, renamed into place: whole or not at all."""
    with files.explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        files.replace_file(beside / record.TABLE, record.HEADER + b"".join(map(record.line_of, rows)))
        files.write_json(beside / record.MANIFEST, _manifest(merged))
        with files.explained(out):
            beside.chmod(0o755)
            beside.replace(out)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _manifest(merged: Merged) -> dict[str, Any]:
    """What all parts say alike as a sweep's manifest says it; what differs stands under `merged_from`."""
    manifests = [part.manifest for part in merged.parts]
    first = manifests[0]
    alike = {key: value for key, value in first.items() if all(m.get(key) == value for m in manifests)}
    devices = [f"{number} × {name}" if number > 1 else name for name, number in merged.devices.items()]
    sessions = [
        {**session, "device_uuid": m["device"]["uuid"]} for m in manifests for session in m["sessions"]
    ]
    found = {
        **alike,
        "identity": {**first["identity"], "device": ", ".join(devices), "shard": "merged"},
        "device": first["device"] if len({one for part in merged.parts for one in part.devices}) == 1 else {
            "name": ", ".join(devices), "uuid": None, "facts": {},
        },
        "plan": {**first["plan"], "cases": sum(m["plan"]["cases"] for m in manifests), "shard": None},
        "versions": {**alike.get("versions", {}), "dibench": __version__},
        "merged_at": utc_now(),
        "started_at": min(str(m.get("started_at") or "") for m in manifests),
        "ended_at": max(str(m.get("ended_at") or "") for m in manifests) or None,
        "rows": dict(merged.statuses),
        "sessions": sessions,
        "missing_shards": list(merged.missing_shards),
        "merged_from": [
            {
                "directory": str(part.folder), "shard": part.shard or None, "rows": len(part.rows),
                "cases_left": part.left,
                **{key: part.manifest.get(key) for key in (
                    "device", "devices", "driver", "cuda", "peaks", "meter", "reference_c", "command_line",
                    "source_revision",
                )},
            }
            for part in merged.parts
        ],
    }  # fmt: skip
    if len(merged.devices) > 1:
        found.pop("peaks", None)
    elif all(isinstance(m.get("peaks"), dict) for m in manifests):
        # Of one kind of device: a peak is what could be reached, so the best that any part saw.
        names = set.intersection(*(set(m["peaks"]) for m in manifests))
        found["peaks"] = {name: max(m["peaks"][name] for m in manifests) for name in sorted(names)}
    return found
