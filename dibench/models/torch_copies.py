"""Which tensors hold copies of one slice, so that a product reads the same elements again and again.

Nothing here imports PyTorch. `expand` gives an axis the stride 0; a `clone` of that, or a `repeat`, has
copies in memory: an attribute of the tensor says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from dibench.models.products import Shape

_SAME_ORDER = (
    "clone",
    "_to_copy",
    "view",
    "_unsafe_view",
    "alias",
    "detach",
    "reshape",
    "unsqueeze",
    "squeeze",
)
_TURNS = ("transpose", "permute")
_ALL_KEPT = ("clone", "_to_copy", "repeat", "expand_copy", "contiguous")
"""What they write has the elements that they read, and no others."""
_SCALED = ("mul", "div")


def storage_of(tensor: Any) -> int:
    """What tensors have in common that share memory."""
    return int(tensor.untyped_storage()._cdata)


def mark_spread(tensor: Any) -> Any:
    """Mark a tensor that was expanded, to the size of a batch or otherwise; returns it."""
    tensor._dibench_spread = True
    return tensor


def is_spread(tensor: Any) -> bool:
    """Whether it was."""
    return bool(getattr(tensor, "_dibench_spread", False))


def once(tensor: Any, shape: Shape, other: Shape | None) -> Shape:
    """The shape with 1 for a batch whose indices all hold the same elements.

    For what a weight is applied to only where the weight, of shape `other`, has that axis: the same inputs go
    to several weights. Else each index is a product of its own.
    """
    if len(shape) < 3 or not _copied(tensor) or (other is not None and other[0] == 1):
        return shape
    return (1, *shape[1:])


def stored(tensor: Any) -> int:
    """How many elements of a tensor have a place of their own: an axis of stride 0 has one."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    return prod(int(size) for size, stride in sizes if stride or size == 0)


def keeps_copies(op: str, reads: Sequence[Any]) -> Any | None:
    """The tensor whose elements an operator writes, copied or times one number; None if it does other things.

    Copies of one element, times one number, still hold one value.
    """
    if not reads:
        return None
    base = op.rstrip("_")
    if base in _SCALED:
        most, *rest = sorted(reads, key=lambda tensor: -tensor.numel())
        return most if all(tensor.numel() == 1 for tensor in rest) else None
    return reads[0] if op in _ALL_KEPT else None


def follow_copies(op: str, args: Sequence[Any], reads: Sequence[Any], writes: Sequence[Any]) -> None:
    """Mark what an operator writes if its first axis holds copies."""
    if not reads or not writes or not writes[0].shape:
        return
    source, made = reads[0], writes[0]
    if op == "repeat":
        new = len(made.shape) - len(source.shape)
        copies = args[1][0] > 1 and (new > 0 or source.shape[0] == 1)
    elif op in _SAME_ORDER:
        copies = _copied(source) and made.shape[0] == source.shape[0]
    elif op in _TURNS:
        copies = _copied(source) and _keeps_first(op, args, len(source.shape))
    else:
        return
    if copies:
        made._dibench_copied = True


def _copied(tensor: Any) -> bool:
    """Whether all indices of the first axis hold the same elements."""
    if not tensor.shape or tensor.shape[0] == 1:
        return False
    return tensor.stride()[0] == 0 or bool(getattr(tensor, "_dibench_copied", False))


def _keeps_first(op: str, args: Sequence[Any], axes: int) -> bool:
    """Whether the first axis stays where it is."""
    if op == "permute":
        return bool(args[1][0] % axes == 0)
    return 0 not in (args[1] % axes, args[2] % axes)
