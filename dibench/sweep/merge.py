"""Join sweeps: the shards of a plan, or the runs of a campaign on one model of card.

The rules are the same for both: no part contradicts its own manifest or visits, all were measured alike, and
no case is there twice. Shards that break a rule are refused. Runs of a campaign may have been killed and may
overlap: each case of a card is taken once, and rows of a kernel that has changed since are left out.

Rows, and the visits that they were made of, are copied unchanged. Verdicts on kernels and calibrations lie
beside them, one file for each card, and so do hardware counters where a part has them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain, count
from operator import attrgetter
from pathlib import Path
from typing import Any

import attrs

from dibench import __version__, case_ids, directories, files, kernels
from dibench.backends import openmp
from dibench.errors import UserError
from dibench.schema import is_measured
from dibench.sweep import record
from dibench.sweep.earlier_runs import choose, find_tables
from dibench.sweep.manifest import utc_now
from dibench.sweep.parts import Joined, Part, read_part
from dibench.table import HEADER, directory_of

COUNTERS = "counters.csv"
BESIDE = ("calibration", "selftest")

_SHARDS_DIFFER = {"device", *openmp.IDENTITY, "instruction set", "shard"}
"""What may differ in the identity of shards."""
_RUNS_DIFFER = {
    *_SHARDS_DIFFER, "backend", "plan", "seed", "content of the plan (SHA-256)", "kernel sources (SHA-256)",
}  # fmt: skip
"""Likewise for a campaign's runs, each of which measures what the earlier ones left."""


def merge(folders: Sequence[Path], out: Path) -> Joined:
    """Join the shards of a plan, or parts of one made by hand, into a new directory.

    Args:
        folders: at least one directory with sweep.csv and manifest.json, or the tables in them.
        out: the directory to be made; it must not exist, be empty, or hold an earlier merge of these, which
            is made anew; files that others put there stay.

    Raises:
        UserError: a part cannot be read or contradicts itself or another; nothing has been written then.
    """
    folders = [directory_of(folder) for folder in folders]
    directories.bring_back(out)
    if not _is_merge_of(folders, out):
        directories.refuse_content(
            out, or_else=", or an earlier merge of the same sweeps: give another --out"
        )
    for number, folder in enumerate(folders):
        if folder.resolve() in {other.resolve() for other in folders[:number]}:
            raise UserError("DIR", "must be given once", str(folder))
    parts = tuple(read_part(folder) for folder in folders)
    record.refuse_test_data(out, str(parts[0].manifest.get("energy_source")))
    _check_alike(parts, _SHARDS_DIFFER)
    _check_shards(parts)
    _check_cases(parts)
    rows = sorted((row for part in parts for row in part.rows), key=attrgetter("case_id"))
    rows.sort(
        key=lambda row: row.order or 0
    )  # in two steps: a pair for each row would take as much as the row
    if not rows:
        raise UserError("DIR", "must have rows: nothing has been measured in any part yet")
    joined = Joined(parts, tuple(rows))
    with directories.whole_directory(out) as new:
        return write(joined, new, _of_shards(joined))


def _is_merge_of(folders: Sequence[Path], out: Path) -> bool:
    """Whether a directory holds an earlier merge of these sweeps, or of some of them."""
    manifest = files.read_json_object(out / record.MANIFEST) if out.is_dir() else None
    merged = (manifest or {}).get("merged_from") or []
    given = {folder.resolve() for folder in folders}
    return bool(merged) and all(Path(one["directory"]).resolve() in given for one in merged)


def read_run(folder: Path) -> Part:
    """A run of a campaign, which may have been killed: a torn last line is left out.

    Raises:
        UserError: it cannot be read, or contradicts itself.
    """
    return read_part(folder, cut_off=True)


def gather(paths: Iterable[Path], read: Callable[[Path], Part] = read_run) -> Joined:
    """Join runs of a campaign, or datasets: measured joules of one model of card.

    Args:
        paths: directories of runs, or directories above them. If several have a result for the same case of
            a card, the first one counts.
        read: one of them, given its directory.

    Raises:
        UserError: there are no runs, two models of card, two ways of measuring, or joules of no sensor.
    """
    runs = [read(table.parent) for table in find_tables(paths, option="RUN")]
    found = choose(runs)
    for run in runs:
        _check_measured(run)
    parts = sorted(found.parts, key=lambda part: str(part.manifest["started_at"]))
    _check_alike(parts, _RUNS_DIFFER)
    if not found.rows:
        backends = ", ".join(sorted({str(run.manifest.get("backend") or "unknown") for run in found.parts}))
        raise UserError("RUN", "must have a row of a campaign's present GPU kernels", f"backend {backends}")
    return attrs.evolve(found, parts=tuple(parts))


def _check_alike(parts: Sequence[Part], may_differ: Collection[str]) -> None:
    """Refuse parts that were measured differently."""
    first = parts[0].manifest["identity"]
    for part in parts[1:]:
        here = part.manifest["identity"]
        for what in dict.fromkeys([*first, *here]):
            if what not in may_differ and first.get(what) != here.get(what):
                known = f"{first.get(what)!r} in {parts[0].folder}, {here.get(what)!r} here"
                raise UserError(what, f"must be the same in all parts: {known}", where=part.folder)


def _check_measured(part: Part) -> None:
    for line, row in enumerate(part.rows, start=2):
        if row.measured and not is_measured(row.energy_source):
            rule = "must be a sensor's: only measured joules are committed"
            where = part.folder / record.TABLE
            raise UserError(f"line {line}: energy_source", rule, row.energy_source, where=where)


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


