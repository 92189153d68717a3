"""`measure LAYER`: what one layer costs here, beside PyTorch's library where it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.backends import Backend, Prepared
    from dibench.layer import Layer
    from dibench.measure import Measurement
    from dibench.meters import Meter

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
    meter: Annotated[str, typer.Option(help="Joules from: auto, rapl, none.")] = "auto",
) -> None:
    """Measure one layer with the fastest kernel of its operator: time, joules, reuse, place on the roofline.

    [bold]python -m dibench measure resnet50/layer1.0.conv2[/bold]

    [bold]python -m dibench measure mobilenet_v2/features.2.conv.1.0 --batch 8[/bold]
    """
    from dibench.backends import open_backend

    target = _layer(layer, batch)
    kernels = open_backend(backend)
    energy, why_not = _meter(meter, kernels.name)
    results = [_ours(kernels, target, energy), *_peer(target, energy, kernels.name)]
    peaks = kernels.peaks()
    _show(target, kernels, results, peaks, why_not)


@attrs.frozen
class Result:
    """One way to run the layer, and what it measured."""

    name: str
    measurement: Measurement


def _layer(text: str, batch: int) -> Layer:
    from dibench import networks
    from dibench.layer import Layer

    if batch < 0:
        raise UserError("--batch", "must be a positive number", batch)
    found = Layer.parse(text) if "=" in text else networks.find(text)
    return found.with_batch(batch * found.N if "=" not in text else batch) if batch else found


def _meter(name: str, backend: str) -> tuple[Meter, str]:
    """A sensor, or the meter without energy and the reason. Modelled joules have no place beside a time."""
    from dibench.meters import open_meter

    if name == "model":
        raise UserError("--meter", "must be auto, rapl or none: one layer shows measured joules only", name)
    opened = open_meter(name, backend)
    if opened.source != "model":
        return opened, "not asked for" if opened.source == "none" else ""
    return open_meter("none", backend), "no sensor here; `python -m dibench doctor` says why"


def _ours(kernels: Backend, layer: Layer, energy: Meter) -> Result:
    from dibench import variants
    from dibench.plan import usual_case

    registry = variants.registry(kernels.name).values()
    running = [v for v in registry if layer.op in v.ops and "fp32" in v.dtypes]
    fast = [v for v in running if v.fast] or running
    results = [
        Result(
            v.name,
            _measured(kernels.prepare(usual_case(layer, v)), energy, on_cpu=kernels.name == "cpu"),
        )
        for v in fast
    ]
    return min(results, key=lambda result: result.measurement.time_s)


def _peer(layer: Layer, energy: Meter, backend: str) -> list[Result]:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        return []
    from importlib.metadata import version

    name = f"PyTorch {version('torch').partition('+')[0]}"
    if backend == "cpu":
        from dibench.backends.torch import TorchLayer

        return [Result(name, _measured(TorchLayer(layer), energy))]
    from dibench.backends.torch_gpu import TorchGpuLayer

    try:
        theirs = TorchGpuLayer(layer)
    except UserError:  # a build for the CPU: no peer for a GPU
        return []
    return [Result(name, _measured(theirs, energy, on_cpu=False))]


def _measured(prepared: Prepared, energy: Meter, *, on_cpu: bool = True) -> Measurement:
    from dibench.measure import Settings, measure_case, waited_s

    try:
        settings = Settings(target=0.01, case_budget_s=4.0)
        # Where the device is the CPU, other processes can take its cores away.
        return measure_case(prepared, energy, settings, waited=waited_s if on_cpu else lambda: 0.0)
    finally:
        prepared.close()


def _show(
    layer: Layer, kernels: Backend, results: list[Result], peaks: Mapping[str, Any], why_not: str
) -> None:
    from dibench.cli.output import console, shape_text, short

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
        if result.measurement.status != "ok":
            out.print(f"note      {result.name}: {result.measurement.reason}", soft_wrap=True)


def _table(layer: Layer, results: list[Result], roof: float) -> Any:
    from rich.table import Table

    from dibench.cli.output import short

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("kernel", "time", "±", "GMAC/s", "of the roof", "energy", "pJ/MAC"):
        table.add_column(column, justify="left" if column == "kernel" else "right")
    for result in results:
        got = result.measurement
        rate = layer.macs / got.time_s
        spread = f"{100 * got.time_ci_s / got.time_s:.1f}%" if got.time_ci_s is not None else ""
        energy = short(got.energy_j, "J") if got.energy_j is not None else "not measured"
        per_mac = f"{got.energy_j / layer.macs * 1e12:.3g}" if got.energy_j is not None else ""
        share = f"{100 * rate / roof:.0f}%"
        table.add_row(
            result.name, short(got.time_s, "s"), spread, f"{rate / 1e9:.3g}", share, energy, per_mac
        )
    return table


def _roofline(layer: Layer, peaks: Mapping[str, Any]) -> str:
    """Which roof limits the layer, from peaks measured a moment ago."""
    from dibench.cli.output import short

    ridge = peaks["mac_per_s"] / peaks["bytes_per_s"]
    intensity = layer.ai / _FP32_BYTES
    bound = "arithmetic" if intensity >= ridge else "memory"
    sign = "≥" if intensity >= ridge else "<"
    return (
        f"\nroofline  {bound}-bound: {intensity:.3g} MAC per byte {sign} {ridge:.3g} at the ridge "
        f"({short(peaks['mac_per_s'], 'MAC/s')}, {short(peaks['bytes_per_s'], 'B/s')}, measured just now; "
        "small layers run from cache, above the memory roof)"
    )
