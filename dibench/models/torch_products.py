"""Which of PyTorch's operators convolve or multiply, and the layer that each one is.

Nothing here imports PyTorch: tensors are anything with a shape, strides and a storage. The operators are
those below autograd, to which `nn.Linear`, `F.linear`, `@`, `einsum` and attention are reduced.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    recurrent,
    transposed_convolution,
)
from dibench.models.torch_copies import (
    follow_copies,
    is_spread,
    keeps_copies,
    mark_spread,
    once,
    storage_of,
    stored,
)

_NO_PRODUCT_NAMESPACES = ("aten", "prim", "prims", "profiler", "torchvision")
_TELLING = re.compile(
    r"(?:^|_)(?:conv(?!ert)\w*|\w*convolution\w*|(?:add|badd|addb|b|int|scaled|sparse)*mm|(?:add)?mv|v?dot|matmul"
    r"|linear|bilinear|trilinear|attention|lstm|gru|rnn|weight_int\dpack\w*"
    r"|linalg_(?:inv\w*|solve\w*|svd|qr|eig\w*|lu\w*|cholesky\w*|det|slogdet|lstsq|ldl\w*|matrix_exp|pinv"
    r"|householder_product|tensor\w*)|\w*cholesky\w*|lu_\w+|svd|qr|geqrf|orgqr|ormqr|triangular_solve"
    r"|encoder_layer_fwd)(?:_|\.|$)"
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


def plain_name(name: str) -> str:
    """The name of a parameter without what weight_norm, pruning, torch.compile and their like add to it.

    >>> [plain_name(name) for name in ("0.weight_v", "weight_mask", "a.parametrizations.weight.original1")]
    ['0.weight', 'weight', 'a.weight']
    >>> plain_name("parametrizations.weight.0.base"), plain_name("0._orig_mod.fc.weight")
    ('weight', '0.fc.weight')
    """
    name = re.sub(r"(^|\.)_orig_mod\.", r"\1", name)
    name = re.sub(r"(^|\.)parametrizations\.(\w+)\.(original\d*|\d+\.\w+)$", r"\1\2", name)
    return re.sub(r"((?:^|[._])weight)_(g|v|orig|bar|u|mask)$", r"\1", name)


_CONVOLUTIONS = ("convolution", "_convolution", "convolution_overrideable")
# The positions of the two factors among the arguments.
_FACTORS = {
    **dict.fromkeys(("mm", "bmm", "matmul", "mv", "dot", "vdot", "_int_mm", "_scaled_mm"), (0, 1)),
    **dict.fromkeys(("addmm", "baddbmm", "addbmm", "addmv", "_addmm_activation"), (1, 2)),
    **dict.fromkeys(("addmm_", "baddbmm_", "addbmm_", "addmv_"), (1, 2)),
}


_ACTIVATION, _TABLE = "<activation>", "<table>"
_NO_WEIGHT = (_ACTIVATION, _TABLE)
_COPIES = ("repeat", "repeat_interleave", "expand_copy")
_RANDOM = re.compile("rand|normal|bernoulli|multinomial|poisson")
_PADS = tuple(
    f"{how}_pad{axes}"
    for how, axes in (
        ("constant", "_nd"), *((how, f"{n}d") for how in ("reflection", "replication") for n in (1, 2, 3))
    )
)  # fmt: skip


@attrs.frozen
class Found:
    """A convolution or product that ran: its name, its operator, and the layer that it is."""

    name: str
    op: str
    result: Layer | Uncovered


class Recorder:
    """Watches the operators of one run and records those that multiply.

    It tracks by storage what each tensor is. A *weight* was there before the run, or is computed from weights
    only (a cast, a transposition, a standardised filter). A *table* is made by the run without reading the
    inputs (positions, zeros), or copies weights to the size of a batch. All else are activations. A weight
    into which an activation is written becomes one.
    """

    def __init__(self, made_is_activation: bool = False) -> None:
        self.found: list[Found] = []
        self._unknown = _ACTIVATION if made_is_activation else ""
        self._kinds: dict[int, str] = {}  # by storage: the name of a weight, or one of the kinds below
        self._distinct: dict[int, int] = {}  # by storage: its elements, where others in it are copies
        self._alive: list[Any] = []  # storages of weights: the address of a freed one could be reused
        self._path: list[str] = [""]
        self._paused = False

    def weights(self, named: Iterable[tuple[str, Any]]) -> None:
        """Register the parameters, buffers and other tensors of the module."""
        for name, tensor in named:
            self._learn(tensor, plain_name(name))

    def activations(self, tensors: Iterable[Any]) -> None:
        """Register the inputs of the module."""
        for tensor in tensors:
            self._kinds[storage_of(tensor)] = _ACTIVATION

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Within it, products are not recorded."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    @contextlib.contextmanager
    def watching(self, module: Any) -> Iterator[None]:
        """Track which part of the module runs: it names the operations that have no weight."""
        handles = []
        for name, part in module.named_modules():
            with contextlib.suppress(RuntimeError):  # a module of TorchScript takes no hooks
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

    def reads(self, tensors: Sequence[Any]) -> None:
        """Learn what an operator is about to read, that no operator made and that is no input.

        On meta it is a constant; on the CPU it may as well have gone through NumPy.
        """
        for tensor in tensors:
            if storage_of(tensor) not in self._kinds:
                self._learn(tensor, self._unknown)

    def saw(
        self, namespace: str, op: str, args: Sequence[Any], kwargs: Mapping[str, Any],
        reads: Sequence[Any], writes: Sequence[Any], changes: bool = False,
    ) -> None:  # fmt: skip
        """Record one operator.

        Args:
            namespace: whose operator it is, such as `aten`.
            op: its name with its overload.
            args: its arguments by position.
            kwargs: those by name.
            reads: the tensors that it takes.
            writes: the tensors that it returns.
            changes: whether it writes into a tensor that it takes.
        """
        base = op.partition(".")[0]
        if not self._paused:
            try:
                product = self._product(namespace, base, args, kwargs, writes)
            except UserError as error:
                raise UserError(f"{self._path[-1] or 'model'} {op}", str(error)) from None
            if product is not None:
                self._record(base, *product)
        self._follow(base, args, reads, writes, changes)

    def spread(self, tensor: Any) -> Any:
        """Mark a tensor that was expanded, to the size of a batch or otherwise; returns it."""
        return mark_spread(tensor)

    def recurrent(self, op: str, args: Sequence[Any]) -> None:
        """Record an LSTM, GRU or RNN by its arguments: inputs, hidden states, weights, biases, layers, …"""
        x, hidden, weights, biased, count, _, _, both, batch_first = args[:9]
        steps, batch = x.shape[1::-1] if batch_first else x.shape[:2]
        projected = op == "lstm" and hidden[0].shape[-1] != hidden[1].shape[-1]
        each = (4 if biased else 2) + projected
        for first in range(0, count * (2 if both else 1) * each, each):
            of_inputs, of_hidden = weights[first : first + 2]
            step = [Layer.fc(N=batch, C=of_hidden.shape[1], K=of_hidden.shape[0])]
            if projected:
                last = weights[first + each - 1]
                step.append(Layer.fc(N=batch, C=last.shape[1], K=last.shape[0]))
            inputs = Layer.fc(N=steps * batch, C=of_inputs.shape[1], K=of_inputs.shape[0])
            for i, result in enumerate(recurrent(inputs, step, steps)):
                self._record(op, self._kinds.get(storage_of(of_hidden if i else of_inputs)), result)

    def _record(self, op: str, weight: str | None, result: Layer | Uncovered) -> None:
        name = re.sub(r"[._]weight$", "", weight or "") or self._path[-1] or op
        self.found.append(Found(name, op.strip("_"), result))

    def _follow(
        self, op: str, args: Sequence[Any], reads: Sequence[Any], writes: Sequence[Any], changes: bool
    ) -> None:
        """Learn what the tensors are that an operator returns or changes."""
        kinds = [self._kinds[storage_of(tensor)] for tensor in reads]
        kind = kinds[0] if kinds else _ACTIVATION if _RANDOM.match(op) else _TABLE
        if _ACTIVATION in kinds:
            kind = _ACTIVATION
        elif _TABLE in kinds or op in _COPIES or any(map(is_spread, reads)):
            kind = _TABLE
        follow_copies(op, args, reads, writes)
        source = keeps_copies(op, reads)
        distinct = None if source is None else self._elements(source)
        seen = {storage_of(tensor) for tensor in reads}
        for tensor in writes:
            if storage_of(tensor) not in seen or changes:
                self._kinds[storage_of(tensor)] = kind
                self._distinct.pop(storage_of(tensor), None)
                if distinct is not None and distinct < tensor.numel():
                    self._distinct[storage_of(tensor)] = distinct
                if kind not in _NO_WEIGHT:
                    self._alive.append(tensor.untyped_storage())
            elif any(map(is_spread, reads)):
                self.spread(tensor)
        if changes and kind == _ACTIVATION and reads:
            self._kinds[storage_of(reads[0])] = kind
        if op in _PADS and writes:
            writes[0]._dibench_padded = (tuple(args[0].shape), list(args[1]))

    def _product(
        self, namespace: str, op: str, args: Sequence[Any], kwargs: Mapping[str, Any], writes: Sequence[Any]
    ) -> tuple[str | None, Layer | Uncovered] | None:
        if namespace == "aten" and op in _CONVOLUTIONS:
            return self._convolution(*args[:9])
        if namespace == "aten" and op in _FACTORS:
            first, second = (args[index] for index in _FACTORS[op])
            return self._matmul(first, second)
        if namespace == "aten" and op == "linear":
            return self._matmul(args[0], args[1], turned=True)
        if op == "_euclidean_dist" or (op == "_cdist_forward" and args[2] == 2):  # they come from x · yᵀ
            return self._matmul(args[0], args[1], turned=True)
        if namespace == "aten" and op in ("_grouped_mm", "_scaled_grouped_mm"):
            return self._grouped(args[0], args[1])
        if op == "_trilinear":
            return None, Uncovered("product of three operands", _trilinear_macs(*args[:6]))
        if op == "affine_grid_generator":
            return None, Uncovered(TWO_ACTIVATIONS, prod(writes[0].shape) * args[0].shape[2])
        if ("scaled_dot_product" in op and "attention" in op) or op == "flex_attention":
            q, k, v = (tuple(tensor.shape) for tensor in args[:3])
            macs, outputs = prod(q[:-1]) * k[-2] * (q[-1] + v[-1]), prod(q[:-1]) * v[-1]
            queries, keys, values = map(self._elements, args[:3])
            return None, Uncovered("attention, " + TWO_ACTIVATIONS, macs, (queries, keys + values), outputs)
        if namespace == "torchvision" and op == "deform_conv2d":
            weight = args[1]
            macs = prod(writes[0].shape) * prod(weight.shape[1:])
            return self._weight(weight), Uncovered("deformable convolution", macs)
        if namespace == "higher_order":
            return None, Uncovered(f"inside {op}, which may run it never or many times")
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
        axes = len(taps) - 2

        def each(values: Sequence[int]) -> list[int]:
            return list(values) * axes if len(values) == 1 else list(values)

        if transposed:
            return self._transposed(
                weight, image, taps, each(stride), each(padding), each(dilation), each(output_padding), groups
            )
        pads = [(pad, pad) for pad in each(padding)]
        before, amounts = getattr(x, "_dibench_padded", (image, []))
        if amounts and len(before) == len(image) and len(amounts) <= 2 * axes and min(amounts) >= 0:
            image = before  # a pad before a convolution is its padding; the last axis comes first
            for i in range(len(amounts) // 2):
                begin, end = pads[axes - 1 - i]
                pads[axes - 1 - i] = (begin + amounts[2 * i], end + amounts[2 * i + 1])
        result = convolution(
            image, taps, strides=each(stride), pads=pads, dilations=each(dilation), groups=groups
        )
        if weight is None and isinstance(result, Layer):
            return None, Uncovered("filter computed at run time", result.macs)
        return weight, result

    # Wide because these are the arguments of PyTorch's convolution.
    @staticmethod
    def _transposed(
        weight: str | None, x: Shape, w: Shape, strides: Sequence[int], pads: Sequence[int],
        dilations: Sequence[int], more: Sequence[int], groups: int,
    ) -> tuple[str | None, Layer | Uncovered]:  # fmt: skip
        axes = zip(x[2:], w[2:], strides, pads, dilations, more, strict=True)
        sizes = [
            (n - 1) * step - 2 * pad + dil * (taps - 1) + 1 + out for n, taps, step, pad, dil, out in axes
        ]
        y = (x[0], w[1] * groups, *sizes)
        ends = [(pad, pad) for pad in pads]
        result = transposed_convolution(
            x, w, y, strides=strides, pads=ends, dilations=dilations, groups=groups
        )
        if weight is None and isinstance(result, Layer):
            return None, Uncovered("filter computed at run time", result.macs)
        return weight, result

    def _matmul(self, first: Any, second: Any, turned: bool = False) -> tuple[str | None, Layer | Uncovered]:
        """x · w; `turned` says that the second operand is wᵀ."""
        operands = (first, second)
        kinds = [self._kinds[storage_of(tensor)] for tensor in operands]
        shapes = [tuple(map(int, tensor.shape)) for tensor in operands]
        which = self._which(operands, kinds)
        if which is not None:
            shapes[which] = once(operands[which], shapes[which], None)
            shapes[1 - which] = once(operands[1 - which], shapes[1 - which], shapes[which])
        if turned:
            shapes[1] = (*shapes[1][:-2], *shapes[1][:-3:-1])
        result = matmul(shapes[0], shapes[1], which)
        if which is None and _ACTIVATION not in kinds:
            return None, Uncovered("product of two weights, no activation", getattr(result, "macs", None))
        if isinstance(result, Uncovered) and result.operands is not None:
            result = attrs.evolve(result, operands=(self._elements(first), self._elements(second)))
        return (None if which is None else self._weight(operands[which])), result

    def _grouped(self, first: Any, second: Any) -> tuple[str | None, Layer | Uncovered]:
        """Groups of rows of x, or of columns, times matrices; offsets say where each group ends."""
        if len(first.shape) == len(second.shape) == 3:
            return self._matmul(first, second)
        x, w = tuple(first.shape), tuple(second.shape)
        weight = self._weight(second)
        if len(x) == 2 and len(w) == 3 and weight is not None:
            return weight, _experts(x, w)
        reason = TWO_ACTIVATIONS if weight is None else "groups of unequal size"
        return None, Uncovered(reason, prod(x) * w[-1])

    def _which(self, operands: Sequence[Any], kinds: Sequence[str]) -> int | None:
        """Which operand is the weight; beside a weight, what is spread over a batch is like an activation."""
        fixed = [kind != _ACTIVATION for kind in kinds]
        if fixed == [True, True]:
            spread = [
                kind == _TABLE or is_spread(tensor) for kind, tensor in zip(kinds, operands, strict=True)
            ]
            return (1 if spread[0] else 0) if any(spread) and kinds != [_TABLE, _TABLE] else None
        return fixed.index(True) if any(fixed) else None

    def _weight(self, tensor: Any) -> str | None:
        """The name of a weight; None for what is none."""
        kind = self._kinds[storage_of(tensor)]
        return None if kind == _ACTIVATION else "" if kind == _TABLE else kind

    def _elements(self, tensor: Any) -> int:
        """How many distinct elements a tensor has: copies of one, by stride or in memory, are one."""
        own = stored(tensor)
        return min(own, self._distinct.get(storage_of(tensor), own))

    def _learn(self, tensor: Any, name: str) -> None:
        storage = tensor.untyped_storage()
        self._kinds.setdefault(storage._cdata, name)
        self._alive.append(storage)


def _experts(x: Shape, w: Shape) -> Layer | Uncovered:
    """Rows in groups, each with its own weight; as one grouped layer where groups may be of equal size."""
    if x[0] % w[0]:
        return Uncovered("groups of unequal size", x[0] * w[1] * w[2])
    return matmul((w[0], x[0] // w[0], w[1]), w, 1)


def _trilinear_macs(
    first: Any, second: Any, third: Any, new1: Sequence[int], new2: Sequence[int], new3: Sequence[int]
) -> int:
    """Elements of the product of three tensors, each with new axes at these places."""
    shapes = []
    for tensor, new in ((first, new1), (second, new2), (third, new3)):
        left = iter(tensor.shape)
        shapes.append([1 if axis in new else next(left) for axis in range(len(tensor.shape) + len(new))])
    return prod(max(sizes) for sizes in zip(*shapes, strict=True))
