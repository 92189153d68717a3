"""The layer that a printed PyTorch module is, at the shape of its input; PyTorch is not needed."""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from typing import Any

from dibench.errors import UserError
from dibench.layer import Layer

KINDS = ("Conv2d", "Linear")
_KNOWN = {
    "Conv2d": {"kernel_size", "stride", "padding", "dilation", "groups", "bias"},
    "Linear": {"in_features", "out_features", "bias"},
}


def kind_of(text: str) -> str:
    """The class of a printed module.

    >>> kind_of("BatchNorm2d(64, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)")
    'BatchNorm2d'
    """
    return text.partition("(")[0].strip()


def layer_of(text: str, shape: Sequence[int]) -> Layer:
    """The layer of a printed Conv2d or Linear.

    A linear layer on more than two dimensions multiplies each row of the last one: they count as its N.

    Args:
        text: as `print(module)` shows it.
        shape: of its input.

    Raises:
        UserError: the text is not such a module, or its input does not fit it.

    >>> layer_of("Conv2d(8, 8, kernel_size=(3, 3), stride=(2, 2), groups=8)", (1, 8, 9, 9)).op
    'depthwise'
    >>> layer_of("Linear(in_features=4, out_features=2, bias=True)", (3, 5, 4)).N
    15
    """
    kind, given, named = _parsed(text)
    for name in named:
        if name not in _KNOWN[kind]:
            raise UserError(name, f"is not known of {kind}", text)
    if kind == "Linear":
        return _linear(named, shape)
    return _convolution(given, named, shape)


def _parsed(text: str) -> tuple[str, list[Any], dict[str, Any]]:
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in KINDS):
            raise ValueError
        named = {str(one.arg): _value(one.value) for one in call.keywords}
        return call.func.id, [_value(one) for one in call.args], named
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):  # what ast says of hostile text
        raise UserError("module", f"must be a printed {' or '.join(KINDS)}", text) from None


def _value(node: ast.expr) -> Any:
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)  # padding=same has no quotes


def _linear(named: dict[str, Any], shape: Sequence[int]) -> Layer:
    features = named.get("in_features")
    if not shape or shape[-1] != features:
        raise UserError("input", f"must end with in_features = {features}", tuple(shape))
    return Layer.fc(N=math.prod(shape[:-1]), C=shape[-1], K=named.get("out_features", 0))


def _convolution(given: list[Any], named: dict[str, Any], shape: Sequence[int]) -> Layer:
    if len(given) != 2 or len(shape) != 4 or shape[1] != given[0]:
        raise UserError("input", f"must be four numbers with {given[:1]} channels", tuple(shape))
    (N, C, H, W), K = shape, given[1]
    R, S = _pair(named, "kernel_size", None)
    stride, dil = _pair(named, "stride", 1), _pair(named, "dilation", 1)
    known = {"N": N, "C": C, "H": H, "W": W, "K": K, "R": R, "S": S}
    known |= {"stride_h": stride[0], "stride_w": stride[1], "dil_h": dil[0], "dil_w": dil[1]}
    if named.get("padding") == "same":  # for stride 1 alone; what is odd goes to the end
        pad = (dil[0] * (R - 1) // 2, dil[1] * (S - 1) // 2)
        known |= {"P": H, "Q": W}
    else:
        pad = (0, 0) if named.get("padding") == "valid" else _pair(named, "padding", 0)
    return Layer.from_dims({**known, "pad_h": pad[0], "pad_w": pad[1], "groups": named.get("groups", 1)})


def _pair(named: dict[str, Any], name: str, default: int | None) -> tuple[Any, Any]:
    value = named.get(name, default)
    if isinstance(value, tuple) and len(value) == 2 and all(type(one) is int for one in value):
        return value
    if isinstance(value, int):
        return value, value
    raise UserError(name, "must be one or two whole numbers", value)
