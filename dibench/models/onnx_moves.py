"""What nodes that move data and compute nothing did to an image or a weight: padded it, copied it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from dibench.models.onnx_functions import STANDARD
from dibench.models.products import Shape

_UNCHANGED = ("Identity", "Cast")
"""Operators behind which a padded image, or a copied weight, is still the same one."""

_ALL_KEPT = (*_UNCHANGED, "Expand", "Tile", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten")
"""What they write has the elements that they read, and no others."""
_SCALED = ("Mul", "Div")

Padded = tuple[Shape, Sequence[tuple[int, int]]]
Axes = Sequence[bool]


def padding(
    node: Any, shapes: Mapping[str, Shape | None], values: Mapping[str, Any], padded: Mapping[str, Padded]
) -> Padded | None:
    """What a node writes, if it is an image with padding: the shape before, and how much of it."""
    if node.domain not in STANDARD or not node.input or not node.output:
        return None
    if node.op_type in _UNCHANGED:
        return padded.get(node.input[0])
    if node.op_type != "Pad":
        return None
    pads = _pads(node, values, shapes.get(node.output[0]))
    before = padded.get(node.input[0])
    shape = before[0] if before else shapes.get(node.input[0])
    if pads is None or shape is None or len(pads) != len(shape) or min(map(min, pads), default=0) < 0:
        return None
    if before:
        pads = [(a + c, b + d) for (a, b), (c, d) in zip(pads, before[1], strict=True)]
    return shape, pads


def _pads(node: Any, values: Mapping[str, Any], after: Shape | None) -> list[tuple[int, int]] | None:
    """(begin, end) of each axis of a Pad; None where it is not known."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if "pads" in attributes:
        amounts = list(attributes["pads"].ints)
    elif len(node.input) > 1 and node.input[1] in values:
        amounts = [int(each) for each in values[node.input[1]].ravel()]
    else:
        return None
    half = len(amounts) // 2
    given = list(zip(amounts[:half], amounts[half:], strict=False))
    if len(node.input) < 4 or not node.input[3]:
        return given
    if node.input[3] not in values or after is None:
        return None
    pads = [(0, 0)] * len(after)
    for axis, pair in zip(values[node.input[3]].ravel(), given, strict=False):
        if not -len(after) <= axis < len(after):
            return None
        pads[int(axis)] = pair
    return pads


def copies(node: Any, shapes: Mapping[str, Shape | None], copied: Mapping[str, Axes]) -> Axes:
    """Along which axes what a node writes holds copies of one slice, made by an Expand or Tile."""
    if node.domain not in STANDARD or not node.input or not node.output:
        return ()
    already = copied.get(node.input[0], ())
    before, after = shapes.get(node.input[0]), shapes.get(node.output[0])
    new = len(after or ()) - len(before or ())
    if node.op_type in ("Expand", "Tile") and before is not None and after is not None and new >= 0:
        known = [*(False,) * new, *(already or (False,) * len(before))]
        sizes = zip((1,) * new + before, after, strict=True)
        return [was or (old == 1 and now > 1) for was, (old, now) in zip(known, sizes, strict=True)]
    if node.op_type == "Transpose" and already:
        order = next((list(each.ints) for each in node.attribute if each.name == "perm"), [])
        order = order or list(range(len(already)))[::-1]
        return [already[axis] for axis in order] if max(order) < len(already) else ()
    return already if node.op_type in _UNCHANGED else ()


def distinct(node: Any, shapes: Mapping[str, Shape | None], known: Mapping[str, int]) -> int | None:
    """How many distinct elements there are in what a node writes, where others are copies of these.

    Copies of one element, times one number, still hold one value.
    """
    if node.domain not in STANDARD or not node.input or not node.output:
        return None
    sizes = [_size(shapes.get(name)) for name in node.input]
    after = _size(shapes.get(node.output[0]))
    source = 0
    if node.op_type in _SCALED and len(sizes) == 2 and 1 in sizes:
        source = 1 - sizes.index(1)
    elif node.op_type not in _ALL_KEPT:
        return None
    before = known.get(node.input[source], sizes[source])
    return before if before is not None and after is not None and before < after else None


def _size(shape: Shape | None) -> int | None:
    return None if shape is None else prod(shape)


def uncopied(shape: Shape | None, copied: Axes) -> Shape | None:
    """The shape of a weight, with 1 for the axes before its last two along which it was copied."""
    if shape is None or len(copied) != len(shape):
        return shape
    return tuple(
        1 if copy and axis < len(shape) - 2 else size
        for axis, (size, copy) in enumerate(zip(shape, copied, strict=True))
    )
