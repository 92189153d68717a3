"""`calibrate`: what the GPU's power sensor can resolve here, and how many visits a case needs."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Annotated

import typer

from dibench.cli.options import Full, Json, check_json, duration_s
from dibench.cli.output import answer, console
from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.measure.calibration import Calibration, Effort

_LAYER = "N=32,C=256,H=28,W=28,K=256,R=3,S=3,pad_h=1,pad_w=1"
_SOURCES = ("auto", "nvml_counter", "nvml_power")


# Wide because each parameter is an option of the command line.
def calibrate(
    long: Annotated[bool, typer.Option("--long", help="Three minutes instead of 43 seconds.")] = False,
    brief: Annotated[bool, typer.Option("--brief", help="33 seconds, as a campaign runs it.")] = False,
    time_budget: Annotated[
        str, typer.Option(help="Begin no visit that would end later, such as 40s; what is found is kept.")
    ] = "",
    backend: Annotated[str, typer.Option(help="cuda, or module:callable from elsewhere.")] = "cuda",
    meter: Annotated[
        str, typer.Option(help="auto, nvml_counter, nvml_power, or module:callable from elsewhere.")
    ] = "auto",
    layer: Annotated[
        str, typer.Option(metavar="LAYER", help="What runs: large enough to fill the GPU.")
    ] = _LAYER,
    json_file: Json = None,
    full: Full = False,
) -> None:
    """Find how often the GPU's power sensor moves, its noise, both idle powers, and the visits a case needs.

    First how many visits a case needs, how sure that is and what to do next; --full shows the sensor.
    The result is kept for this GPU and driver, and sweeps begin with it. A figure lies beside it.
    """
    begin = time.monotonic()
    from dibench.elsewhere import is_elsewhere

    check_json(json_file)
    until = begin + duration_s("--time-budget", time_budget) if time_budget else math.inf
    if meter not in _SOURCES and not is_elsewhere(meter):
        rule = f"must be {', '.join(_SOURCES)}, or module:callable: only a sensor has noise"
        raise UserError("--meter", rule, meter)
    if backend != "cuda" and not is_elsewhere(backend):
        raise UserError("--backend", "must be cuda or module:callable: what is calibrated is a GPU", backend)
    if long and brief:
        raise UserError("--brief", "must not stand with --long")
    from dibench import files
    from dibench.measure import calibration
    from dibench.show import sensor
    from dibench.show.terminal import show

    effort = calibration.LONG if long else calibration.BRIEF if brief else calibration.SHORT
    found = _on_this_gpu(backend, meter, layer, effort, until)
    path = calibration.path_of(found.device_uuid, found.driver)
    calibration.write(found, path)
    figure = sensor.noise_figure({float(length): sd for length, sd in found.noise.items()}, found.between)
    files.replace_file(path.with_suffix(".svg"), files.encoded(figure))
    told = sensor.full if full else sensor.brief
    answer(json_file, found.as_json, lambda: show(console(), told(found, path)))


def _on_this_gpu(backend: str, source: str, layer: str, effort: Effort, until: float) -> Calibration:
    """Calibrate; `until` is an instant of `time.monotonic()`."""
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
        raise UserError(
            "calibrate", f"needs an NVIDIA GPU: {gpu}; `python -m dibench doctor` says what works here"
        )
    lacks = "`python -m dibench doctor --full` shows what each sensor lacks"
    instrument = open_instrument(backend, source, Settings(), instead=lacks)
    if not isinstance(instrument.meter, GpuMeter):
        rule = instrument.not_metered or "must be a GPU's sensor, which is used in visits"
        raise UserError("--meter", rule, source)
    device = instrument.backend.device()
    prepared = instrument.backend.prepare(usual_case(chosen, variant))
    try:
        return calibration.calibrate(
            instrument.meter,
            instrument.backend.busy,
            prepared,
            driver=str(device.facts.get("driver") or ""),
            effort=effort,
            until_s=instrument.meter.clock.now() + until - time.monotonic(),
        )
    finally:
        prepared.close()
