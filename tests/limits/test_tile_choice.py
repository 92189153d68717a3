"""The tile and splits that a header prefers are nearly the fastest on paper: its rule is a sketch of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from dibench.kernels import registry
from dibench.layer import Layer
from dibench.limits import choice
from dibench.limits.cards import CARDS
from dibench.limits.examine import Limits, examine
from dibench.plan import with_knobs

TENSOR = registry("cuda")["conv_tensor_half"]
SETTINGS = [(128, 128, 1), (128, 64, 1), (64, 64, 4), (32, 32, 1), (32, 32, 16)]
"""tile_p, tile_k, splits."""
NEAR = 1.15
DEEP = Layer(N=1, C=512, H=7, W=7, K=512, R=3, S=3, pad_h=1, pad_w=1)


def setting(knobs: Any) -> tuple[int, int, int]:
    return knobs["tile_p"], knobs["tile_k"], knobs["splits"]


@pytest.mark.parametrize(
    "layer",
    [
        DEEP,
        Layer(N=8, C=512, H=7, W=7, K=2048, R=1, S=1),
        Layer.fc(N=8, C=2048, K=1000),
        Layer(N=32, C=64, H=56, W=56, K=64, R=3, S=3, pad_h=1, pad_w=1),
    ],
    ids=["few tiles", "about a wave", "a long reduction", "many waves"],
)
def test_what_is_preferred_is_nearly_the_fastest_on_paper(layer: Layer) -> None:
    preferred = setting(TENSOR.preferred(layer))
    tried = [
        knobs
        for p, k, splits in dict.fromkeys((*SETTINGS, preferred))
        if TENSOR.allows(layer, knobs := {"tile_p": p, "tile_k": k, "splits": splits})
    ]
    times = {}
    for found in examine([with_knobs(layer, TENSOR, knobs, dtype="bf16") for knobs in tried], CARDS[90]):
        assert isinstance(found, Limits), found
        times[setting(found.case.knobs)] = found.time_s
    assert times[preferred] <= NEAR * min(times.values())
    assert max(times.values()) > 1.5 * min(times.values()), "the choice matters here"


@pytest.mark.parametrize("name", ["conv_tensor_half", "conv_tensor_tf32"])
def test_the_fewer_tiles_a_multiprocessor_has_the_more_blocks_share_one(name: str) -> None:
    variant = registry("cuda")[name]
    splits = [variant.preferred(DEEP.with_batch(N))["splits"] for N in (1, 8, 1024)]
    assert splits[0] > splits[1] > splits[2] == 1
    of_cards = [variant.preferred(DEEP.with_batch(8), multiprocessors=n)["splits"] for n in (1, 16, 264)]
    assert of_cards[0] == 1 and of_cards == sorted(of_cards) and of_cards[2] > splits[1]
    assert variant.preferred(attrs.evolve(DEEP, C=1, R=1, S=1, pad_h=0, pad_w=0))["splits"] == 1


def test_a_kernel_that_is_slower_than_fp32_is_not_a_networks_choice() -> None:
    layers = [DEEP.renamed("a"), DEEP.with_batch(8).renamed("b")]

    def told(layer: Layer, dtype: str, time_s: float, share: float) -> Any:
        case = SimpleNamespace(layer=layer, dtype=dtype)
        return SimpleNamespace(case=case, time_s=time_s, share_of_peak=share, binds=dtype)

    times = {("a", "fp32"): 2.0, ("a", "tf32"): 3.0, ("b", "fp32"): 9.0, ("b", "tf32"): 6.0}
    known = {
        (layer.renamed(""), dtype): told(layer, dtype, times[layer.name, dtype], 0.5)
        for layer in layers
        for dtype in ("fp32", "tf32")
    }
    network = choice.of_network("two", layers, "tf32", known)
    assert (network.time_s, network.in_fp32) == (2.0 + 6.0, 2.0 / 8.0)
    assert network.share_of_peak == (3.0 + 6.0) * 0.5 / 8.0, "of the peak in tf32, also where fp32 runs"
    assert network.binds == {"tf32": 0.75, "fp32": 0.25}
