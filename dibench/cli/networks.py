"""`networks [MODEL…]`: networks side by side, what they compute, move and reuse."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dibench.cli.options import (
    Alpha,
    AlphaOfFit,
    AsCsv,
    Batches,
    InputShapes,
    Json,
    Strict,
    batch_sizes,
    check_json,
    chosen_alphas,
    models_at,
)
from dibench.cli.output import answer, console, data_output, exit_if_partial, tell_not_covered
from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.models import Model
    from dibench.models.intensities import AlphaValues

_HEADER = ("network", "layers", "macs", "weights", "inputs", "outputs", "ai", "distinct_shapes", "family")
_MORE = (
    "batch", "macs_known", "weight_reuse", "input_reuse", "output_reuse", "share_of_macs", "partial",
)  # fmt: skip


# Wide because each parameter is an option of the command line.
def networks(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL…]", help="What `layers` reads. By default the 25 networks."),
    ] = None,
    as_csv: AsCsv = False,
    json_file: Json = None,
    batch: Batches = "",
    input_shape: InputShapes = None,
    alpha: Alpha = None,
    fit: AlphaOfFit = None,
    strict: Strict = False,
) -> None:
    """List networks with their MACs, elements, reuse per data type and intensity.

    Sums are over the layers of a network. Where these are not all of it, ≥ and the share of MACs say so;
    with --strict the exit status is then 4.

    [bold]python -m dibench networks mobilenet_v2 mine.onnx --batch 1,8 --alpha 0.7[/bold]
    """
    from dibench import networks as built_in
    from dibench.numbers import count
    from dibench.show.models import network_blocks
    from dibench.show.terminal import show

    if as_csv and json_file:
        raise UserError("--csv", "must not stand with --json")
    check_json(json_file)
    alphas = chosen_alphas(alpha, fit)
    names, sizes = models or built_in.names(), batch_sizes(batch)
    found = models_at(names, sizes, input_shape)
    if as_csv:
        _write_csv(found, alphas)
    else:
        answer(
            json_file,
            lambda: [_figures(model, alphas) for model in found],
            lambda: show(console(), network_blocks(found, alphas, count(len(names), "network"))),
        )
    if strict:
        exit_if_partial((model.name, model.covered) for model in found)


def _figures(model: Model, alphas: AlphaValues | None) -> dict[str, Any]:
    """What programs read of a network, in the order of the table's columns."""
    from dibench.models.intensities import reuse_of
    from dibench.networks import distinct
    from dibench.show.models import family

    figures = {
        "network": model.name,
        "layers": len(model.layers),
        "distinct_shapes": len(distinct(model.layers)),
        "family": family(model),
        "batch": model.batch,
        "macs_known": model.macs_known,
        "share_of_macs": model.covered.share_of_macs,
        "partial": int(model.covered.partial),
        **reuse_of(model.layers).figures(alphas),
    }
    return {name: figures[name] for name in _columns(alphas) if name in figures}


def _columns(alphas: AlphaValues | None) -> tuple[str, ...]:
    from dibench.models.intensities import DI_COLUMNS

    return (*_HEADER, *_MORE, *(DI_COLUMNS if alphas else ()))


def _write_csv(found: list[Model], alphas: AlphaValues | None) -> None:
    writer = csv.DictWriter(data_output(), _columns(alphas), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_figures(model, alphas) for model in found)
    tell_not_covered(found)
