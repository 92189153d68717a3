"""Tables of any number of rows for benchmarks/scale.py: those of a small sweep over and over, with noise.

The small sweep is of a replayed GPU (tests/support), 97 shapes in two visits each, or any that is given. With
`distinct` no two rows are of one shape: channels and widths grow, counts and joules with them, and rows are
of networks of 200 layers. Joules are of `external:generated`, which no sweep writes.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from dibench.kernels import kernel_shas, sources_sha
from dibench.layer import DIMENSIONS, Layer
from dibench.networks import distinct, load, names
from dibench.schema import NAMES, NETWORK, NO_LAYER
from dibench.table import HEADER, csv_line

SOURCE = "external:generated"
STEPS = 87
"""Sizes that a layer's input channels, or a depthwise layer's channels, take before the other size grows."""

LAYERS = 200
"""Of a network of distinct shapes."""

SHAPES = 97
"""Of the rows that are repeated."""

FAMILIES = ("alder", "birch", "cedar", "elder", "hazel", "larch", "maple", "rowan")
GROWING = ("macs_executed", "weight_reads", "input_reads", "output_reads", "output_writes")
SUPPORT = Path(__file__).parents[1] / "tests" / "support"

PLAN = """
[plan]
visits = 2
instances = 32
[[layers]]
networks = "all"
batches = [8]
per_op = 24
[[kernels]]
fast = true
"""


@attrs.frozen
class Base:
    """A small sweep that is multiplied."""

    manifest: Mapping[str, Any]
    rows: tuple[Mapping[str, str], ...]
    visits: Mapping[str, tuple[str, ...]]
    """Lines by case."""

    @classmethod
    def read(cls, folder: Path) -> Base:
        """Its rows of the first 97 shapes."""
        rows: list[Mapping[str, str]] = []
        shapes: set[tuple[str, ...]] = set()
        with (folder / "sweep.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                shape = tuple(row[dim] for dim in DIMENSIONS)
                if row["op"] not in NO_LAYER and (shape in shapes or len(shapes) < SHAPES):
                    shapes.add(shape)
                    rows.append(row)
        visits: dict[str, tuple[str, ...]] = {}
        for line in (folder / "visits.jsonl").read_text(encoding="utf-8").splitlines():
            case = json.loads(line)["case_id"]
            visits[case] = (*visits.get(case, ()), line)
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        return cls(manifest, tuple(rows), visits)


def replayed_sweep(folder: Path) -> None:
    """Sweep a replayed GPU: half a minute."""
    sys.path.insert(0, str(SUPPORT))
    os.environ["PYTHONPATH"] = str(SUPPORT)
    import replayed_device
    from replayed_plans import replayed

    from dibench.plan import load_plan
    from dibench.sweep.run import run_sweep

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "plan.toml"
    path.write_text(PLAN, encoding="utf-8")
    run_sweep(replayed(load_plan(path, backend="cuda", arch=replayed_device.ARCH)), folder)


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


@attrs.frozen
class Pattern:
    """A row of the base, whose further copies are soon made."""

    row: Mapping[str, str]
    layer: Layer
    costs: Mapping[str, float]
    """Seconds and joules by column."""

    @classmethod
    def of(cls, row: Mapping[str, str]) -> Pattern:
        named = {name for name in NAMES if name.endswith(("_s", "_j")) and name != "meter_period_s"}
        costs = {name: float(row[name]) for name in NAMES if name in named and row[name]}
        return cls(row, Layer.from_dims({dim: int(row[dim]) for dim in DIMENSIONS}), costs)

    def copy(self, number: int, copy: int, distinct: bool, noise: float) -> dict[str, str]:
        """The row of that position."""
        case = hashlib.sha256(f"{self.row['case_id']} {number}".encode()).hexdigest()[:16]
        row = {**self.row, "case_id": f"c{case}", "order": str(number), "energy_source": SOURCE}
        if distinct:
            grown = wider(self.layer, copy)
            noise *= cost(grown) / cost(self.layer)
            row |= {dim: str(size) for dim, size in grown.dims.items()}
            for name in ("macs", "weights", "inputs", "outputs", "ai"):
                row[name] = str(getattr(grown, name))
            for name in GROWING:
                row[name] = row[name] and str(int(row[name]) * grown.macs // self.layer.macs)
            network, place = divmod(number, LAYERS)
            row["name"] = f"{FAMILIES[network % len(FAMILIES)]}{network}/layer{place}"
        return row | {name: repr(value * noise) for name, value in self.costs.items()}


# Wide because a table has that many properties.
def make_sweep(
    base: Base, out: Path, rows: int, *, distinct: bool = False, shard: str = "", seed: int = 1, visits: bool
) -> None:
    """Write a sweep of so many rows, or one shard of so many: with visits, as a GPU's, or without."""
    out.mkdir(parents=True, exist_ok=True)
    index, _, of = shard.partition("/")
    first, step = (int(index), int(of)) if shard else (1, 1)
    rng, patterns = random.Random(f"{seed} {shard}"), [Pattern.of(row) for row in base.rows]
    with (out / "sweep.csv").open("wb") as table, (out / "visits.jsonl").open("w") as book:
        table.write(HEADER)
        for at in range(rows):
            copy, which = divmod(at, len(patterns))
            row = patterns[which].copy(first + at * step, copy, distinct, rng.lognormvariate(0.0, 0.03))
            table.write(csv_line([row.get(name, "") for name in NAMES]))
            was = patterns[which].row["case_id"]
            for line in base.visits.get(was, ()) if visits else ():
                book.write(line.replace(was, row["case_id"]).replace('"simulated"', f'"{SOURCE}"') + "\n")
    manifest = {**base.manifest, "energy_source": SOURCE, "backend": "cuda"}
    manifest |= {"kernels": dict(kernel_shas("cuda")), "sources_sha": sources_sha("cuda")}
    manifest["identity"] = {**manifest["identity"], "shard": shard or None}
    manifest["plan"] = {**manifest["plan"], "cases": rows, "shard": shard or None}
    manifest["meter"] = {**manifest["meter"], "source": SOURCE, "in_visits": visits}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    if not visits:
        (out / "visits.jsonl").unlink()


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table of such rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


