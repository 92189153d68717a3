"""What must hold after a fault in a verb that writes, and after its next run.

A verb's place before, after the fault, and after the next run is compared with what an undisturbed run
leaves.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
from faults import Ended, Fault
from writing_verbs import Verb

Content = Any
TORN = "torn"


def contents(place: Path) -> dict[str, Content]:
    """Of each file what must be there: its rows, keys or end; TORN where it is half of something."""
    found = (path for path in sorted(place.rglob("*")) if not path.is_dir() or not any(path.iterdir()))
    return {str(path.relative_to(place)): content(path) for path in found}


def content(path: Path) -> Content:
    if path.is_symlink() or path.is_dir():
        return "link" if path.is_symlink() else "empty"
    data = path.read_bytes()
    read = {".json": _keys, ".csv": _rows, ".jsonl": _visits, ".html": _page, ".svg": _page, ".png": _image}
    try:
        return read.get(path.suffix, hash)(data)
    except (ValueError, LookupError):
        return TORN


def _keys(data: bytes) -> Content:
    found = json.loads(data)
    return tuple(sorted(found)) if isinstance(found, dict) else len(found)


def _rows(data: bytes) -> Content:
    if not data.endswith(b"\n"):
        raise ValueError("torn")
    header, *rows = csv.reader(io.StringIO(data.decode()))
    if any(len(row) != len(header) for row in rows):
        raise ValueError("torn")
    return (len(header), *sorted(row[0] for row in rows))


def _visits(data: bytes) -> Content:
    if not data.endswith(b"\n"):
        raise ValueError("torn")
    found = [json.loads(line) for line in data.splitlines()]
    return tuple(sorted(str(one["case_id"]) for one in found))


def _page(data: bytes) -> Content:
    text = data.decode().rstrip()
    if not text.endswith(("</html>", "</svg>")):
        raise ValueError("torn")
    return "old" if "old<" in text else "new"


def _image(data: bytes) -> Content:
    if not data.endswith(b"IEND\xaeB`\x82"):
        raise ValueError("torn")
    return "new"


def measured(place: Path, verb: Verb) -> set[str]:
    """What was measured, as far as it stands whole in the verb's tables: ids of cases, and visits."""
    found: set[str] = set()
    for path in (path for one in verb.outputs for path in (place / one).rglob("*") if path.is_file()):
        if re.fullmatch(r"(sweep|visits)\b.*\.(csv|jsonl)", path.name):
            data = path.read_bytes()
            lines = data[: data.rfind(b"\n") + 1].decode().splitlines()
            found |= {line.partition(",")[0] for line in lines[1:]} if path.suffix == ".csv" else set(lines)
    return found


# --- what is wrong


VERDICTS = "cache/selftest/"
"""What only saves time: where it cannot be written, `selftest` has still told what it found."""
HARMS = ("lost", "torn", "doubled", "left over", "tracebacks", "statuses")


@attrs.frozen
class Known:
    """What a verb's place held before, and what an undisturbed run leaves in it."""

    old: Mapping[str, Content]
    new: Mapping[str, Content]
    measured: Collection[str]
    """Before."""


@attrs.frozen
class Found:
    """A place after a fault."""

    files: Mapping[str, Content]
    measured: Collection[str]

    @classmethod
    def of(cls, place: Path, verb: Verb) -> Found:
        return cls(contents(place), measured(place, verb))


def name_of(path: str) -> str:
    """Without what is new in each run: instants, and numbers of temporary files."""
    return re.sub(r"\d{8}T\d{6}Z\+*", "INSTANT", path)


def owned(verb: Verb, path: str) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in verb.outputs)


def settled(verb: Verb, known: Known, found: Found) -> bool:
    """Whether all is old or all is new, so that the next run meets what any run meets."""
    return "--fresh" not in verb.words and found.files in (known.old, known.new)


