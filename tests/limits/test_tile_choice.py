"""The tile and splits that a header prefers are nearly the fastest on paper: its rule is a sketch of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from benchmarks.tile_choice import choices, sampled
from dibench.kernels import registry
from dibench.layer import Layer
from dibench.limits import choice
from dibench.limits.cards import CARDS

PRODUCTS = ["conv_implicit_gemm", "conv_tensor_tf32", "conv_tensor_half"]
SETTINGS = [(128, 64, 1), (32, 32, 16)]
"""tile_p, tile_k, splits: one that suits many tiles, one that suits few."""
NEAR = 1.15
DEEP = Layer(N=1, C=512, H=7, W=7, K=512, R=3, S=3, pad_h=1, pad_w=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRODUCTS)
def test_what_is_preferred_is_nearly_the_fastest_on_paper(name: str) -> None:
    """`python -m benchmarks.tile_choice` asks of many more layers and of all settings."""
    variant = registry("cuda")[name]
    assert variant.cuda
    tried = [{"tile_p": p, "tile_k": k, "splits": splits} for p, k, splits in SETTINGS]
    layers = [DEEP, DEEP.with_batch(32)]
    found = list(choices(variant, variant.cuda.dtypes[-1], layers, tried, CARDS[90]))
    assert [one.layer for one in found] == layers
    for one in found:
        assert one.loss <= NEAR, one
        assert max(one.times.values()) > 1.3 * one.best_s, "the choice matters here"


def test_a_sample_of_layers_is_the_same_for_a_seed() -> None:
    variant = registry("cuda")["conv_tensor_half"]
    some = sampled(variant, 30, seed=1)
    assert some == sampled(variant, 30, seed=1) != sampled(variant, 30, seed=2)
    assert {layer.N for layer in some} == {1, 8, 32}
    assert {layer.op for layer in some} <= set(variant.ops)


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_fewer_tiles_a_multiprocessor_has_the_more_blocks_share_one(name: str) -> None:
    variant = registry("cuda")[name]
    blocks = [shares(variant.preferred(DEEP.with_batch(N))) for N in (1, 8, 1024)]
    assert blocks == sorted(blocks, reverse=True) and blocks[0] > 4 * blocks[2]
    assert variant.preferred(DEEP.with_batch(1024))["splits"] == 1
    of_cards = [shares(variant.preferred(DEEP.with_batch(8), multiprocessors=n)) for n in (1, 16, 264)]
    assert of_cards == sorted(of_cards) and of_cards[2] > of_cards[0]
    assert variant.preferred(attrs.evolve(DEEP, C=1, R=1, S=1, pad_h=0, pad_w=0))["splits"] == 1


def shares(knobs: dict[str, Any]) -> float:
    """Blocks for each 128 x 128 of the outputs."""
    blocks: float = knobs["splits"] * 128 * 128 / (knobs["tile_p"] * knobs["tile_k"])
    return blocks


@pytest.mark.parametrize("name", PRODUCTS)
def test_copies_of_a_layer_that_fill_the_card_are_chosen_for_as_its_batch_is(name: str) -> None:
    variant = registry("cuda")[name]
    assert variant.preferred(DEEP, instances=1)["splits"] > 4
    assert variant.preferred(DEEP, instances=512)["splits"] <= 2
    # A tile of 64 holds 49 positions of one image, or ends in the next.
    per_copy = shares(variant.preferred(DEEP, instances=512))
    assert per_copy < 10 * shares(variant.preferred(DEEP.with_batch(512)))


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
