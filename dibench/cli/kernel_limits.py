"""`variants --limits`: what bounds the CUDA kernels on a layer or a network, without a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench.cli.output import answer, console
from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.layer import Layer
    from dibench.limits.cards import Card
    from dibench.limits.examine import Limits
    from dibench.plan import Case
    from dibench.show.blocks import Block

FEW = (
    "resnet50/layer1.0.conv2", "resnet50/layer3.1.conv1", "resnet50/layer4.1.conv2", "resnet50/fc",
    "mobilenet_v2/features.3.conv.1.0", "mobilenet_v2/features.12.conv.0.0",
)  # fmt: skip
"""Where no layer is named: wide and narrow images, each operator of two networks."""

BATCHES = (1, 8, 32)

_TELLING = ("fp32", "tf32", "bf16")
"""Data types where none is asked for: fp16 is as fast as bf16."""


def tell(
    named: Sequence[str], arch: int, batches: Sequence[int], dtype: str, json_file: Path | None, *, full: bool
) -> None:
    """Print the limits of layers, or of networks, as tables or JSON.

    Args:
        named: layers and networks; none: a few layers.
        arch: compute capability of the card.
        batches: images; none: as a layer's own dimensions say, else 1, 8 and 32.
        dtype: only this data type.
        json_file: see `output.answer`.
        full: every kernel, and what each takes of a multiprocessor.
    """
    from dibench.limits import cards
    from dibench.show.terminal import show

    card, dtypes = cards.of(arch), (dtype,) if dtype else _TELLING
    whole = [name for name in named if not _is_layer(name)]
    if whole and len(whole) < len(named):
        raise UserError("LAYER", "must all be layers, or all networks", " ".join(named))
    if whole:
        found, told = _networks(whole, card, batches or BATCHES, dtypes, full=full)
    else:
        found, told = _layers(named, card, batches, dtypes, full=full)
    answer(json_file, lambda: found, lambda: show(console(), told))


def _layers(
    named: Sequence[str], card: Card, batches: Sequence[int], dtypes: Sequence[str], *, full: bool
) -> tuple[Any, Sequence[Block]]:
    from dibench.limits import choice
    from dibench.show import limits

    layers = [layer for name in named or FEW for layer in _at_batches(name, batches)]
    fast = not (named and full)
    cases = [case for layer in layers for case in choice.cases_of(layer, card, fast=fast, dtypes=dtypes)]
    found = _examined(cases, card)
    shown = found if named else choice.fastest(found)
    return [_object(one) for one in shown], limits.layers(shown, card, full=full)


def _networks(
    named: Sequence[str], card: Card, batches: Sequence[int], dtypes: Sequence[str], *, full: bool
) -> tuple[Any, Sequence[Block]]:
    from dibench import models
    from dibench.limits import choice
    from dibench.show import limits

    loaded = [models.load(name, batch=N) for name in named for N in batches]
    wanted = {layer.renamed(""): None for model in loaded for layer in model.layers}
    cases = [case for layer in wanted for case in choice.cases_of(layer, card, dtypes=("fp32", *dtypes))]
    best = choice.fastest(_examined(cases, card))
    known = {(one.case.layer, one.case.dtype): one for one in best}
    told = [choice.of_network(model.name, model.layers, one, known) for model in loaded for one in dtypes]
    rows = [one for one in best if one.case.dtype in dtypes]
    found = {"networks": [attrs.asdict(one) for one in told], "layers": [_object(one) for one in rows]}
    return found, [*(limits.layers(rows, card, full=True) if full else []), *limits.networks(told, card)]


def _is_layer(name: str) -> bool:
    from dibench.models.named import is_dimensions, split_layer

    return is_dimensions(name) or bool(split_layer(name)[1])


def _at_batches(name: str, batches: Sequence[int]) -> list[Layer]:
    from dibench import models
    from dibench.layer import Layer
    from dibench.models.named import is_dimensions

    if is_dimensions(name):
        layer = Layer.parse(name)
        return [layer.with_batch(N) for N in batches or (layer.N,)]
    return [models.find(name, batch=N) for N in batches or BATCHES]


def _examined(cases: Sequence[Case], card: Card) -> list[Limits]:
    """The limits of all cases that have some; with a bar, since kernels are compiled and executed.

    Raises:
        UserError: none has.
    """
    from rich.progress import track

    from dibench.limits.examine import Limits, examine

    told = track(
        examine(cases, card),
        "compiling and executing",
        total=len(cases),
        console=console(stderr=True),
        transient=True,
    )
    found, refusals = list[Limits](), list[UserError]()
    for one in told:
        if isinstance(one, UserError):
            refusals.append(one)
        else:
            found.append(one)
    if refusals and not found:
        raise refusals[0]
    if not found:
        raise UserError("LAYER", f"no CUDA kernel runs it in such types on a {card.name}")
    return found


def _object(one: Limits) -> dict[str, Any]:
    case = one.case
    plain = attrs.asdict(one, filter=attrs.filters.exclude("case", "card"), recurse=False)
    return {
        "layer": case.layer.name,
        **case.layer.dims,
        "op": case.layer.op,
        "variant": case.variant,
        "dtype": case.dtype,
        "knobs": dict(case.knobs),
        "card": one.card.name,
        "arch": f"sm_{one.card.arch}",
        **plain,
        "unit_shares": dict(one.unit_shares),
    }