def harms_at_once(verb: Verb, known: Known, fault: Fault, ended: Ended, found: Found) -> dict[str, str]:
    """What is wrong after the fault, by harm."""
    wrong: dict[str, str] = {}
    for path, before in known.old.items():
        now = found.files.get(path)
        if not owned(verb, path):
            if now != before and before != "empty":
                wrong["lost"] = f"{path} is not the verb's, and changed"
        elif now is None and not (verb.grows and "--fresh" in verb.words) and path in known.new:
            wrong["lost"] = f"{path} is gone"
    if gone := set(known.measured) - set(found.measured):
        wrong["lost"] = f"{sorted(gone)[:2]} gone"
    for path, now in found.files.items():
        torn_line = verb.grows and path.endswith(("sweep.csv", "visits.jsonl"))
        if now == TORN and owned(verb, path) and not torn_line and path in {**known.old, **known.new}:
            wrong["torn"] = f"{path} is half of one"
    if verb.whole:
        here = {path: now for path, now in found.files.items() if path.startswith(f"{verb.whole}/")}
        sides = [
            {path: one for path, one in side.items() if path.startswith(f"{verb.whole}/")}
            for side in (known.old, known.new)
        ]
        if here not in sides and not aside(found.files, verb.whole):
            wrong["torn"] = f"{verb.whole} is neither the old one nor the new one: {sorted(here)}"
    if "Traceback" in ended.errors:
        wrong["tracebacks"] = ended.errors[-2000:]
    if why := odd_end(verb, known, fault, ended, found):
        wrong["statuses"] = why
    if ended.stray:
        wrong["left over"] = f"{ended.stray} processes lived on"
    return wrong


def aside(paths: Iterable[str], whole: str) -> bool:
    """Whether the old directory stands beside, to be brought back."""
    return any(path.startswith(f".{whole}.aside/") for path in paths)


def odd_end(verb: Verb, known: Known, fault: Fault, ended: Ended, found: Found) -> str:
    """What is wrong with how the run ended; empty where nothing is."""
    if fault.error:
        last = ended.errors.rstrip().rpartition("\n")[2]
        if ended.status == 2 and "dibench: " in last:
            return ""
        needed = {name_of(path) for path in known.new if not path.startswith(VERDICTS)}
        if ended.status == 0 and needed <= {name_of(path) for path in found.files}:
            return ""
        return f"status {ended.status} after an error: {last}"
    usual = {0, -9} if fault.signal == 9 else {0, 128 + fault.signal, -fault.signal}
    if fault.signal == 9 and (verb.grows or fault.everyone):
        usual |= {1, 2}  # a worker was killed before it had opened its device
    return "" if ended.status in usual else f"status {ended.status}: {ended.errors.rstrip()[-300:]}"


def harms_later(verb: Verb, known: Known, found: Found, ended: Ended, later: Found) -> dict[str, str]:
    """What is wrong after the next run, which nothing disturbed."""
    wrong: dict[str, str] = {}
    if gone := set(found.measured) - set(later.measured):
        wrong["lost"] = f"{sorted(gone)[:2]} gone after the next run"
    names = {name_of(path): now for path, now in later.files.items()}
    expected = {name_of(path): now for path, now in known.new.items()}
    for path, now in expected.items():
        if path not in names:
            wrong["lost"] = f"{path} is missing after the next run"
        elif isinstance(now, tuple) and path.endswith((".csv", ".jsonl")):
            twice = [one for one, number in Counter(names[path][1:]).items() if number > now[1:].count(one)]
            if twice and "--fresh" not in verb.words:
                wrong["doubled"] = f"{path}: {twice[:2]}"
            elif names[path] != now and "until" not in path:
                wrong["lost"] = f"{path}: {now} expected, {names[path]} there"
        elif names[path] == TORN:
            wrong["torn"] = f"{path} is half of one after the next run"
    if rest := names.keys() - expected.keys() - (known.old.keys() if verb.grows else set()):
        wrong["left over"] = f"{sorted(rest)[:3]} after the next run"
    if ended.status not in verb.again or "Traceback" in ended.errors:
        wrong["statuses"] = f"the next run ends with {ended.status}: {ended.errors[-300:]}"
    return wrong
