"""What a neighbour does to a sweep: the main job by two versions of dibench, beside bursts of load.

    python -m benchmarks.shared_machine OLD NEW --out DIR            # two checkouts, each with its .venv
    python -m benchmarks.shared_machine OLD NEW --out DIR --share 0  # on a quiet machine
    python -m benchmarks.shared_machine --from DIR                   # the table again, measuring nothing

The versions take turns, so that both see the same machine; in each turn the neighbour's bursts are the same.
For each run the table has: cases measured, share of `ok` rows, the sentinel's spread (standard deviation over
mean, largest over smallest), the rows' median half-width, AI's held-out error, α with its interval.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pandas as pd

from benchmarks.neighbour import SHARE, neighbour

BUDGET = "150s"
TURNS = 2


@attrs.frozen
class Outcome:
    """One run of one version."""

    label: str
    cases: int
    ok: float
    sentinel_sd: float
    sentinel_range: float
    half_width: float
    ai_error: float | None
    alpha: str


def measure(checkout: Path, out: Path, budget: str, share: float, seed: int) -> None:
    """The main job by one checkout: sweep the default plan on the CPU, then fit."""
    python = [str(checkout / ".venv/bin/python"), "-m", "dibench"]
    table = out / "sweep.csv"
    out.parent.mkdir(parents=True, exist_ok=True)
    with neighbour(share, seed=seed):
        sweep = ["sweep", "default", "--backend", "cpu", "--out", str(out), "--time-budget", budget]
        subprocess.run([*python, *sweep], cwd=checkout, check=True)
    fit = ["fit", str(table), "--json", str(out / "fit.json")]
    subprocess.run([*python, *fit], cwd=checkout, check=False, stdout=subprocess.DEVNULL)


def outcome(out: Path) -> Outcome:
    """What a run's files say."""
    frame = pd.read_csv(out / "sweep.csv")
    measured = frame[frame["status"].isin(("ok", "flagged"))]
    cases = measured[measured["sentinel"].fillna(0) != 1]
    sentinel = measured.loc[measured["sentinel"].fillna(0) == 1, "time_s"]
    fitted = json.loads((out / "fit.json").read_text(encoding="utf-8"))
    return Outcome(
        label=out.name,
        cases=len(cases),
        ok=float((cases["status"] == "ok").mean()),
        sentinel_sd=float(sentinel.std(ddof=1) / sentinel.mean()) if len(sentinel) > 1 else float("nan"),
        sentinel_range=float(sentinel.max() / sentinel.min()),
        half_width=statistics.median((cases["time_ci_s"] / cases["time_s"]).dropna()),
        ai_error=_ai_error(fitted),
        alpha=_alpha(fitted),
    )


def _ai_error(fitted: dict[str, Any]) -> float | None:
    """AI's error on families of networks that it has not seen (MAPE)."""
    error: float | None = (fitted["models"]["ai"]["held_out"] or {}).get("mape")
    return error


def _alpha(fitted: dict[str, Any]) -> str:
    alpha = fitted["alpha"]["weighted"]
    if alpha["value"] is None:
        return "open"
    ends = [
        ("−∞", "∞")[i] if end is None else f"{end:.2f}"
        for i, end in enumerate((alpha["ci_low"], alpha["ci_high"]))
    ]
    return f"{alpha['value']:.2f} ({ends[0]} to {ends[1]})"


def show(directory: Path) -> None:
    """Print the table of all runs below a directory."""
    print("run      cases     ok  sentinel sd  max/min  half-width  AI held out  α")
    for path in sorted(directory.glob("*/fit.json")):
        one = outcome(path.parent)
        error = "–" if one.ai_error is None else f"{100 * one.ai_error:.0f}%"
        width = f"±{100 * one.half_width:.1f}%"
        print(
            f"{one.label:8} {one.cases:5} {100 * one.ok:5.0f}%  {100 * one.sentinel_sd:10.1f}%"
            f"  {one.sentinel_range:7.2f}  {width:>10}  {error:>11}  {one.alpha}"
        )


def _main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkouts", nargs="*", type=Path, help="two or more, the older first")
    parser.add_argument("--out", type=Path, help="directory of the sweeps")
    parser.add_argument("--from", dest="kept", type=Path, help="an --out of earlier: show its table")
    parser.add_argument("--budget", default=BUDGET, help="of each sweep")
    parser.add_argument("--turns", type=int, default=TURNS, help="runs of each version")
    parser.add_argument("--share", type=float, default=SHARE, help="of a core for the neighbour; 0 for none")
    options = parser.parse_args()
    if options.kept:
        show(options.kept)
        return
    if not options.checkouts or not options.out:
        parser.error("name the checkouts and --out, or --from")
    for turn in range(1, options.turns + 1):
        for number, checkout in enumerate(options.checkouts, start=1):
            label = f"{['old', 'new'][number - 1] if len(options.checkouts) == 2 else number}-{turn}"
            print(f"== {label}", file=sys.stderr)
            measure(
                checkout.resolve(), options.out.resolve() / label, options.budget, options.share, seed=turn
            )
    show(options.out)


if __name__ == "__main__":
    _main()
