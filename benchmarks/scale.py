"""Time and peak memory of every verb that reads a table, on tables of growing size: docs/benchmarks.md.

    python -m benchmarks.scale                                        # 20,000 and 200,000 rows
    python -m benchmarks.scale --rows 200000 1000000 --only fit --only load --checkout ../an-older-one
    python -m benchmarks.scale --list                                 # the commands

Each command runs in a process of its own. The table says of each how seconds and megabytes grew from the
size before: as rows to that power, so 1 is linear, and of a start-up time the power is below 1. It is
printed, and written as scale.md and scale.csv beside the generated tables, which stay for the next time. An
end status of 1 where something grew with a power above 1.2, or took over 4 GB.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs

from benchmarks.scale_tables import (
    COLUMNS,
    Base,
    make_sweep,
    network_rows,
    replayed_sweep,
    shape_rows,
    write_table,
)
from dibench import networks

ROOT = Path(__file__).parents[1]
MOST_MB, MOST_POWER = 4096, 1.2
LIMIT_S = 3600.0
KERNELS = '[[kernels]]\nstationarity = "none"\n[[kernels]]\nfast = true\n'
"""Of a plan: each case is one shape by one of them, in one batch."""
MOST_VISITED = 1_000_000
"""Rows: of more, the parts of a merge are a CPU's, without visits, which would take 4 kB a row on disk."""

COMMANDS: Mapping[str, str] = {
    "load": "load {once}",
    "fit": "fit {once} --json {out}/fit.json",
    "fit, distinct shapes": "fit {wide}",
    "fit, networks": "fit {networks}",
    "generality": "generality {shapes}",
    "report": "report {once}",
    "report, distinct shapes": "report {wide}",
    "compare": "compare {once} {again}",
    "merge": "merge {part1} {part2} --out {out}/merged",
    "publish": "publish {part1} {part2} --out {out}/published",
    "import": "import {once}/sweep.csv --out {out}/imported.csv",
    "predict --measured": "predict resnet50 --fit {fit} --measured {networks}",
    "explain": "explain resnet50 --fit {fit}",
    "layers": "layers {layers}",
    "layers --json": "layers {layers} --json {out}/layers.json",
    "networks": "networks {layers}",
    "sweep --dry-run": "sweep {plan} --dry-run",
}
"""By name. In braces the tables of `tables_of`; of all verbs that read one the first words."""


def tables_of(folder: Path, rows: int) -> dict[str, Path]:
    """Where the tables of that size lie."""
    here = folder / str(rows)
    names = ("once", "again", "wide", "part1", "part2")
    endings = {"networks": "csv", "shapes": "csv", "layers": "csv", "plan": "toml"}
    files = {name: here / f"{name}.{ending}" for name, ending in endings.items()}
    return {name: here / name for name in names} | files | {"fit": folder / "fit.json", "out": here / "out"}


