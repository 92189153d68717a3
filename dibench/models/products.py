"""Turns the shapes of a convolution or product into a `Layer`, or says why it is none.

Pure functions on shapes, shared by all importers. A layer has exactly the multiply-adds, weights, inputs and
outputs of the operation; an operation for which there is no such layer becomes `Uncovered`, with its MACs.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from math import prod
from typing import Any

import attrs

from dibench.errors import UserError
from dibench.layer import Layer

Shape = tuple[int, ...]
Labels = Sequence[Hashable]

MOST_STEPS = 10_000
"""Most steps of a recurrent layer whose products are listed one by one."""

TWO_ACTIVATIONS = "product of two activations, no weight"


@attrs.frozen
class Uncovered:
    """Why an operation is not a layer, and its multiply-adds where they are known.

    `operands` and `outputs` are the elements of a product of two activations, where they are known.
    """

    reason: str
    macs: int | None = None
    operands: tuple[int, int] | None = None
    outputs: int | None = None


def convolution(
    x: Shape,
    w: Shape,
    *,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    groups: int,
) -> Layer | Uncovered:
    """A convolution of x[n,c,…] with w[k,c/groups,…]; pads are (begin, end) of each spatial axis.

    Raises:
        UserError: the shapes contradict each other.

    >>> same = convolution((1, 3, 224, 224), (32, 3, 3, 3), strides=(2, 2), pads=((0, 1), (0, 1)),
    ...                    dilations=(1, 1), groups=1)
    >>> same.P, same.pad_h
    (112, 0)
    """
    outputs = _output_sizes(x, w, strides, pads, dilations, groups)
    macs = prod((x[0], w[0], *outputs, *w[1:]))
    if macs == 0:
        return Uncovered("no elements", 0)
    if len(outputs) != 2:
        flat = _flattened(x, w, strides, pads, dilations)
        return (
            Uncovered("3-D convolution", macs)
            if flat is None
            else convolution(*flat[:2], groups=groups, **flat[2])
        )
    dims = {
        "N": x[0], "C": x[1], "H": x[2], "W": x[3], "K": w[0], "R": w[2], "S": w[3],
        "P": outputs[0], "Q": outputs[1], "stride_h": strides[0], "stride_w": strides[1],
        "pad_h": pads[0][0], "pad_w": pads[1][0], "dil_h": dilations[0], "dil_w": dilations[1],
        "groups": groups,
    }  # fmt: skip
    try:
        return Layer.from_dims(dims)
    except UserError as error:
        if error.field not in ("P", "Q"):
            raise
        return Uncovered("whole windows lie on padding", macs)


def _flattened(
    x: Shape, w: Shape, strides: Sequence[int], pads: Sequence[tuple[int, int]], dilations: Sequence[int]
) -> tuple[Shape, Shape, dict[str, Any]] | None:
    """The same convolution on two axes, if there is one.

    One axis becomes two, the first of size 1. Of three axes, one over which the filter has one tap (stride 1,
    no padding) goes to the batch: its positions are convolved independently of each other.
    """
    if len(w) == 3:
        more: dict[str, Any] = {
            "strides": (1, *strides),
            "pads": ((0, 0), *pads),
            "dilations": (1, *dilations),
        }
        return (*x[:2], 1, x[2]), (*w[:2], 1, w[2]), more
    for axis in range(3):
        if w[2 + axis] == strides[axis] == 1 and tuple(pads[axis]) == (0, 0):
            left = [each for each in range(3) if each != axis]
            more = {
                "strides": [strides[each] for each in left],
                "pads": [pads[each] for each in left],
                "dilations": [dilations[each] for each in left],
            }
            sizes = [(shape[2 + left[0]], shape[2 + left[1]]) for shape in (x, w)]
            return (x[0] * x[2 + axis], x[1], *sizes[0]), (*w[:2], *sizes[1]), more
    return None


def _output_sizes(
    x: Shape,
    w: Shape,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    groups: int,
) -> list[int]:
    """Sizes of the result along the spatial axes; refuses shapes that do not agree."""
    axes = len(x) - 2
    if not 1 <= axes <= 3 or len(w) != len(x):
        raise UserError("filter", f"must have as many dimensions as its input {sizes_text(x)}", sizes_text(w))
    if not len(strides) == len(pads) == len(dilations) == axes:
        raise UserError("strides, pads, dilations", f"must be given for {axes} axes")
    if min(*strides, *dilations, groups) < 1 or min(min(pair) for pair in pads) < 0:
        raise UserError("strides, pads, dilations, groups", "must not be negative or zero")
    if x[1] != w[1] * groups:
        raise UserError("C", f"must be groups * filter channels = {groups} * {w[1]}", x[1])
    if w[0] % groups:
        raise UserError("K", f"must be a multiple of groups = {groups}", w[0])
    outputs = []
    for size, taps, stride, (begin, end), dil in zip(x[2:], w[2:], strides, pads, dilations, strict=True):
        room = size + begin + end - (dil * (taps - 1) + 1)
        if room < 0:
            raise UserError(
                "filter", f"must fit its padded input: {taps} taps, dilation {dil}", size + begin + end
            )
        outputs.append(room // stride + 1)
    return outputs


def transposed_convolution(
    x: Shape,
    w: Shape,
    y: Shape,
    *,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    groups: int,
) -> Layer | Uncovered:
    """A transposed convolution of x[n,c,…] to y[n,k,…]: every input meets every tap of w[c,k/groups,…].

    It is the gradient of the convolution of y with the same filter, which has as many multiply-adds. Where
    that convolution would not give x again (an output cropped or padded beyond its strides), it is no layer.

    >>> up = transposed_convolution((1, 64, 32, 32), (64, 32, 2, 2), (1, 32, 64, 64), strides=(2, 2),
    ...                             pads=((0, 0), (0, 0)), dilations=(1, 1), groups=1)
    >>> up.inputs, up.outputs, up.macs == 64 * 32 * 32 * 32 * 4
    (65536, 131072, True)
    """
    macs = prod(x) * prod(w[1:])
    no_layer = Uncovered("transposed convolution", macs)
    try:
        found = convolution(y, w, strides=strides, pads=pads, dilations=dilations, groups=groups)
    except UserError:  # such as negative padding
        return no_layer
    if not isinstance(found, Layer) or found.macs != macs or found.outputs != prod(x):
        return no_layer
    return attrs.evolve(found, transposed=True)


def recurrent(inputs: Layer, step: Sequence[Layer], steps: int) -> list[Layer | Uncovered]:
    """The products of an LSTM, GRU or RNN as libraries run them: all inputs at once, then step by step.

    >>> [one.N for one in recurrent(Layer.fc(N=2 * 8, C=3, K=20), [Layer.fc(N=8, C=5, K=20)], steps=2)]
    [16, 8, 8]
    """
    if steps > MOST_STEPS:
        rest = Uncovered(f"more than {MOST_STEPS} steps", steps * sum(each.macs for each in step))
        return [inputs, rest]
    return [inputs, *[layer for _ in range(steps) for layer in step]]


def contraction(
    labels: tuple[Labels, Labels], sizes: tuple[Shape, Shape], out: Labels, weight: int | None
) -> Layer | Uncovered:
    """A sum of products over labelled axes, as in Einstein's notation, of an activation and a weight.

    Axes of both operands are groups where the result keeps them, and the reduction where it does not; all
    other axes are positions or output channels. An axis of size 1 counts as absent, so that it broadcasts.

    Args:
        labels: of each operand's axes.
        sizes: of each operand's axes.
        out: labels of the result.
        weight: which operand is the weight, 0 or 1; None if neither is.

    Raises:
        UserError: the sizes contradict each other.

    >>> contraction(("nk", "kc"), ((197, 768), (768, 3072)), "nc", weight=1).macs == 197 * 768 * 3072
    True
    """
    one, other = (_axes(which, shape) for which, shape in zip(labels, sizes, strict=True))
    for label in one.keys() & other.keys():
        if one[label] != other[label]:
            raise UserError(
                "operands", f"must agree in size: {sizes_text(sizes[0])} and {sizes_text(sizes[1])}"
            )
    everything = {**one, **other}
    macs = prod(everything.values())
    if macs == 0:
        return Uncovered("no elements", 0)
    if weight is None:
        operands = prod(one.values()), prod(other.values())
        outputs = prod(size for label, size in everything.items() if label in out)
        return Uncovered(TWO_ACTIVATIONS, macs, operands, outputs)
    if any(label not in out and (label in one) != (label in other) for label in everything):
        return Uncovered("sums one operand alone", macs)
    w, x = (one, other) if weight == 0 else (other, one)
    shared = prod(size for label, size in w.items() if label in x and label in out)
    contracted = prod(size for label, size in w.items() if label in x and label not in out)
    positions = prod(size for label, size in x.items() if label not in w)
    channels = prod(size for label, size in w.items() if label not in x)
    return Layer(
        N=positions, C=shared * contracted, H=1, W=1, K=shared * channels, R=1, S=1, groups=shared
    )  # fmt: skip


def matmul(a: Shape, b: Shape, weight: int | None) -> Layer | Uncovered:
    """The matrix product of NumPy, ONNX and PyTorch, leading axes broadcast.

    >>> matmul((8, 197, 768), (768, 768), weight=1).N == 8 * 197
    True
    >>> matmul((8, 12, 197, 64), (8, 12, 64, 197), weight=None).macs
    238442496
    """
    if not a or not b:
        raise UserError("operands", "must have at least one dimension", f"{sizes_text(a)}, {sizes_text(b)}")
    lead_a, lead_b = a[:-2], b[:-2]
    first = (*_leading(lead_a), *(("m",) if len(a) > 1 else ()), "k")
    second = (*_leading(lead_b), "k", *(("n",) if len(b) > 1 else ()))
    if a[-1] != (b[-2] if len(b) > 1 else b[0]):
        raise UserError("operands", f"must agree in size: {sizes_text(a)} and {sizes_text(b)}")
    out = [label for label in {*first, *second} if label != "k"]
    return contraction((first, second), (a, b), out, weight)


def _leading(lead: Shape) -> list[int]:
    return list(range(-len(lead), 0))


def _axes(labels: Labels, shape: Shape) -> Mapping[Hashable, int]:
    if len(labels) != len(shape):
        raise UserError("operand", f"must have {len(labels)} dimensions", sizes_text(shape))
    if len(set(labels)) != len(labels):
        raise UserError("operand", "must name each axis once", "".join(map(str, labels)))
    return {label: size for label, size in zip(labels, shape, strict=True) if size != 1}


def sizes_text(shape: Sequence[int | None]) -> str:
    """A shape as text, `?` where a size is not known.

    >>> sizes_text((1, None, 224))
    '1×?×224'
    """
    return "×".join("?" if size is None else str(size) for size in shape) or "scalar"
