"""Does the interval of disjoint DI's α hold what it promises? Known truth, real shapes.

    python -m benchmarks.study_disjoint                 # 400 studies of each of 12 scenarios

Rows and errors are those of `study_intervals`; the truth is E = e0·M + k·M/DI_α + e_launch.
"""

from __future__ import annotations

import argparse
import itertools
import os
from concurrent.futures import ProcessPoolExecutor

import attrs
import numpy as np
from numpy.typing import NDArray

from benchmarks.study_intervals import ALPHAS, E0_J, LAUNCH_J, Errors, Scenario, measured_layers, rows
from dibench.study.ladder.alpha import DisjointAlpha
from dibench.study.ladder.ladder import make_clusterings
from dibench.study.ladder.models import per_di_disjoint

ERRORS = ("iid", "layer", "network", "operator")
K_J = 6e-11
"""Per MAC/DI."""


def exact(alpha: float) -> NDArray[np.float64]:
    """Joules without error."""
    data = rows()
    return np.asarray(E0_J * data.macs + K_J * per_di_disjoint(data, alpha) + LAUNCH_J)


def covered(scenario: Scenario, seeds: int) -> float:
    """How often the interval holds the true α."""
    clusterings, joules, held = make_clusterings(rows(), 1, 0), exact(scenario.alpha), 0
    for seed in range(seeds):
        y = joules * np.exp(Errors(scenario, seed).of(measured_layers()))
        found = DisjointAlpha(attrs.evolve(rows(), y=y), clusterings).estimate()
        held += (
            found.ci_low is not None
            and found.ci_high is not None
            and found.ci_low <= scenario.alpha <= found.ci_high
        )
    return held / seeds


def main() -> None:
    """Run the scenarios and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=400, help="studies of each scenario (default: 400)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one a core")
    options = parser.parse_args()
    scenarios = [Scenario(*one) for one in itertools.product(ERRORS, ALPHAS)]
    with ProcessPoolExecutor(options.processes) as pool:
        held = pool.map(covered, scenarios, itertools.repeat(options.seeds))
        for scenario, share in zip(scenarios, held, strict=True):
            print(f"{scenario.errors:<8} {scenario.alpha:<5} {share:.3f}", flush=True)


if __name__ == "__main__":
    main()
