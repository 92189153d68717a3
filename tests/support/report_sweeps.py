"""Made-up sweeps for the report: real layers, every operator, the four stationarities at equal boxes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dibench import networks
from dibench.layer import Layer
from dibench.table import format_value

NETWORKS = ("resnet50", "mobilenet_v2", "alexnet", "resnext50_32x4d", "vgg16", "densenet121")
MANIFEST = {
    "device": {"name": "test processor", "uuid": "cpu-0", "facts": {"isa": "x86-64-v3", "threads": 2}},
    "peaks": {"mac_per_s": 1.3e11, "bytes_per_s": 1.9e10},
    "plan": {"name": "default", "seed": 7, "sha": "ab" * 32, "cases": 10},
    "sources_sha": "cd" * 32,
    "versions": {"dibench": "0.1.0", "python": "3.11.7"},
    "command_line": ["python", "-m", "dibench", "sweep", "default", "--out", "here"],
}
HOSTILE = '<script>alert("x")</script>&<b>'
"""A name that is markup."""

_PS_PER_MAC = {"standard": 11.0, "pointwise": 10.0, "depthwise": 40.0, "grouped": 30.0, "fc": 25.0}
_SLOWER = {"output": 8.0, "weight": 10.0, "input": 12.0, "none": 30.0}


@cache
def layers() -> tuple[Layer, ...]:
    """Distinct layers of six networks; every operator is among the first sixty."""
    found = networks.distinct(layer for name in NETWORKS for layer in networks.load(name))
    by_op: dict[str, list[Layer]] = {}
    for layer in found:
        by_op.setdefault(layer.op, []).append(layer)
    front = [layer for own in by_op.values() for layer in own[:12]]
    return (*front, *(layer for layer in found if layer not in front))


def rows(
    number: int, *, source: str = "model", ops: Iterable[str] = tuple(_PS_PER_MAC), seed: int = 0
) -> list[dict[str, Any]]:
    """So many rows: each layer by a fast kernel and by the four stationarities in one box, in turn."""
    random = np.random.default_rng(seed)
    chosen = [layer for layer in layers() if layer.op in set(ops)]
    found: list[dict[str, Any]] = []
    for position in range(number):
        layer = chosen[position // 5 % len(chosen)].with_batch(1 + position // (5 * len(chosen)))
        held = ("fast", "output", "weight", "input", "none")[position % 5]
        time = 1e-12 * (_PS_PER_MAC[layer.op] * layer.macs + 180 * layer.weights + 90 * layer.activations)
        time = (time + 4e-6) * _SLOWER.get(held, 1.0) * float(np.exp(random.normal(0, 0.1)))
        found.append(_row(layer, held, time, source, position))
    return found


def _row(layer: Layer, held: str, time: float, source: str, position: int) -> dict[str, Any]:
    boxed = held in ("output", "weight", "input")
    tile_k = 1 if layer.op == "depthwise" else 2
    reads = {"fast": 0.02, "none": 1.0}.get(held, 0.25)
    return {
        "case_id": f"{position:016x}", "order": position, "sentinel": 0, "session": "s",
        "started_at": "2026-03-01T10:20:30Z",
        "device": "test processor", "device_uuid": "cpu-0", "backend": "cpu",
        "name": layer.name, "op": layer.op, **layer.dims, "dtype": "fp32",
        "variant": f"{held}_{layer.op}" if held == "fast" else f"conv_{held}",
        "stationarity": "output" if held == "fast" else held, "tile_p": 4 if boxed else None,
        "tile_k": tile_k if boxed else None, "tile_c": 1 if boxed else None, "instances": 1,
        "knobs": "taps=1;window=0" if held == "output" else "taps=1" if boxed else "", "macs": layer.macs,
        "macs_executed": layer.macs, "weights": layer.weights, "inputs": layer.inputs,
        "outputs": layer.outputs,
        "ai": layer.ai, "weight_reads": int(layer.macs * reads), "input_reads": int(layer.macs * 2 * reads),
        "output_reads": layer.outputs, "output_writes": layer.outputs, "time_s": time,
        "energy_j": None if source == "none" else 40 * time, "energy_source": source,
        "status": "ok", "reason": "",
    }  # fmt: skip


def write(
    directory: Path, table: list[dict[str, Any]], manifest: Mapping[str, Any] | None = MANIFEST
) -> Path:
    """The directory of a sweep with these rows; the columns are those of the first row."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "sweep.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table[0])
        writer.writerows([[format_value(cell) for cell in row.values()] for row in table])
    if manifest is not None:
        (directory / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return directory
