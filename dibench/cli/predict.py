"""`predict MODEL`: what a network will cost on the fitted device, layer by layer."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from dibench.cli.options import (
    Batches,
    Figures,
    FitDtype,
    FitFile,
    FitModel,
    Full,
    InputShapes,
    Json,
    Model,
    Strict,
    batch_sizes,
    check_json,
    fitted_model,
    models_at,
)
from dibench.cli.output import answer, console, exit_if_partial, say


# Wide because each parameter is an option.
# Long because 40 of its lines say what each option is.
def predict(
    model: Model,
    fit: FitFile = None,
    batch: Batches = "",
    compare: Annotated[
        str, typer.Option("--compare", metavar="MODEL2", help="A second network beside the first.")
    ] = "",
    by: FitModel = "di_weighted",
    dtype: FitDtype = "",
    full: Full = False,
    every: Annotated[bool, typer.Option("--all", help="--full, with every layer.")] = False,
    input_shape: InputShapes = None,
    measured: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="Whole networks that `sweep --models` measured, to check the prediction with."
        ),
    ] = None,
    library: Annotated[
        Path | None,
        typer.Option(
            metavar="FIT.json",
            help="A fit of the same layers through PyTorch's library (`sweep --backend torch`): its costs "
            "beside ours, and their ratio.",
        ),
    ] = None,
    figures: Figures = None,
    json_file: Json = None,
    strict: Strict = False,
) -> None:
    """Predict what a network costs on the device of a fit: per layer, operator and inference, with intervals.

    First what it costs, how sure that is and what to do next, then the costliest layers; --full shows all.

    An interval holds 95% of measurements. It takes in the errors of the fitted coefficients, which all
    layers share, and how far unseen layers lie from the fit, which averages out over different shapes.

    A total over less than all multiply-adds of a model says so ("≥ 636 µs, 28% of MACs") and is compared
    with nothing. Exit status: 2 nothing of it can be predicted, 4 with --strict a total is partial.

    [bold]python -m dibench fit results/local/cpu/sweep.csv --json fit.json[/bold]

    [bold]python -m dibench predict resnet50 --fit fit.json --compare mobilenet_v2 --batch 1,8,32[/bold]

    [bold]python -m dibench predict resnet50 --fit fit.json --library library.json[/bold]
    """
    check_json(json_file)
    sizes = batch_sizes(batch)
    fitted = fitted_model(fit, by, dtype)
    theirs = fitted_model(library, by, dtype) if library else None
    wanted = models_at([model, *([compare] if compare else [])], sizes, input_shape)
    from dibench.show import costs_in_brief, library_costs, predicted_costs
    from dibench.show.terminal import show
    from dibench.show.terms import explained
    from dibench.study.table.columns import STUDIED
    from dibench.study.use.predict_all import predict_all
    from dibench.table import manifest_beside, read_csv, table_of

    found = predict_all(
        wanted,
        fitted,
        library=theirs,
        measured=read_csv(table_of(measured), STUDIED) if measured else None,
        manifests=(manifest_beside(fit), manifest_beside(measured)),
    )
    if figures is not None:
        from dibench.show.figure_files import write_figures

        write_figures(figures, predicted_costs.figures(found))

    def tell() -> None:
        if full or every:
            told = predicted_costs.blocks(found, str(fit), every=every)
        else:
            shapes = "".join(f" --input-shape {shlex.quote(one)}" for one in input_shape or ())
            named, fitted, second = map(shlex.quote, (model, str(fit), compare))
            typed = costs_in_brief.Typed(named, fitted, second, shapes)
            told = costs_in_brief.predicted(found, typed)
            told += library_costs.blocks(found.predictions, found.library) if found.library else []
        told = [*told, *predicted_costs.checked(found)]
        show(console(), explained(told) if full or every else told)
        if figures is not None:
            say(f"Figures: {figures}")

    answer(json_file, found.to_json, tell)
    if strict:
        beside = [one.prediction for one in found.library.beside] if found.library else []
        exit_if_partial((one.network, one.covered) for one in (*found.predictions, *beside))