COLUMNS = (
    *("name", "op", *DIMENSIONS, "dtype", "device", "backend", "energy_source", "status"),
    *("time_s", "energy_above_active_idle_j"),
)
ALIKE = ("fp32", "Replayed Hopper", "cuda", SOURCE, "ok")


def shape_rows(rows: int) -> Iterator[list[object]]:
    """The shapes of the 25 networks in batches of eight, over and over: networks that are complete."""
    rng = random.Random(1)
    shapes = [attrs.evolve(one, N=8) for one in distinct(one for name in names() for one in load(name))]
    for at in range(rows):
        layer = shapes[at % len(shapes)]
        joules = 1e-12 * cost(layer) * rng.lognormvariate(0.0, 0.03)
        yield [layer.name, layer.op, *layer.dims.values(), *ALIKE, repr(joules / 300), repr(joules)]


def network_rows(rows: int) -> Iterator[list[object]]:
    """Whole networks at many batch sizes, with times; their counts follow from their names."""
    rng = random.Random(1)
    known = {name: load(name) for name in names()}
    macs = {name: sum(layer.macs for layer in layers) for name, layers in known.items()}
    blank = [""] * (len(DIMENSIONS) - 4)
    for at in range(rows):
        copy, which = divmod(at, len(known))
        name = names()[which]
        first, batch = known[name][0], 2 ** (copy % 8)
        time_s = 1e-4 + 1e-13 * macs[name] * batch * rng.lognormvariate(0.0, 0.03)
        yield [
            name,
            NETWORK,
            batch,
            first.C,
            first.H,
            first.W,
            *blank,
            *ALIKE,
            repr(time_s),
            repr(time_s * 300),
        ]
