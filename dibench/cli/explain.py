"""`explain MODEL`: where a network's cost comes from, and which changes would save most of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    model_at,
    models_at,
)
from dibench.cli.output import STANDARD_OUTPUT, answer_each, console, exit_if_partial, say
from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.models import Model as AnyModel
    from dibench.study.findings.explanation import Explanation
    from dibench.study.findings.fitted_model import FittedModel


# Wide because each parameter is an option.
# Long because each of them is described here.
def explain(
    model: Model,
    fit: FitFile = None,
    batch: Batches = "",
    by: FitModel = "di_weighted",
    dtype: FitDtype = "",
    dtype_fit: Annotated[
        list[Path] | None,
        typer.Option(
            "--dtype-fit",
            metavar="FIT.json",
            help="A fit of the same device in another data type: adds that type to the changes.",
        ),
    ] = None,
    full: Full = False,
    every: Annotated[bool, typer.Option("--all", help="--full, with every layer and every change.")] = False,
    input_shape: InputShapes = None,
    figures: Figures = None,
    json_file: Json = None,
    strict: Strict = False,
) -> None:
    """Show what each layer's cost is made of, and rank the design changes that would save most.

    First the cost, what it is made of and what would save most; --full shows all.

    Changes: batch, groups, group size, depthwise-separable split, bottleneck width, data type. Each keeps
    what the rest of the network sees. A saving is the difference of two predictions of one fit, with its
    95% interval. What a change does to accuracy is not known here.

    Where part of the model cannot be predicted, only changes of predicted layers are told, without their
    share of the cost. Exit status: 2 nothing can be predicted, 4 with --strict the total is partial.

    Several batch sizes are explained one after the other.

    [bold]python -m dibench explain resnet50 --fit fit.json[/bold]
    """
    check_json(json_file)
    fitted = fitted_model(fit, by, dtype)
    dtypes = [_of_other_dtype(path, by, fitted) for path in dtype_fit or []]
    networks = models_at([model], batch_sizes(batch), input_shape)
    from dibench.show import costs_in_brief, explained
    from dibench.show.blocks import Note
    from dibench.show.terminal import show
    from dibench.show.terms import explained as with_terms
    from dibench.study.use.explain import explain as engine

    found: list[Explanation] = []
    why_not: list[list[str]] = []
    for network in networks:
        batches, refused = _at_other_batches(model, network.batch, input_shape)
        found.append(engine(network, fitted, batches=batches, dtypes=dtypes))
        why_not.append(refused)
    if figures is not None:
        from dibench.show.figure_files import write_figures

        for one in found:  # the same names at every batch size
            folder = figures if len(found) == 1 else figures / f"batch-{one.prediction.batch}"
            write_figures(folder, explained.figures(one))

    def tell(number: int) -> None:
        one = found[number]
        if full or every:
            told = explained.blocks(one, str(fit), every=every)
        else:
            told = costs_in_brief.explained(one, costs_in_brief.Typed())
        shown = [*told, *map(Note, why_not[number])]
        show(console(), with_terms(shown) if full or every else shown)

    def figures_of(number: int) -> dict[str, Any]:
        return found[number].to_json() | {"not_tried": why_not[number]}

    answer_each(json_file, range(len(found)), figures_of, tell)
    if figures is not None and json_file != STANDARD_OUTPUT:
        say(f"Figures: {figures}")
    if strict:
        exit_if_partial((one.prediction.network, one.prediction.covered) for one in found)


def _at_other_batches(
    model: str, own: int, input_shape: list[str] | None
) -> tuple[list[AnyModel], list[str]]:
    """The network at the other batch sizes, and why some cannot be tried, sizes of one reason together."""
    from dibench.study.use.explain import other_batches

    found, refused = other_batches(lambda size: model_at(model, size, input_shape), own)
    sizes = dict[str, list[str]]()
    for size, error in refused.items():
        why = f"{error.field}: {error.rule}" if error.field else error.rule
        sizes.setdefault(why, []).append(str(size))
    return found, [f"Not tried: batch {', '.join(those)}. {why}." for why, those in sizes.items()]


def _of_other_dtype(path: Path, by: str, fit: FittedModel) -> FittedModel:
    other = fitted_model(path, by)
    own, theirs = fit.origin, other.origin
    for what in ("device", "response", "energy_source"):
        if getattr(own, what) != getattr(theirs, what):
            rule = f"must have the {what} of --fit, {getattr(own, what)}"
            raise UserError("--dtype-fit", rule, getattr(theirs, what), where=path)
    if theirs.dtype == own.dtype:
        raise UserError("--dtype-fit", "must be of another data type than --fit", theirs.dtype, where=path)
    return other