def write(joined: Joined, out: Path, further: Mapping[str, Any]) -> Joined:
    """Write table, visits, manifest, and the files beside them; returns it with the number of visits.

    Args:
        joined: what is written.
        out: an existing directory.
        further: keys of the manifest beyond those that follow from all parts.

    Raises:
        UserError: a file cannot be read or written.
    """
    files.replace_file(out / record.TABLE, chain([HEADER], joined.row_lines()))
    number = count()
    lines = (line for line, _ in zip(joined.visit_lines(), number, strict=False))
    if first := next(lines, b""):
        files.replace_file(out / record.VISITS, chain([first], lines))
    files.write_json(out / record.MANIFEST, {**_manifest(joined), **further})
    for name in BESIDE:
        _bring(joined.parts, name, out)
    _bring_counters(joined.parts, out)
    return attrs.evolve(joined, visits=next(number))


def _manifest(joined: Joined) -> dict[str, Any]:
    """A sweep's manifest: what all parts agree on, and what follows from all of them."""
    manifests = [part.manifest for part in joined.parts]
    last, used = manifests[-1], {row.device_uuid for row in joined.rows}
    alike = {key: value for key, value in last.items() if all(one.get(key) == value for one in manifests)}
    devices: dict[str, dict[str, Any]] = {}
    for one in manifests:
        stated = {"meter": one["meter"], "reference_c": one.get("reference_c")}
        devices |= {each["uuid"]: each for each in one.get("devices") or [{**one["device"], **stated}]}
    kept = [each for uuid, each in devices.items() if uuid in used]
    described: dict[str, Any] = {"device": {"name": ", ".join(joined.devices), "uuid": None, "facts": {}}}
    alike.pop("peaks", None)
    if len(joined.devices) == 1:  # one model of card: a peak is the best that any part reached
        names = set.intersection(*(set(one["peaks"]) for one in manifests))
        described = {
            "device": {key: kept[0][key] for key in ("name", "uuid", "facts")},
            "meter": last["meter"],
            "peaks": {name: max(one["peaks"][name] for one in manifests) for name in sorted(names)},
        }
    return {
        **alike,
        **described,
        **({"devices": kept} if len(kept) > 1 else {}),
        "versions": {**alike.get("versions", {}), "dibench": __version__},
        "started_at": min(str(one["started_at"]) for one in manifests),
        "ended_at": max(str(one.get("ended_at") or "") for one in manifests) or None,
        "rows": dict(joined.statuses),
        "sessions": joined.sessions,
    }


def _of_shards(joined: Joined) -> dict[str, Any]:
    """Further keys of merged shards, which no sweep can resume."""
    manifests = [part.manifest for part in joined.parts]
    names = ", ".join(f"{number} × {name}" if number > 1 else name for name, number in joined.devices.items())
    kept = (
        "device", "devices", "driver", "cuda", "peaks", "meter", "reference_c", "command_line",
        "source_revision",
    )  # fmt: skip
    return {
        "identity": {**manifests[0]["identity"], "device": names, "shard": "merged"},
        "plan": {**manifests[0]["plan"], "cases": sum(m["plan"]["cases"] for m in manifests), "shard": None},
        "merged_at": utc_now(),
        "missing_shards": list(joined.missing_shards),
        "merged_from": [
            {"directory": str(part.folder), "shard": part.shard or None, "rows": len(part.rows),
             "cases_left": part.left, **{key: part.manifest.get(key) for key in kept}}
            for part in joined.parts
        ],
    }  # fmt: skip


def of_runs(joined: Joined) -> dict[str, Any]:
    """Further keys of a campaign's runs, whose rows are all of the present kernels."""
    last = joined.parts[-1].manifest
    return {
        "identity": last["identity"],
        "backend": last.get("backend"),
        "plan": {**last["plan"], "cases": len(joined.rows)},
        "kernels": dict(kernels.kernel_shas("cuda")),
        "sources_sha": kernels.sources_sha("cuda"),
        "published_at": utc_now(),
    }


def _bring(parts: Sequence[Part], name: str, out: Path) -> None:
    """Copy the newest file of that name for each card: `name.json`, for further cards `name-UUID.json`."""
    newest: dict[str, Path] = {}
    for part in parts:
        for path in sorted(part.folder.glob(f"{name}*.json")):
            if uuid := str((files.read_json_object(path) or {}).get("device_uuid") or ""):
                newest[uuid] = path
    for number, (uuid, path) in enumerate(newest.items()):
        with files.explained(path, doing="read"):
            content = path.read_bytes()
        files.replace_file(out / (f"{name}-{uuid}.json" if number else f"{name}.json"), content)


def _bring_counters(parts: Sequence[Part], out: Path) -> None:
    """Copy the rows of all parts' counters, each case once."""
    header, rows = "", dict[str, str]()
    for path in (part.folder / COUNTERS for part in parts):
        if not path.is_file():
            continue
        with files.explained(path, doing="read"):
            first, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
        if header and first != header:
            raise UserError("header", f"must be as in the other parts: {header}", where=path)
        header = first
        for line in lines:
            case, comma, rest = line.partition(",")
            case = case_ids.present_form(case)
            rows[case] = f"{case}{comma}{rest}"
    if header:
        files.replace_file(out / COUNTERS, "".join(f"{line}\n" for line in (header, *rows.values())).encode())
