"""Is the time of a disturbed case that of the undisturbed machine? Simulated cases with known truth.

    python -m benchmarks.window_truth                                # 400 cases of each of 1,332 scenarios
    python -m benchmarks.window_truth --cases 100 --estimator mean

Undisturbed windows last 1 on average, with lag-1 correlation, a relative spread, and some of them a skewness
of 1/2. In bursts, some are stretched; the kernel reports all, half or none of those, and 2% of the others
where it reports any. The program itself measures them, stopping rule and budget (98 undisturbed windows)
included; with `--estimator` another takes the place of its own. Printed for each scenario: how often the
interval covers the truth; how often where at least four windows were undisturbed (with fewer, nobody can
tell); the share of cases with fewer; the bias of those with four whose row is ok; the median half-width;
windows taken; rows that are ok.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any
from unittest import mock

import attrs
import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtr

from dibench.intervals import FEWEST, mean_interval
from dibench.measure.measurement import measurement
from dibench.measure.settings import Settings
from dibench.measure.undisturbed import Undisturbed, undisturbed_time
from dibench.measure.windows import visit_in_windows
from dibench.meters.none import NoMeter

WINDOW_S = 0.0100001
BUDGET = 98
FALSE_REPORTS = 0.02
ANY = 0.0
"""Stretch of a window anywhere from 1.1 to 10, log-uniform."""

Estimator = Callable[[Sequence[float], Sequence[bool]], Undisturbed]


@attrs.frozen
class Scenario:
    """What the machine does."""

    rho: float
    spread: float
    """Relative standard deviation of undisturbed windows."""
    skewness: float
    share: float = 0.0
    """Of windows that are stretched."""
    burst: float = 1.0
    """Mean number of stretched windows in a row."""
    stretch: float = 1.5
    reported: float = 0.0
    """Share of the stretched windows that the kernel reports."""

    def __str__(self) -> str:
        machine = f"{self.rho:4g} {self.spread:5g} {self.skewness:4g}"
        return f"{machine} {self.share:5g} {self.burst:5g} {self.stretch:7g} {self.reported:8g}"


@attrs.frozen
class Outcome:
    """What came out, over all cases of a scenario."""

    scenario: Scenario
    covered: float
    covered_of_possible: float
    impossible: float
    """Share of cases in which fewer than four of the windows taken were undisturbed."""
    bias: float
    """Mean, relative, of the possible cases whose rows are ok."""
    half_width: float
    windows: float
    ok: float

    def __str__(self) -> str:
        covered = f"{self.covered:7.3f} {self.covered_of_possible:7.3f} {self.impossible:7.3f}"
        found = f"{100 * self.bias:+7.2f}% {100 * self.half_width:6.2f}% {self.windows:6.1f} {self.ok:5.2f}"
        return f"{self.scenario} {covered} {found}"


def scenarios() -> list[Scenario]:
    """All of them."""
    machines = list(itertools.product((-0.3, 0.0, 0.5), (0.003, 0.01, 0.02), (0.0, 0.5)))
    disturbed = itertools.product(
        machines, (0.1, 0.25, 0.4), (1.0, 3.0, 8.0), (1.1, 1.5, 10.0, ANY), (0.0, 0.5)
    )
    all_reported = itertools.product(machines, (0.4,), (3.0,), (1.1,), (1.0,))
    found = [Scenario(*machine) for machine in machines]
    for machine, share, burst, stretch, reported in itertools.chain(disturbed, all_reported):
        found.append(Scenario(*machine, share, burst, stretch, reported))
    return found


def draw(
    scenario: Scenario, cases: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Times of windows (cases, windows), which of them are stretched, and which are reported."""
    shape = (cases, BUDGET + 2)
    noise, uniform = rng.standard_normal(shape), rng.random(shape)
    stretched = uniform < scenario.share
    leave = 1 / scenario.burst
    enter = scenario.share / (1 - scenario.share) * leave
    for n in range(1, shape[1]):
        noise[:, n] = scenario.rho * noise[:, n - 1] + math.sqrt(1 - scenario.rho**2) * noise[:, n]
        stretched[:, n] = np.where(stretched[:, n - 1], uniform[:, n] >= leave, uniform[:, n] < enter)
    if scenario.skewness:
        shape_of_gamma = 4 / scenario.skewness**2
        noise[:] = (gammaincinv(shape_of_gamma, ndtr(noise)) - shape_of_gamma) / math.sqrt(shape_of_gamma)
    factor = np.full(shape, scenario.stretch) if scenario.stretch else 1.1 * (10 / 1.1) ** rng.random(shape)
    times = (1 + scenario.spread * noise) * np.where(stretched, factor, 1.0)
    chance = np.where(stretched, scenario.reported, FALSE_REPORTS if scenario.reported else 0.0)
    return times, stretched, rng.random(shape) < chance


