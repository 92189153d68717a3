"""Does the study's test keep its promise? Thousands of simulated studies with known truth, on real shapes.

    python -m benchmarks.study_truth                   # 4,000 seeds of each of 200 scenarios
    python -m benchmarks.study_truth --seeds 400

An interval of α is every value that the test does not reject, so it covers the truth where the test accepts
it. This counts how often, for each scenario, with the study's own bootstrap. Many seeds are fitted at once;
tests/study/test_truth.py checks that these fits equal those of `dibench.study`.

A verdict needs two intervals, that one and the one by family of networks. It would be wrong if the true α lay
at an end of the margin and both intervals left it out on the same side, so half of the share that both leave
out is the most wrong verdicts that α can have.

Truth: E = e0·M + e_w·W + e_x·X + e_y·Y + e_launch times a lognormal error of 10%, α = e_w / (e_w + e_x).
Where e_y = 2·e_x, weighted DI is not the whole truth, and the true α is what its fit finds without errors.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import attrs
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dibench import networks
from dibench.study.ladder.alpha import WeightedAlpha, cluster_test
from dibench.study.ladder.folds import families_of
from dibench.study.ladder.ladder import make_clusterings
from dibench.study.ladder.models import Data, Design, data_of, design, fixed_alpha, weights_like_inputs
from dibench.study.maths.bias_reduced import bias_reduced
from dibench.study.maths.inference import Clustering, Linearised, deciding, effective_clusters

FloatArray = NDArray[np.float64]

SHAPES, BATCHES = 150, (1, 8)
E0_J = 3e-12
SPREAD = 0.1
LAUNCHES_J = {"none": 0.0, "large": 1e-5}
NOISES = ("iid", "layer", "network", "family", "heavy")
ALPHAS = (0.0, 0.02, 0.5, 0.9, 1.0)
RATIOS = (4.0, 60.0)
OUTPUTS = (1.0, 2.0)
DRAWS = 399
LEVEL = 0.05
_AT_ONCE = 250
_STEPS = 30


@attrs.frozen
class Scenario:
    """One truth."""

    noise: str
    launch: str
    outputs: float
    """e_y over e_x."""
    alpha: float
    ratio: float
    """(e_w + e_x) / e0."""

    def __str__(self) -> str:
        return f"{self.noise:<8} {self.launch:<6} {self.outputs:<4g} {self.alpha:<5g} {self.ratio:<3g}"


@attrs.frozen
class Outcome:
    """How often the truth was accepted, and how often e_w = e_x was rejected."""

    scenario: Scenario
    seeds: int
    alpha: float
    """α that the fit finds without error."""
    covered: float
    by_family: float
    """How often the interval by family held it."""
    neither: float
    """How often neither interval did."""
    effective: float
    """Clusters that the direction rests on, of the clustering with fewer."""
    split_rejected: float | None
    """Where e_w = e_x is true."""

    @property
    def error(self) -> float:
        """Standard error of `covered`."""
        return math.sqrt(max(self.covered * (1 - self.covered), 1 / self.seeds) / self.seeds)


def scenarios() -> list[Scenario]:
    """All of them."""
    return [Scenario(*one) for one in itertools.product(NOISES, LAUNCHES_J, OUTPUTS, ALPHAS, RATIOS)]


@cache
def rows() -> Data:
    """150 of the 572 shapes at two batch sizes; no response yet."""
    layers = networks.distinct(layer for name in networks.names() for layer in networks.load(name))
    chosen = np.random.default_rng(7).choice(len(layers), SHAPES, replace=False)
    batched = [layers[index].with_batch(batch) for index in chosen for batch in BATCHES]
    frame = pd.DataFrame([layer.dims for layer in batched])
    frame["name"] = [layer.name for layer in batched]
    frame["op"] = [layer.op for layer in batched]
    frame["energy_j"] = 1.0
    return data_of(frame, "energy_j")


def exact(scenario: Scenario) -> FloatArray:
    """Joules without error."""
    data = rows()
    e_w = scenario.alpha * scenario.ratio * E0_J
    e_x = (1 - scenario.alpha) * scenario.ratio * E0_J
    reuse = e_w * data.weights + e_x * data.inputs + scenario.outputs * e_x * data.outputs
    return np.asarray(E0_J * data.macs + reuse + LAUNCHES_J[scenario.launch])


def errors(noise: str, rng: np.random.Generator, clusterings: tuple[Clustering, ...]) -> FloatArray:
    """Errors of log E, standard deviation SPREAD."""
    n = len(clusterings[0].member)
    own = rng.standard_normal(n)
    if noise == "heavy":  # Student's t with three degrees of freedom
        return np.asarray(SPREAD * rng.standard_t(3, n) / math.sqrt(3))
    if noise == "iid":
        return np.asarray(SPREAD * own)
    clusters = next(c for c in clusterings if c.name == noise)
    return np.asarray(SPREAD * (0.8 * rng.standard_normal(clusters.size)[clusters.member] + 0.6 * own))


def fits(columns: FloatArray, log_y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Least squares of log y = log(Z·θ) for many y (s, n) at once: θ (s, k), log Z·θ (s, n), converged (s,).

    Gauss and Newton's steps, halved until Z·θ stays positive and the sum falls.
    """
    scale = columns.mean(axis=0)
    z = columns / scale
    start = np.linalg.lstsq(z / np.exp(log_y.mean(axis=0))[:, None], np.ones(len(z)), rcond=None)[0]
    start = np.maximum(start, 1e-3 * np.abs(start).max())
    theta = np.tile(start, (len(log_y), 1))
    log_fit = np.log(theta @ z.T)
    rss = ((log_y - log_fit) ** 2).sum(axis=1)
    done = np.zeros(len(log_y), dtype=bool)
    for _ in range(_STEPS):
        share = np.exp(-log_fit)  # (s, n)
        normal = np.einsum("ni,sn,nj->sij", z, share**2, z, optimize=True)
        gradient = np.einsum("ni,sn->si", z, share * (log_y - log_fit))
        step = np.linalg.solve(normal, gradient[..., None])[..., 0]
        width = np.ones(len(log_y))
        for _ in range(40):
            with np.errstate(invalid="ignore", divide="ignore"):
                tried = np.log((theta + width[:, None] * step) @ z.T)
            new = ((log_y - tried) ** 2).sum(axis=1)
            worse = ~(new <= rss * (1 + 1e-12))
            if not worse.any():
                break
            width[worse] /= 2
        width[worse] = 0.0
        theta = theta + width[:, None] * step
        log_fit = np.log(theta @ z.T)
        new = ((log_y - log_fit) ** 2).sum(axis=1)
        done = rss - new <= 1e-9 * new
        rss = new
        if done.all():
            break
    return theta / scale, log_fit, done


