"""`layers MODEL`: the layers of any network with counts, reuse and intensity, and what they leave out."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import attrs

from dibench.cli.options import (
    Alpha,
    AlphaOfFit,
    AsCsv,
    Batches,
    Full,
    InputShapes,
    Json,
    Model,
    Strict,
    batch_sizes,
    check_json,
    chosen_alphas,
    models_at,
)
from dibench.cli.output import answer_each, console, data_output, exit_if_partial, tell_not_covered
from dibench.errors import UserError
from dibench.layer import DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dibench.layer import Layer
    from dibench.models import Model as AnyModel
    from dibench.models import NotCovered
    from dibench.models.intensities import AlphaValues, Drag


MOST_LISTED = 10_000
"""Layers that are listed unasked: a table of a million takes 12 GB to lay out. `--csv` writes any number."""


# Wide because each parameter is an option.
def layers(
    model: Model,
    as_csv: AsCsv = False,
    json_file: Json = None,
    batch: Batches = "",
    input_shape: InputShapes = None,
    alpha: Alpha = None,
    fit: AlphaOfFit = None,
    strict: Strict = False,
    full: Full = False,
) -> None:
    """Show each convolution and fully-connected layer of a model: shape, MACs, elements, reuse, AI and DI.

    Weights are never read, so a model of gigabytes is shown at once. What is no layer is listed below with
    its MACs: most 3-D convolutions, and products of two activations, these with their own elements, reuse and
    AI. Where there is any, sums are over part of the model, and with --strict the exit status is 4.

    A terminal shows of many layers what drags the network down and those with most MACs; with --full, and
    where the output is redirected, every one is shown.

    Several batch sizes are shown one after the other; as CSV they are one table, in which N differs.

    [bold]python -m dibench layers resnet50 --batch 1,8[/bold]
    """
    from dibench.show.models import layer_blocks
    from dibench.show.terminal import show

    if as_csv and json_file:
        raise UserError("--csv", "must not stand with --json")
    check_json(json_file)
    alphas = chosen_alphas(alpha, fit)
    loaded = models_at([model], batch_sizes(batch), input_shape)
    if as_csv:
        _write_csv(loaded, alphas)
    else:
        origin, out = f"α fitted, {fit}" if fit else "", console()

        def tell(one: AnyModel) -> None:
            brief = not full and (out.is_terminal or len(one.layers) > MOST_LISTED)
            show(out, layer_blocks(one, alphas, _dragging(one, alphas), origin, brief=brief))

        answer_each(json_file, loaded, lambda one: _plain(one, alphas), tell)
    if strict:
        exit_if_partial((one.name, one.covered) for one in loaded)


def _plain(model: AnyModel, alphas: AlphaValues | None) -> dict[str, Any]:
    from dibench.models.intensities import reuse_of

    return {
        "model": model.name,
        "batch": model.batch,
        "inputs": {name: list(shape) for name, shape in model.input_shapes.items()},
        "parameters": model.parameters,
        "macs_known": model.macs_known,
        "share_of_macs": model.covered.share_of_macs,
        "partial": model.covered.partial,
        "coverage": model.coverage,
        "note": model.note,
        "network": reuse_of(model.layers).figures(alphas) if model.layers else None,
        "layers": (_layer(layer) | reuse_of([layer]).figures(alphas) for layer in model.layers),
        "not_covered": [_part(part) for part in model.not_covered],
        "drag": [
            {
                "name": drag.layer.name,
                "macs_share": drag.macs_share,
                "elements_share": drag.elements_share,
                "lost": drag.lost,
            }
            for drag in _dragging(model, alphas)
        ],
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {"name": layer.name, "op": layer.op, **layer.dims, "transposed": int(layer.transposed)}


def _part(part: NotCovered) -> dict[str, Any]:
    first, second, output = part.reuse or (None, None, None)
    reuse = {"first_reuse": first, "second_reuse": second, "output_reuse": output}
    return attrs.asdict(part) | reuse | {"ai": part.ai}


def _write_csv(models: Sequence[AnyModel], alphas: AlphaValues | None) -> None:
    from dibench.models.intensities import COLUMNS, DI_COLUMNS, reuse_of

    header = ["name", "op", *DIMENSIONS, "transposed", *COLUMNS, *(DI_COLUMNS if alphas else ())]
    writer = csv.DictWriter(data_output(), header, lineterminator="\n")
    writer.writeheader()
    layers = [layer for model in models for layer in model.layers]
    writer.writerows(_layer(layer) | reuse_of([layer]).figures(alphas) for layer in layers)
    tell_not_covered(models)


def _dragging(model: AnyModel, alphas: AlphaValues | None) -> list[Drag]:
    """The layers through which the model loses intensity, worst first."""
    from dibench.models.intensities import drags

    if not model.layers:
        return []
    return [drag for drag in drags(model.layers, alphas.weighted if alphas else 0.5) if drag.lost > 0]
