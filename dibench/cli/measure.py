"""`measure`: what one layer, or every layer of a model, costs here, beside PyTorch's library."""

from __future__ import annotations

import re
import shlex
import time
from typing import TYPE_CHECKING, Annotated

import attrs
import typer

from dibench.cli import interruption
from dibench.cli.options import (
    Batches,
    Full,
    InputShapes,
    Json,
    batch_sizes,
    check_json,
    duration_s,
    grouped,
    models_at,
)
from dibench.cli.output import answer_each, console, say
from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.layer import Layer
    from dibench.measure.here import Here
    from dibench.measure.one_model import MeasuredModel, MeasuredShape, Shape
    from dibench.models import Model

_MODEL_BUDGET = "30s"


@attrs.frozen(kw_only=True)
class Options:
    """What the command line says."""

    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL[/LAYER]",
            help="A model as `layers` takes it (resnet50, my.onnx, file.py:callable, layers.csv, "
            "torchvision:NAME): all its layers. Behind a slash one of them, as `layers` calls it. Or the "
            "dimensions of a layer: N=1,C=64,H=56,W=56,K=64,R=3,S=3,pad_h=1,pad_w=1.",
        ),
    ]
    batch: Batches = ""
    input_shape: InputShapes = None
    time_budget: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Of a whole model, all batch sizes together: 90s, 9m. The costliest layers come first.",
            show_default=_MODEL_BUDGET,
        ),
    ] = ""
    full: Full = False
    json_file: Json = None
    backend: Annotated[str, typer.Option(help="What runs the kernels: auto, cuda, cpu.")] = "auto"
    meter: Annotated[
        str, typer.Option(help="Joules from: auto, nvml_counter, nvml_power, rapl, zeus, none.")
    ] = "auto"


@grouped
def measure(options: Options) -> None:
    """Measure a layer, or all layers of a model, with the fastest kernel of each, beside PyTorch's library.

    Of a layer: time, joules, reuse, place on the roofline. Of a model: each distinct shape within a time
    budget, the costliest expected first; then the costliest layers, the sum, and what it leaves out. Ctrl-C
    ends early and shows what was measured. Several batch sizes come one after the other. Nothing is kept:
    `sweep` writes rows.

    [bold]python -m dibench measure resnet50/layer1.0.conv2[/bold]

    [bold]python -m dibench measure my.onnx --batch 8[/bold]

    [bold]python -m dibench measure nets.py:make --input-shape 1,3,64,64 --time-budget 60s[/bold]
    """
    begin = time.monotonic()
    from dibench.models.named import is_dimensions, split_layer

    check_json(options.json_file)
    of_dimensions = is_dimensions(options.what)
    if of_dimensions or split_layer(options.what)[1]:
        if options.time_budget:
            raise UserError("--time-budget", f"is of a whole model, and {options.what} is one layer")
        sizes = batch_sizes(options.batch)
        _one_layer([(_given if of_dimensions else _found)(options, size) for size in sizes], options)
        return
    _whole_models(options, begin)


def _given(options: Options, batch: int | None) -> Layer:
    """The layer of these dimensions."""
    from dibench.layer import Layer

    if options.input_shape:
        raise UserError("--input-shape", "must not stand with a layer's own dimensions")
    layer = Layer.parse(options.what)
    return layer if batch is None else layer.with_batch(batch)


def _found(options: Options, batch: int | None) -> Layer:
    """The layer of this name."""
    from dibench import models
    from dibench.models.inputs import parse_inputs

    return models.find(options.what, batch=batch, shapes=parse_inputs(options.input_shape or []))


def _one_layer(layers: list[Layer], options: Options) -> None:
    from dibench.measure.here import open_here
    from dibench.measure.one_layer import measure_layer
    from dibench.show import one_layer
    from dibench.show.terminal import show

    here = open_here(options.backend, options.meter)
    found = [
        (layer, here.device, here.peaks, measure_layer(here.instrument, layer), here.why_no_energy)
        for layer in layers
    ]
    answer_each(
        options.json_file,
        found,
        lambda one: one_layer.plain(*one),
        lambda one: show(console(), one_layer.blocks(*one, full=options.full)),
    )


def _whole_models(options: Options, begin: float) -> None:
    from dibench.measure.here import open_here
    from dibench.show import measured_model
    from dibench.show.terminal import show

    deadline = begin + duration_s("--time-budget", options.time_budget or _MODEL_BUDGET)
    models = models_at([options.what], batch_sizes(options.batch), options.input_shape)
    for model in models:
        if not model.layers:
            raise UserError("model", f"{options.what} has no layer that dibench knows: it {model.coverage}")
    here = open_here(options.backend, options.meter)
    found: list[MeasuredModel] = []
    for left in range(len(models), 0, -1):
        now = time.monotonic()
        found.append(_measured(here, models[len(found)], now + (deadline - now) / left))
        if found[-1].cut_short:
            break

    def tell(one: MeasuredModel) -> None:
        about = here.device, here.peaks, here.why_no_energy
        show(console(), measured_model.blocks(one, *about, full=options.full))

    answer_each(
        options.json_file,
        found,
        lambda one: measured_model.plain(one, here.device, here.peaks, here.why_no_energy),
        tell,
    )
    _after(options, models, found)


def _after(options: Options, models: list[Model], found: list[MeasuredModel]) -> None:
    """What comes next, what no time was left for, and the exit status."""
    from dibench.cli.output import STANDARD_OUTPUT

    if options.json_file != STANDARD_OUTPUT:
        next_ = _next(options, models[0])
        say(f"\nNext: {next_}\n      keeps a row of each shape, to fit and predict with")
    for model in models[len(found) :]:
        say(f"dibench: not measured: {model.name} at batch {model.batch}", err=True)
    if found[-1].interrupted:
        raise typer.Exit(interruption.status())
    if found[-1].lost:
        raise UserError("", f"the device is lost: {found[-1].lost}")


def _measured(here: Here, model: Model, deadline: float) -> MeasuredModel:
    """The model's shapes, as far as the time goes, with progress on standard error."""
    from dibench.cli.progress import Progress
    from dibench.measure.one_model import measured_model, shapes_of
    from dibench.plan import Case
    from dibench.sweep.events import CaseBegan, CaseEnded, SweepBegan

    shapes, backend = shapes_of(model.layers, here.peaks), here.instrument.backend.name
    source = "none" if here.why_no_energy else here.instrument.meter.source

    def case(shape: Shape, kernel: str = "") -> Case:
        return Case(layer=shape.layer, backend=backend, variant=kernel)

    def ended(one: MeasuredShape) -> None:
        progress.show(CaseEnded(case(one.shape, one.ours.name), one.ours.row))

    with Progress(deadline) as progress:
        total = len(shapes)
        progress.show(SweepBegan(here.device.name, source, total, 0, total, False, here.why_no_energy))
        return measured_model(
            here.instrument,
            model,
            shapes,
            here.peaks,
            deadline,
            on_begin=lambda shape: progress.show(CaseBegan(case(shape))),
            on_end=ended,
        )


def _next(options: Options, model: Model) -> str:
    """The command that measures the same shapes into a table."""
    batch = ["--batch", options.batch] if options.batch else []
    shapes = [word for text in options.input_shape or [] for word in ("--input-shape", text)]
    out = f"results/local/{re.sub(r'[^A-Za-z0-9._-]', '-', model.name)}"
    return shlex.join(["python", "-m", "dibench", "sweep", options.what, *batch, *shapes, "--out", out])
