"""The distinct layers of a whole model measured one after the other, within a time that is given.

The costliest expected first, so that what the time does not suffice for matters least. What a layer costs is
expected by the roofline: MACs over the peak rate or bytes over the bandwidth, times how often its shape
occurs. Each layer gets an equal share of the time left; what one does not need goes to those after it.

**The interval of the sum.** Three errors, independent of each other, so that their squares add up:

1. What windows of a shape say of their own ripple and of the sensor's updates. Shapes are independent:
   squares add up. Layers of one shape were measured once, so its error counts as often as they occur.
2. What a sensor's drift may be (`ci_drift_j`). It is common to the whole session: half-widths add up.
3. The machine's paces (`pace`), where they are known: cores of a shared machine are slower for seconds or
   minutes. They are looked at beside every shape. How far a session's pace may lie from another's, it can
   only tell by how its own differ: the standard deviation of that which differs most, times Student's t, of
   the whole sum. That does not average out over shapes, since all are slower together. Kernels follow the
   pace by as much as it changes, or less. Two or three looks that differ bound nothing (Student's t of one
   degree of freedom is 12.7): then there is no interval, only by how much the pace changed.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import stdev
from typing import TYPE_CHECKING, Any

import attrs

from dibench import networks
from dibench.backends.base import DeviceError, DeviceFaultError
from dibench.errors import UserError
from dibench.intensity import operand_bytes
from dibench.intervals import t_975
from dibench.measure.one_layer import Measured, has_peer, measure_layer
from dibench.measure.pace import PACE_DIFFERS, Paces
from dibench.measure.windows import waited_s
from dibench.schema import Row

if TYPE_CHECKING:
    from dibench.layer import Layer
    from dibench.measure.instrument import Instrument
    from dibench.models import Model
    from dibench.models.model import MacShare

_LEAST_S, _MOST_S = 0.08, 2.0
"""Of windows of one kernel: fewer say nothing, and more are seldom worth what other layers would lose."""
_BESIDE_S = 0.05
"""What a kernel takes beside its windows: operands, first launches."""
_FEWEST_LAUNCHES = 3
_OFF_ROOF = 4.0
"""A layer may take this many times what the roofline says."""


_FEWEST_LOOKS = 4  # at the pace, to say how far another may be


@attrs.frozen
class Shape:
    """A layer, and how many layers of the model have its shape."""

    layer: Layer
    count: int

    @property
    def macs(self) -> int:
        """Of all these layers."""
        return self.count * self.layer.macs


@attrs.frozen
class MeasuredShape:
    """A shape, what our fastest kernel takes for one such layer, and PyTorch's library where it is there."""

    shape: Shape
    ours: Measured
    peer: Measured | None

    @property
    def failed(self) -> bool:
        """Whether there is no time of ours."""
        return self.ours.row.time_s is None


@attrs.frozen
class MeasuredModel:
    """What was measured of a model's layers, and what was not."""

    model: Model
    shapes: tuple[Shape, ...] = attrs.field(repr=False)
    """All, the costliest expected first."""
    tried: tuple[MeasuredShape, ...]
    interrupted: bool = False
    """By the user."""
    lost: str = ""
    """What the device said when it was lost; empty where it was not."""
    paces_s: tuple[Paces, ...] = attrs.field(default=(), repr=False)
    """The machine's paces before each shape and after the last; none where they are not known."""

    @property
    def measured(self) -> list[MeasuredShape]:
        """The shapes with a time of ours, costliest first: by joules where all have them, else by time."""
        found = [one for one in self.tried if not one.failed]
        return sorted(found, key=lambda one: -self.cost(one))

    @property
    def cut_short(self) -> bool:
        """Whether it ended for another reason than its time."""
        return self.interrupted or bool(self.lost)

    @property
    def of_energy(self) -> bool:
        """Whether costs are joules."""
        return all(one.ours.row.energy_j is not None for one in self.tried if not one.failed)

    @property
    def left_out(self) -> list[Shape]:
        """Shapes that the time did not suffice for."""
        tried = {one.shape.layer.shape for one in self.tried}
        return [shape for shape in self.shapes if shape.layer.shape not in tried]

    def cost(self, one: MeasuredShape) -> float:
        """Joules or seconds of all layers of a shape."""
        row = one.ours.row
        each = row.energy_j if self.of_energy else row.time_s
        return one.shape.count * (each or 0.0)

    @property
    def whole(self) -> float:
        """Joules or seconds of all layers that were measured."""
        return math.fsum(self.cost(one) for one in self.measured)

    @property
    def whole_ci(self) -> float | None:
        """Half-width of its 95% interval, as the module says; None where a shape or the pace has none."""
        of_pace, own, common = self.pace_ci, list[float](), list[float]()
        for one in self.measured:
            row, number = one.ours.row, one.shape.count
            width = row.energy_ci_j if self.of_energy else row.time_ci_s
            if width is None or of_pace is None:
                return None
            drift = (row.ci_drift_j or 0.0) if self.of_energy else 0.0
            common.append(number * drift)
            own.append(number * math.sqrt(max(width**2 - drift**2, 0.0)))
        return math.hypot(*own, math.fsum(common), (of_pace or 0.0) * self.whole)

    @property
    def pace_ci(self) -> float | None:
        """How far this session's pace may be from another's, relative; 0 where none changed.

        None where it changed and was seen too few times to say.
        """
        if not self._differing:
            return 0.0
        if len(self.paces_s) < _FEWEST_LOOKS:
            return None
        return t_975(len(self.paces_s) - 1) * max(map(stdev, self._differing))

    @property
    def pace_change(self) -> float:
        """By how much the slowest pace that was seen is slower than the fastest; 0 where none changed."""
        return max((math.expm1(max(logs) - min(logs)) for logs in self._differing), default=0.0)

    @property
    def _differing(self) -> list[list[float]]:
        """Logarithms of the paces of each probe that differ."""
        probes = [list(map(math.log, probe)) for probe in zip(*self.paces_s, strict=True)]
        return [logs for logs in probes if max(logs) - min(logs) > PACE_DIFFERS]

    @property
    def share(self) -> MacShare:
        """How much of the model's multiply-adds was measured."""
        return self.model.share(sum(one.shape.macs for one in self.measured))


