"""Which kernel variant runs a layer fastest, and at which cost of accesses and joules? One group per layer.

Every variant that runs the layer, at the knob values a plan gives it. `extra_info` of each: MACs, AI, both
forms of DI at `--alpha`, effective accesses, GFLOP/s, GB/s, and joules per launch with their `energy_source`.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from benchmarks.test_fast_kernels import sample
from dibench import intensity
from dibench.backends import Backend, open_backend
from dibench.energy_benchmark import EnergyBenchmark
from dibench.kernels import OPERATORS, Variant, registry
from dibench.layer import Layer
from dibench.plan import usual_case

BYTES = 4  # of an fp32 element
MOST_MACS = 60_000_000
"""Reuse kernels take up to a nanosecond a multiply-add."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    device = metafunc.config.getoption("energy_device")
    layers = [
        layer
        for op in metafunc.config.getoption("op") or OPERATORS
        for layer in [one for one in sample(op, 12) if one.macs <= MOST_MACS][
            -metafunc.config.getoption("by_layer") :
        ]
    ]
    cases = [
        pytest.param(layer, variant, id=f"{layer.name}-{variant.name}")
        for layer in layers
        for variant in registry(device).values()
        if layer.op in variant.ops and "fp32" in variant.dtypes
    ]
    metafunc.parametrize(("layer", "variant"), cases)


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> Backend:
    return open_backend(request.config.getoption("energy_device"))


def described(layer: Layer, counts: dict[str, int], time_s: float, alpha: float) -> dict[str, Any]:
    """What a launch is and does, as compulsory and as effective quantities."""
    macs, weights, activations = layer.macs, layer.weights, layer.activations
    accesses = {key: count for key, count in counts.items() if key.endswith(("_reads", "_writes"))}
    return {
        "op": layer.op,
        "macs": macs,
        "ai": layer.ai,
        "alpha": alpha,
        "di_weighted": float(intensity.di_weighted(macs, weights, activations, alpha)),
        "di_disjoint": float(intensity.di_disjoint(macs, weights, activations, alpha)),
        "macs_executed": counts["macs_executed"],
        **accesses,
        "gflop_per_s": 2e-9 * macs / time_s,
        "gb_per_s": 1e-9 * BYTES * (weights + activations) / time_s,
        "effective_gb_per_s": 1e-9 * BYTES * sum(accesses.values()) / time_s,
    }


def test_variant(
    layer: Layer,
    variant: Variant,
    backend: Backend,
    energy_benchmark: EnergyBenchmark,
    request: pytest.FixtureRequest,
) -> None:
    prepared = backend.prepare(usual_case(layer, variant))
    try:
        launch_s = min(prepared.launch(1) for _ in range(2))
        rounds = min(1000, max(3, math.ceil(request.config.getoption("seconds") / launch_s)))
        energy_benchmark.benchmark.group = layer.name
        energy_benchmark.launches(prepared.launch, rounds=rounds)
        time_s = energy_benchmark.benchmark.stats.stats.min
        alpha = request.config.getoption("alpha")
        energy_benchmark.extra_info.update(described(layer, dict(prepared.counts), time_s, alpha))
    finally:
        prepared.close()
