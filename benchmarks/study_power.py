"""How many rows does a verdict need? Simulated studies of growing prefixes of the `networks` plan.

    python -m benchmarks.study_power                                  # 200 studies of each point, and a table
    python -m benchmarks.study_power --figure docs/figures/power.svg

Each study measures the first so many layers of the plan, in its order; the longest is all of them. Counted is
the verdict, but for the comparison of held-out errors. Truth: weighted DI with the costs of
`dibench.study.use.power`, errors independent, or common to the rows of a family (64% of their variance). The
power computed from the layers alone, which `sweep --dry-run` shows, stands beside the simulated one.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import attrs
import numpy as np
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from benchmarks.study_truth import alpha_rejected, family_rejected, fits
from dibench.layer import Layer
from dibench.plan import load_plan
from dibench.show.axes import linear_axis
from dibench.show.palette import FAINT, INK, MUTED, PANEL_WIDTH
from dibench.show.svg import marked, new_panel, standalone, to_svg
from dibench.study.findings.ladder import MARGIN
from dibench.study.ladder.folds import families_of
from dibench.study.ladder.ladder import make_clusterings
from dibench.study.ladder.models import Data, design
from dibench.study.use.power import chance, layers_only, truth

FloatArray = NDArray[np.float64]

PLAN = "networks"
ROWS = (50, 100, 200, 400, 1716)
ALPHAS = (0.2, 0.3, 0.35, 0.4, 0.5, 0.6, 0.65, 0.7, 0.8)
LINES = ((FAINT, ":"), (FAINT, "-"), (MUTED, "--"), (MUTED, "-"), (INK, "-"))
"""Of each number of rows its colour and dashes: more rows, more ink."""
ERRORS = (("iid", 0.02), ("iid", 0.1), ("family", 0.1))
KINDS = {"iid": "independent", "family": "common to a family"}
SEEDS, DRAWS, AT_ONCE = 200, 399, 50
SHARED = 0.64


@attrs.frozen
class Point:
    """Studies of so many rows, of one truth."""

    rows: int
    alpha: float
    kind: str
    error: float


@attrs.frozen
class Found:
    """Shares of verdicts."""

    point: Point
    di: float
    ai: float
    computed: float
    """What `dibench.study.use.power` says of `di`, for independent errors."""


def planned() -> list[Layer]:
    """The plan's layers in measuring order, each once."""
    cases = load_plan(PLAN, backend="cpu").cases
    return list({case.layer.shape: case.layer for case in cases if not case.sentinel}.values())


@cache
def every_row() -> Data:
    """The same as the models see them."""
    return layers_only(planned())


def studies(point: Point, seeds: Sequence[int]) -> FloatArray:
    """log y (s, n)."""
    data = every_row().only(slice(0, point.rows))
    exact = np.log(design("di_weighted", data).columns @ truth(data, point.alpha))
    families = families_of(data)
    drawn = []
    for seed in seeds:
        rng = np.random.default_rng([seed, 17])
        own, shared = rng.standard_normal(len(data)), rng.standard_normal(families.size)[families.member]
        part = SHARED if point.kind == "family" else 0.0
        drawn.append(exact + point.error * (np.sqrt(1 - part) * own + np.sqrt(part) * shared))
    return np.array(drawn)


def verdicts(data: Data, log_y: FloatArray, draws: int, seed: int) -> list[str]:
    """`DI`, `AI` or `undecided` for each y, by both intervals, all studies at once."""
    full = design("di_weighted", data)
    theta, _, _ = fits(full.columns, log_y)
    e_w, e_a = theta[:, full.names.index("e_w")], theta[:, full.names.index("e_a")]
    estimate = e_w / (e_w + e_a)
    clusterings = make_clusterings(data, draws, seed)
    beyond = {
        end: np.array(alpha_rejected(data, end, log_y, clusterings)) & family_rejected(data, end, log_y)
        for end in MARGIN
    }
    low, high = MARGIN
    di = (beyond[low] & (estimate < low)) | (beyond[high] & (estimate > high))
    ai = beyond[low] & beyond[high] & (low < estimate) & (estimate < high)
    return [str(decision) for decision in np.select([di, ai], ["DI", "AI"], "undecided")]


def run(point: Point, seeds: int, draws: int = DRAWS) -> Found:
    """Simulate one point."""
    data = every_row().only(slice(0, point.rows))
    found: list[str] = []
    for first in range(0, seeds, AT_ONCE):
        some = range(first, min(first + AT_ONCE, seeds))
        found += verdicts(data, studies(point, some), draws, first)
    computed = chance(data, families_of(data), point.alpha, point.error)
    return Found(point, found.count("DI") / seeds, found.count("AI") / seeds, computed)


def table(outcomes: Sequence[Found]) -> str:
    """Markdown: a line for each number of rows and kind of errors, a column for each α."""
    of = {one.point: one for one in outcomes}
    lines = [f"| errors | rows | {' | '.join(f'{alpha:g}' for alpha in ALPHAS)} |"]
    lines.append("|---" * (2 + len(ALPHAS)) + "|")
    for kind, error in ERRORS:
        for rows in ROWS:
            cells = []
            for alpha in ALPHAS:
                one = of[Point(rows, alpha, kind, error)]
                computed = f" ({100 * one.computed:.0f})" if kind == "iid" and alpha != 0.5 else ""
                cells.append(f"{100 * (one.ai if alpha == 0.5 else one.di):.0f}{computed}")
            name = f"{KINDS[kind]}, {100 * error:g}%"
            lines.append(f"| {name} | {rows:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def figure(outcomes: Sequence[Found]) -> str:
    """Share of DI by α, a curve for each number of rows, with independent errors of 10%, as SVG text."""
    chosen = [one for one in outcomes if (one.point.kind, one.point.error) == ERRORS[1]]
    with marked("simulated"):
        panel, axes = new_panel(PANEL_WIDTH, 300)
        axes.axvspan(*MARGIN, color=MUTED, alpha=0.16, linewidth=0, label="here AI is right")
        for rows, (colour, dashes) in zip(ROWS, LINES, strict=True):
            own = sorted((one.point.alpha, one.di) for one in chosen if one.point.rows == rows)
            alphas, shares = zip(*own, strict=True)
            axes.plot(alphas, shares, dashes, color=colour, linewidth=1.8, label=f"{rows:,} rows")
        linear_axis(axes, "x", min(ALPHAS), max(ALPHAS))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel("true α")
        axes.set_ylabel("studies that say DI")
        said = "; ".join(
            f"{one.point.rows} rows, α {one.point.alpha:g}: {100 * one.di:.0f}%" for one in chosen
        )
        title = "How often a study says DI, by true α and rows, errors of 10%"
        return standalone(str(to_svg(panel, "power", title=title, description=f"{said}.")))


def main() -> None:
    """Simulate all points, print the table, draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"studies a point (default: {SEEDS})")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one a core")
    parser.add_argument("--figure", type=Path, help="where to write the SVG")
    options = parser.parse_args()
    points = [Point(rows, alpha, *how) for how in ERRORS for rows in ROWS for alpha in ALPHAS]
    with ProcessPoolExecutor(options.processes) as pool:
        jobs = [pool.submit(run, point, options.seeds) for point in points]
        outcomes = []
        for job in jobs:
            outcomes.append(job.result())
            print(f"{len(outcomes)}/{len(jobs)}", end="\r", flush=True)
    print("Share of studies with the right verdict, in percent (computed from the layers):\n")
    print(table(outcomes))
    if options.figure:
        options.figure.write_text(figure(outcomes), encoding="utf-8")


if __name__ == "__main__":
    main()
