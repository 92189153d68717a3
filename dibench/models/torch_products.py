"""Which of PyTorch's operators convolve or multiply, and the layer that each one is.

Nothing here imports PyTorch: tensors are anything with a shape, strides and a storage. The operators are
those below autograd, to which `nn.Linear`, `F.linear`, `@`, `einsum` and attention are reduced.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import attrs

from dibench.errors import UserError
from dibench.layer import Layer
from dibench.models.products import (
    TWO_ACTIVATIONS,
    Shape,
    Uncovered,
    convolution,
    matmul,
    transposed_convolution,
)

_NO_PRODUCT_NAMESPACES = ("aten", "prim", "prims", "profiler", "torchvision")
_TELLING = re.compile(
    r"(?:^|_)(?:conv(?!ert)\w*|\w*convolution\w*|(?:add|badd|addb|b|int|scaled|sparse)*mm|(?:add)?mv|v?dot|matmul"
    r"|linear|bilinear|trilinear|attention|lstm|gru|rnn|weight_int\dpack\w*)(?:_|\.|$)"
)
"""Names of operators that multiply: one that is not in the tables below is listed as not covered."""


def tells(op: str) -> bool:
    """Whether an operator's name says that it convolves or multiplies.

    >>> [tells(op) for op in ("_sparse_mm", "conv_tbc", "lstm", "_weight_int8pack_mm", "_trilinear")]
    [True, True, True, True, True]
    >>> [tells(op) for op in ("convert_element_type", "upsample_bilinear2d", "native_layer_norm")]
    [False, False, False]
    """
    return _TELLING.search(op) is not None


_CONVOLUTIONS = ("convolution", "_convolution", "convolution_overrideable")
# The positions of the two factors among the arguments.
_FACTORS = {
    **dict.fromkeys(("mm", "bmm", "matmul", "mv", "dot", "vdot", "_int_mm", "_scaled_mm"), (0, 1)),
    **dict.fromkeys(("addmm", "baddbmm", "addbmm", "addmv", "_addmm_activation"), (1, 2)),
    **dict.fromkeys(("addmm_", "baddbmm_", "addbmm_", "addmv_"), (1, 2)),
}


@attrs.frozen
class Found:
    """A convolution or product that ran: its name, its operator, and the layer that it is."""

    name: str
    op: str
    result: Layer | Uncovered


class Recorder:
    """Watches the operators of one run and records those that multiply.

    It tracks which tensors are weights: parameters, buffers, and what is computed from weights only (a cast,
    a transposition, a standardised filter).
    """

    def __init__(self) -> None:
        self.found: list[Found] = []
        self._names: dict[int, str] = {}  # of weights, by storage
        self._alive: list[Any] = []  # storages: the address of a freed one could be reused by an activation
        self._path: list[str] = [""]

    def weights(self, state: Mapping[str, Any]) -> None:
        """Register the parameters and buffers of the module."""
        for name, tensor in state.items():
            self._learn(tensor, name)

    @contextlib.contextmanager
    def watching(self, module: Any) -> Iterator[None]:
        """Track which part of the module runs: it names the operations that have no weight."""
        handles = []
        for name, part in module.named_modules():
            handles.append(part.register_forward_pre_hook(self._enter(name)))
            handles.append(part.register_forward_hook(self._leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, name: str) -> Callable[..., None]:
        return lambda *_: self._path.append(name)

    def _leave(self, *_: Any) -> None:
        self._path.pop()

    def saw(
        self, namespace: str, op: str, args: Sequence[Any], kwargs: Mapping[str, Any],
        reads: Sequence[Any], writes: Sequence[Any],
    ) -> None:  # fmt: skip
        """Record one operator; `reads` and `writes` are the tensors that it takes and returns."""
        try:
            product = self._product(namespace, op.partition(".")[0], args, kwargs, writes)
        except UserError as error:
            raise UserError(f"{self._path[-1] or 'model'} {op}", str(error)) from None
        if product is not None:
            weight, result = product
            name = re.sub(r"[._]weight$", "", weight or "") or self._path[-1] or op.partition(".")[0]
            self.found.append(Found(name, op.partition(".")[0].strip("_"), result))
        if reads and all(self._weight(tensor) is not None for tensor in reads):
            for tensor in writes:
                if self._weight(tensor) is None:
                    self._learn(tensor, self._weight(reads[0]) or "")

    def _product(
        self, namespace: str, op: str, args: Sequence[Any], kwargs: Mapping[str, Any], writes: Sequence[Any]
    ) -> tuple[str | None, Layer | Uncovered] | None:
        if namespace == "aten" and op in _CONVOLUTIONS:
            return self._convolution(*args[:9])
        if namespace == "aten" and op in _FACTORS:
            first, second = (args[index] for index in _FACTORS[op])
            return self._matmul(first, second)
        if namespace == "aten" and op == "linear":
            return self._matmul(args[0], args[1], second=_shape(args[1])[::-1])
        if namespace == "aten" and "scaled_dot_product" in op and "attention" in op:
            q, k, v = (tuple(tensor.shape) for tensor in args[:3])
            return None, Uncovered(
                "attention, " + TWO_ACTIVATIONS, prod(q[:-1]) * k[-2] * (q[-1] + v[-1])
            )  # fmt: skip
        if namespace == "torchvision" and op == "deform_conv2d":
            weight = args[1]
            macs = prod(writes[0].shape) * prod(weight.shape[1:])
            return self._weight(weight), Uncovered("deformable convolution", macs)
        if namespace not in _NO_PRODUCT_NAMESPACES:
            return None, Uncovered(f"unknown operator of {namespace}: it may multiply")
        if tells(op):
            return None, Uncovered("operator that multiplies and that dibench does not know")
        return None

    # Wide because these are the arguments of PyTorch's convolution, in its order.
    def _convolution(
        self, x: Any, w: Any, bias: Any, stride: Sequence[int], padding: Sequence[int],
        dilation: Sequence[int], transposed: bool, output_padding: Sequence[int], groups: int,
    ) -> tuple[str | None, Layer | Uncovered]:  # fmt: skip
        weight, image, taps = self._weight(w), tuple(x.shape), tuple(w.shape)
        if transposed:
            return weight, transposed_convolution(image, taps)
        axes = len(taps) - 2

        def each(values: Sequence[int]) -> list[int]:
            return list(values) * axes if len(values) == 1 else list(values)

        result = convolution(
            image, taps, strides=each(stride), pads=[(pad, pad) for pad in each(padding)],
            dilations=each(dilation), groups=groups,
        )  # fmt: skip
        if weight is None and isinstance(result, Layer):
            return None, Uncovered("filter computed at run time", result.macs)
        return weight, result

    def _matmul(
        self, first: Any, second_tensor: Any, second: Shape | None = None
    ) -> tuple[str | None, Layer | Uncovered]:
        names = self._weight(first), self._weight(second_tensor)
        which = 1 if names[1] is not None else 0 if names[0] is not None else None
        result = matmul(_shape(first), second or _shape(second_tensor), which)
        return (None if which is None else names[which]), result

    def _weight(self, tensor: Any) -> str | None:
        return self._names.get(tensor.untyped_storage()._cdata)

    def _learn(self, tensor: Any, name: str) -> None:
        storage = tensor.untyped_storage()
        self._names.setdefault(storage._cdata, name)
        self._alive.append(storage)


def _shape(tensor: Any) -> Shape:
    """The sizes, with 1 where the stride is 0: there all indices share the same elements."""
    return tuple(
        1 if stride == 0 else int(size) for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
    )