def make(base: Base, paths: Mapping[str, Path], name: str, rows: int) -> None:
    """Write one of the tables, if it is not there yet."""
    path = paths[name]
    if path.exists() or name in ("out", "fit"):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    if name == "networks":
        write_table(beside, COLUMNS, network_rows(rows))
    elif name == "shapes":
        write_table(beside, COLUMNS, shape_rows(rows))
    elif name == "layers":
        cells = [f"l,{N},64,56,56,64,3,3,1,1" for N in (1, 8)]
        lines = (cells[at % 2].split(",") for at in range(rows))
        write_table(beside, ["name", "N", "C", "H", "W", "K", "R", "S", "pad_h", "pad_w"], lines)
    elif name == "plan":
        shapes = networks.distinct(one for network in networks.names() for one in networks.load(network))
        batches = list(range(1, 1 + math.ceil(rows / (KERNELS.count("kernels") * len(shapes)))))
        beside.write_text(f'[[layers]]\nnetworks = "all"\nbatches = {batches}\n{KERNELS}', encoding="utf-8")
    elif name.startswith("part"):
        visits = rows <= MOST_VISITED
        make_sweep(base, beside, rows // 2, shard=f"{name[-1]}/2", visits=visits)
    else:
        make_sweep(base, beside, rows, distinct=name == "wide", seed=1 + (name == "again"), visits=False)
    beside.rename(path)


@attrs.frozen
class Run:
    """One command that ended."""

    name: str
    checkout: str
    rows: int
    status: int
    """Of its end; negative: the signal that ended it, such as -9 after an hour."""
    seconds: float
    processor_s: float
    peak_mb: float


def timed(command: str, checkout: Path) -> tuple[int, float, float, float]:
    """Exit status, seconds, seconds of the processor, peak memory in MB of `python -m dibench COMMAND`.

    `load TABLE` is `dibench.load`. Of all its processes together the seconds, of the largest the memory.
    """
    verb, *words = shlex.split(command)
    program = ["-c", "import sys, dibench; dibench.load(*sys.argv[1:])", *words]
    given = program if verb == "load" else ["-m", "dibench", verb, *words]
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.chdir(checkout)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.environ["PYTHONPATH"] = str(checkout)
        os.execv(sys.executable, [sys.executable, *given])
    ender = threading.Timer(LIMIT_S, os.kill, (pid, 9))
    ender.start()
    _, status, used = os.wait4(pid, 0)
    ender.cancel()
    took = time.monotonic() - began
    return os.waitstatus_to_exitcode(status), took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3


def power(runs: Iterable[Run], last: Run, what: str) -> float | None:
    """How a figure grew since the size before: as rows to that power."""
    same = [
        run for run in runs if (run.name, run.checkout) == (last.name, last.checkout) and run.rows < last.rows
    ]
    if not same or last.status < 0:
        return None
    ratio = math.log(getattr(last, what) / getattr(same[-1], what))
    return ratio / math.log(last.rows / same[-1].rows)


def lines_of(runs: list[Run]) -> Iterator[str]:
    """A Markdown table."""
    yield "| command | checkout | rows | status | s | processor, s | grows as | peak, MB | grows as | |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|---|"
    for run in runs:
        grows = [power(runs, run, what) for what in ("processor_s", "peak_mb")]
        told = ["" if one is None else f"n^{one:.2f}" for one in grows]
        yield (
            f"| {run.name} | {run.checkout} | {run.rows:,} | {run.status} | {run.seconds:.0f} "
            f"| {run.processor_s:.0f} | {told[0]} | {run.peak_mb:,.0f} | {told[1]} | {doubts(runs, run)} |"
        )


def doubts(runs: list[Run], run: Run) -> str:
    """What is wrong with one: empty where it grew at most linearly and kept to 4 GB."""
    grows = [power(runs, run, what) or 0.0 for what in ("processor_s", "peak_mb")]
    said = ["superlinear"] if max(grows) > MOST_POWER else []
    return ", ".join(said + (["over 4 GB"] if run.peak_mb > MOST_MB else []))


def write(folder: Path, runs: list[Run]) -> None:
    """scale.md and scale.csv."""
    (folder / "scale.md").write_text("".join(f"{line}\n" for line in lines_of(runs)), encoding="utf-8")
    header = [field.name for field in attrs.fields(Run)]
    write_table(folder / "scale.csv", header, (attrs.astuple(run) for run in runs))


def read(folder: Path) -> list[Run]:
    """The runs of earlier times."""
    if not (folder / "scale.csv").exists():
        return []
    kinds = (str, str, int, int, float, float, float)
    with (folder / "scale.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))[1:]
    return [Run(*(kind(cell) for kind, cell in zip(kinds, line, strict=True))) for line in lines]


def main() -> int:
    """Measure, print, write; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--only", action="append", choices=list(COMMANDS), help="by default every command")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "scale")
    parser.add_argument("--base", type=Path, help="a sweep to multiply, by default one of a replayed GPU")
    parser.add_argument(
        "--checkout", type=Path, action="append", help="whose dibench runs, by default this one's"
    )
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    if given.list:
        print("\n".join(COMMANDS.values()))
        return 0
    folder: Path = given.out.resolve()
    if not (given.base or (folder / "base" / "sweep.csv").exists()):
        replayed_sweep(folder / "base")
    base, runs = Base.read(given.base or folder / "base"), read(folder)
    checkouts = [path.resolve() for path in given.checkout or [ROOT]]
    if not (folder / "fit.json").exists():
        small = tables_of(folder, 2_000)
        make(base, small, "once", 2_000)
        timed(f"fit {small['once']} --json {folder}/fit.json", checkouts[-1])
    for rows in given.rows:
        paths = tables_of(folder, rows)
        for name in given.only or COMMANDS:
            for table in (table for table in paths if f"{{{table}}}" in COMMANDS[name]):
                make(base, paths, table, rows)
            for checkout in checkouts:
                shutil.rmtree(paths["out"], ignore_errors=True)
                paths["out"].mkdir(parents=True)
                run = Run(name, checkout.name, rows, *timed(COMMANDS[name].format(**paths), checkout))
                runs = [one for one in runs if attrs.astuple(one)[:3] != attrs.astuple(run)[:3]] + [run]
                write(folder, runs)
                print(*lines_of(runs), sep="\n", end="\n\n", flush=True)
    shutil.rmtree(paths["out"], ignore_errors=True)
    return int(any(doubts(runs, run) for run in runs))


if __name__ == "__main__":
    sys.exit(main())