# Wide because who watches (begin, end) and the clock are parameters too: tests bring their own.
def measured_model(
    instrument: Instrument,
    model: Model,
    shapes: Sequence[Shape],
    peaks: Mapping[str, Any],
    deadline: float,
    *,
    on_begin: Callable[[Shape], object] = lambda shape: None,
    on_end: Callable[[MeasuredShape], object] = lambda one: None,
    clock: Callable[[], float] = time.monotonic,
) -> MeasuredModel:
    """The model's shapes, until the time is used up, the user interrupts or the device is lost.

    Args:
        instrument: device and meter.
        model: whose layers these are.
        shapes: what `shapes_of` says of them.
        peaks: of the device.
        deadline: instant of `clock` after which no shape begins.
        on_begin: called before each shape.
        on_end: called after it.
        clock: seconds, so that tests can replay them.
    """
    tried, paces_s, interrupted, lost = list[MeasuredShape](), list[Paces](), False, ""

    def look_at_pace() -> None:
        if instrument.pace is not None:
            paces_s.append(instrument.pace.now_s(waited_s))

    def begin(shape: Shape) -> None:
        on_begin(shape)
        look_at_pace()

    try:
        for one in measured_shapes(instrument, shapes, peaks, deadline, on_begin=begin, clock=clock):
            tried.append(one)
            on_end(one)
        look_at_pace()
    except KeyboardInterrupt:
        interrupted = True
    except DeviceFaultError as error:
        lost = str(error)
    return MeasuredModel(model, tuple(shapes), tuple(tried), interrupted, lost, tuple(paces_s))


def shapes_of(layers: Sequence[Layer], peaks: Mapping[str, Any]) -> list[Shape]:
    """The distinct shapes, the one whose layers together are expected to cost most first."""
    counts = Counter(layer.shape for layer in layers)
    shapes = [Shape(layer, counts[layer.shape]) for layer in networks.distinct(layers)]
    return sorted(shapes, key=lambda shape: -shape.count * at_the_roof_s(shape.layer, peaks))


def at_the_roof_s(layer: Layer, peaks: Mapping[str, Any]) -> float:
    """Seconds of a layer in fp32 that reaches its roof."""
    moved: int = operand_bytes(layer.weights + layer.activations, "fp32")
    return max(layer.macs / float(peaks["mac_per_s"]), moved / float(peaks["bytes_per_s"]))


def measured_shapes(
    instrument: Instrument,
    shapes: Sequence[Shape],
    peaks: Mapping[str, Any],
    deadline: float,
    *,
    on_begin: Callable[[Shape], object] = lambda shape: None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[MeasuredShape]:
    """Each shape as it is measured; those that the time does not suffice for are left out.

    The first is measured in any case. A layer that no kernel runs here has a `failed` row.

    Args:
        instrument: device and meter.
        shapes: in the order in which they are measured.
        peaks: of the device.
        deadline: instant of `clock` after which none begins.
        on_begin: called before each.
        clock: seconds, so that tests can replay them.

    Raises:
        DeviceFaultError: the device is lost.
    """
    kernels, visit = 1 + has_peer(), instrument.settings.visit
    least_s = _LEAST_S + _BESIDE_S
    if instrument.metering is not None:
        least_s = visit.settle_s + visit.visit_s
    for index, shape in enumerate(shapes):
        left_s = deadline - clock()
        long_s = kernels * _FEWEST_LAUNCHES * _OFF_ROOF * at_the_roof_s(shape.layer, peaks)
        if index and left_s < max(long_s, kernels * least_s):
            continue
        on_begin(shape)
        share_s = left_s / (len(shapes) - index) / kernels - _BESIDE_S
        settings = attrs.evolve(instrument.settings, case_budget_s=min(max(share_s, _LEAST_S), _MOST_S))
        try:
            ours, *peer = measure_layer(instrument, shape.layer, settings)
        except DeviceFaultError:
            raise
        except (UserError, DeviceError) as error:
            ours, peer = Measured("", Row(status="failed", reason=str(error))), []
        yield MeasuredShape(shape, ours, peer[0] if peer else None)
