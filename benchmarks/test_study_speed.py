"""The ladder on a million rows, and the wild cluster bootstrap compared with the obvious statsmodels loop.

A million rows: the 572 shapes of the 25 networks at every batch size from 1 to 1,749, α = 0.2, ten percent of
noise, 2,000 draws of each test. The loop fits `OLS(...).fit(cov_type="cluster")` once per draw, on 572
rows, where it finishes; both give the same p value.
"""

from __future__ import annotations

import math
import resource
import time
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm

from dibench import networks
from dibench.layer import DIMENSIONS, Layer
from dibench.study import fit
from dibench.study.ladder.alpha import WeightedAlpha
from dibench.study.ladder.ladder import make_clusterings
from dibench.study.ladder.models import data_of
from dibench.study.maths.inference import Linearised, wild_cluster_test
from dibench.study.table.columns import counts

ROWS, DRAWS, LOOPED = 1_000_000, 2_000, 1_999


def table(rows: int) -> pd.DataFrame:
    """Measured energy of the networks' shapes at as many batch sizes as make the rows."""
    known: list[Layer] = networks.distinct(x for name in networks.names() for x in networks.load(name))
    batches = -(-rows // len(known))
    shapes = pd.DataFrame([one.dims for one in known]).assign(
        name=[one.name for one in known], op=[one.op for one in known]
    )
    frame = shapes.loc[shapes.index.repeat(batches)].reset_index(drop=True)
    frame["N"] = np.tile(np.arange(1, batches + 1), len(known))
    frame = frame.iloc[:rows].copy()
    count = counts(frame[list(DIMENSIONS)])
    activations = count["inputs"] + count["outputs"]
    noise = np.exp(0.1 * np.random.default_rng(1).standard_normal(len(frame)))
    energy = (3 * count["macs"] + 12 * count["weights"] + 48 * activations + 1e6) * 1e-12 * noise
    return frame.assign(
        case_id=np.arange(len(frame)).astype(str),
        device="card",
        dtype="fp32",
        status="ok",
        energy_source="rapl",
        energy_j=energy,
        time_s=energy / 50,
    )


def test_the_ladder_of_a_million_rows(benchmark: Any) -> None:
    frame = table(ROWS)
    spent: list[float] = []

    def ladder() -> None:
        begin = time.process_time()
        found = fit(frame, draws=DRAWS)
        spent.append(time.process_time() - begin)
        alpha = found.alpha
        assert alpha.ci_low is not None and alpha.ci_high is not None
        assert alpha.ci_low < 0.2 < alpha.ci_high
        assert found.rows_used == ROWS

    benchmark.pedantic(ladder, rounds=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    benchmark.extra_info.update(processor_s=spent[-1], peak_gb=peak)
    print(f"\na million rows: {spent[-1]:.0f} s of processor time, {peak:.1f} GB at most")


def linearised() -> tuple[Linearised, Any]:
    """AI against DI on the 572 shapes, at the fit of all coefficients."""
    data = data_of(table(572), "energy_j")
    clusters = make_clusterings(data, LOOPED, 1)[0]
    problem = WeightedAlpha(data, (clusters,))
    direction = np.zeros(len(problem.full.names))
    direction[problem.w], direction[problem.a] = 0.5, -0.5
    residuals = problem.fit.residuals + 0.02 * np.random.default_rng(2).standard_normal(len(data))
    return Linearised(problem.fit.jacobian, residuals, direction), clusters


def looped(model: Linearised, clusters: Any) -> float:
    """The p value as one writes it first: statsmodels once a draw."""

    def t_of(u: Any) -> float:
        fitted = sm.OLS(u, model.jacobian).fit(cov_type="cluster", cov_kwds={"groups": clusters.member})
        return float(fitted.t_test(model.direction).tvalue.item())

    observed = t_of(model.residuals)
    drawn = [t_of(signs[clusters.member] * model.residuals) for signs in clusters.weights]
    return (1 + sum(abs(t) >= abs(observed) * (1 - 1e-9) for t in drawn)) / (1 + len(drawn))


def test_the_bootstrap_beside_the_statsmodels_loop(benchmark: Any) -> None:
    model, clusters = linearised()
    begin = time.process_time()
    expected = looped(model, clusters)
    loop = time.process_time() - begin

    def ours() -> float:
        fresh = Linearised(model.jacobian, model.residuals, model.direction)
        return wild_cluster_test(fresh, clusters).p_value

    found = benchmark.pedantic(ours, rounds=50, warmup_rounds=3)
    assert math.isclose(found, expected, rel_tol=1e-9)
    benchmark.extra_info["statsmodels_loop_s"] = loop
    print(f"\nstatsmodels once a draw: {loop:.2f} s of processor time for {LOOPED:,} draws of 572 rows")
