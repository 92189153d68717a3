"""Made-up measurements of exact twins and of transposed layers, with known truth."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pandas as pd
import study_frames

from dibench.layer import Layer
from dibench.plan import shapes

STANDARD = [
    Layer(N=N, C=C, H=12, W=12, K=16, R=3, S=3, pad_h=1, pad_w=1)
    for N in (4, 8, 16, 32)
    for C in (32, 64, 96)
]
TALL = [attrs.evolve(layer, H=6, W=24, P=6, Q=24) for layer in STANDARD]


def measured(
    layers: list[Layer],
    partner: Any = shapes.twin,
    *,
    w: float = 20.0,
    x: float = 20.0,
    noise: float = 0.0,
    lanes: str = "",
    seed: int = 0,
) -> pd.DataFrame:
    """Layers and their partners at 0.01 pJ per MAC, w pJ per weight, x pJ per input, 5 an output."""
    pairs = [one for layer in layers for one in (layer, partner(layer))]
    assert all(pairs)
    rng = np.random.default_rng(seed)
    energy = np.array([one.macs * 0.01 + w * one.weights + x * one.inputs + 5 * one.outputs for one in pairs])
    energy = energy * np.exp(noise * rng.standard_normal(len(pairs)))
    cells: dict[str, Any] = {"variant": "kernel", "lanes": lanes}
    frame = study_frames.table(pairs, energy * 1e-12, **cells)
    frame["case_id"] = [f"{lanes}{seed}{number:012x}" for number in range(len(pairs))]
    return frame