def alpha_rejected(
    data: Data, alpha: float, log_y: FloatArray, clusterings: tuple[Clustering, ...]
) -> list[bool]:
    """Whether α of weighted DI is rejected at 5%, for each y: `WeightedAlpha.test` of many at once."""
    full, restricted = design("di_weighted", data), fixed_alpha(data, alpha)
    theta, free, _ = fits(full.columns, log_y)
    _, fixed, _ = fits(restricted.columns, log_y)
    at_w, at_a = full.names.index("e_w"), full.names.index("e_a")
    answers = []
    for coefficients, best, fitted, y in zip(theta, free, fixed, log_y, strict=True):
        both = coefficients[at_w] + coefficients[at_a]
        estimate = coefficients[at_w] / both if both > 0 else 0.5
        at_estimate = _linearised(full, best, y, e_w=1 - estimate, e_a=-estimate)
        model = _linearised(full, fitted, y, e_w=1 - alpha, e_a=-alpha)
        model = attrs.evolve(model, misfit=data.outputs * np.exp(-fitted))
        tested = cluster_test(model, clusterings, deciding(at_estimate, clusterings))
        answers.append(tested.decisive.p_value <= LEVEL)
    return answers


def family_rejected(data: Data, alpha: float, log_y: FloatArray) -> list[bool]:
    """Whether α is outside the interval by family, for each y: `WeightedAlpha.by_family` of many at once."""
    full, families = design("di_weighted", data), families_of(data)
    theta, free, _ = fits(full.columns, log_y)
    direction = towards(full.names, e_w=1 - alpha, e_a=-alpha)
    answers = []
    for coefficients, fitted, y in zip(theta, free, log_y, strict=True):
        jacobian = full.columns * np.exp(-fitted)[:, None]
        errors = bias_reduced(jacobian, y - fitted, families, jackknife=True)
        assert errors is not None
        answers.append(errors.p_value(direction, float(direction @ coefficients)) <= LEVEL)
    return answers


def split_rejected(data: Data, log_y: FloatArray, clusterings: tuple[Clustering, ...]) -> list[bool]:
    """Whether e_w = e_x is rejected at 5%, for each y: `weights_and_inputs` of many at once."""
    full = design("di_split", data)
    _, alike, _ = fits(weights_like_inputs(data).columns, log_y)
    answers = []
    for fitted, y in zip(alike, log_y, strict=True):
        model = _linearised(full, fitted, y, e_w=1.0, e_x=-1.0)
        tested = cluster_test(model, clusterings, deciding(model, clusterings))
        answers.append(tested.decisive.p_value <= LEVEL)
    return answers


