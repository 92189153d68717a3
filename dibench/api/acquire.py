"""`dibench.measure` and `dibench.sweep`: what layers cost on this machine."""

from __future__ import annotations

import os
import shutil
import sys
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dibench.api.batches import AtBatches, Batch, at_batches, sizes_of
from dibench.api.inputs import Network, model_of
from dibench.api.measured import MeasuredLayer, MeasuredNetwork, SweepResult
from dibench.api.words import errors_in_python
from dibench.durations import duration_s
from dibench.errors import UserError
from dibench.table import out_directory

if TYPE_CHECKING:
    from dibench.layer import Layer
    from dibench.measure.here import Here
    from dibench.models import Model
    from dibench.models.inputs import InputShape
    from dibench.plan import Plan
    from dibench.sweep.events import Event

_SAY_EVERY_S = 1.0


@errors_in_python
def measure(
    what: Network,
    *,
    batch: Batch = None,
    input_shape: InputShape = (),
    backend: str = "auto",
    meter: str = "auto",
    time_budget: str | float = "30s",
    progress: bool = True,
) -> MeasuredLayer | MeasuredNetwork | AtBatches[MeasuredLayer | MeasuredNetwork]:
    """Measure a layer, or all layers of a network, with the fastest kernel of each, beside PyTorch's library.

    Nothing is kept: `sweep` writes rows.

    Args:
        what: a `Layer`, `network/layer` or dimensions (`"N=1,C=64,H=56,W=56,K=64,R=3,S=3"`); or a network as
            `layers` takes it, whose distinct shapes are measured, the costliest expected first.
        batch: images in one inference, or several sizes.
        input_shape: as of `layers`.
        backend: `auto`, `cuda` or `cpu`.
        meter: joules from `auto`, `nvml_counter`, `nvml_power`, `rapl`, `zeus` or `none`; never from a model.
        time_budget: of a network, at all batch sizes together: `"90s"`, `"9m"`, or seconds. Ctrl-C ends it
            early and keeps what it has.
        progress: of a network, a line on standard error.

    Returns:
        Of a layer `.time_s`, `.energy_j` (None where no sensor read it: `.why_no_energy`) and `.found`, each
        way to run it; of a network `.cost` with `.cost_ci`, `.measured` and `.to_frame()`, a row for each
        shape. Of several batch sizes such a result by size.

    Raises:
        dibench.errors.UserError: no such layer or network, or the device or a meter that is named refuses.

    >>> measure("resnet50/layer1.0.conv2").time_s  # doctest: +SKIP
    0.0015
    """
    begin, budget_s = time.monotonic(), _seconds("time_budget", time_budget)
    from dibench.measure.here import open_here

    models = {size: model_of(what, size, input_shape) for size in sizes_of(batch)}
    for model in models.values():
        if not model.layers:
            raise UserError("what", f"must have a layer that dibench knows: {model.name} {model.coverage}")
    here, left = open_here(backend, meter), list(models)

    def measured(size: int | None) -> MeasuredLayer | MeasuredNetwork:
        now, model = time.monotonic(), models[size]
        deadline = now + (begin + budget_s - now) / len(left)
        left.remove(size)
        if len(model.layers) == 1:
            return _measured_layer(model.layers[0], here)
        return _measured_network(model, here, deadline, _Progress() if progress else None)

    return at_batches(batch, measured)


def _measured_layer(layer: Layer, here: Here) -> MeasuredLayer:
    from dibench.measure.one_layer import measure_layer

    found = measure_layer(here.instrument, layer)
    return MeasuredLayer(layer, here.device, here.peaks, tuple(found), here.why_no_energy)


def _measured_network(
    model: Model, here: Here, deadline: float, progress: _Progress | None
) -> MeasuredNetwork:
    from dibench.measure.one_model import MeasuredShape, measured_model, shapes_of

    shapes, tried = shapes_of(model.layers, here.peaks), 0

    def say(one: MeasuredShape) -> None:
        nonlocal tried
        tried += 1
        if progress is not None:
            progress.say(tried, len(shapes), f"shapes, {one.shape.layer.name}")

    found = measured_model(here.instrument, model, shapes, here.peaks, deadline, on_end=say)
    if found.lost:
        warnings.warn(f"the device is lost: {found.lost}", stacklevel=3)
    return MeasuredNetwork(found, here.device, here.peaks, here.why_no_energy)


# Wide because each parameter is a choice of the sweep.
@errors_in_python
def sweep(
    plan: Network | Sequence[Network] = "default",
    *,
    out: str | os.PathLike[str],
    batch: Batch = None,
    input_shape: InputShape = (),
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
    folder = out_directory(out)
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
        folder,
        deadline=None if budget_s is None else begin + budget_s,
        fresh=fresh,
        on_event=_Progress() if progress else _quietly,
    )
    return SweepResult(folder, made.name, found, made.partial)


def _plan(
    given: Network | Sequence[Network],
    backend: str,
    batch: Batch,
    input_shape: InputShape,
    seed: int,
) -> Plan:
    """What a text names: a preset, a file, a network; else the layers at hand."""
    import attrs

    from dibench import backends, kernels
    from dibench.models.inputs import as_texts
    from dibench.plan import load_plan, make_plan
    from dibench.plan.file import plan_of_layers

    sizes = sizes_of(batch)
    family, arch = backends.kernels_of(backend), backends.compute_capability(backend)
    if isinstance(given, str | os.PathLike) and ("=" not in str(given) and not _one_layer(str(given))):
        shapes = as_texts(input_shape)
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
        if sys.stderr.isatty():  # a line that goes on in the next is not written over
            text = text[: shutil.get_terminal_size().columns - 1]
        self._said_s = time.monotonic()
        sys.stderr.write(f"\r{text.ljust(self._width)}" + ("\n" if done == total else ""))
        sys.stderr.flush()
        self._width = len(text)


def _quietly(event: Event) -> None:
    """Say nothing."""
