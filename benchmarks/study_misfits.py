"""Does the study say when its model is wrong? Thousands of simulated studies in which it is, on real shapes.

    python -m benchmarks.study_misfits               # 1,000 seeds of each misfit, 250 of each true model
    python -m benchmarks.study_misfits --seeds 40
    python -m benchmarks.study_misfits --margin      # how far a miss of given size moves α

Each study draws 400 cases: by turns of the 572 shapes of the 25 networks at N = 1, and of 1,716 cases at
N = 1, 8 and 32. Weights and activations cost 20 pJ each, e0 = 3 pJ/MAC, e_launch = 1 µJ: AI is true but for
the misfit. Rows err by 2% (lognormal) and state ±2% to ±4%. A study is wrong where it confirms that data
types matter or that DI is general. `before` is the same study without a look at the lack of fit. The true
models have e_w + e_a = 40 pJ and show what the look costs: there `wrong` is the opposite of the truth.

"Operators" is confirmed only where the verdict is DI, so it is never wrong by itself; "whole networks" needs
networks with all of their layers, which these studies do not have.
"""

from __future__ import annotations

import argparse
import math
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial

import attrs
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dibench import networks
from dibench.study.findings.adequacy import Adequacy
from dibench.study.findings.ladder import ALIKE, DATA_TYPE_MATTERS, NOT_ADEQUATE
from dibench.study.ladder.adequacy import adequacy
from dibench.study.ladder.alpha import WeightedAlpha, weights_and_inputs
from dibench.study.ladder.beside import suited, terms_beside
from dibench.study.ladder.folds import make_folds
from dibench.study.ladder.ladder import compare, make_clusterings
from dibench.study.ladder.models import FULL, data_of
from dibench.study.ladder.unseen import predict_families
from dibench.study.ladder.verdict import conclusion
from dibench.study.questions.families import evidence_of, family_differences
from dibench.study.table.catalogue import catalogue_of

FloatArray = NDArray[np.float64]
Random = np.random.Generator

ROWS, BATCHES = 400, (1, 8, 32)
E0_J, ELEMENT_J, LAUNCH_J = 3e-12, 20e-12, 1e-6
NOISE, STATED = 0.02, (0.02, 0.04)
SMS, BLOCKS_PER_SM = 132, 2
TILE = 64
DRAWS = 199
SEEDS, SEEDS_OF_A_TRUE_MODEL, SEEDS_BEFORE = 1000, 250, 100
FIRST_SEED = 10_000  # those before were looked at while the margin of 2% was chosen


@attrs.frozen(eq=False)
class Cases:
    """Every shape at every batch, as arrays (1716,), and as a table without a response."""

    frame: pd.DataFrame
    macs: FloatArray
    weights: FloatArray
    activations: FloatArray
    fill: FloatArray
    """Of one wave; 1 where it is full."""
    idle: FloatArray
    """MACs that multiprocessors without a block could have done."""
    op: NDArray[np.str_]
    family: NDArray[np.str_]

    @property
    def megabytes(self) -> FloatArray:
        """Footprint in fp32."""
        return 4e-6 * (self.weights + self.activations)

    def joules(self, weight: float = ELEMENT_J, activation: float = ELEMENT_J) -> FloatArray:
        """Of weighted DI."""
        return E0_J * self.macs + weight * self.weights + activation * self.activations + LAUNCH_J