def _linearised(full: Design, log_fit: FloatArray, log_y: FloatArray, **weights: float) -> Linearised:
    direction = towards(full.names, **weights)
    return Linearised(full.columns * np.exp(-log_fit)[:, None], log_y - log_fit, direction)


def towards(names: tuple[str, ...], **weights: float) -> FloatArray:
    """A direction in the coefficients."""
    direction = np.zeros(len(names))
    for name, weight in weights.items():
        direction[names.index(name)] = weight
    return direction


def pseudo_true(scenario: Scenario) -> float:
    """α of weighted DI fitted to joules without error."""
    if scenario.outputs == 1.0:
        return scenario.alpha
    value = WeightedAlpha(attrs.evolve(rows(), y=exact(scenario)), ()).value
    assert value is not None
    return value


def seeds_of(scenario: Scenario, first: int, last: int) -> Iterator[FloatArray]:
    """log y (s, n) in batches; a seed gives the same errors in every run."""
    log_exact = np.log(exact(scenario))
    plain = (*make_clusterings(rows(), 1, 0), families_of(rows()))
    for begin in range(first, last, _AT_ONCE):
        yield np.array(
            [
                log_exact + errors(scenario.noise, np.random.default_rng([seed, 11]), plain)
                for seed in range(begin, min(begin + _AT_ONCE, last))
            ]
        )


def run(scenario: Scenario, seeds: int, draws: int = DRAWS) -> Outcome:
    """Count for one scenario."""
    data, alpha = rows(), pseudo_true(scenario)
    misses, by_family, neither, split_rejections = 0, 0, 0, 0
    for number, log_y in enumerate(seeds_of(scenario, 0, seeds)):
        clusterings = make_clusterings(data, draws, number)
        missed, also = alpha_rejected(data, alpha, log_y, clusterings), family_rejected(data, alpha, log_y)
        misses, by_family = misses + sum(missed), by_family + sum(also)
        neither += sum(map(all, zip(missed, also, strict=True)))
        if scenario.alpha == 0.5:
            split_rejections += sum(split_rejected(data, log_y, clusterings))
    full = design("di_weighted", data)
    direction = towards(full.names, e_w=1 - alpha, e_a=-alpha)
    at_truth = Linearised(full.columns / exact(scenario)[:, None], np.zeros(len(data)), direction)
    effective = min(effective_clusters(at_truth, c) for c in make_clusterings(data, 1, 0))
    told = split_rejections / seeds if scenario.alpha == 0.5 else None
    shares = (1 - misses / seeds, 1 - by_family / seeds, neither / seeds)
    return Outcome(scenario, seeds, alpha, *shares, effective, told)


def main() -> None:
    """Run the scenarios and print a table, the worst first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=4000, help="studies of each scenario (default: 4000)")
    parser.add_argument("--draws", type=int, default=DRAWS, help=f"bootstrap draws (default: {DRAWS})")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one a core")
    options = parser.parse_args()
    outcomes = []
    with ProcessPoolExecutor(options.processes) as pool:
        jobs = [pool.submit(run, one, options.seeds, options.draws) for one in scenarios()]
        for job in jobs:
            outcomes.append(job.result())
            print(f"{len(outcomes)}/{len(jobs)}", end="\r", flush=True)
    print(
        "noise    launch e_y  alpha ratio  fitted  covered  ±se    by family  neither  effective  e_w = e_x"
    )
    for one in sorted(outcomes, key=lambda outcome: outcome.covered):
        split = "" if one.split_rejected is None else f"{one.split_rejected:.3f}"
        share = f"{one.covered:.4f}  {one.error:.4f}"
        verdict = f"{one.by_family:9.4f}  {one.neither:7.4f}"
        print(f"{one.scenario}   {one.alpha:6.3f}  {share}  {verdict}  {one.effective:9.1f}  {split:>9}")
    print(f"\n{len(outcomes)} scenarios, {options.seeds} seeds each")
    for noise in NOISES:
        own = [one for one in outcomes if one.scenario.noise == noise]
        print(f"{noise:<8} {_ends('covered', own)}; {_ends('by_family', own)}; {_ends('neither', own)}")


def _ends(share: str, outcomes: Sequence[Outcome]) -> str:
    """Least, most and mean of a share, in percent."""
    values = 100 * np.array([getattr(one, share) for one in outcomes])
    return f"{share} {values.min():.1f} to {values.max():.1f}, mean {values.mean():.1f}"


if __name__ == "__main__":
    main()
