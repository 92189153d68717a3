"""Do the guards against false evidence hold back what is false, and only that? Simulated studies.

    python -m benchmarks.study_guards               # 100 studies of each kind
    python -m benchmarks.study_guards --seeds 20
    python -m benchmarks.study_guards --power       # how often varying power passes for constant power

Each study draws 400 cases of the 25 networks at N = 1, 8 and 32, as `study_misfits` does: e0 = 3 pJ/MAC, an
element 20 pJ on average. Rows err by 2% and do not say so: the lack of fit, which would catch most of these
studies, is then not known, as it is not of most tables that others published. `false` studies have energy
that says nothing of the data types (AI is true of it, or time is all there is); there any verdict that data
types matter is wrong. `true` studies have the same rows in doubt but joules that weighted DI made; there the
guard costs what it holds back.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import attrs
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.study_misfits import DRAWS, E0_J, ELEMENT_J, LAUNCH_J, NOISE, Cases, cases
from dibench.schema import FRAMEWORK_CALLS, REPEATED_MODULE, WARM_OPERANDS
from dibench.study.ladder.folds import make_folds
from dibench.study.ladder.guards import doubtful_rows, guards_of, time_alone
from dibench.study.ladder.ladder import AiAgainstDi, make_clusterings
from dibench.study.ladder.ladder import compare as ai_against_di
from dibench.study.ladder.models import Data, data_of
from dibench.study.ladder.rungs import fit_rung
from dibench.study.ladder.verdict import withhold
from dibench.study.table.catalogue import catalogue_of
from dibench.study.table.rows import select
from dibench.study.table.subsets import LAUNCH_BOUND_S

FloatArray = NDArray[np.float64]
Columns = dict[str, FloatArray | str | float]

ROWS, SEEDS = 400, 100
CAP_W, IDLE_W = 165.0, 40.0
CACHE_BYTES = 24e6
CALL_S = 60e-6
"""Of a framework: a shorter layer takes as long."""


def seconds(on: Cases, weight: float = 1.0) -> FloatArray:
    """Time by compute and traffic: 3 TMAC/s, 100 GB/s, a weight `weight` times as slow as an activation."""
    return on.macs / 3e12 + 4 * (weight * on.weights + on.activations) / 100e9 + 2e-6


def watts(on: Cases) -> FloatArray:
    """Power that varies from layer to layer as AI does, between idle and twice the cap."""
    ai = on.macs / (on.weights + on.activations)
    return IDLE_W + 120.0 * ai / (ai + 20.0)


def mixed(on: Cases, alpha: float, element: float = ELEMENT_J) -> FloatArray:
    """Joules of weighted DI."""
    return on.joules(2 * element * alpha, 2 * element * (1 - alpha))


def constant_power(on: Cases, alpha: float) -> Columns:
    """Time is what weights make long; power is 76 W."""
    del alpha
    time = seconds(on, weight=6.0)
    return {"time_s": time, "energy_j": 76.0 * time}


def varying_power(on: Cases, alpha: float) -> Columns:
    """Joules by DI; power is theirs over a time of its own."""
    energy = mixed(on, alpha)
    return {"time_s": energy / watts(on), "energy_j": energy}


def at_the_cap(on: Cases, alpha: float) -> Columns:
    """Joules by DI below the cap; most rows are at it, where time is what weights make long."""
    energy, time = mixed(on, alpha), seconds(on, weight=20.0)
    scale = CAP_W / np.quantile(energy / time, 0.15)
    capped = energy * scale > CAP_W * time
    return {
        "time_s": time,
        "energy_j": np.where(capped, CAP_W * time, 0.97 * scale * energy),
        "power_limit_w": CAP_W,
    }


def slowed_at_the_cap(on: Cases, alpha: float) -> Columns:
    """Joules by DI everywhere; two thirds of the rows take as long as the cap makes them."""
    energy = mixed(on, alpha)
    power = np.minimum(CAP_W, 1.9 * watts(on))
    return {"time_s": energy / power, "energy_j": energy, "power_limit_w": CAP_W}


def short_calls(on: Cases, alpha: float) -> Columns:
    """Joules by DI from 100 µs on; below, a call packs weights anew, which a long layer would hide."""
    energy = 40 * mixed(on, alpha)
    time = energy / (3 * watts(on))
    packed = np.where(time < LAUNCH_BOUND_S, 40 * mixed(on, 0.85), energy)
    return {"time_s": time, "energy_j": packed, "caveats": FRAMEWORK_CALLS}


def long_calls(on: Cases, alpha: float) -> Columns:
    """Joules by DI, to which each call adds the same."""
    energy = mixed(on, alpha) * 40 + IDLE_W * CALL_S
    return {"time_s": CALL_S + energy / (3 * watts(on)), "energy_j": energy, "caveats": FRAMEWORK_CALLS}


def warm(on: Cases, alpha: float) -> Columns:
    """Layers that the cache holds cost by another α than those it does not: a fifth as much."""
    fits = 1e6 * on.megabytes <= CACHE_BYTES
    energy = np.where(fits, mixed(on, 1 - alpha, ELEMENT_J / 2), mixed(on, 0.5))
    return _cached(on, energy, WARM_OPERANDS)


def warm_alike(on: Cases, alpha: float) -> Columns:
    """Layers that the cache holds cost half as much an element, by the same α."""
    fits = 1e6 * on.megabytes <= CACHE_BYTES
    return _cached(on, np.where(fits, mixed(on, alpha, ELEMENT_J / 2), mixed(on, alpha)), WARM_OPERANDS)


def warm_weights(left: float, on: Cases, alpha: float) -> Columns:
    """A weight costs that share of what it costs from memory."""
    weight = left * 2 * ELEMENT_J * alpha
    energy = E0_J * on.macs + weight * on.weights + 2 * ELEMENT_J * (1 - alpha) * on.activations + LAUNCH_J
    return _cached(on, energy, REPEATED_MODULE)


def small_maps(on: Cases, alpha: float) -> Columns:
    """Joules are power times a time that grows as maps leave multiprocessors idle: weights go with that."""
    waste = 1 / np.maximum(on.fill, 1 / 64)
    energy = E0_J * on.macs * waste + 2 * ELEMENT_J * ((1 - alpha) * on.activations + alpha * on.weights)
    return {"time_s": energy / watts(on), "energy_j": energy + LAUNCH_J}


def _cached(on: Cases, energy: FloatArray, caveat: str) -> Columns:
    return {"time_s": energy / watts(on), "energy_j": energy, "caveats": caveat, "cache_bytes": CACHE_BYTES}


@attrs.frozen
class Scenario:
    """How rows come about, and α of the joules that are not in doubt."""

    name: str
    guard: str
    columns: Callable[[Cases, float], Columns]
    alpha: float
    false: bool
    """Whether there is nothing of the data types to be found."""

    def __str__(self) -> str:
        return f"{self.guard}: {self.name}"


SCENARIOS = (
    Scenario("constant power", "time alone", constant_power, 0.5, True),
    Scenario("power that varies, α = 0.2", "time alone", varying_power, 0.2, False),
    Scenario("time at the cap, AI below it", "power cap", at_the_cap, 0.5, True),
    Scenario("joules of α = 0.2 at the cap, too", "power cap", slowed_at_the_cap, 0.2, False),
    Scenario("short layers cost the call, AI true", "launch-bound", short_calls, 0.5, True),
    Scenario("calls add the same, α = 0.2", "launch-bound", long_calls, 0.2, False),
    Scenario("α = 0.8 in the cache, AI beyond", "warm operands", warm, 0.2, True),
    Scenario("α = 0.2 in the cache and beyond", "warm operands", warm_alike, 0.2, False),
    Scenario("weights a fifth as costly, AI cold", "repeated module", partial(warm_weights, 0.2), 0.5, True),
    Scenario("half as costly, α = 0.9 cold", "repeated module", partial(warm_weights, 0.5), 0.9, False),
    Scenario("idle multiprocessors, AI true", "implausible cost", small_maps, 0.5, True),
    Scenario("plausible costs, α = 0.8", "implausible cost", varying_power, 0.8, False),
)


def study(scenario: Scenario, seed: int) -> pd.DataFrame:
    """The table of one study; a seed gives the same cases and errors in every run."""
    on, random = cases(), np.random.default_rng([seed, 16])
    chosen = np.sort(random.choice(len(on.frame), ROWS, replace=False))
    frame = on.frame.drop(columns=["blocks", "sms"]).assign(**scenario.columns(on, scenario.alpha))
    frame = frame.iloc[chosen].reset_index(drop=True)
    frame[["energy_j", "time_s"]] *= np.exp(
        NOISE * random.standard_normal((ROWS, 1))
    )  # of time, power is exact
    return frame


@attrs.frozen
class Answer:
    """The verdict of a study without guards and with them, and the guards that withhold it."""

    before: str
    after: str
    fired: tuple[str, ...]


def answer(frame: pd.DataFrame, seed: int) -> Answer:
    """As `fit` answers."""
    selection = select(frame)
    data, catalogue = data_of(selection.frame, selection.response, selection.repeats), catalogue_of(frame)
    clusterings, folds = make_clusterings(data, DRAWS, seed), make_folds(data, seed, catalogue)

    def compare(some: Data) -> AiAgainstDi:
        return ai_against_di(some, make_clusterings(some, DRAWS, seed), make_folds(some, seed, catalogue))

    found = compare(data)
    rung = fit_rung("di_weighted", data, clusterings, folds)
    doubtful = doubtful_rows(selection, data, lambda: select(frame, at_cap=True))
    others = {one: compare(one.others) if len(one.others) else None for one in doubtful}
    guards = guards_of(selection, data, found, rung, others)
    fired = tuple(guard.name for guard in guards if guard.withholds)
    return Answer(found.verdict.decision, withhold(found.verdict, guards).decision, fired)


def run(scenario: Scenario, seed: int) -> Answer:
    """One study and its answer."""
    return answer(study(scenario, seed), seed)


SPREADS, ERRORS, NUMBERS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.1), (0.005, 0.02, 0.05, 0.1), (50, 400)


def passes(spread: float, error: float, rows: int, seeds: int) -> float:
    """How often power that varies by `spread` passes for constant, with rows good to `error`."""
    random, on = np.random.default_rng(16), cases()
    frame = on.frame.iloc[random.choice(len(on.frame), rows, replace=False)].reset_index(drop=True)
    frame = frame.assign(energy_j=1.0, energy_ci_j=1.96 * error, time_s=1.0)
    data, found = data_of(frame, "energy_j"), 0
    for _ in range(seeds):
        off = np.hypot(spread, error) * random.standard_normal(rows)
        found += time_alone(attrs.evolve(data, y=np.exp(off))) is not None
    return found / seeds


def main() -> None:
    """Run the scenarios and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"of each (default: {SEEDS})")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one a core")
    parser.add_argument("--power", action="store_true", help="how often varying power passes for constant")
    options = parser.parse_args()
    if options.power:
        _print_power(10 * options.seeds)
        return
    with ProcessPoolExecutor(options.processes) as pool:
        jobs = {one: [pool.submit(run, one, seed) for seed in range(options.seeds)] for one in SCENARIOS}
        print(f"{'':52} false  fires  before: DI     AI  after: DI     AI")
        for scenario, own in jobs.items():
            told = [job.result() for job in own]
            shares = [np.mean([scenario.guard in one.fired for one in told])]
            for word in ("before", "after"):
                shares += [np.mean([getattr(one, word) == said for one in told]) for said in ("DI", "AI")]
            cells = "  ".join(f"{share:8.0%}" for share in shares)
            print(f"{scenario!s:52} {'yes' if scenario.false else 'no':5}{cells}", flush=True)


def _print_power(seeds: int) -> None:
    print("rows  good to  " + "".join(f"{spread:8.0%}" for spread in SPREADS) + "   spread of power")
    for rows in NUMBERS:
        for error in ERRORS:
            cells = "".join(f"{passes(spread, error, rows, seeds):8.1%}" for spread in SPREADS)
            print(f"{rows:4}  {error:7.1%}  {cells}", flush=True)


if __name__ == "__main__":
    main()
