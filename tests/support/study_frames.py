"""Made-up measurements of real layers, with known truth."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from dibench import intensity, networks
from dibench.layer import Layer

E0_PJ = 3.0
LAUNCH_PJ = 1e6


@cache
def distinct_layers() -> tuple[Layer, ...]:
    """The 572 distinct layer shapes of the 25 networks."""
    return tuple(networks.distinct(layer for name in networks.names() for layer in networks.load(name)))


def some_layers(number: int, seed: int) -> list[Layer]:
    """Distinct layers drawn at random."""
    layers = distinct_layers()
    chosen = np.random.default_rng(seed).choice(len(layers), number, replace=False)
    return [layers[position] for position in chosen]


def energy_of(
    layers: Sequence[Layer],
    *,
    alpha: float,
    ratio: float = 20.0,
    launch: float = LAUNCH_PJ,
    noise: float = 0.0,
    network_noise: float = 0.0,
    seed: int = 0,
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Joules by weighted DI: e0 = 3 pJ/MAC, e_w + e_a = ratio·e0; lognormal errors of rows and networks."""
    rng = np.random.default_rng(seed)
    exact = np.array(
        [
            E0_PJ * one.macs + ratio * E0_PJ * (alpha * one.weights + (1 - alpha) * one.activations) + launch
            for one in layers
        ]
    )
    names, member = np.unique([one.name.partition("/")[0] for one in layers], return_inverse=True)
    error = noise * rng.standard_normal(len(layers))
    error = error + network_noise * rng.standard_normal(len(names))[member]
    return np.asarray(exact * 1e-12 * np.exp(error))


def power_of(layers: Sequence[Layer]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Watts: 30 where nothing is reused, up to 70 where everything is, as a device draws."""
    ai = np.array([one.macs / (one.weights + one.activations) for one in layers])
    return np.asarray(30.0 + 40.0 * ai / (ai + 20.0))


def table(layers: Sequence[Layer], energy: Any, **cells: Any) -> pd.DataFrame:
    """A table of the CSV contract with that energy, times at `power_of` the layers, and further cells."""
    energy = np.asarray(energy, dtype=float)
    frame = pd.DataFrame([one.dims for one in layers]).astype("Int64")
    frame["case_id"] = [f"{number:016x}" for number in range(len(layers))]
    frame["device"] = "card"
    frame["name"] = [one.name for one in layers]
    frame["op"] = [one.op for one in layers]
    frame["dtype"] = "fp32"
    frame["status"] = "ok"
    frame["energy_source"] = "rapl"
    frame["energy_j"] = energy
    frame["time_s"] = energy / power_of(layers)
    for name, values in cells.items():
        frame[name] = values
    return frame


def measured(number: int, *, seed: int = 0, alpha: float = 0.2, **truth: Any) -> pd.DataFrame:
    """Measured energy of layers drawn at random."""
    layers = some_layers(number, seed)
    return table(layers, energy_of(layers, alpha=alpha, seed=seed, **{"noise": 0.1, **truth}))


def card(uuid: str, alpha: float, gain: float = 1.0, seed: int = 1, noise: float = 0.05) -> pd.DataFrame:
    """200 layers, the same for every card; `gain` is the sensor's."""
    layers = some_layers(200, 3)
    energy = gain * energy_of(layers, alpha=alpha, noise=noise, seed=seed)
    return table(layers, energy, device_uuid=uuid)


def disjoint_energy(layers: Sequence[Layer], *, alpha: float, noise: float, seed: int) -> Any:
    """Joules by disjoint DI: e0 = 3 pJ/MAC, k = 60 pJ per MAC/DI."""
    rng = np.random.default_rng(seed)
    exact = [
        E0_PJ * one.macs
        + 60 * one.macs / intensity.di_disjoint(one.macs, one.weights, one.activations, alpha)
        + LAUNCH_PJ
        for one in layers
    ]
    return np.array(exact) * 1e-12 * np.exp(noise * rng.standard_normal(len(layers)))
