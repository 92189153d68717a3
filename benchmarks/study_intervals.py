"""Do intervals of coefficients and of predicted networks hold what they promise? Known truth, real shapes.

    python -m benchmarks.study_intervals                # 1,000 studies of each of 15 scenarios
    python -m benchmarks.study_intervals --seeds 100

Each seed is a study: 150 shapes of 18 networks at two batch sizes, fitted by weighted DI as the study does.
Counted is how often the interval of a coefficient holds the true one. In a fifth of the studies it is also
counted how often that of a network's total holds a new measurement: of all 25 networks at both batch sizes,
so that seven networks are new.

Truth: E = e0·M + e_w·W + e_a·A + e_launch times a lognormal error of 10%. Of its variance 64% is what rows of
one layer, network or family have in common, also where the network is measured again; in `operator` rows err
apart, but fc three times, depthwise twice and pointwise half as much.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import attrs
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.study_truth import fits
from dibench import networks
from dibench.layer import Layer
from dibench.models import Model
from dibench.study.findings.fitted_model import FittedModel, Origin
from dibench.study.ladder.folds import Folds, make_folds
from dibench.study.ladder.ladder import make_clusterings
from dibench.study.ladder.models import Data, data_of, design
from dibench.study.ladder.predictors import predictor_of
from dibench.study.ladder.rungs import Rung, fit_rung
from dibench.study.maths.half_width import half_widths
from dibench.study.maths.inference import Clustering
from dibench.study.table.columns import shape_key
from dibench.study.use.predict import predict

FloatArray = NDArray[np.float64]

SHAPES, BATCHES, NEW = 150, (1, 8), 7
SPREAD, SHARED = 0.1, 0.64
E0_J, RATIO, LAUNCH_J = 3e-12, 4.0, 1e-5
ERRORS = ("iid", "layer", "network", "family", "operator")
ALPHAS = (0.2, 0.5, 0.8)
SIZES = {"fc": 3.0, "depthwise": 2.0, "pointwise": 0.5}
"""Of errors by operator."""


@attrs.frozen
class Scenario:
    """One truth."""

    errors: str
    alpha: float

    @property
    def true(self) -> dict[str, float]:
        """Joules per unit by coefficient."""
        e_w, e_a = self.alpha * RATIO * E0_J, (1 - self.alpha) * RATIO * E0_J
        return {"e_w": e_w, "e_a": e_a, "e_launch": LAUNCH_J}


@attrs.frozen
class Totals:
    """How often intervals of networks' totals hold a new measurement."""

    by_batch: dict[int, float]
    new: float
    """Of the networks that the fit has no row of."""
    half_widths: dict[int, float]
    """Median by batch size, as a share of the total."""


def scenarios() -> list[Scenario]:
    """All of them."""
    return [Scenario(*one) for one in itertools.product(ERRORS, ALPHAS)]


@cache
def measured_networks() -> tuple[str, ...]:
    """The networks whose layers are measured."""
    names = list(networks.names())
    new = np.random.default_rng(5).choice(len(names), NEW, replace=False)
    return tuple(name for at, name in enumerate(names) if at not in new)


@cache
def measured_layers() -> tuple[Layer, ...]:
    """The rows of a study."""
    layers = networks.distinct(layer for name in measured_networks() for layer in networks.load(name))
    chosen = np.random.default_rng(5).choice(len(layers), SHAPES, replace=False)
    return tuple(layers[at].with_batch(batch) for at in chosen for batch in BATCHES)


@cache
def rows() -> Data:
    """As the study sees them; no response yet."""
    frame = pd.DataFrame([layer.dims for layer in measured_layers()])
    frame["name"] = [layer.name for layer in measured_layers()]
    frame["op"] = [layer.op for layer in measured_layers()]
    frame["energy_j"] = 1.0
    return data_of(frame, "energy_j")


@cache
def wanted() -> tuple[Model, ...]:
    """The networks to predict."""
    return tuple(
        Model(name=name, batch=batch, layers=tuple(one.with_batch(batch) for one in networks.load(name)))
        for batch in BATCHES
        for name in networks.names()
    )


def exact(layers: Sequence[Layer], scenario: Scenario) -> FloatArray:
    """Joules without error."""
    cost = scenario.true
    return np.array(
        [
            E0_J * one.macs + cost["e_w"] * one.weights + cost["e_a"] * one.activations + LAUNCH_J
            for one in layers
        ]
    )


