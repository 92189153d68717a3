"""What a layer promises: the dimensions it derives, the counts, and refusals that name rule and value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dibench.errors import UserError
from dibench.layer import DIMENSIONS, Layer


def conv(**dims: int) -> Layer:
    return Layer.from_dims({"N": 1, "C": 4, "H": 7, "W": 7, "K": 8, "R": 3, "S": 3, **dims})


@pytest.mark.parametrize(
    ("dims", "op"),
    [
        ({"H": 1, "W": 1, "R": 1, "S": 1}, "fc"),
        ({"H": 1, "W": 1, "R": 1, "S": 1, "groups": 4}, "depthwise"),
        ({"R": 1, "S": 1}, "pointwise"),
        ({"R": 1, "S": 1, "stride_h": 2, "stride_w": 2}, "pointwise"),
        ({}, "standard"),
        ({"R": 1, "S": 3}, "standard"),
        ({"groups": 4}, "depthwise"),
        ({"groups": 2}, "grouped"),
        ({"R": 1, "S": 1, "groups": 2}, "grouped"),
        ({"C": 1, "K": 1}, "standard"),
    ],
)
def test_operator_is_decided_in_the_order_of_the_definition(dims: dict[str, int], op: str) -> None:
    assert conv(**dims).op == op


def test_counts_of_a_published_layer() -> None:
    # ResNet-50 layer1.0.conv2: 115,605,504 multiply-adds, 36,864 weights.
    layer = Layer(N=1, C=64, H=56, W=56, K=64, R=3, S=3, pad_h=1, pad_w=1)
    assert (layer.P, layer.Q) == (56, 56)
    assert (layer.macs, layer.weights, layer.inputs, layer.outputs) == (115605504, 36864, 200704, 200704)
    assert layer.activations == 401408
    assert layer.ai == 115605504 / (36864 + 401408)


@given(
    size=st.integers(1, 40),
    filter_size=st.integers(1, 7),
    stride=st.integers(1, 4),
    pad=st.integers(0, 4),
    dil=st.integers(1, 3),
)
def test_output_size_is_the_number_of_window_positions(
    size: int, filter_size: int, stride: int, pad: int, dil: int
) -> None:
    span = dil * (filter_size - 1) + 1
    positions = [start for start in range(-pad, size + pad - span + 1) if (start + pad) % stride == 0]
    try:
        layer = Layer(
            N=1, C=1, H=size, W=size, K=1, R=filter_size, S=filter_size,
            stride_h=stride, stride_w=stride, pad_h=pad, pad_w=pad, dil_h=dil, dil_w=dil,
        )  # fmt: skip
    except UserError:
        assert not positions
    else:
        assert layer.P == layer.Q == len(positions)


def test_more_padding_at_the_end_is_told_by_p_and_q() -> None:
    # TensorFlow's SAME padding of a 3x3 stride-2 filter on 224 rows: none before, one after, P = 112.
    same = conv(H=224, W=224, stride_h=2, stride_w=2, P=112, Q=112)
    assert (same.P, same.Q) == (112, 112)
    assert conv(H=224, W=224, stride_h=2, stride_w=2).P == 111
    with pytest.raises(UserError, match=r"^P: must be from 111 to 112 for these dimensions \(got 113\)$"):
        conv(H=224, W=224, stride_h=2, stride_w=2, P=113, Q=112)


@pytest.mark.parametrize(("begin", "end"), [(b, e) for b in range(3) for e in range(3)])
@pytest.mark.parametrize(
    ("size", "filter_size", "stride"), [(7, 3, 1), (8, 3, 2), (6, 5, 3), (1, 2, 1), (2, 3, 1)]
)
def test_any_padding_at_the_end_is_told_by_p(
    size: int, filter_size: int, stride: int, begin: int, end: int
) -> None:
    windows = size + begin + end - filter_size
    if windows < 0:
        return
    P = windows // stride + 1
    if P > 1 and (P - 1) * stride - begin >= size:
        return  # the last window would see padding only
    layer = conv(H=size, R=filter_size, stride_h=stride, pad_h=begin, P=P)
    assert layer.P == P
    assert layer.macs == P * layer.Q * layer.K * layer.C * filter_size * layer.S


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ({"N": 0}, "N: must be from 1 to 2147483647 (got 0)"),
        ({"C": -4}, "C: must be from 1 to 2147483647 (got -4)"),
        ({"pad_h": -1}, "pad_h: must be from 0 to 2147483647 (got -1)"),
        ({"stride_w": 0}, "stride_w: must be from 1 to 2147483647 (got 0)"),
        ({"R": 9}, "R: must be at most H + 2*pad_h = 7 (got 9)"),
        ({"S": 9, "pad_w": 0}, "S: must be at most W + 2*pad_w = 7 (got 9)"),
        ({"R": 4, "dil_h": 3}, "R: dil_h*(R - 1) + 1 = 10 must be at most H + 2*pad_h = 7 (got 4)"),
        ({"groups": 3}, "C: must be a multiple of groups = 3 (got 4)"),
        ({"C": 3, "groups": 3}, "K: must be a multiple of groups = 3 (got 8)"),
        ({"P": 4}, "P: must be from 5 to 7 for these dimensions (got 4)"),
        ({"pad_h": 1, "P": 5}, "P: must be from 6 to 8 for these dimensions (got 5)"),
    ],
)
def test_a_wrong_dimension_is_refused_with_rule_and_value(dims: dict[str, int], message: str) -> None:
    with pytest.raises(UserError) as caught:
        conv(**dims)
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [1.0, "3", None, True, float("nan")])
def test_a_dimension_is_a_whole_number(value: object) -> None:
    with pytest.raises(UserError, match=r"^N: must be a whole number \(got "):
        Layer(N=value, C=1, H=1, W=1, K=1, R=1, S=1)  # type: ignore[arg-type]  # wrong on purpose


def test_counts_beyond_64_bits_are_refused() -> None:
    with pytest.raises(UserError, match=r"^macs: must be at most 9223372036854775807"):
        Layer(N=2**31 - 1, C=2**31 - 1, H=1, W=1, K=2**31 - 1, R=1, S=1)


def test_parse_round_trips_through_text() -> None:
    layer = Layer(N=2, C=6, H=9, W=8, K=12, R=3, S=2, stride_h=2, pad_w=1, dil_h=2, groups=3)
    assert Layer.parse(str(layer)).shape == layer.shape
    assert Layer.parse(" N=1, C=64,H=1,W=1;K=10,R=1,S=1 ").op == "fc"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("N=1,C=64", "H: must be given"),
        ("N=1,N=2,C=1,H=1,W=1,K=1,R=1,S=1", "N: must be given once"),
        ("N=one,C=1,H=1,W=1,K=1,R=1,S=1", "N: must be a whole number (got 'one')"),
        ("N=1.5,C=1,H=1,W=1,K=1,R=1,S=1", "N: must be a whole number (got '1.5')"),
        ("N=--1,C=1,H=1,W=1,K=1,R=1,S=1", "N: must be a whole number (got '--1')"),
        ("Z=3", "layer: must be NAME=NUMBER with a name of N C H W K R S P Q"),
        ("", "layer: must be NAME=NUMBER"),
    ],
)
def test_parse_refuses_what_it_cannot_read(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Layer.parse(text)
    assert str(caught.value).startswith(message)


def test_dims_are_the_sixteen_of_the_contract() -> None:
    layer = conv()
    assert tuple(layer.dims) == DIMENSIONS
    assert layer.shape == tuple(layer.dims.values())
    assert conv().renamed("a").shape == conv().shape
    assert conv().with_batch(8).macs == 8 * conv().macs


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "int64"])
def test_numpys_integers_are_whole_numbers(kind: str) -> None:
    number = np.dtype(kind).type
    layer = Layer(N=number(1), C=number(8), H=number(4), W=4, K=8, R=number(3), S=3, P=number(2), Q=2)
    assert layer == Layer(N=1, C=8, H=4, W=4, K=8, R=3, S=3)
    assert all(type(one) is int for one in layer.shape)


@pytest.mark.parametrize("value", [np.float64(1), np.bool_(True), np.array([1]), True, 1.0, "1", None])
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="N: must be a whole number"):
        Layer.from_dims({"N": value, "C": 8, "H": 4, "W": 4, "K": 8, "R": 3, "S": 3})
