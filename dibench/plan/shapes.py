"""Makes sets of layers: grids, families of equal MACs, exact twins, transposed pairs, spread samples.

Pure functions on layers. What is called equal is equal to the last element.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import isqrt

import attrs
import numpy as np

from dibench.errors import UserError
from dibench.layer import Layer


def grid(axes: Mapping[str, Sequence[int]]) -> Iterable[Layer | UserError]:
    """Every combination of the dimensions' values; an error in place of one that makes no layer.

    >>> axes = {"N": [1, 2], "C": [8], "H": [1], "W": [1], "K": [8], "R": [1], "S": [1]}
    >>> [layer.N for layer in grid(axes)]
    [1, 2]
    """
    for values in product(*axes.values()):
        try:
            yield Layer.from_dims(dict(zip(axes, values, strict=True)))
        except UserError as error:
            yield error


def same_size(layer: Layer) -> bool:
    """Whether the output is as large as the input: stride 1 and same padding."""
    return layer.stride_h == layer.stride_w == 1 and layer.P == layer.H and layer.Q == layer.W


def iso_macs(layer: Layer, steps: int) -> list[Layer]:
    """Layers of exactly the same MACs that trade weights against activations, fewest weights first.

    Each step up halves H and W and doubles C and K (depthwise: C = K = groups four times); for
    fully-connected layers it divides N by four and doubles C and K. Up to `steps` steps each way, as far
    as the sizes divide.

    Raises:
        UserError: the layer is strided or not same-padded, so that its MACs do not scale with its size.

    >>> family = iso_macs(Layer(N=1, C=64, H=28, W=28, K=64, R=1, S=1), steps=1)
    >>> [(x.C, x.H, x.macs, x.weights, x.activations) for x in family]
    [(32, 56, 3211264, 1024, 200704), (64, 28, 3211264, 4096, 100352), (128, 14, 3211264, 16384, 50176)]
    """
    if layer.op != "fc" and not same_size(layer):
        raise UserError("iso_macs", "must begin with a layer of stride 1 and same padding", str(layer))
    family = []
    for step in range(-steps, steps + 1):
        member = _step(layer, step)
        if member is not None and member.macs == layer.macs:
            family.append(member)
    return family


def _step(layer: Layer, step: int) -> Layer | None:
    scaled = layer.dims
    exponents = {"H": -1, "W": -1, "P": -1, "Q": -1, "C": 1, "K": 1}
    if layer.op == "fc":
        exponents = {"N": -2, "C": 1, "K": 1}
    elif layer.op == "depthwise":
        exponents = {"H": -1, "W": -1, "P": -1, "Q": -1, "C": 2, "K": 2, "groups": 2}
    for dim, exponent in exponents.items():
        power = exponent * step
        if power < 0 and scaled[dim] % 2**-power:
            return None
        scaled[dim] = scaled[dim] * 2**power if power >= 0 else scaled[dim] // 2**-power
    try:
        member = Layer.from_dims(scaled)
    except UserError:  # the filter no longer fits, or channels no longer divide
        return None
    return member if member.op == layer.op else None


def twin(layer: Layer) -> Layer | None:
    """The exact twin: weights and inputs swapped, M, Y, AI and reduction depth unchanged; None without one.

    N'·P'·Q' = R·S·K/g and K' = g·N·P·Q/(R·S) (stride 1, same padding). Filters with more than one tap
    keep H and W, so that equally many taps fall on padding; others take the largest square image that
    divides and is not larger. Depthwise layers have no clean twin, nor have fully-connected ones with N or
    K = 1.

    >>> swapped = twin(Layer(N=64, C=256, H=24, W=24, K=256, R=3, S=3, pad_h=1, pad_w=1))
    >>> swapped.N, swapped.K, swapped.H
    (4, 4096, 24)
    """
    taps = layer.R * layer.S
    positions = layer.N * layer.P * layer.Q
    if layer.op == "depthwise" or not same_size(layer) or (layer.op == "fc" and 1 in (layer.N, layer.K)):
        return None
    if positions % taps:
        return None
    wanted = taps * layer.K // layer.groups  # N'·P'·Q'
    size = _image(layer, wanted)
    if size is None:
        return None
    H, W = size
    swapped = attrs.evolve(
        layer, N=wanted // (H * W), H=H, W=W, P=H, Q=W, K=layer.groups * positions // taps, name=""
    )
    # A layer with as many weights as inputs is its own twin, which compares nothing.
    return swapped if swapped.op == layer.op and swapped.weights != layer.weights else None


def _image(layer: Layer, positions: int) -> tuple[int, int] | None:
    if positions % (layer.H * layer.W) == 0:
        return layer.H, layer.W
    if layer.R * layer.S > 1:
        return None
    largest = min(isqrt(positions), max(layer.H, layer.W))
    return next((size, size) for size in range(largest, 0, -1) if positions % size**2 == 0)


TWIN_OPERATORS = ("standard", "grouped", "pointwise", "fc")
"""Operators whose layers may have an exact twin."""

_TWIN_RATIOS = (4, 64)  # of weights to inputs: enough to show a difference, not more than real layers have
_TWIN_GROUPS = 8
_MOST_OUTPUTS = 4  # for each weight: where outputs cost most, the difference hardly shows


def twin_halves(op: str, *, per_op: int, multiple: int, tile: int, macs: tuple[int, int]) -> list[Layer]:
    """Layers that have more weights than their exact twins, spread over ratios of weights to inputs.

    With N·P·Q = R·S·a and K/groups = b, the twin has b and a in their places: W = b·C·R·S and X = a·C·R·S
    are exchanged, M = (R·S)²·a·b·C and Y = R·S·a·b·groups stay. a and b are multiples of one number, so that
    both halves fill tiles, lanes and warps, with as many threads and none idle.

    Args:
        op: one of TWIN_OPERATORS.
        per_op: how many layers; fewer where fewer exist.
        multiple: of a and b.
        tile: rows are multiples of twice this, so that the placebo, with rows half as long, fills its tiles.
        macs: least and most multiply-adds.

    >>> halves = twin_halves("pointwise", per_op=8, multiple=16, tile=2, macs=(10**6, 10**8))
    >>> len(halves), all(twin(half).weights == half.inputs for half in halves)
    (8, True)
    """
    R, groups = (3 if op in ("standard", "grouped") else 1), (_TWIN_GROUPS if op == "grouped" else 1)
    steps = [multiple * factor * 2**power for power in range(12) for factor in (1, 3)]
    images = (1,) if op == "fc" else (8, 12, 16, 24, 32, 48)
    found = []
    for a, b, C, H in product(steps, steps, (2**power for power in range(4, 13)), images):
        least, most = _TWIN_RATIOS
        fits = least * a <= b <= most * a and macs[0] <= R**4 * a * b * C <= macs[1]
        if (
            not fits
            or groups * a > _MOST_OUTPUTS * C
            or R * R * a % (H * H)
            or R * R * b % (H * H)
            or (H > 1 and H % (2 * tile))
        ):
            continue
        layer = Layer(
            N=R * R * a // (H * H),
            C=C,
            H=H,
            W=H,
            K=groups * b,
            R=R,
            S=R,
            pad_h=R // 2,
            pad_w=R // 2,
            groups=groups,
        )
        if layer.op == op and twin(layer) is not None:
            found.append(layer)
    found.sort(key=lambda layer: (layer.weights / layer.inputs, layer.macs, layer.shape))
    positions = np.linspace(0, len(found) - 1, min(per_op, len(found)))
    return [found[round(at)] for at in positions.tolist()]


def oblong(layer: Layer) -> Layer | None:
    """The layer with its image half as high and twice as wide, padding made part of it; None without one.

    With padding at the edges a kernel would skip other taps in rows than in columns: transposed, its counts
    would differ.
    """
    if layer.H % 2 or not same_size(layer):
        return None
    H, W = layer.H // 2, 2 * layer.W
    rows, columns = H + 2 * layer.pad_h, W + 2 * layer.pad_w
    return attrs.evolve(layer, H=rows, W=columns, P=H, Q=W, pad_h=0, pad_w=0)


def transposed(layer: Layer) -> Layer | None:
    """Height and width exchanged: every count unchanged, the placebo of twins; None for square layers.

    >>> transposed(Layer(N=1, C=8, H=4, W=16, K=8, R=1, S=1)).W
    4
    """
    pairs = {"H": "W", "P": "Q", "R": "S", "stride_h": "stride_w", "pad_h": "pad_w", "dil_h": "dil_w"}
    swap = {**pairs, **{second: first for first, second in pairs.items()}}
    turned = Layer(**{dim: getattr(layer, swap.get(dim, dim)) for dim in layer.dims})
    return turned if turned.shape != layer.shape else None


def spread(layers: Sequence[Layer], per_op: int) -> list[Layer]:
    """At most `per_op` layers of each operator, evenly spaced among its quantiles of W/A, ends included.

    >>> [layer.K for layer in spread([Layer.fc(N=1, C=8, K=k) for k in range(1, 10)], per_op=3)]
    [1, 5, 9]
    """
    by_op: defaultdict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        by_op[layer.op].append(layer)
    chosen = []
    for members in by_op.values():
        ranked = sorted(members, key=lambda layer: (layer.weights / layer.activations, layer.shape))
        count = min(per_op, len(ranked))
        positions = np.linspace(0, len(ranked) - 1, count) if count > 1 else np.array([(len(ranked) - 1) / 2])
        chosen += [ranked[round(at)] for at in positions.tolist()]
    return chosen
