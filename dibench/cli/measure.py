"""`measure LAYER`: what one layer costs here, beside PyTorch's library where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dibench.cli.output import console
from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.layer import Layer

_TARGET, _BUDGET_S = 0.01, 4.0
"""Relative half-width to reach, and the time for it."""


def measure(
    layer: Annotated[
        str,
        typer.Argument(
            help="network/layer, or dimensions such as N=1,C=64,H=56,W=56,K=64,R=3,S=3,pad_h=1,pad_w=1"
        ),
    ],
    batch: Annotated[
        int, typer.Option("--batch", "-N", help="Batch size; 0 keeps the layer's own.", metavar="N")
    ] = 0,
    backend: Annotated[str, typer.Option(help="What runs the kernels: auto, cuda, cpu.")] = "auto",
    meter: Annotated[
        str, typer.Option(help="Joules from: auto, nvml_counter, nvml_power, rapl, zeus, none.")
    ] = "auto",
) -> None:
    """Measure one layer with the fastest kernel of its operator: time, joules, reuse, place on the roofline.

    [bold]python -m dibench measure resnet50/layer1.0.conv2[/bold]

    [bold]python -m dibench measure mobilenet_v2/features.2.conv.1.0 --batch 8[/bold]
    """
    from dibench.backends import resolve
    from dibench.measure.instrument import open_sensor
    from dibench.measure.one_layer import measure_layer
    from dibench.measure.settings import Settings
    from dibench.show import one_layer
    from dibench.show.terminal import show

    target = _layer(layer, batch)
    settings = Settings(target=_TARGET, case_budget_s=_BUDGET_S)
    instrument, why_not = open_sensor(resolve(backend), meter, settings)
    device = instrument.backend
    about, peaks = device.device(), device.peaks()  # before the peer, which may take the device down
    found = measure_layer(instrument, target)
    show(console(), one_layer.blocks(target, about, peaks, found, why_not))


def _layer(text: str, batch: int) -> Layer:
    from dibench import networks
    from dibench.layer import Layer

    if batch < 0:
        raise UserError("--batch", "must be a positive number", batch)
    found = Layer.parse(text) if "=" in text else networks.find(text)
    return found.with_batch(batch * found.N if "=" not in text else batch) if batch else found
