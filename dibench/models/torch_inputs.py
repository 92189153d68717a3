"""Makes the tensors for one run of a PyTorch module, in the containers that its `forward` takes."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Mapping
from typing import Any

from dibench.errors import UserError
from dibench.models.torch_source import import_torch

Inputs = Mapping[str, tuple[tuple[int, ...], str]]
"""Size and type of each tensor by name; that of the first by position is empty, the next are `1`, `2`, …"""


class Fields(dict[str, Any]):
    """A dict whose values are attributes too, as `forward` may read a dataclass of which nothing is known."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the input has no field {name}") from None


def arguments(module: Any, inputs: Inputs, device: str) -> tuple[list[Any], dict[str, Any], list[Any]]:
    """Arguments for `forward` by position and by name, and all tensors in them.

    `pair.0` is in a tuple, `batch.x` in a dict, or in the dataclass or named tuple that the annotation of
    `forward` asks for.

    Raises:
        UserError: an input is to be inside of one that has a shape.
    """
    torch = import_torch()
    named: dict[str, Any] = {}
    tensors = []
    for name, (shape, dtype) in inputs.items():
        kind = getattr(torch, dtype)
        make = torch.rand if kind.is_floating_point else torch.zeros
        *outer, last = name.split(".")
        place = named
        for key in outer:
            place = place.setdefault(key, Fields())
            if not isinstance(place, dict):
                raise UserError(f"--input-shape {name}", "must not be inside of an input that has a shape")
        place[last] = make(shape, dtype=kind, device=device)
        tensors.append(place[last])
    kinds = _annotations(module)
    made = {key: _contained(value, kinds.get(key)) for key, value in named.items()}
    positional = [made.pop("")] if "" in made else []
    while positional and (following := str(len(positional))) in made:
        positional.append(made.pop(following))
    return positional, made, tensors


def _annotations(module: Any) -> Mapping[str, Any]:
    """What `forward` says of its arguments, as far as its annotations can be resolved."""
    try:
        return typing.get_type_hints(module.forward)
    except Exception:  # names of annotations that are imported for type checkers alone
        return {}


def _contained(value: Any, kind: Any) -> Any:
    """Fields in the class that they are for; a tuple where their names count from 0."""
    if not isinstance(value, Fields):
        return value
    inner = Fields({key: _contained(each, None) for key, each in value.items()})
    if list(inner) == [str(i) for i in range(len(inner))]:
        return tuple(inner.values())
    if inspect.isclass(kind) and (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")):
        return kind(**inner)
    return inner
