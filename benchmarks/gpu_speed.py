"""Our fastest CUDA kernels beside PyTorch's cuDNN and cuBLAS: `python -m benchmarks.gpu_speed OUT.csv`.

Layers of the 25 networks, from weight-bound to activation-bound for each operator, in the same math mode on
both sides, alternating: ours, theirs, ours, … Times are from GPU events around graphs of launches. The ratio
is their time over ours; the geometric mean over an operator summarises it.
"""

from __future__ import annotations

import csv
import math
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from dibench import kernels, networks
from dibench.backends import Backend, Prepared, open_backend
from dibench.backends.torch_gpu import TorchGpuLayer
from dibench.errors import UserError
from dibench.intensity import OPERATORS
from dibench.layer import Layer
from dibench.plan import shapes, usual_case

BATCHES = (1, 32)
PER_OP = 12
ROUNDS = 7
WINDOW_S = 0.02
COLUMNS = ("op", "dtype", "name", "N", "macs", "variant", "ours_s", "theirs_s", "ratio", "gb_per_s", "note")


def layers() -> Iterator[Layer]:
    """Some layers of each operator at each batch size."""
    distinct = networks.distinct(layer for name in networks.names() for layer in networks.load(name))
    for op in OPERATORS:
        chosen = shapes.spread([layer for layer in distinct if layer.op == op], PER_OP)
        yield from (layer.with_batch(N) for layer in chosen for N in BATCHES)


def launches(prepared: Prepared) -> int:
    """How many launches fill a window of WINDOW_S."""
    prepared.launch(3)
    return max(1, math.ceil(WINDOW_S / max(prepared.launch(10) / 10, 1e-7)))


def compare(backend: Backend, layer: Layer, dtype: str) -> dict[str, object]:
    """One row: the fastest of our variants that run the layer in this type, and the library."""
    fast = [
        v for v in kernels.registry("cuda").values() if v.fast and layer.op in v.ops and dtype in v.dtypes
    ]
    best: tuple[float, str] | None = None
    theirs = TorchGpuLayer(layer, dtype=dtype)
    their_n, their_times = launches(theirs), []
    for variant in fast:
        try:
            ours = backend.prepare(usual_case(layer, variant, dtype=dtype))
        except UserError:
            continue
        n, times = launches(ours), []
        for _ in range(ROUNDS):
            times.append(ours.launch(n) / n)
            their_times.append(theirs.launch(their_n) / their_n)
        ours.close()
        found = statistics.median(times)
        best = min(best, (found, variant.name)) if best else (found, variant.name)
    theirs.close()
    row: dict[str, object] = {
        "op": layer.op, "dtype": dtype, "name": layer.name, "N": layer.N, "macs": layer.macs,
    }  # fmt: skip
    if best is None:
        return {**row, "note": "no fast variant runs it"}
    their_s = statistics.median(their_times)
    element = 2 if dtype in ("fp16", "bf16") else 4
    moved = element * (layer.weights + layer.inputs) + 4 * layer.outputs
    return {
        **row, "variant": best[1], "ours_s": best[0], "theirs_s": their_s, "ratio": their_s / best[0],
        "gb_per_s": moved / best[0] / 1e9, "note": "",
    }  # fmt: skip


def main(out: Path) -> None:
    """Measure all, write the table, print geometric means."""
    backend, rows = open_backend("cuda"), []
    with out.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        for dtype in ("fp32", "tf32", "fp16", "bf16"):
            for layer in layers():
                if dtype != "fp32" and layer.op in ("depthwise", "fc") and layer.N == 1:
                    continue
                rows.append(compare(backend, layer, dtype))
                table.writerow(rows[-1])
                file.flush()
    for dtype in ("fp32", "tf32", "fp16", "bf16"):
        for op in OPERATORS:
            known = [
                float(str(r["ratio"])) for r in rows if (r["op"], r["dtype"]) == (op, dtype) and "ratio" in r
            ]
            if known:
                mean = math.exp(statistics.fmean(map(math.log, known)))
                of = f"geometric mean of {len(known)} layers"
                print(f"{dtype} {op:<10} {mean:.2f} of the library's speed, {of}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
