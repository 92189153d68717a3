"""Correlation and α in 10,000 subsets of 100 of the 572 layers, compared with the straightforward loop.

The loop calls NumPy for the correlation and fits α in full for each subset. It runs on 100 subsets, because
10,000 would take minutes; its time is scaled to 10,000.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from dibench import networks
from dibench.layer import Layer
from dibench.study.ladder.models import Data, data_of
from dibench.study.questions.subset_fits import refitted_alpha, step_statistics
from dibench.study.questions.subsets import correlations_over, draw

SUBSETS, LOOPED = 10_000, 100
SIZE = 100


def layers() -> Data:
    import pandas as pd

    known: list[Layer] = networks.distinct(x for name in networks.names() for x in networks.load(name))
    frame = pd.DataFrame([one.dims for one in known]).assign(op=[one.op for one in known])
    rng = np.random.default_rng(1)
    exact = [3 * x.macs + 12 * x.weights + 48 * x.activations + 1e6 for x in known]
    frame["energy_j"] = 1e-12 * np.array(exact) * np.exp(0.1 * rng.standard_normal(len(known)))
    return data_of(frame, "energy_j")


def test_correlations_and_alpha_of_10_000_subsets(benchmark: Any) -> None:
    data = layers()
    n = len(data)
    y, x = np.log(data.macs / data.y), np.log(data.macs / (data.weights + data.activations))[None]

    def vectorised() -> None:
        step = step_statistics("di_weighted", data)
        assert step is not None
        for chosen in draw(n, SIZE, SUBSETS, np.random.default_rng(1)):
            correlations_over(chosen, y, x)
            member = np.zeros((len(chosen), n))
            np.put_along_axis(member, chosen, 1.0, axis=1)
            step.alpha(step.one_step(member)[0])

    begin = time.process_time()
    for chosen in next(draw(n, SIZE, LOOPED, np.random.default_rng(1))):
        np.corrcoef(x[0, chosen], y[chosen])
        member = np.zeros((1, n))
        member[0, chosen] = 1
        refitted_alpha(data, member)
    looped = (time.process_time() - begin) * SUBSETS / LOOPED
    benchmark.pedantic(vectorised, rounds=3)
    benchmark.extra_info["loop_s_per_10_000"] = looped
    print(f"\nloop: {looped:.0f} s of processor time per 10,000 subsets")
