"""`dibench.measure` and `dibench.sweep`: what layers cost on this machine."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dibench.api.inputs import Network, model_of
from dibench.api.measured import MeasuredLayer, MeasuredNetwork, SweepResult
from dibench.api.words import errors_in_python
from dibench.durations import duration_s
from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.layer import Layer
    from dibench.models import Model
    from dibench.plan import Plan
    from dibench.sweep.events import Event

_TARGET, _BUDGET_S = 0.01, 4.0
"""Relative half-width to reach for one layer, and the time for it."""
_SAY_EVERY_S = 1.0


@errors_in_python
def measure(
    what: Network,
    *,
    batch: int | None = None,
    input_shape: str | Sequence[str] = (),
    backend: str = "auto",
    meter: str = "auto",
    time_budget: str | float = "30s",
    progress: bool = True,
) -> MeasuredLayer | MeasuredNetwork:
    """Measure a layer, or all layers of a network, with the fastest kernel of each, beside PyTorch's library.

    Nothing is kept: `sweep` writes rows.

    Args:
        what: a `Layer`, `network/layer` or dimensions (`"N=1,C=64,H=56,W=56,K=64,R=3,S=3"`); or a network as
            `layers` takes it, whose distinct shapes are measured, the costliest expected first.
        batch: images in one inference.
        input_shape: as of `layers`.
        backend: `auto`, `cuda` or `cpu`.
        meter: joules from `auto`, `nvml_counter`, `nvml_power`, `rapl`, `zeus` or `none`; never from a model.
        time_budget: of a network: `"90s"`, `"9m"`, or seconds. Ctrl-C ends it early and keeps what it has.
        progress: of a network, a line on standard error.

    Returns:
        Of a layer `.time_s`, `.energy_j` (None where no sensor read it: `.why_no_energy`) and `.found`, each
        way to run it; of a network `.cost`, `.measured` and `.to_frame()`, a row for each shape.

    Raises:
        dibench.errors.UserError: no such layer or network, or the device or a meter that is named refuses.

    >>> measure("resnet50/layer1.0.conv2").time_s  # doctest: +SKIP
    0.0015
    """
    begin, budget_s = time.monotonic(), _seconds("time_budget", time_budget)
    model = model_of(what, batch, input_shape)
    if not model.layers:
        raise UserError("what", f"must have a layer that dibench knows: {model.name} {model.coverage}")
    if len(model.layers) == 1:
        return _measured_layer(model.layers[0], backend, meter)
    return _measured_network(model, backend, meter, begin + budget_s, _Progress() if progress else None)


def _measured_layer(layer: Layer, backend: str, meter: str) -> MeasuredLayer:
    from dibench import backends
    from dibench.measure.instrument import open_sensor
    from dibench.measure.one_layer import measure_layer
    from dibench.measure.settings import Settings

    settings = Settings(target=_TARGET, case_budget_s=_BUDGET_S)
    instrument, why_not = open_sensor(backends.resolve(backend), meter, settings)
    # The peaks before the peer, which may take the device down.
    device, peaks = instrument.backend.device(), dict(instrument.backend.peaks())
    return MeasuredLayer(layer, device, peaks, tuple(measure_layer(instrument, layer)), why_not)


def _measured_network(
    model: Model, backend: str, meter: str, deadline: float, progress: _Progress | None
) -> MeasuredNetwork:
    from dibench import backends
    from dibench.backends import DeviceFaultError
    from dibench.measure.instrument import open_sensor
    from dibench.measure.one_model import MeasuredModel, MeasuredShape, measured_shapes, shapes_of
    from dibench.measure.settings import Settings

    instrument, why_not = open_sensor(backends.resolve(backend), meter, Settings())
    device, peaks = instrument.backend.device(), dict(instrument.backend.peaks())
    shapes, tried, ended = shapes_of(model.layers, peaks), list[MeasuredShape](), False
    try:
        for one in measured_shapes(instrument, shapes, peaks, deadline):
            tried.append(one)
            if progress is not None:
                progress.say(len(tried), len(shapes), f"shapes, {one.shape.layer.name}")
        ended = True
    except KeyboardInterrupt:
        pass
    except DeviceFaultError as error:
        warnings.warn(f"the device is lost: {error}", stacklevel=3)
    found = MeasuredModel(model, tuple(shapes), tuple(tried), interrupted=not ended)
    return MeasuredNetwork(found, device, peaks, why_not)


# Wide because each parameter is a choice of the sweep.
@errors_in_python
def sweep(
    plan: Network | Sequence[Network] = "default",
    *,
    out: str | os.PathLike[str],
    batch: int | Sequence[int] | None = None,
    input_shape: str | Sequence[str] = (),
    backend: str = "auto",
    meter: str = "auto",
    time_budget: str | float = "",
    case_budget: str | float = 1.0,
    target: float | None = None,
    seed: int = 1,
    fresh: bool = False,
    progress: bool = True,
) -> SweepResult:
    """Measure every case of a plan into `out`; the same call resumes where the last one ended.

    Args:
        plan: `smoke`, `default`, `networks`, `lattice`, `twins`, a TOML file; or a network, a `Layer` or
            several, whose distinct shapes are measured with the fast kernels.
        out: directory of `sweep.csv` and `manifest.json`.
        batch: of a network: one size or several.
        input_shape: of an ONNX file's or a module's inputs, as of `layers`.
        backend: `auto`, `cuda`, `cpu` or `torch`.
        meter: `auto` takes a sensor that works, else the model, which is no evidence and says so.
        time_budget: end cleanly after so long: `"60s"`, `"9m"`, or seconds.
        case_budget: seconds for one case.
        target: relative half-width at which a case is finished; without it 0.02, or what a noisy machine can.
        seed: of the random part of the order.
        fresh: start over; the files of the earlier sweep are renamed.
        progress: a line on standard error.

    Returns:
        `.path`, `.frame`, `.statuses`, `.left`. `fit`, `load` and `compare` take it as it is. Ctrl-C ends it
        early, and what was measured stands.

    Raises:
        dibench.errors.UserError: no such plan; the device refuses; another sweep is in `out`.

    >>> sweep("smoke", out="/tmp/smoke", time_budget="60s").frame  # doctest: +SKIP
    """
    from dibench import backends, kernels
    from dibench.measure.settings import Settings
    from dibench.sweep.run import Sweep, run_sweep

    begin, budget_s = time.monotonic(), _seconds("time_budget", time_budget) if time_budget else None
    resolved = backends.resolve(backend)
    made = _plan(plan, resolved, batch, input_shape, seed)
    case_budget_s = _seconds("case_budget", case_budget)
    settings = Settings(case_budget_s=case_budget_s)
    if target is not None:
        if not 1e-4 <= target <= 1:
            raise UserError("target", "must be from 0.0001 to 1", target)
        settings = Settings(target=target, case_budget_s=case_budget_s)
    job = Sweep(
        plan=made,
        backend=resolved,
        meter=meter,
        settings=settings,
        sources_sha=kernels.sources_sha(made.backend),
        command_line=[f"dibench.sweep({made.name!r}, out={os.fspath(out)!r})"],
        keep_target=target is not None,
    )
    found = run_sweep(
        job,
        Path(out),
        deadline=None if budget_s is None else begin + budget_s,
        fresh=fresh,
        on_event=_Progress() if progress else _quietly,
    )
    return SweepResult(Path(out), made.name, found, made.partial)


def _plan(
    given: Network | Sequence[Network],
    backend: str,
    batch: int | Sequence[int] | None,
    input_shape: str | Sequence[str],
    seed: int,
) -> Plan:
    """What a text names: a preset, a file, a network; else the layers at hand."""
    import attrs

    from dibench import backends, kernels
    from dibench.plan import load_plan, make_plan
    from dibench.plan.file import plan_of_layers

    sizes = [batch] if batch is None or isinstance(batch, int) else list(batch)
    family, arch = backends.kernels_of(backend), backends.compute_capability(backend)
    if isinstance(given, str | os.PathLike) and ("=" not in str(given) and not _one_layer(str(given))):
        shapes = [input_shape] if isinstance(input_shape, str) else list(input_shape)
        return load_plan(str(given), backend=family, batches=sizes, input_shape=shapes, seed=seed, arch=arch)
    found = [model_of(given, size, input_shape) for size in sizes]
    if not (layers := [layer for model in found for layer in model.layers]):
        raise UserError("plan", f"must have a layer that dibench knows: {found[0].coverage}")
    file = plan_of_layers(found[0].name, layers)
    made = make_plan(file, backend=family, seed=seed, registry=kernels.registry(family), arch=arch)
    partial = [f"{one.name}: the plan {one.coverage}" for one in found[:1] if one.not_covered]
    return attrs.evolve(made, partial=tuple(partial))


def _one_layer(text: str) -> bool:
    from dibench.models.named import is_model, split_layer

    model, layer = split_layer(text)
    return bool(layer) and is_model(model)


def _seconds(name: str, given: str | float) -> float:
    return duration_s(name, given if isinstance(given, str) else f"{given:g}")


class _Progress:
    """Writes how far it is on standard error, at most once a second, over the same line."""

    def __init__(self) -> None:
        self._said_s, self._width, self._done, self._total = 0.0, 0, 0, 0

    def __call__(self, event: Event) -> None:
        """What a sweep tells."""
        from dibench.sweep.events import CaseEnded, SweepBegan

        match event:
            case SweepBegan(finished=finished, total=total, device=device):
                self._done, self._total = finished, total
                self.say(finished, total, f"cases on {device}")
            case CaseEnded(case=case):
                self._done += 1
                name = case.layer.name or str(case.layer)
                self.say(self._done, self._total, f"cases, {name} by {case.variant}")
            case _:
                return

    def say(self, done: int, total: int, what: str) -> None:
        """So many of so many."""
        if done < total and time.monotonic() - self._said_s < _SAY_EVERY_S:
            return
        text = f"{done} of {total} {what}"
        self._said_s = time.monotonic()
        sys.stderr.write(f"\r{text.ljust(self._width)}" + ("\n" if done == total else ""))
        sys.stderr.flush()
        self._width = len(text)


def _quietly(event: Event) -> None:
    """Say nothing."""
