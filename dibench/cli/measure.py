"""`measure LAYER`: what one layer costs here, beside PyTorch's library where it is installed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.backends import Backend, Prepared
    from dibench.layer import Layer
    from dibench.measure.instrument import Instrument
    from dibench.schema import Row

_FP32_BYTES = 4


def measure(
    layer: Annotated[
        str,
        typer.Argument(
            help="network/layer, or dimensions such as N=1,C=64,H=56,W=56,K=64,R=3,S=3,pad_h=1,pad_w=1"
        ),
    ],
    batch: Annotated[
        int, typer.Option("--batch", "-N", help="Batch size; 0 leaves the layer's own.", metavar="N")
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
    from dibench.measure.settings import Settings

    target = _layer(layer, batch)
    settings = Settings(target=0.01, case_budget_s=4.0)
    instrument, why_not = open_sensor(resolve(backend), meter, settings)
    kernels = instrument.backend
    results = [_ours(instrument, target), *_peer(instrument, target)]
    peaks = kernels.peaks()
    _show(target, kernels, results, peaks, why_not)


@attrs.frozen
class Result:
    """One way to run the layer, and what was measured."""

    name: str
    row: Row


def _layer(text: str, batch: int) -> Layer:
    from dibench import networks
    from dibench.layer import Layer

    if batch < 0:
        raise UserError("--batch", "must be a positive number", batch)
    found = Layer.parse(text) if "=" in text else networks.find(text)
    return found.with_batch(batch * found.N if "=" not in text else batch) if batch else found


def _ours(instrument: Instrument, layer: Layer) -> Result:
    from dibench import kernels
    from dibench.plan import usual_case

    backend = instrument.backend
    registry = kernels.registry(backend.name).values()
    running = [v for v in registry if layer.op in v.ops and "fp32" in v.dtypes]
    fast = [v for v in running if v.fast] or running
    results = [Result(v.name, _measured(backend.prepare(usual_case(layer, v)), instrument)) for v in fast]
    return min(results, key=lambda result: result.row.time_s or math.inf)


def _peer(instrument: Instrument, layer: Layer) -> list[Result]:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        return []
    from importlib.metadata import version

    name = f"PyTorch {version('torch').partition('+')[0]}"
    if instrument.backend.name == "cpu":
        from dibench.backends.torch import TorchLayer

        return [Result(name, _measured(TorchLayer(layer), instrument))]
    from dibench.backends.torch_gpu import TorchGpuLayer

    try:
        theirs = TorchGpuLayer(layer)
    except UserError:  # a build for the CPU: no peer for a GPU
        return []
    return [Result(name, _measured(theirs, instrument))]


def _measured(prepared: Prepared, instrument: Instrument) -> Row:
    try:
        return instrument.measured(prepared)
    finally:
        prepared.close()


def _show(
    layer: Layer, kernels: Backend, results: list[Result], peaks: Mapping[str, Any], why_not: str
) -> None:
    from dibench.cli.output import console
    from dibench.show.numbers import shape_text, short

    out = console()
    device = kernels.device()
    out.print(f"[bold]{layer.name or layer}[/bold]  {layer.op}  {shape_text(layer)}", soft_wrap=True)
    threads = f", {device.facts['threads']} threads" if "threads" in device.facts else ""
    out.print(f"on {device.name}{threads}, fp32\n", soft_wrap=True)
    m = layer.macs
    out.print(
        f"MACs {short(m)}, AI {layer.ai:.3g} MAC per element = {layer.ai / _FP32_BYTES:.3g} MAC per byte"
    )
    for name, count in (("weights", layer.weights), ("inputs", layer.inputs), ("outputs", layer.outputs)):
        out.print(f"  {name:<8} {short(count):>6}   each serves {short(m / count):>6} MACs")
    out.print()
    out.print(_table(layer, results, min(peaks["mac_per_s"], layer.ai / _FP32_BYTES * peaks["bytes_per_s"])))
    out.print(_roofline(layer, peaks), soft_wrap=True)
    if why_not:
        out.print(f"energy    {why_not}", soft_wrap=True)
    for result in results:
        if result.row.status != "ok":
            out.print(f"note      {result.name}: {result.row.reason}", soft_wrap=True)


def _table(layer: Layer, results: list[Result], roof: float) -> Any:
    from rich.table import Table

    from dibench.show.numbers import short

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("kernel", "time", "±", "GMAC/s", "of the roof", "energy", "pJ/MAC"):
        table.add_column(column, justify="left" if column == "kernel" else "right")
    for result in results:
        row = result.row
        time_s, energy_j = row.time_s or math.nan, row.energy_j
        rate = layer.macs / time_s
        spread = f"{100 * row.time_ci_s / time_s:.1f}%" if row.time_ci_s is not None else ""
        energy = short(energy_j, "J") if energy_j is not None else "not measured"
        per_mac = f"{energy_j / layer.macs * 1e12:.3g}" if energy_j is not None else ""
        share = f"{100 * rate / roof:.0f}%"
        table.add_row(result.name, short(time_s, "s"), spread, f"{rate / 1e9:.3g}", share, energy, per_mac)
    return table


def _roofline(layer: Layer, peaks: Mapping[str, Any]) -> str:
    """Which roof limits the layer, from peaks measured a moment ago."""
    from dibench.show.numbers import short

    ridge = peaks["mac_per_s"] / peaks["bytes_per_s"]
    intensity = layer.ai / _FP32_BYTES
    bound = "arithmetic" if intensity >= ridge else "memory"
    sign = "≥" if intensity >= ridge else "<"
    return (
        f"\nroofline  {bound}-bound: {intensity:.3g} MAC per byte {sign} {ridge:.3g} at the ridge "
        f"({short(peaks['mac_per_s'], 'MAC/s')}, {short(peaks['bytes_per_s'], 'B/s')}, measured just now; "
        "small layers run from cache, above the memory roof)"
    )
