"""A source read whole: its rows, what became of every line, and the directory that is written of them."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from dibench import __version__, directories, files
from dibench.datasets.source import Ledger, Source
from dibench.revision import commit_of
from dibench.schema import Row
from dibench.table import HEADER, line_of

TABLE, MANIFEST = "sweep.csv", "manifest.json"


@attrs.frozen
class Reading:
    """What was found in a clone."""

    source: Source
    rows: Sequence[Row]
    ledger: Ledger
    commit: str | None
    """Of the clone; None where the files are in none."""

    @property
    def devices(self) -> list[str]:
        """Of the rows, each once."""
        return list(dict.fromkeys(row.device for row in self.rows))


def read(source: Source, path: Path) -> Reading:
    """Read a clone, or the folder in it that has the files.

    Raises:
        UserError: it has none of the files, something they need is missing, or the reader lost lines.
    """
    ledger = Ledger()
    rows = tuple(source.read(path, ledger))
    ledger.check(source.name)
    if (accuracy := source.gain_accuracy_pct) is not None:
        rows = tuple(attrs.evolve(row, gain_accuracy_pct=accuracy) for row in rows)
    return Reading(source, rows, ledger, commit_of(ledger.files[0]) if ledger.files else None)


def write(found: Reading, out: Path, command_line: Sequence[str] = ()) -> None:
    """A directory as a sweep makes one: `sweep.csv` and `manifest.json`.

    Args:
        found: what to write.
        out: must not exist, or be empty.
        command_line: that asked for it.

    Raises:
        UserError: it cannot be written; nothing has changed then.
    """
    directories.refuse_content(out)
    with directories.whole_directory(out) as new:
        files.replace_file(new / TABLE, b"".join([HEADER, *map(line_of, found.rows)]))
        files.write_json(new / MANIFEST, manifest(found, command_line))


def manifest(found: Reading, command_line: Sequence[str]) -> dict[str, Any]:
    """What the manifest says: the source's header, the clone, and every line that was not read."""
    source, ledger = found.source, found.ledger
    return {
        "dataset": {
            "name": source.name,
            "title": source.title,
            "url": source.url,
            "commit": found.commit,
            "known_commit": source.commit,
            "licence": source.licence,
            "measured": source.measured,
            "limits": list(source.limits),
            "files": [path.name for path in ledger.files],
            "lines": ledger.lines,
            "lines_used": ledger.used,
            "lines_left_out": dict(ledger.left_out),
            "lines_unread": [attrs.asdict(one) for one in ledger.unread],
            "notes": ledger.notes,
        },
        "device": {"name": ", ".join(found.devices), "uuid": None, "facts": {}},
        "energy_source": source.energy_source,
        "meter": {
            "source": source.energy_source,
            "period_s": None,
            "gain_accuracy_pct": source.gain_accuracy_pct,
            "facts": {"sensor": source.sensor},
        },
        "plan": {"name": f"dataset {source.name}"},
        "rows": dict(Counter(row.status for row in found.rows)),
        "versions": {"dibench": __version__, "python": platform.python_version()},
        "command_line": list(command_line),
    }
