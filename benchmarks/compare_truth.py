"""Does `compare` cry wolf, and what does it find? Sweeps of one program, repeated beside a neighbour.

    python -m benchmarks.compare_truth --out DIR              # 25 sweeps of 20 s beside bursts of load
    python -m benchmarks.compare_truth --out DIR --share 0    # on a quiet machine
    python -m benchmarks.compare_truth --from DIR             # the tables again, measuring nothing

Every sweep measures the same plan by the same program, so each "worse" of the 600 ordered pairs of 25 sweeps
is a false alarm. Power: consecutive sweeps joined are one longer sweep of 200 cases or more. Of two such, ten
cases of the second are made slower, and it is counted how many are named, and what the exit status is.
"""

from __future__ import annotations

import argparse
import itertools
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
import pandas as pd

from benchmarks.neighbour import SHARE, neighbour
from dibench.study.use.compare import compare
from dibench.table import read_csv

PLAN = """
[plan]
description = "thirty small layers of the 25 networks, by the fast kernels"

[[layers]]
networks = "all"
max_macs = 20_000_000
per_op   = 6

[[kernels]]
fast = true
"""
SWEEPS, EACH, CASE_BUDGET = 25, "20s", "0.45s"
MARGINS = (None, 0.03, 0.05, 0.1)
CHANGES = (
    (0.05, None),
    (0.05, 0.01),
    (0.05, 0.03),
    (0.1, None),
    (0.1, 0.05),
    (0.2, None),
    (0.2, 0.05),
    (0.2, 0.1),
)
"""How much slower the ten cases are, and the margin that is asked for; None asks for none."""
CASES, SLOWER, TRIALS = 200, 10, 100


@attrs.frozen
class Power:
    """What became of so many comparisons with `SLOWER` slow cases in each."""

    named: float
    """Share of the slow cases that were named."""
    wrongly: float
    """Comparisons that named another case, or called all cases together worse."""
    verdicts: Counter[str]


def measure(out: Path, sweeps: int, each: str, share: float) -> None:
    """The sweeps, one after the other, by this checkout."""
    out.mkdir(parents=True, exist_ok=True)
    plan = out / "plan.toml"
    plan.write_text(PLAN, encoding="utf-8")
    sweep = [sys.executable, "-m", "dibench", "sweep", str(plan), "--backend", "cpu", "--meter", "none"]
    with neighbour(share):
        for number in range(1, sweeps + 1):
            own = out / f"{number:03}"
            print(f"sweep {number} of {sweeps}", file=sys.stderr)
            limits = ["--time-budget", each, "--case-budget", CASE_BUDGET]
            subprocess.run([*sweep, "--out", str(own), *limits], check=True, stdout=subprocess.DEVNULL)


def verdicts(sweeps: Sequence[pd.DataFrame], margin: float | None) -> Counter[str]:
    """How often each verdict comes of all ordered pairs."""
    return Counter(compare(a, b, margin=margin).verdict for a, b in itertools.permutations(sweeps, 2))


def joined(sweeps: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Consecutive sweeps as one: the cases of each have ids of their own."""
    own = [frame.assign(case_id=frame["case_id"] + f"-{at}") for at, frame in enumerate(sweeps)]
    return pd.concat(own, ignore_index=True)


def power(sweeps: Sequence[pd.DataFrame], change: float, margin: float | None, trials: int) -> Power:
    """What is found of ten cases that are slower by `change`, in 200 or the nearest that the sweeps allow."""
    random = np.random.default_rng(1)
    fewest = min(int((frame["sentinel"] != 1).sum()) for frame in sweeps)
    length = min(math.ceil(CASES / fewest), len(sweeps) // 2)
    named, wrongly, found = 0, 0, Counter[str]()
    for _ in range(trials):
        start = int(random.integers(len(sweeps) - 2 * length + 1))
        halves = [joined(sweeps[at : at + length]) for at in (start, start + length)]
        a, b = halves if random.random() < 0.5 else halves[::-1]
        both = b.index[(b["sentinel"] != 1) & b["time_s"].notna() & b["case_id"].isin(a["case_id"])]
        slow = random.choice(both, SLOWER, replace=False)
        b.loc[slow, ["time_s", "time_ci_s"]] *= 1 + change
        told = compare(a, b, margin=margin)
        worse = {case.case_id for case in told.quantities[0].having("worse")}
        hits = worse & set(b.loc[slow, "case_id"])
        named += len(hits)
        wrongly += worse != hits or told.quantities[0].verdict == "worse"
        found[told.verdict] += 1
    return Power(named / (SLOWER * trials), wrongly / trials, found)


def show(sweeps: Sequence[pd.DataFrame]) -> None:
    """Print what the sweeps are like, false alarms, and power."""
    rows = pd.concat(sweeps)
    rows = rows[rows["status"].isin(("ok", "flagged"))]
    sentinel = rows.loc[rows["sentinel"] == 1, "time_s"]
    flagged, width = (rows["status"] == "flagged").mean(), (rows["time_ci_s"] / rows["time_s"]).median()
    print(f"{len(sweeps)} sweeps, {len(rows)} rows: {flagged:.0%} flagged, median half-width ±{width:.1%}, "
          f"sentinel {1e3 * sentinel.min():.3g} to {1e3 * sentinel.max():.3g} ms")  # fmt: skip
    pairs = len(sweeps) * (len(sweeps) - 1)
    print(f"\n--fail-above  false alarms  too noisy  not worse   of {pairs} ordered pairs")
    for margin in MARGINS:
        found = verdicts(sweeps, margin)
        cells = [f"{found[verdict] / pairs:.1%}" for verdict in ("worse", "too noisy", "not worse")]
        print(f"{_text(margin):>12}  {cells[0]:>12}  {cells[1]:>9}  {cells[2]:>9}")
    fewest = min(len(set(frame["case_id"][frame["sentinel"] != 1])) for frame in sweeps)
    if fewest * (len(sweeps) // 2) < CASES // 2:
        print(f"\nPower: not told, sweeps of {fewest} cases joined are too short; give --each more time.")
        return
    print(f"\n{SLOWER} cases slower by  --fail-above  named  exit 1  too noisy  other cases named")
    for change, margin in CHANGES:
        one = power(sweeps, change, margin, TRIALS)
        asked = f"{change:18.0%}  {_text(margin):>12}"
        print(f"{asked}  {one.named:5.0%}  {one.verdicts['worse'] / TRIALS:6.0%}  "
              f"{one.verdicts['too noisy'] / TRIALS:9.0%}  {one.wrongly:17.0%}")  # fmt: skip


def _text(margin: float | None) -> str:
    return "by default" if margin is None else f"{margin:.0%}"


def main() -> None:
    """Measure unless --from is given, then print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="directory of the sweeps")
    parser.add_argument("--from", dest="kept", type=Path, help="an --out of earlier: only the tables")
    parser.add_argument("--sweeps", type=int, default=SWEEPS, help=f"how many (default: {SWEEPS})")
    parser.add_argument("--each", default=EACH, help=f"time budget of each (default: {EACH})")
    parser.add_argument("--share", type=float, default=SHARE, help="of a core for the neighbour; 0 for none")
    options = parser.parse_args()
    if options.kept is None:
        if options.out is None:
            parser.error("name --out, or --from")
        measure(options.out.resolve(), options.sweeps, options.each, options.share)
    directory = options.kept or options.out
    show([read_csv(path).dropna(axis="columns", how="all") for path in sorted(directory.glob("*/sweep.csv"))])


if __name__ == "__main__":
    main()
