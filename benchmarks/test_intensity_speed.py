"""Counts, AI and both forms of DI of ten million layers in one second on one core."""

from __future__ import annotations

from typing import Any

import numpy as np

from dibench import intensity

LAYERS = 10_000_000
DIMENSIONS = ("N", "C", "H", "W", "K", "R", "S", "P", "Q", "groups")


def all_intensities(columns: dict[str, Any]) -> tuple[Any, ...]:
    N, C, H, W, K, R, S, P, Q, groups = (columns[name] for name in DIMENSIONS)
    macs = intensity.macs(N=N, K=K, P=P, Q=Q, C=C, groups=groups, R=R, S=S)
    weights = intensity.weights(K=K, C=C, groups=groups, R=R, S=S)
    activations = intensity.inputs(N=N, C=C, H=H, W=W) + intensity.outputs(N=N, K=K, P=P, Q=Q)
    return (
        macs,
        weights,
        activations,
        intensity.arithmetic_intensity(macs, weights, activations),
        intensity.di_weighted(macs, weights, activations, 0.3),
        intensity.di_disjoint(macs, weights, activations, 0.3),
    )


def test_ten_million_layers(benchmark: Any) -> None:
    random = np.random.default_rng(1)
    block = 16_384  # layers whose columns stay in cache from one formula to the next
    columns = {name: random.integers(1, 64, block) for name in DIMENSIONS}
    columns["C"] *= columns["groups"]

    def run() -> None:
        for _ in range(-(-LAYERS // block)):
            all_intensities(columns)

    benchmark.pedantic(run, rounds=3, iterations=1, warmup_rounds=1)
    benchmark.extra_info["layers_per_s"] = LAYERS / benchmark.stats.stats.min
