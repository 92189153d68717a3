"""Published measurements: which sources are known, what each says of itself, and what was read of a clone."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import attrs

from dibench.numbers import UNKNOWN, count, number
from dibench.schema import NETWORK
from dibench.show.blocks import Block, Note, Sentence, Table, columns, facts
from dibench.study.findings.plain import plain as values

if TYPE_CHECKING:
    from pathlib import Path

    from dibench.datasets.reading import Reading
    from dibench.datasets.source import Source
    from dibench.schema import Row

_UNREAD_SHOWN = 10


def plain_source(source: Source) -> dict[str, Any]:
    """All that a source says of itself, for programs."""
    fields = {field.name: getattr(source, field.name) for field in attrs.fields(type(source))}
    told: dict[str, Any] = values({name: cell for name, cell in fields.items() if name != "read"})
    return told | {"commands": source.commands}


def plain_reading(found: Reading, out: Path) -> dict[str, Any]:
    """What was read, for programs; the rows are in the table."""
    ledger = found.ledger
    return {
        "path": str(out),
        "source": found.source.name,
        "commit": found.commit,
        "rows": len(found.rows),
        "devices": found.devices,
        "files": [str(file) for file in ledger.files],
        "lines": ledger.lines,
        "lines_in_rows": ledger.used,
        "left_out": dict(ledger.left_out),
        "unread": [attrs.asdict(one) for one in ledger.unread],
        "notes": [*ledger.notes, *found.source.limits],
    }


def listed(sources: Iterable[Source]) -> Iterator[Block]:
    """Known sources: what each measured, on what, and what it can answer."""
    header = columns(
        "name", "measured", "on", text=("measured", "on"), wraps=("measured", "on"), ranks={"on": 1}
    )
    rows = [[source.name, source.title, ", ".join(source.devices)] for source in sources]
    yield Table("Measurements that others published, and that dibench reads", header, rows)
    yield Sentence(
        "Next: `python -m dibench datasets NAME` says what one can answer, what it cannot, and how to get it."
    )


def described(source: Source) -> list[Block]:
    """All that a source says of itself, and the commands that get and read it."""
    folder = source.url.rpartition("/")[2]
    read = f"python -m dibench datasets {shlex.quote(source.name)} {folder} --out {source.name}"
    accuracy = source.gain_accuracy_pct
    gain = "stated by nobody" if accuracy is None else f"±{accuracy:g}%"
    return [
        facts(
            f"{source.name}: {source.title}",
            *_core(source),
            ("read it", f"`{read}`"),
            ("reads", source.format),
            ("commit", f"{source.commit}: the reader was written for it"),
            *([] if source.energy_source == "none" else [("energy", source.energy_source), ("gain", gain)]),
        )
    ]


def _core(source: Source) -> list[tuple[str, str]]:
    return [
        ("measured", source.measured),
        ("on", ", ".join(source.devices)),
        ("with", source.sensor),
        ("licence", source.licence),
        ("answers", "; ".join(source.answers)),
        *(("but", one) for one in source.limits),
        *(("get it", f"`{one}`") for one in source.commands),
    ]


def read(found: Reading) -> Iterator[Block]:
    """What a reading holds, by device, kind and data type, and what became of every line."""
    source, ledger = found.source, found.ledger
    yield _sums(found.rows, f"{source.name}: {count(len(found.rows), 'row')}")
    yield facts(
        f"{count(ledger.lines, 'line')} of {count(len(ledger.files), 'file')}",
        ("in rows", str(ledger.used)),
        *((str(lines), why) for why, lines in ledger.left_out.most_common()),
        ("not read", str(len(ledger.unread))),
    )
    for one in ledger.unread[:_UNREAD_SHOWN]:
        yield Sentence(f"{one.file} line {one.line}: {one.why}", tone="warn")
    if len(ledger.unread) > _UNREAD_SHOWN:
        yield Sentence(f"… and {len(ledger.unread) - _UNREAD_SHOWN} more, all in manifest.json.", tone="warn")
    yield from map(Note, [*ledger.notes, *source.limits, _commit(found)])


def next_steps(found: Reading, out: Path) -> list[str]:
    """The commands that analyse what was written."""
    where = shlex.quote(str(out))
    devices = found.devices
    one = f" --device {shlex.quote(devices[0])}" if len(devices) > 1 else ""
    return [f"python -m dibench fit {where}{one}", f"python -m dibench report {where}"]


def _commit(found: Reading) -> str:
    known = found.source.commit
    if found.commit is None:
        return f"The files are in no clone that git knows; the reader was written for commit {known[:12]}."
    commit, changed = found.commit.rstrip("+"), " with changes" if found.commit.endswith("+") else ""
    if commit == known:
        return f"Commit {known[:12]}{changed}, for which the reader was written."
    return (
        f"Commit {commit[:12]}{changed}; the reader was written for {known[:12]}: compare the counts above."
    )


def _sums(rows: Iterable[Row], caption: str) -> Table:
    """Rows, distinct layers or networks, and sums, by what rows of one fit have in common."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        kind = "networks" if row.op == NETWORK else "layers"
        groups.setdefault((row.device, row.variant, row.dtype, kind), []).append(row)
    lines = [
        [
            *key,
            str(len(own)),
            str(_distinct(own)),
            *(_sum(own, name) for name in ("macs", "time_s", _joules(own))),
        ]
        for key, own in sorted(groups.items())
    ]
    heads = ("device", "library", "data type", "rows of", "rows", "different", "MACs", "seconds", "joules")
    return Table(caption, columns(*heads, text=["library", "data type", "rows of"]), lines)


def _distinct(rows: Iterable[Row]) -> int:
    return len({(row.op, row.name if row.op == NETWORK else "", *_shape(row)) for row in rows})


def _shape(row: Row) -> tuple[int | None, ...]:
    sizes = (row.N, row.C, row.H, row.W, row.K, row.R, row.S, row.P, row.Q)
    return (*sizes, row.stride_h, row.stride_w, row.pad_h, row.pad_w, row.dil_h, row.dil_w, row.groups)


def _joules(rows: Iterable[Row]) -> str:
    filled = Counter(
        name for row in rows for name in ("energy_j", "energy_above_idle_j") if getattr(row, name) is not None
    )
    return filled.most_common(1)[0][0] if filled else "energy_j"


def _sum(rows: Iterable[Row], name: str) -> str:
    known = [value for row in rows if (value := getattr(row, name)) is not None]
    return number(sum(known)) if known else UNKNOWN
