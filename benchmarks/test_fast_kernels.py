"""How fast is the fastest variant of each operator, compared with PyTorch (oneDNN) on the same layer?

Real layers of the 25 networks at N = 1, on one thread and on all. One run of PyTorch precedes each round of
ours, in the same process, so that both have the same clock, neighbours and memory.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from benchmarks.side_by_side import Pair
from dibench import networks
from dibench.kernels import OPERATORS, registry
from dibench.layer import Layer

ALL_THREADS = len(os.sched_getaffinity(0))


def fastest_variant(layer: Layer) -> str:
    """The variant marked fast that runs this layer."""
    for name, variant in registry("cpu").items():
        if variant.fast and layer.op in variant.ops:
            return name
    raise LookupError(f"no fast variant for {layer.op}")


def sample(op: str, count: int) -> list[Layer]:
    """`count` distinct layers of an operator, evenly spaced in the order of their MACs; 0: all."""
    every = [layer for name in networks.names() for layer in networks.load(name) if layer.op == op]
    every = sorted(networks.distinct(every), key=lambda layer: (layer.macs, layer.shape))
    if count == 0 or count >= len(every):
        return every
    return [every[round(i * (len(every) - 1) / (count - 1))] for i in range(count)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    count = metafunc.config.getoption("layers")
    ops = metafunc.config.getoption("op") or OPERATORS
    cases = [
        pytest.param(layer, threads, id=f"{layer.op}-{threads}-{layer.name}")
        for op in ops
        for layer in sample(op, count)
        for threads in sorted({1, ALL_THREADS})
    ]
    metafunc.parametrize(("layer", "threads"), cases)


def test_fastest_variant(layer: Layer, threads: int, benchmark: Any, request: pytest.FixtureRequest) -> None:
    pair = Pair(layer, fastest_variant(layer), threads)
    rounds = pair.rounds(request.config.getoption("seconds"))
    benchmark.group = f"{layer.op}, {threads} thread(s)"
    benchmark.pedantic(pair.ours, setup=pair.time_theirs, rounds=rounds, iterations=1)
    benchmark.extra_info["gmac_per_s"] = layer.macs / benchmark.stats.stats.min / 1e9
    pair.check()
    pair.ratio(benchmark.stats.stats.data)
