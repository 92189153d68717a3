"""A kernel engineer asks: does a box with more reuse pay, and has my change made a kernel slower?

    python examples/kernel_engineer.py results/local/tiles-1                         # measure
    python examples/kernel_engineer.py results/local/tiles-1 results/local/tiles-2   # again, and compare

The plan `two_tiles.toml` runs three layers by two kernels with boxes of 1, 2 and 8 output positions: each
weight that is read serves as many multiply-adds. Reads are counted exactly.
Between the two calls change a kernel in csrc/cpu/ and `make setup`. The same case keeps its id.
"""

import sys
from pathlib import Path

import dibench

PLAN = Path(__file__).with_name("two_tiles.toml")
*before, out = sys.argv[1:] or ["results/local/tiles-1"]
rows = dibench.sweep(PLAN, out=out, backend="cpu", case_budget="0.5s")
print(rows)

frame = rows.frame
frame = frame[(frame["sentinel"] != 1) & frame["time_s"].notna()]
print("\nreads a MAC, of    held    tile_p  weights  inputs  GMAC/s")
for (op, size, held), boxes in frame.groupby(["op", "H", "stationarity"]):
    layer = f"{op} {size:.0f}×{size:.0f}"
    for _, row in boxes.sort_values("tile_p").iterrows():
        weight, image = (row[column] / row["macs"] for column in ("weight_reads", "input_reads"))
        speed = row["macs"] / row["time_s"] / 1e9
        doubt = "" if row["status"] == "ok" else " disturbed"
        print(f"{layer:18} {held:7} {row['tile_p']:6.0f}{weight:9.3f}{image:8.3f}{speed:8.2f}{doubt}")

if before:
    changed = dibench.compare(before[0], out)
    print(f"\nA is {before[0]}, B is {out}: {changed.verdict}.\n{changed}")
    sys.exit(changed.verdict == "worse")  # so that a script, or CI, can ask
