"""Sweeps of several machines as one: the shards of a plan, or parts of it by hand, checked and joined.

Parts belong together when they measured the same plan with the same kernels, settings and kind of sensor;
where devices differ that is said, not refused. No case may stand in two parts, and no row may contradict the
manifest and the visits beside it. Rows are joined as they stand, and so are the visits that a GPU's rows were
made of.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from dibench import __version__, files
from dibench.errors import UserError
from dibench.schema import Row
from dibench.sweep import record
from dibench.sweep.manifest import utc_now
from dibench.sweep.parts import Part, read_part

_MAY_DIFFER = ("device", "threads", "instruction set", "shard")
"""Of a sweep's identity; everything else must be equal."""


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


def merge(folders: Sequence[Path], out: Path) -> Merged:
    """Join the sweeps of some directories into a new one.

    Args:
        folders: at least one directory with sweep.csv and manifest.json.
        out: the directory to be made; it must not exist, or be empty.

    Raises:
        UserError: a part cannot be read or contradicts itself or another; nothing has been written then.
    """
    _check_destination(out)
    _check_folders(folders)
    parts = tuple(read_part(folder) for folder in folders)
    record.refuse_test_data(out, str(parts[0].manifest.get("energy_source")))
    for part in parts[1:]:
        _check_same_sweep(parts[0], part)
    _check_shards(parts)
    _check_cases(parts)
    rows = sorted((row for part in parts for row in part.rows), key=_position)
    if not rows:
        raise UserError("DIR", "must have rows: nothing has been measured in any part yet")
    statuses = Counter(row.status for row in rows)
    merged = Merged(parts, len(rows), statuses, _missing(parts))
    _write(merged, rows, out)
    return merged


def _check_destination(out: Path) -> None:
    with files.explained(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError("--out", "must not exist yet, or be an empty directory", str(out))


def _check_folders(folders: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() in seen:
            raise UserError("DIR", "must be given once", str(folder))
        seen.add(folder.resolve())


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
        for case in part.cases:
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


def _position(row: Row) -> tuple[int, str]:
    return row.order or 0, row.case_id


def _write(merged: Merged, rows: Sequence[Row], out: Path) -> None:
    """All files in a new directory beside, renamed into place: whole or not at all."""
    with files.explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        record.write(beside / record.TABLE, rows)
        if lines := [visit.line() for part in merged.parts for visit in part.visits]:
            files.replace_file(beside / record.VISITS, b"".join(lines))
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
