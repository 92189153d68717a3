"""What `variants --limits` predicts beside what a GPU takes: `python -m benchmarks.gpu_limits OUT.csv`.

The layers that the verb shows where none is named, at N = 1, 8, 32, under each fast kernel, as often as gives
a steady time. Operands that fit into L2 are found there, so the prediction takes them from there too. It is a
bound from below: no measured time should be shorter, and what binds says which constant of `cards.py` to look
at.
"""

from __future__ import annotations

import csv
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_speed import ROUNDS, launches
from dibench import models
from dibench.backends import Backend, open_backend
from dibench.cli.kernel_limits import BATCHES, FEW
from dibench.errors import UserError
from dibench.limits import cards, choice
from dibench.limits.cards import Card
from dibench.limits.examine import examine
from dibench.plan import Case

COLUMNS = ("layer", "N", "variant", "dtype", "predicted_s", "measured_s", "ratio", "binds", "note")


def card_of(backend: Backend) -> Card:
    """The GPU at hand: its architecture's latencies and rates, its own size and clocks."""
    facts = backend.device().facts
    return cards.of_gpu(
        arch=facts["arch"],
        name=facts["name"],
        sms=facts["sms"],
        clock_hz=1e3 * facts["clock_khz"],
        dram_bytes_per_s=2 * 1e3 * facts["memory_clock_khz"] * facts["memory_bus_bits"] / 8,
        l2_bytes=facts["l2_bytes"],
    )


def rows(backend: Backend, cases: Sequence[Case], card: Card) -> Iterator[dict[str, Any]]:
    """One row for each case: predicted, measured, and measured over predicted."""
    for case, told in zip(cases, examine(cases, card, warm=True), strict=True):
        about = {"layer": case.layer.name, "N": case.layer.N, "variant": case.variant, "dtype": case.dtype}
        if isinstance(told, UserError):
            yield {**about, "note": str(told)}
            continue
        measured_s = _measured_s(backend, case)
        yield {
            **about, "predicted_s": told.time_s, "measured_s": measured_s, "ratio": measured_s / told.time_s,
            "binds": told.binds, "note": "",
        }  # fmt: skip


def _measured_s(backend: Backend, case: Case) -> float:
    prepared = backend.prepare(case)
    try:
        number = launches(prepared)
        return statistics.median(prepared.launch(number) / number for _ in range(ROUNDS))
    finally:
        prepared.close()


def summary(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line for each thing that binds: how far measured times are from the predicted ones."""
    known = [row for row in found if "ratio" in row]
    for binds in sorted({row["binds"] for row in known}):
        ratios = [row["ratio"] for row in known if row["binds"] == binds]
        mean = math.exp(statistics.fmean(map(math.log, ratios)))
        spread = f"({min(ratios):.2f} to {max(ratios):.2f}), {len(ratios)} layers"
        yield f"{binds:<10} measured over predicted {mean:.2f} {spread}"


def main(out: Path) -> None:
    """Measure all, write the table, print the summary."""
    backend = open_backend("cuda")
    card = card_of(backend)
    layers = [models.find(name, batch=N) for name in FEW for N in BATCHES]
    cases = [case for layer in layers for case in choice.cases_of(layer, card)]
    found = []
    with out.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        for row in rows(backend, cases, card):
            table.writerow(row)
            file.flush()
            found.append(row)
    print("\n".join(summary(found)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