class Machine:
    """Windows replayed: launches, the clock, and what the kernel says of waiting."""

    counts: Mapping[str, int] = {}
    cells: Mapping[str, Any] = {}

    def __init__(self, times: Sequence[float], reported: Sequence[bool]) -> None:
        self._windows = zip(times, reported, strict=True)
        self._now_s = self._waiting_s = 0.0
        self.taken = -1  # the launch that warms up comes before the first window

    def launch(self, n: int) -> float:
        self.taken += 1
        if self.taken < 1:
            return WINDOW_S
        factor, reported = next(self._windows)
        seconds = n * WINDOW_S * factor
        self._now_s += seconds
        self._waiting_s += 0.05 * seconds if reported else 0.0
        return seconds

    def clock(self) -> float:
        return self._now_s

    def waited(self) -> float:
        return self._waiting_s

    def close(self) -> None:
        pass


def run(scenario: Scenario, cases: int, estimator: Estimator = undisturbed_time, seed: int = 14) -> Outcome:
    """Measure cases of one scenario."""
    rng = np.random.default_rng(seed)
    settings = Settings(case_budget_s=BUDGET * WINDOW_S, warm_up_s=0.0)
    rows = []
    for times, stretched, reported in zip(*draw(scenario, cases, rng), strict=True):
        machine = Machine(times.tolist(), reported.tolist())
        with mock.patch("dibench.measure.measurement.undisturbed_time", estimator):
            visit = visit_in_windows(machine, NoMeter(), settings, machine.clock, waited=machine.waited)
            found = measurement([visit], settings)
        error = found.time_s / WINDOW_S - 1
        half_width = math.inf if found.time_ci_s is None else found.time_ci_s / WINDOW_S
        clean = machine.taken - int(stretched[: machine.taken].sum())
        rows.append((error, half_width, machine.taken, clean >= FEWEST, found.status == "ok"))
    error, half_width, taken, possible, ok = np.array(rows).T
    covered, can = np.abs(error) <= half_width, possible > 0
    return Outcome(
        scenario,
        covered=float(covered.mean()),
        covered_of_possible=float(covered[can].mean()),
        impossible=float(1 - possible.mean()),
        bias=float(error[can & (ok > 0)].mean()) if (can & (ok > 0)).any() else 0.0,
        half_width=float(np.median(half_width)),
        windows=float(taken.mean()),
        ok=float(ok.mean()),
    )


def _believed(times_s: Sequence[float], disturbed: Sequence[bool]) -> tuple[list[float], tuple[bool, ...]]:
    """The windows that the kernel does not report, if there are four."""
    used = tuple(not told for told in disturbed)
    if sum(used) < FEWEST:
        used = (True,) * len(times_s)
    return [t for t, counts in zip(times_s, used, strict=True) if counts], used


def mean(times_s: Sequence[float], disturbed: Sequence[bool]) -> Undisturbed:
    """What dibench did before: the kernel alone decides."""
    kept, used = _believed(times_s, disturbed)
    return Undisturbed(*mean_interval(kept), math.inf, used, sum(disturbed), 0, "")


def _robust(location: Callable[[NDArray[np.float64]], float], efficiency: float) -> Estimator:
    """A robust location; its interval is that of the mean with a spread from the median deviation."""

    def estimate(times_s: Sequence[float], disturbed: Sequence[bool]) -> Undisturbed:
        kept, used = _believed(times_s, disturbed)
        x = np.array(kept)
        half_width = mean_interval(kept)[1]
        spread = float(np.std(x))
        if half_width is not None and spread > 0:
            deviation = 1.4826 * float(np.median(np.abs(x - np.median(x))))
            half_width *= min(deviation / spread, 1.0) / math.sqrt(efficiency)
        return Undisturbed(location(x), half_width, math.inf, used, sum(disturbed), 0, "")

    return estimate


