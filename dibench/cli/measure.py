"""`measure`: what one layer, or every layer of a model, costs here, beside PyTorch's library."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from dibench.cli.options import Batch, InputShapes, Json, check_json, duration_s, grouped
from dibench.cli.output import answer, console
from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.backends import Device
    from dibench.layer import Layer
    from dibench.measure.instrument import Instrument
    from dibench.measure.one_model import MeasuredModel, Shape
    from dibench.models import Model

_TARGET, _BUDGET_S = 0.01, 4.0
"""Relative half-width to reach, and the time for it."""
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
    batch: Batch = None
    input_shape: InputShapes = None
    time_budget: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Of a whole model: 90s, 9m. The costliest layers come first.",
            show_default=_MODEL_BUDGET,
        ),
    ] = ""
    every: Annotated[
        bool, typer.Option("--all", help="Of a whole model: every shape, not the costliest.")
    ] = False
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
    ends early and shows what was measured. Nothing is kept: `sweep` writes rows.

    [bold]python -m dibench measure resnet50/layer1.0.conv2[/bold]

    [bold]python -m dibench measure my.onnx --batch 8[/bold]

    [bold]python -m dibench measure nets.py:make --input-shape 1,3,64,64 --time-budget 60s[/bold]
    """
    begin = time.monotonic()
    from dibench.models.named import split_layer

    of_dimensions = re.match(r"\s*[A-Za-z_]+\s*=", options.what) and not Path(options.what).exists()
    if of_dimensions or split_layer(options.what)[1]:
        _of_a_model_only(options)
        _one_layer(_given(options) if of_dimensions else _found(options), options)
        return
    _whole_model(options, begin)


def _of_a_model_only(options: Options) -> None:
    given = {"--time-budget": options.time_budget, "--all": options.every, "--json": options.json_file}
    for option, value in given.items():
        if value:
            raise UserError(option, f"is of a whole model, and {options.what} is one layer")


def _given(options: Options) -> Layer:
    """The layer of these dimensions."""
    from dibench.layer import Layer

    if options.input_shape:
        raise UserError("--input-shape", "must not stand with a layer's own dimensions")
    layer = Layer.parse(options.what)
    if options.batch is not None and options.batch < 1:
        raise UserError("--batch", "must be a positive number", options.batch)
    return layer if options.batch is None else layer.with_batch(options.batch)


def _found(options: Options) -> Layer:
    """The layer of this name."""
    from dibench import models
    from dibench.models.inputs import parse_inputs

    return models.find(options.what, batch=options.batch, shapes=parse_inputs(options.input_shape or []))


def _opened(options: Options, **settings: Any) -> tuple[Instrument, Device, dict[str, Any], str]:
    """Device and meter, the device and its peaks, and why there is no energy."""
    from dibench.backends import resolve
    from dibench.measure.instrument import open_sensor
    from dibench.measure.settings import Settings

    backend = resolve(options.backend)
    if backend == "torch":
        rule = (
            "must be auto, cuda or cpu: PyTorch's library is measured beside our kernels if it is installed"
        )
        raise UserError("--backend", rule, backend)
    instrument, why_not = open_sensor(backend, options.meter, Settings(**settings))
    device = instrument.backend
    return instrument, device.device(), dict(device.peaks()), why_not


def _one_layer(layer: Layer, options: Options) -> None:
    from dibench.measure.one_layer import measure_layer
    from dibench.show import one_layer
    from dibench.show.terminal import show

    # The peaks before the peer, which may take the device down.
    instrument, about, peaks, why_not = _opened(options, target=_TARGET, case_budget_s=_BUDGET_S)
    found = measure_layer(instrument, layer)
    show(console(), one_layer.blocks(layer, about, peaks, found, why_not))


def _whole_model(options: Options, begin: float) -> None:
    from dibench.cli.options import model_at
    from dibench.show import measured_model
    from dibench.show.terminal import show

    deadline = begin + duration_s("--time-budget", options.time_budget or _MODEL_BUDGET)
    check_json(options.json_file)
    model = model_at(options.what, options.batch, options.input_shape)
    if not model.layers:
        raise UserError("model", f"{options.what} has no layer that dibench knows: it {model.coverage}")
    instrument, about, peaks, why_not = _opened(options)
    found = _measured(instrument, model, about, peaks, why_not, deadline)

    def tell() -> None:
        show(console(), measured_model.blocks(found, about, peaks, why_not, every=options.every))
        typer.echo(
            f"\nNext: {_next(options, model)}\n      keeps a row of each shape, to fit and predict with"
        )

    answer(options.json_file, lambda: measured_model.plain(found, about, peaks), tell)
    if found.interrupted:
        raise typer.Exit(130)


def _measured(
    instrument: Instrument, model: Model, about: Device, peaks: dict[str, Any], why_not: str, deadline: float
) -> MeasuredModel:
    """The model's shapes, as far as the time goes or until Ctrl-C, with progress on standard error."""
    from dibench.backends.base import DeviceFaultError
    from dibench.cli.progress import Progress
    from dibench.measure.one_model import MeasuredModel, MeasuredShape, measured_shapes, shapes_of
    from dibench.plan import Case
    from dibench.sweep.events import CaseBegan, CaseEnded, SweepBegan

    shapes = shapes_of(model.layers, peaks)
    tried = list[MeasuredShape]()
    ended = False

    def case(shape: Shape, kernel: str = "") -> Case:
        return Case(layer=shape.layer, backend=instrument.backend.name, variant=kernel)

    with Progress(deadline) as progress:
        source = "none" if why_not else instrument.meter.source
        progress.show(SweepBegan(about.name, source, len(shapes), 0, len(shapes), False, why_not))
        try:
            for one in measured_shapes(
                instrument,
                shapes,
                peaks,
                deadline,
                on_begin=lambda shape: progress.show(CaseBegan(case(shape))),
            ):
                tried.append(one)
                progress.show(CaseEnded(case(one.shape, one.ours.name), one.ours.row))
            ended = True
        except KeyboardInterrupt:
            pass
        except DeviceFaultError as error:
            typer.echo(f"dibench: the device is lost: {error}", err=True)
    return MeasuredModel(model, tuple(shapes), tuple(tried), interrupted=not ended)


def _next(options: Options, model: Model) -> str:
    """The command that measures the same shapes into a table."""
    batch = ["--batch", str(options.batch)] if options.batch is not None else []
    shapes = [word for text in options.input_shape or [] for word in ("--input-shape", text)]
    out = f"results/local/{re.sub(r'[^A-Za-z0-9._-]', '-', model.name)}"
    return shlex.join(["python", "-m", "dibench", "sweep", options.what, *batch, *shapes, "--out", out])
