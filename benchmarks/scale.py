"""Time and peak memory of the verbs that read tables, on tables of up to millions of rows: docs/scale.md.

    python -m benchmarks.scale make results/local/networks --rows 1000000 --out /tmp/big
    python -m benchmarks.scale make results/local/networks --rows 1000000 --distinct --out /tmp/wide
    python -m benchmarks.scale time "fit /tmp/big" "compare /tmp/big /tmp/wide"

`make` writes a sweep whose rows are those of a real one over and over, with noise: table and manifest, and
with `--shard 1/2` the visits, too, which `merge` reads. With `--distinct` no two rows
are of one shape: channels and widths grow, counts and joules with them, and the rows are of networks of 200
layers. Its joules are of `external:generated`, which no sweep writes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from dibench.layer import DIMENSIONS, Layer
from dibench.schema import NAMES, NO_LAYER
from dibench.table import HEADER, csv_line

SOURCE = "external:generated"
STEPS = 87
"""Sizes that a layer's input channels, or a depthwise layer's channels, take before the other size grows."""

LAYERS = 200
"""Of a network of distinct shapes."""

FAMILIES = ("alder", "birch", "cedar", "elder", "hazel", "larch", "maple", "rowan")
GROWING = ("macs_executed", "weight_reads", "input_reads", "output_reads", "output_writes")


@attrs.frozen
class Base:
    """A small sweep that is multiplied."""

    manifest: Mapping[str, Any]
    rows: tuple[Mapping[str, str], ...]
    visits: Mapping[str, tuple[str, ...]]
    """Lines by case."""

    @classmethod
    def read(cls, folder: Path) -> Base:
        with (folder / "sweep.csv").open(encoding="utf-8", newline="") as file:
            rows = tuple(row for row in csv.DictReader(file) if row["op"] not in NO_LAYER)
        visits: dict[str, tuple[str, ...]] = {}
        for line in (folder / "visits.jsonl").read_text(encoding="utf-8").splitlines():
            case = json.loads(line)["case_id"]
            visits[case] = (*visits.get(case, ()), line)
        return cls(json.loads((folder / "manifest.json").read_text(encoding="utf-8")), rows, visits)


def wider(layer: Layer, copy: int) -> Layer:
    """The layer with more channels, or with a larger input: another shape for each number of a copy."""
    fast, slow = copy % STEPS, copy // STEPS
    dims = layer.dims
    if layer.op == "depthwise":
        more = {"C": layer.C + fast, "K": layer.C + fast, "groups": layer.C + fast}
        size = {"H": layer.H + slow * layer.stride_h, "W": layer.W, "P": layer.P + slow}
        return Layer.from_dims({**dims, **more, **size})
    return Layer.from_dims({**dims, "C": layer.C + layer.groups * fast, "K": layer.K + layer.groups * slow})


def cost(layer: Layer) -> float:
    """What generated joules are in proportion to."""
    return 3 * layer.macs + 12 * layer.weights + 48 * layer.activations + 1e6


def row_of(
    base: Mapping[str, str], number: int, copy: int, distinct: bool, rng: random.Random
) -> dict[str, str]:
    """One row of a copy of the base."""
    row = dict(base)
    case = hashlib.sha256(f"{base['case_id']} {number}".encode()).hexdigest()[:16]
    row |= {"case_id": f"c{case}", "order": str(number), "energy_source": SOURCE}
    factor = rng.lognormvariate(0.0, 0.03)
    if distinct:
        layer = Layer.from_dims({dim: int(base[dim]) for dim in DIMENSIONS})
        grown = wider(layer, copy)
        factor *= cost(grown) / cost(layer)
        row |= {dim: str(size) for dim, size in grown.dims.items()}
        for name in ("macs", "weights", "inputs", "outputs", "ai"):
            row[name] = str(getattr(grown, name))
        for name in GROWING:
            row[name] = base[name] and str(int(base[name]) * grown.macs // layer.macs)
        network, place = divmod(number, LAYERS)
        row["name"] = f"{FAMILIES[network % len(FAMILIES)]}{network}/layer{place}"
    for name, cell in base.items():
        if name.endswith(("_s", "_j")) and name != "meter_period_s" and cell:
            row[name] = repr(float(cell) * factor)
    return row


def make(base: Base, out: Path, rows: int, *, distinct: bool, shard: str, seed: int) -> None:
    """Write a sweep of so many rows."""
    out.mkdir(parents=True, exist_ok=True)
    index, _, of = shard.partition("/")
    first, step = (int(index), int(of)) if shard else (1, 1)
    rng = random.Random(f"{seed} {shard}")
    with (out / "sweep.csv").open("wb") as table, (out / "visits.jsonl").open("w") as visits:
        table.write(HEADER)
        for at in range(rows):
            copy, which = divmod(at, len(base.rows))
            row = row_of(base.rows[which], first + at * step, copy, distinct, rng)
            table.write(csv_line([row.get(name, "") for name in NAMES]))
            was = base.rows[which]["case_id"]
            for line in base.visits.get(was, ()) if shard else ():
                visits.write(line.replace(was, row["case_id"]).replace('"simulated"', f'"{SOURCE}"') + "\n")
    manifest = dict(base.manifest)
    manifest["identity"] = {**manifest["identity"], "shard": shard or None}
    manifest["plan"] = {**manifest["plan"], "cases": rows, "shard": shard or None}
    manifest["energy_source"] = SOURCE
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def timed(command: str) -> tuple[int, float, float, float]:
    """Exit status, seconds, seconds of the processor, peak memory in MB of `python -m dibench COMMAND`.

    `load TABLE` is `dibench.load`.
    """
    verb, *words = shlex.split(command)
    program = ["-c", "import sys, dibench; dibench.load(*sys.argv[1:])", *words]
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        given = program if verb == "load" else ["-m", "dibench", verb, *words]
        os.execv(sys.executable, [sys.executable, *given])
    _, status, used = os.wait4(pid, 0)
    took = time.monotonic() - began
    return os.waitstatus_to_exitcode(status), took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3


def table_of(commands: list[str]) -> Iterator[str]:
    """Lines of a Markdown table."""
    yield "| command | status | s | processor, s | peak, MB |"
    yield "|---|---:|---:|---:|---:|"
    for command in commands:
        status, took, processor, peak = timed(command)
        yield f"| `{command}` | {status} | {took:.0f} | {processor:.0f} | {peak:,.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("make")
    making.add_argument("base", type=Path)
    making.add_argument("--out", type=Path, required=True)
    making.add_argument("--rows", type=int, required=True)
    making.add_argument("--distinct", action="store_true")
    making.add_argument("--shard", default="")
    making.add_argument("--seed", type=int, default=1)
    timing = verbs.add_parser("time")
    timing.add_argument("commands", nargs="+")
    given = parser.parse_args()
    if given.verb == "time":
        for line in table_of(given.commands):
            print(line, flush=True)
        return
    base = Base.read(given.base)
    make(base, given.out, given.rows, distinct=given.distinct, shard=given.shard, seed=given.seed)


if __name__ == "__main__":
    main()
