"""The tile that a header prefers is nearly the fastest on paper: its rule is a sketch of the model."""

from __future__ import annotations

import pytest

from dibench.kernels import registry
from dibench.layer import Layer
from dibench.limits.cards import CARDS
from dibench.limits.examine import Limits, examine
from dibench.plan import with_knobs

TENSOR = registry("cuda")["conv_tensor_half"]
TILES = [
    (256, 128),
    (128, 128),
    (128, 64),
    (64, 128),
    (64, 64),
    (64, 32),
    (32, 64),
    (32, 32),
]  # tile_p, tile_k
NEAR = 1.2


@pytest.mark.parametrize(
    "layer",
    [
        Layer(N=1, C=256, H=14, W=14, K=256, R=3, S=3, pad_h=1, pad_w=1),
        Layer(N=8, C=512, H=7, W=7, K=2048, R=1, S=1),
        Layer(N=32, C=64, H=56, W=56, K=64, R=3, S=3, pad_h=1, pad_w=1),
    ],
    ids=["few tiles", "about a wave", "many waves"],
)
def test_the_preferred_tile_is_nearly_the_fastest_on_paper(layer: Layer) -> None:
    cases = [
        with_knobs(layer, TENSOR, {"tile_p": p, "tile_k": k, "splits": 1}, dtype="bf16", instances=1, seed=1)
        for p, k in TILES
    ]
    times = {}
    for found in examine(cases, CARDS[90]):
        assert isinstance(found, Limits), found
        times[found.case.knobs["tile_p"], found.case.knobs["tile_k"]] = found.time_s
    preferred = TENSOR.preferred(layer)
    assert times[preferred["tile_p"], preferred["tile_k"]] <= NEAR * min(times.values())
    assert max(times.values()) > 1.5 * min(times.values()), "the choice matters here"
