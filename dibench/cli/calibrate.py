"""`calibrate`: what the GPU's power sensor can resolve here, and how many visits a case needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.measure.calibration import Calibration, Effort

LAYER = "N=32,C=256,H=28,W=28,K=256,R=3,S=3,pad_h=1,pad_w=1"
_SOURCES = ("nvml_counter", "nvml_power")


def calibrate(
    long: Annotated[bool, typer.Option("--long", help="Three minutes instead of 40 seconds.")] = False,
    brief: Annotated[
        bool, typer.Option("--brief", help="27 seconds: what a campaign spares for it.")
    ] = False,
    backend: Annotated[str, typer.Option(help="cuda, or module:callable from elsewhere.")] = "cuda",
    meter: Annotated[
        str, typer.Option(help="nvml_counter, nvml_power, or module:callable from elsewhere.")
    ] = "nvml_counter",
    layer: Annotated[
        str, typer.Option(metavar="LAYER", help="What runs: large enough to fill the GPU.")
    ] = LAYER,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Find the GPU's tick periods, noise, idle and active idle power, and the visits a case needs.

    The result is kept for this GPU and driver, with a figure beside it.
    """
    from dibench.elsewhere import is_elsewhere

    if meter not in _SOURCES and not is_elsewhere(meter):
        rule = f"must be {' or '.join(_SOURCES)}, or module:callable: only a sensor has noise"
        raise UserError("--meter", rule, meter)
    if backend != "cuda" and not is_elsewhere(backend):
        raise UserError("--backend", "must be cuda or module:callable: what is calibrated is a GPU", backend)
    if long and brief:
        raise UserError("--brief", "must not stand beside --long")
    from dibench import files
    from dibench.measure import calibration
    from dibench.show.noise import noise_figure

    effort = calibration.LONG if long else calibration.BRIEF if brief else calibration.SHORT
    found = _on_this_gpu(backend, meter, layer, effort)
    path = calibration.path_of(found.device_uuid, found.driver)
    calibration.write(found, path)
    figure = noise_figure({float(length): sd for length, sd in found.noise.items()}, found.between)
    files.replace_file(path.with_suffix(".svg"), figure.encode())
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=1))
    else:
        _show(found, path)


def _on_this_gpu(backend: str, source: str, layer: str, effort: Effort) -> Calibration:
    from dibench import kernels
    from dibench.backends import cuda_driver
    from dibench.measure import calibration
    from dibench.measure.instrument import open_instrument
    from dibench.measure.settings import Settings
    from dibench.meters.gpu import GpuMeter
    from dibench.plan import usual_case
    from dibench.plan.layers import resolve_layer

    chosen = resolve_layer(layer, "--layer")
    able = [v for v in kernels.registry("cuda").values() if chosen.op in v.ops and "fp32" in v.dtypes]
    variant = next((v for v in able if v.fast), able[0])
    if backend == "cuda" and isinstance(gpu := cuda_driver.gpu(), str):
        raise UserError("calibrate", f"needs an NVIDIA GPU: {gpu}")
    instrument = open_instrument(backend, source, Settings())
    if not isinstance(instrument.meter, GpuMeter):
        raise UserError("--meter", "must be a GPU's sensor, which is used in visits", source)
    device = instrument.backend.device()
    prepared = instrument.backend.prepare(usual_case(chosen, variant))
    try:
        return calibration.calibrate(
            instrument.meter,
            instrument.backend.busy,
            prepared,
            driver=str(device.facts.get("driver") or ""),
            effort=effort,
        )
    finally:
        prepared.close()


def _show(found: Calibration, path: Path) -> None:
    from dibench.cli.output import console

    out = console()
    facts = found.meter
    out.print(f"[bold]{facts['gpu']}[/bold]  {found.device_uuid}", soft_wrap=True)
    for what, period_s in (("energy counter", "counter_period_s"), ("instant power", "power_period_s")):
        value = facts[period_s]
        out.print(f"  {what:<15} " + ("not there" if value is None else f"moves every {1e3 * value:.0f} ms"))
    if found.idle_power_w is not None:
        out.print(f"  idle            {found.idle_power_w:.1f} ± {found.idle_ci_w or 0:.1f} W")
    out.print(f"  active idle     {found.active_idle_power_w:.1f} ± {found.active_idle_ci_w:.1f} W")
    noise = ", ".join(f"{100 * sd:.2g}% in {length} s" for length, sd in found.noise.items())
    out.print(f"  noise (1σ)      {noise or 'too few windows'}; a visit adds {100 * found.between:.2g}%")
    widths = ", ".join(f"±{100 * width:.2g}% from {number}" for number, width in found.half_width.items())
    out.print(f"  visits          {widths or 'no energy was read'}", soft_wrap=True)
    out.print(f"  reading         {facts['reading']}")
    for note in found.notes:
        out.print(f"  note            {note}", soft_wrap=True)
    out.print(f"kept as {path}, figure beside it", soft_wrap=True)
