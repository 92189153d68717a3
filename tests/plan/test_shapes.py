"""Families of layers: what is called equal is equal to the last element."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dibench import networks
from dibench.errors import UserError
from dibench.layer import Layer
from dibench.plan import shapes


def same_padded(N: int, C: int, H: int, K: int, R: int = 1, groups: int = 1) -> Layer:
    return Layer(N=N, C=C, H=H, W=H, K=K, R=R, S=R, pad_h=R // 2, pad_w=R // 2, groups=groups)


# The three examples of the design.
@pytest.mark.parametrize(
    ("layer", "other"),
    [
        (same_padded(64, 256, 24, 256, R=3), same_padded(4, 256, 24, 4096, R=3)),
        (same_padded(16, 1024, 24, 2048, R=3, groups=32), same_padded(1, 1024, 24, 32768, R=3, groups=32)),
        (same_padded(32, 512, 32, 512), same_padded(2, 512, 16, 32768)),
        (Layer.fc(N=32, C=64, K=8), Layer.fc(N=8, C=64, K=32)),
    ],
)
def test_known_twins(layer: Layer, other: Layer) -> None:
    twin = shapes.twin(layer)
    assert twin is not None
    assert twin.shape == other.shape


@pytest.mark.parametrize(
    "layer",
    [
        same_padded(9, 32, 12, 32, R=3, groups=32),  # depthwise
        Layer.fc(N=1, C=64, K=8),
        Layer.fc(N=8, C=64, K=8),  # its own twin
        Layer(N=64, C=256, H=24, W=24, K=256, R=3, S=3),  # not same padding
        Layer(N=64, C=256, H=24, W=24, K=256, R=1, S=1, stride_h=2),
        same_padded(1, 8, 7, 8, R=3),  # 49 positions do not divide by nine taps
    ],
)
def test_layers_without_a_clean_twin(layer: Layer) -> None:
    assert shapes.twin(layer) is None


LAYERS = st.builds(
    lambda N, Cg, H, Kg, R, groups: same_padded(N, Cg * groups, H, Kg * groups, R, groups),
    N=st.sampled_from([1, 3, 4, 9, 16, 32]),
    Cg=st.sampled_from([1, 2, 8]),
    H=st.sampled_from([1, 2, 3, 6, 8, 12]),
    Kg=st.sampled_from([1, 4, 16, 64, 144]),
    R=st.sampled_from([1, 3]),
    groups=st.sampled_from([1, 2, 4]),
)


@given(LAYERS)
def test_a_twin_swaps_weights_and_inputs_and_keeps_the_rest(layer: Layer) -> None:
    twin = shapes.twin(layer)
    assume(twin is not None)
    assert twin is not None
    assert (twin.weights, twin.inputs) == (layer.inputs, layer.weights)
    assert (twin.op, twin.macs, twin.outputs, twin.ai) == (layer.op, layer.macs, layer.outputs, layer.ai)
    assert (twin.C, twin.R, twin.S, twin.groups) == (layer.C, layer.R, layer.S, layer.groups)
    if layer.R > 1:  # as many taps on padding
        assert (twin.H, twin.W) == (layer.H, layer.W)


@given(LAYERS)
def test_iso_macs_keeps_macs_and_trades_weights_against_activations(layer: Layer) -> None:
    family = shapes.iso_macs(layer, steps=2)
    assert layer.shape in {member.shape for member in family}
    assert {(member.op, member.macs) for member in family} == {(layer.op, layer.macs)}
    ratios = [member.weights / member.activations for member in family]
    assert ratios == sorted(set(ratios))


def test_iso_macs_begins_with_stride_1_and_same_padding() -> None:
    with pytest.raises(UserError, match="iso_macs: must begin with a layer of stride 1 and same padding"):
        shapes.iso_macs(Layer(N=1, C=8, H=8, W=8, K=8, R=3, S=3), steps=1)


def test_a_transposed_layer_has_all_its_counts() -> None:
    layer = Layer(N=2, C=4, H=6, W=12, K=8, R=1, S=3, stride_h=2, pad_w=1, dil_w=1)
    turned = shapes.transposed(layer)
    assert turned is not None
    assert (turned.H, turned.W, turned.R, turned.S, turned.P, turned.Q) == (12, 6, 3, 1, 12, 3)
    for count in ("macs", "weights", "inputs", "outputs"):
        assert getattr(turned, count) == getattr(layer, count)
    assert shapes.transposed(same_padded(1, 8, 8, 8, R=3)) is None


def test_a_spread_reaches_both_ends_of_every_operator() -> None:
    layers = networks.distinct(networks.load("mobilenet_v2"))
    chosen = shapes.spread(layers, per_op=4)
    for op in {layer.op for layer in layers}:
        ratios = sorted(layer.weights / layer.activations for layer in layers if layer.op == op)
        kept = sorted(layer.weights / layer.activations for layer in chosen if layer.op == op)
        assert len(kept) == min(4, len(ratios))
        assert len(kept) == 1 or (kept[0], kept[-1]) == (ratios[0], ratios[-1])


@given(
    st.sampled_from(shapes.TWIN_OPERATORS),
    st.sampled_from([8, 16, 32, 128]),
    st.sampled_from([1, 2, 4]),
    st.integers(1, 12),
    st.integers(20, 34),
)
@settings(max_examples=25, deadline=None)
def test_generated_halves_have_exact_twins_and_placebos(
    op: str, multiple: int, tile: int, per_op: int, size: int
) -> None:
    halves = shapes.twin_halves(
        op, per_op=per_op, multiple=multiple, tile=tile, macs=(2**size // 16, 2**size)
    )
    assert len(halves) <= per_op
    assert len({half.shape for half in halves}) == len(halves)
    for half in halves:
        other = shapes.twin(half)
        assert other is not None
        assert half.op == other.op == op
        assert (half.weights, half.inputs) == (other.inputs, other.weights)
        assert (half.macs, half.outputs, half.ai) == (other.macs, other.outputs, other.ai)
        assert (half.C, half.groups, half.R, half.S) == (other.C, other.groups, other.R, other.S)
        assert half.weights >= 4 * half.inputs
        for one in (half, other):  # as many threads in both halves, none without work
            assert one.N * one.P * one.Q // (one.R * one.S) % multiple == 0
            assert one.K // one.groups % multiple == 0
        wide = shapes.oblong(half)
        assert (wide is None) == (op == "fc")
        if wide is not None:
            tall = shapes.transposed(wide)
            assert tall is not None and tall.shape != wide.shape
            for name in ("macs", "weights", "outputs"):
                assert getattr(tall, name) == getattr(wide, name) == getattr(half, name)
            assert tall.inputs == wide.inputs >= half.inputs
            assert wide.P % tile == 0 and tall.Q % tile == 0