@cache
def cases() -> Cases:
    """All of them; the grid is that of a kernel with tiles of 64 positions × 64 output channels."""
    shapes = networks.distinct(layer for name in networks.names() for layer in networks.load(name))
    layers = [layer.with_batch(batch) for layer in shapes for batch in BATCHES]
    frame = pd.DataFrame([layer.dims for layer in layers])
    frame["name"] = [layer.name for layer in layers]
    frame["op"] = [layer.op for layer in layers]
    frame["case_id"] = [f"{number:016x}" for number in range(len(layers))]
    positions, channels = frame["N"] * frame["P"] * frame["Q"], frame["K"] // frame["groups"]
    frame["blocks"] = -(-positions // TILE) * -(-channels // TILE) * frame["groups"]
    frame["sms"] = np.minimum(frame["blocks"], SMS)
    for column, cell in (("device", "card"), ("dtype", "fp32"), ("status", "ok")):
        frame[column] = cell
    frame["energy_source"] = "nvml_counter"
    waves = frame["blocks"].to_numpy(dtype=float) / (SMS * BLOCKS_PER_SM)
    macs = np.array([layer.macs for layer in layers], dtype=float)
    return Cases(
        frame=frame,
        macs=macs,
        weights=np.array([layer.weights for layer in layers], dtype=float),
        activations=np.array([layer.activations for layer in layers], dtype=float),
        fill=np.minimum(1.0, waves),
        idle=macs * (np.ceil(waves) / waves - 1),
        op=np.array([layer.op for layer in layers]),
        family=np.array([networks.family(layer.name.partition("/")[0]) for layer in layers]),
    )


def capacity(megabytes: float, on: Cases, factor: float, _: Random) -> FloatArray:
    """Activations cost so many times as much where the layer is larger than a cache."""
    beyond = np.where(on.megabytes > megabytes, factor - 1, 0.0)
    return on.joules() + ELEMENT_J * beyond * on.activations


def occupancy(on: Cases, size: float, _: Random) -> FloatArray:
    """Cost per MAC grows by up to (1 + size) where a layer fills less than one wave."""
    return on.joules() + E0_J * on.macs * size * (1 - on.fill)


def idle_power(on: Cases, size: float, _: Random) -> FloatArray:
    """Multiprocessors that wait for the last wave draw that share of what a working one draws."""
    return on.joules() + E0_J * size * on.idle


def launch(on: Cases, size: float, _: Random) -> FloatArray:
    """A launch costs `size` times as much for depthwise layers, 2·size for grouped, 1/size for pointwise."""
    factor = {"depthwise": size, "grouped": 2 * size, "pointwise": 1 / size, "fc": 0.5}
    return on.joules() + LAUNCH_J * (np.array([factor.get(op, 1.0) for op in on.op]) - 1)


def power(on: Cases, size: float, _: Random) -> FloatArray:
    """Power falls by that share where a layer fills none of a wave, in time that does not change."""
    return on.joules() * (1 - size * (1 - on.fill))


def family(on: Cases, size: float, random: Random) -> FloatArray:
    """Each family has a lognormal factor."""
    names, member = np.unique(on.family, return_inverse=True)
    return on.joules() * np.exp(size * random.standard_normal(len(names)))[member]


def true_alpha(on: Cases, size: float, _: Random) -> FloatArray:
    """Weighted DI with α = size."""
    return on.joules(2 * ELEMENT_J * size, 2 * ELEMENT_J * (1 - size))


@attrs.frozen
class Scenario:
    """One truth, and how strong its misfit is; of true models, α."""

    name: str
    size: float
    joules: Callable[[Cases, float, Random], FloatArray]
    alpha: float = 0.5

    def __str__(self) -> str:
        return f"{self.name} {self.size:g}"

    @property
    def adequate(self) -> bool:
        """Whether the study's model is true."""
        return self.joules is true_alpha


MISFITS = (
    *(Scenario("cache 10 MB, activations ×", size, partial(capacity, 10.0)) for size in (1.5, 2.0, 3.0)),
    *(Scenario("cache 50 MB, activations ×", size, partial(capacity, 50.0)) for size in (1.5, 2.0, 3.0)),
    *(Scenario("occupancy, MACs up to +", size, occupancy) for size in (0.3, 1.0, 3.0)),
    *(Scenario("idle multiprocessors, share", size, idle_power) for size in (0.1, 0.3)),
    *(Scenario("launch by operator ×", size, launch) for size in (2.0, 4.0, 10.0)),
    *(Scenario("power falls by", size, power) for size in (0.1, 0.3, 0.6)),
    *(Scenario("factor by family, log sd", size, family) for size in (0.05, 0.1, 0.2)),
)
TRUE_MODELS = tuple(Scenario("true model, α =", size, true_alpha, size) for size in (0.2, 0.35, 0.5, 0.8))


def study(scenario: Scenario, seed: int, noise: float = NOISE) -> pd.DataFrame:
    """The table of one study; a seed gives the same cases and errors in every run."""
    on, random = cases(), np.random.default_rng([seed, 15])
    some = np.flatnonzero((on.frame["N"].to_numpy() == 1) | (seed % 2 == 1))
    chosen = np.sort(random.choice(some, ROWS, replace=False))
    frame = on.frame.iloc[chosen].reset_index(drop=True)
    joules = scenario.joules(on, scenario.size, random)[chosen]
    frame["energy_j"] = joules * np.exp(noise * random.standard_normal(ROWS))
    frame["energy_ci_j"] = random.uniform(*STATED, ROWS) * frame["energy_j"]
    return frame


@attrs.frozen
class Answer:
    """What one study says."""

    conclusion: str
    beside: str = ""
    generality: str = "undecided"
    """`DI`, `AI` or `undecided`, as `Contest`."""

    def wrong(self, alpha: float) -> bool:
        """Whether it confirms, or for α away from ½ denies, what is not so."""
        if alpha == 0.5:
            return self.conclusion == DATA_TYPE_MATTERS or self.generality == "DI"
        return self.conclusion == ALIKE or self.generality == "AI"

    def right(self, alpha: float) -> bool:
        """Whether the verdict is the truth."""
        return self.conclusion == (ALIKE if alpha == 0.5 else DATA_TYPE_MATTERS)


def answer(frame: pd.DataFrame, seed: int, *, look: bool = True) -> Answer:
    """The study's conclusion by its own functions; without a `look` at the lack of fit as it was before."""
    data = data_of(frame, "energy_j")
    terms, judged = FULL, Adequacy(None, None, None, None, 0.0, None)
    further = terms_beside(data) if look else {}
    if look:
        terms, judged = suited(data, further)
    if judged.adequate is False:
        return Answer(NOT_ADEQUATE)
    clusterings, catalogue = make_clusterings(data, DRAWS, seed), catalogue_of(frame)
    folds = make_folds(data, seed, catalogue)
    found = compare(data, clusterings, folds, None, terms, judged)
    if further and found.verdict.decision == "DI":  # no other verdict depends on what is beside
        beyond = {name: WeightedAlpha(data, clusterings, own).estimate() for name, own in further.items()}
        found = compare(data, clusterings, folds, None, terms, judged, beyond)
    p = weights_and_inputs(data, clusterings, terms).decisive.p_value
    word = conclusion(found.verdict.decision, p)
    if judged.beside or (look and found.verdict.decision != "DI"):
        return Answer(word, judged.beside)
    general = evidence_of(family_differences(data, predict_families(data, catalogue))).get("di_weighted")
    return Answer(word, "", "undecided" if general is None else general.decision)


@attrs.frozen
class Outcome:
    """Shares of studies."""

    scenario: Scenario
    seeds: int
    not_adequate: float
    beside: float
    wrong: float
    right: float
    wrong_before: float
    right_before: float


def run(scenario: Scenario, seeds: int, before: int) -> Outcome:
    """Count for one scenario; `before` seeds without the look."""
    all_seeds = range(FIRST_SEED, FIRST_SEED + seeds)
    told = [answer(study(scenario, seed), seed) for seed in all_seeds]
    old = [answer(study(scenario, seed), seed, look=False) for seed in all_seeds[:before]]
    words = Counter(one.conclusion for one in told)

    def share(answers: list[Answer], of: Callable[[Answer], bool]) -> float:
        return sum(map(of, answers)) / max(1, len(answers))

    return Outcome(
        scenario=scenario,
        seeds=seeds,
        not_adequate=words[NOT_ADEQUATE] / seeds,
        beside=share(told, lambda one: bool(one.beside)),
        wrong=share(told, lambda one: one.wrong(scenario.alpha)),
        right=share(told, lambda one: one.right(scenario.alpha)),
        wrong_before=share(old, lambda one: one.wrong(scenario.alpha)),
        right_before=share(old, lambda one: one.right(scenario.alpha)),
    )


def moved(scenario: Scenario, miss: float, designs: int) -> list[float]:
    """α − ½ of rows without errors, of a misfit as strong as makes the model miss by so much."""
    found = []
    for seed in range(designs):
        base = 1.0 if "×" in scenario.name else 0.0
        least, most = 1e-5, 0.9 if scenario.joules is power else 20.0
        for _ in range(12):
            middle = math.sqrt(least * most)
            frame = study(attrs.evolve(scenario, size=base + middle), seed, noise=0.0)
            data = data_of(frame, "energy_j")
            if (adequacy(attrs.evolve(data, error=np.full(ROWS, 1e-6))).miss or 0.0) < miss:
                least = middle
            else:
                most = middle
        value = WeightedAlpha(data, ()).value
        found.append(float("nan") if value is None else value - 0.5)
    return found


def main() -> None:
    """Run the scenarios and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"of each misfit (default: {SEEDS})")
    parser.add_argument("--before", type=int, default=SEEDS_BEFORE, help=f"default: {SEEDS_BEFORE}")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one a core")
    parser.add_argument("--margin", action="store_true", help="how far a miss of given size moves α")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.processes) as pool:
        if options.margin:
            _print_margin(pool)
        else:
            _print_outcomes(pool, options.seeds, options.before)


def _print_outcomes(pool: ProcessPoolExecutor, seeds: int, before: int) -> None:
    fewer = min(seeds, SEEDS_OF_A_TRUE_MODEL)
    jobs = [
        *(pool.submit(run, one, seeds, min(seeds, before)) for one in MISFITS),
        *(pool.submit(run, one, fewer, min(seeds, before)) for one in TRUE_MODELS),
    ]
    print(f"{'':32} seeds  not adequate  beside a term  wrong  right  before: wrong  right")
    for job in jobs:
        one = job.result()
        said = f"{one.not_adequate:12.1%}  {one.beside:13.1%}  {one.wrong:5.1%}  {one.right:5.1%}"
        print(
            f"{one.scenario!s:32} {one.seeds:5}  {said}  {one.wrong_before:13.1%}  {one.right_before:5.1%}",
            flush=True,
        )


def _print_margin(pool: ProcessPoolExecutor, designs: int = 6) -> None:
    kinds = {scenario.name: scenario for scenario in MISFITS}
    sizes = (0.015, 0.02, 0.025, 0.03, 0.05)
    jobs = {(name, miss): pool.submit(moved, kinds[name], miss, designs) for name in kinds for miss in sizes}
    print(f"largest |α − ½| of {designs} designs without errors, by miss")
    print(f"{'':28}" + "".join(f"{miss:8.1%}" for miss in sizes))
    for name in kinds:
        largest = [np.nanmax(np.abs(jobs[name, miss].result())) for miss in sizes]
        print(f"{name:28}" + "".join(f"{value:8.3f}" for value in largest), flush=True)


if __name__ == "__main__":
    main()
