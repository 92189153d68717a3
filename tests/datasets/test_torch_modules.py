"""A printed module and the shape of its input make exactly the layer that PyTorch would run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from published_files import input_shape, module_text

from dibench.datasets.torch_modules import layer_of
from dibench.errors import UserError
from dibench.layer import Layer

SMALL = st.integers(1, 5)


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    if draw(st.booleans()):
        return Layer.fc(N=draw(SMALL), C=draw(SMALL), K=draw(SMALL))
    groups = draw(SMALL)
    H, W = draw(st.integers(9, 20)), draw(st.integers(9, 20))
    dims = {name: draw(SMALL) for name in ("N", "R", "S")}
    dims |= {name: draw(st.integers(1, 2)) for name in ("stride_h", "stride_w", "dil_h", "dil_w")}
    dims |= {name: draw(st.integers(0, 3)) for name in ("pad_h", "pad_w")}
    C, K = groups * draw(SMALL), groups * draw(SMALL)
    return Layer.from_dims({**dims, "C": C, "H": H, "W": W, "K": K, "groups": groups})


@given(layers())
def test_a_printed_layer_is_read_back_exactly(layer: Layer) -> None:
    assert layer_of(module_text(layer), input_shape(layer)) == layer


@pytest.mark.parametrize(
    ("padding", "expected"), [("same", (6, 8, 1, 2)), ("valid", (4, 4, 0, 0)), ("2", (8, 8, 2, 2))]
)
def test_padding_may_be_a_word_or_one_number(padding: str, expected: tuple[int, ...]) -> None:
    text = f"Conv2d(2, 3, kernel_size=(3, 5), stride=(1, 1), padding={padding})"
    layer = layer_of(text, (1, 2, 6, 8))
    assert (layer.P, layer.Q, layer.pad_h, layer.pad_w) == expected


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("BatchNorm2d(8, eps=1e-05)", (1, 8, 4, 4), "module: must be a printed Conv2d or Linear"),
        ("Conv2d(8, 8, kernel_size=(3, 3", (1, 8, 4, 4), "module: must be a printed Conv2d or Linear"),
        ("Conv2d(8, 8, kernel_size=(3, 3))", (1, 4, 4, 4), "input: must be four numbers with [8] channels"),
        ("Conv2d(8, 8, kernel_size=(3, 3))", (8, 4, 4), "input: must be four numbers with [8] channels"),
        ("Conv2d(8, 8, kernel_size=(3, 3, 3))", (1, 8, 4, 4), "kernel_size: must be one or two whole"),
        (
            "Conv2d(8, 8, kernel_size=(3, 3), padding_mode=reflect)",
            (1, 8, 4, 4),
            "padding_mode: is not known",
        ),
        ("Conv2d(8, 8, kernel_size=(9, 9))", (1, 8, 4, 4), "R: must be at most H"),
        ("Linear(in_features=4, out_features=2, bias=True)", (3, 5), "input: must end with in_features = 4"),
    ],
)
def test_what_is_no_such_layer_is_refused(text: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError) as caught:
        layer_of(text, shape)
    assert str(caught.value).startswith(message)
