"""What designers can change about a network's layers, as layers that replace layers.

Each change keeps what the rest of the network sees: the input of the first layer it replaces, the output of
the last. What it does to accuracy is not known here. Layers of one shape change together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import attrs

from dibench.errors import UserError
from dibench.layer import Layer

GROUPS = (2, 4, 8, 16, 32)
WIDTHS = ((3, 4), (1, 2))
FEWEST_CHANNELS = 8
"""A layer with fewer input channels, such as a network's first, is not split by channels."""

EVERYWHERE = "wherever it fits"


@attrs.frozen
class Change:
    """Layers that leave a network and those that take their place."""

    knob: str
    """`groups`, `pointwise groups`, `group size`, `depthwise-separable` or `bottleneck width`."""
    setting: str
    where: str
    removed: tuple[int, ...]
    """Positions in the network's layers."""
    added: tuple[Layer, ...]


_Replace = Callable[[Layer], "tuple[Layer, ...] | None"]


def changes(layers: Sequence[Layer]) -> list[Change]:
    """Each knob at each of its settings: at each shape that it fits, then at all of them together."""
    found: list[Change] = []
    alike = _alike(layers)
    for knob, setting, replace in _settings():
        made = [change for rows in alike if (change := _replaced(layers, rows, knob, setting, replace))]
        found += _with_everywhere(made)
    for numerator, denominator in WIDTHS:
        made = [
            change
            for rows in _bottlenecks(layers)
            if (change := _narrowed(layers, rows, numerator, denominator))
        ]
        found += _with_everywhere(made)
    return found


def _alike(layers: Sequence[Layer]) -> list[list[int]]:
    places: dict[tuple[int, ...], list[int]] = {}
    for row, layer in enumerate(layers):
        places.setdefault(layer.shape, []).append(row)
    return list(places.values())


def _settings() -> Iterable[tuple[str, str, _Replace]]:
    for number in GROUPS:
        yield "groups", str(number), partial(_in_groups, "standard", number)
        yield "pointwise groups", str(number), partial(_in_groups, "pointwise", number)
    yield "group size", "half", partial(_resized, 2, 1)
    yield "group size", "twice", partial(_resized, 1, 2)
    yield "depthwise-separable", "split", separable


def _replaced(
    layers: Sequence[Layer], rows: list[int], knob: str, setting: str, replace: _Replace
) -> Change | None:
    new = replace(layers[rows[0]])
    return None if new is None else Change(knob, setting, _where(layers, rows), tuple(rows), new * len(rows))


def _with_everywhere(made: list[Change]) -> list[Change]:
    if len(made) < 2:
        return made
    rows = tuple(row for change in made for row in change.removed)
    if len(set(rows)) < len(rows):  # a layer cannot be replaced twice
        return made
    added = tuple(layer for change in made for layer in change.added)
    return [*made, Change(made[0].knob, made[0].setting, EVERYWHERE, rows, added)]


def _where(layers: Sequence[Layer], rows: Sequence[int]) -> str:
    name = layers[rows[0]].name.partition("/")[2] or str(layers[rows[0]])
    return name if len(rows) == 1 else f"{name} ({len(rows)}×)"


def _resized(more: int, fewer: int, layer: Layer) -> tuple[Layer, ...] | None:
    return _in_groups("grouped", layer.groups * more // fewer, layer)


def _in_groups(op: str, groups: int, layer: Layer) -> tuple[Layer, ...] | None:
    """The layer in so many groups, if it is of that operator and they divide it.

    As many groups as channels would make it depthwise, which is another change.
    """
    if layer.transposed or layer.op != op or not FEWEST_CHANNELS <= layer.C > groups >= 1:
        return None
    if layer.C % groups or layer.K % groups:
        return None
    return (attrs.evolve(layer, groups=groups),)


def separable(layer: Layer) -> tuple[Layer, ...] | None:
    """A standard convolution as a depthwise and a pointwise one; None for other operators.

    >>> layer = Layer(N=1, C=64, H=56, W=56, K=128, R=3, S=3, pad_h=1, pad_w=1)
    >>> [part.op for part in separable(layer)]
    ['depthwise', 'pointwise']
    >>> round(layer.macs / sum(part.macs for part in separable(layer)), 2)
    8.41
    """
    if layer.transposed or layer.op != "standard" or layer.C < FEWEST_CHANNELS:
        return None
    depthwise = attrs.evolve(layer, K=layer.C, groups=layer.C, name=f"{layer.name} depthwise")
    pointwise = Layer(
        N=layer.N, C=layer.C, H=layer.P, W=layer.Q, K=layer.K, R=1, S=1, name=f"{layer.name} pointwise"
    )
    return (depthwise, pointwise)


def _bottlenecks(layers: Sequence[Layer]) -> list[list[tuple[int, int, int]]]:
    """Places of pointwise, spatial and pointwise layers in a row, of one middle width, by shape."""
    places: dict[tuple[tuple[int, ...], ...], list[tuple[int, int, int]]] = {}
    row = 0
    while row + 2 < len(layers):
        first, middle, last = trio = layers[row : row + 3]
        chained = (
            first.op == last.op == "pointwise"
            and middle.op in ("standard", "depthwise", "grouped")
            and not any(layer.transposed for layer in trio)
            and first.K == middle.C == middle.K == last.C
            and (first.P, first.Q, middle.P, middle.Q) == (middle.H, middle.W, last.H, last.W)
        )
        if chained:
            places.setdefault(tuple(layer.shape for layer in trio), []).append((row, row + 1, row + 2))
        row += 3 if chained else 1
    return list(places.values())


def _narrowed(
    layers: Sequence[Layer], trios: list[tuple[int, int, int]], numerator: int, denominator: int
) -> Change | None:
    first, middle, last = (layers[row] for row in trios[0])
    width, rest = divmod(middle.C * numerator, denominator)
    groups = width if middle.op == "depthwise" else middle.groups
    if rest or width < FEWEST_CHANNELS:
        return None
    try:
        new = (
            attrs.evolve(first, K=width),
            attrs.evolve(middle, C=width, K=width, groups=groups),
            attrs.evolve(last, C=width),
        )
    except UserError:  # the groups do not divide the new width
        return None
    setting = f"{numerator}/{denominator}"
    where = _where(layers, [trio[1] for trio in trios])
    rows = tuple(row for trio in trios for row in trio)
    return Change("bottleneck width", setting, where, rows, new * len(trios))