class Errors:
    """The errors of one seed: what rows have in common keeps its value wherever it occurs again."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.kind = scenario.errors
        self.rng = np.random.default_rng([seed, 11])
        self.common: dict[str, float] = {}

    def of(self, layers: Sequence[Layer]) -> FloatArray:
        """Errors of log E; equal shapes at equal batch err alike."""
        own: dict[tuple[int, ...], float] = {}
        return np.array([self._one(layer, own) for layer in layers])

    def _one(self, layer: Layer, own: dict[tuple[int, ...], float]) -> float:
        alone = own.setdefault(layer.shape, float(self.rng.standard_normal()))
        if self.kind == "iid":
            return SPREAD * alone
        if self.kind == "operator":
            return SPREAD * SIZES.get(layer.op, 1.0) * alone
        network = layer.name.partition("/")[0]
        group = {"layer": shape_key(layer.shape), "network": network, "family": networks.family(network)}
        shared = self.common.setdefault(group[self.kind], float(self.rng.standard_normal()))
        return SPREAD * (math.sqrt(SHARED) * shared + math.sqrt(1 - SHARED) * alone)


def coefficients(scenario: Scenario, seeds: int) -> dict[str, float]:
    """How often the interval of each coefficient holds the true one."""
    data, layers = rows(), measured_layers()
    clusterings, families = make_clusterings(data, 1, 0), make_folds(data, 0).clusters
    at, log_exact = design("di_weighted", data), np.log(exact(layers, scenario))
    true = np.array([scenario.true.get(name, E0_J) for name in at.names])
    held = np.zeros(len(true))
    log_y = np.array([log_exact + Errors(scenario, seed).of(layers) for seed in range(seeds)])
    for theta, log_fit, y in zip(*fits(at.columns, log_y)[:2], log_y, strict=True):
        jacobian = at.columns * np.exp(-log_fit)[:, None]
        half = half_widths(jacobian, y - log_fit, clusterings, families)
        held += np.abs(theta - true) <= half
    return dict(zip(at.names, (held / seeds).tolist(), strict=True))


def totals(scenario: Scenario, seeds: int) -> Totals:
    """How often the intervals of networks' totals hold a new measurement."""
    data, layers = rows(), measured_layers()
    clusterings, folds = make_clusterings(data, 1, 0), make_folds(data, 0)
    joules = exact(layers, scenario)
    of_networks = [exact(one.layers, scenario) for one in wanted()]
    inside, half = np.empty((seeds, len(wanted())), dtype=bool), np.empty((seeds, len(wanted())))
    for seed in range(seeds):
        errors = Errors(scenario, seed)
        own = attrs.evolve(data, y=joules * np.exp(errors.of(layers)))
        rung = fit_rung("di_weighted", own, clusterings, folds)
        assert isinstance(rung, Rung)
        found = predict(wanted(), _fitted(rung, own, clusterings, folds)).predictions
        for at, (one, cost) in enumerate(zip(found, of_networks, strict=True)):
            real = float(cost @ np.exp(errors.of(wanted()[at].layers)))
            inside[seed, at] = one.total.low <= real <= one.total.high
            half[seed, at] = (one.total.high - one.total.low) / 2 / one.total.value
    batch = np.array([one.batch for one in wanted()])
    new = ~np.isin([one.name for one in wanted()], measured_networks())
    return Totals(
        by_batch={size: float(inside[:, batch == size].mean()) for size in BATCHES},
        new=float(inside[:, new].mean()),
        half_widths={size: float(np.median(half[:, batch == size])) for size in BATCHES},
    )


def _fitted(rung: Rung, data: Data, clusterings: Sequence[Clustering], folds: Folds) -> FittedModel:
    predictor = predictor_of(rung, data, clusterings, folds)
    assert predictor is not None
    origin = Origin(
        model="di_weighted", device="simulated", dtype="fp32", response="energy_j",
        energy_source=("simulated",), measured=False, basis="a simulation",
    )  # fmt: skip
    return FittedModel(origin=origin, predictor=predictor, ranges={})


def main() -> None:
    """Run the scenarios and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1000, help="studies of each scenario (default: 1000)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one a core")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.processes) as pool:
        held = pool.map(coefficients, scenarios(), itertools.repeat(options.seeds))
        of_networks = pool.map(totals, scenarios(), itertools.repeat(max(1, options.seeds // 5)))
        for number, (scenario, by_name, total) in enumerate(zip(scenarios(), held, of_networks, strict=True)):
            if number == 0:
                ends = "total N=1  total N=8     new  half N=1  half N=8"
                print("errors   alpha " + " ".join(f"{name:>13}" for name in by_name), ends)
            shares = " ".join(f"{share:13.3f}" for share in by_name.values())
            ends = "  ".join(f"{total.by_batch[size]:9.3f}" for size in BATCHES) + f"   {total.new:.3f}"
            half = "  ".join(f"{100 * total.half_widths[size]:7.1f}%" for size in BATCHES)
            print(f"{scenario.errors:<8} {scenario.alpha:<5} {shares} {ends}  {half}", flush=True)


if __name__ == "__main__":
    main()