def hodges_lehmann(x: NDArray[np.float64]) -> float:
    """Median of the means of all pairs."""
    first, second = np.triu_indices(len(x))
    return float(np.median((x[first] + x[second]) / 2))


def trimmed(x: NDArray[np.float64]) -> float:
    """Mean without the fifth at either end."""
    cut = len(x) // 5
    return float(np.sort(x)[cut : len(x) - cut].mean())


def _one_sided(middle: Callable[[Sequence[float]], float]) -> Estimator:
    """Mean of the windows up to three deviations, those of the windows below, above a middle."""

    def estimate(times_s: Sequence[float], disturbed: Sequence[bool]) -> Undisturbed:
        kept, used = _believed(times_s, disturbed)
        centre = middle(kept)
        below = [centre - t for t in kept if t <= centre]
        top = centre + 3 * 1.4826 * statistics.median(below)
        used = tuple(counts and t <= top for t, counts in zip(times_s, used, strict=True))
        left = [t for t, counts in zip(times_s, used, strict=True) if counts]
        return Undisturbed(*mean_interval(left), math.inf, used, sum(disturbed), len(kept) - len(left), "")

    return estimate


def half_sample_mode(x: Sequence[float]) -> float:
    """Bickel and Frühwirth, Computational Statistics & Data Analysis 50, 2006: halve the densest half."""
    rising = sorted(x)
    while len(rising) > 2:
        half = (len(rising) + 1) // 2
        at = min(range(len(rising) - half + 1), key=lambda i: rising[i + half - 1] - rising[i])
        rising = rising[at : at + half]
    return statistics.fmean(rising)


def shorth(x: Sequence[float]) -> float:
    """Mean of the shortest half."""
    rising, half = sorted(x), len(x) // 2 + 1
    at = min(range(len(rising) - half + 1), key=lambda i: rising[i + half - 1] - rising[i])
    return statistics.fmean(rising[at : at + half])


ESTIMATORS: Mapping[str, Estimator] = {
    "undisturbed": undisturbed_time,
    "mean": mean,
    "median": _robust(lambda x: float(np.median(x)), 0.64),
    "hodges-lehmann": _robust(hodges_lehmann, 0.95),
    "trimmed": _robust(trimmed, 0.9),
    "above-median": _one_sided(statistics.median),
    "above-mode": _one_sided(half_sample_mode),
    "above-shorth": _one_sided(shorth),
}


def main() -> None:
    """Run the scenarios and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=400, help="of each scenario (default: 400)")
    parser.add_argument("--estimator", choices=ESTIMATORS, default="undisturbed")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one a core")
    parser.add_argument("--every", type=int, default=1, help="run every n-th scenario only")
    options = parser.parse_args()
    print(" rho spread skew share burst stretch reported covered      of possible    bias  ±half  windows ok")
    outcomes = []
    for outcome in _all(options.estimator, options.cases, options.processes, options.every):
        outcomes.append(outcome)
        print(outcome, flush=True)
    worst = min(one.covered_of_possible for one in outcomes)
    bias = max(abs(one.bias) for one in outcomes)
    print(f"\n{len(outcomes)} scenarios, {options.cases} cases each:", end=" ")
    print(f"of the possible at least {worst:.3f} are", end=" ")
    print(f"covered (median {statistics.median(one.covered_of_possible for one in outcomes):.3f}),", end=" ")
    print(f"|bias| at most {100 * bias:.2f}%")


def _all(estimator: str, cases: int, processes: int | None, every: int) -> Iterator[Outcome]:
    with ProcessPoolExecutor(processes) as pool:
        jobs = [pool.submit(run_named, one, cases, estimator) for one in scenarios()[::every]]
        for job in jobs:
            yield job.result()


def run_named(scenario: Scenario, cases: int, estimator: str) -> Outcome:
    """`run` with an estimator of `ESTIMATORS`, whose functions cannot be sent to another process."""
    return run(scenario, cases, ESTIMATORS[estimator])


if __name__ == "__main__":
    main()
