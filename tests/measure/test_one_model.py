"""A whole model in a time that is given: which shapes are measured, for how long, and what is left out."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from dibench import models
from dibench.backends import DeviceError
from dibench.backends.base import DeviceFaultError
from dibench.layer import Layer
from dibench.measure import one_model
from dibench.measure.one_layer import Measured
from dibench.measure.one_model import (
    MeasuredModel,
    MeasuredShape,
    Shape,
    at_the_roof_s,
    measured_shapes,
    shapes_of,
)
from dibench.measure.settings import Settings
from dibench.models.model import Model, NotCovered
from dibench.schema import Row

PEAKS = {"mac_per_s": 1e11, "bytes_per_s": 1e10}


class Bench:
    """A device whose kernels take what the roofline says, and use the budget that they are given."""

    def __init__(self, *, uses: float = 1.0, peer: bool = True, metered: bool = False) -> None:
        self.now, self.uses, self.peer = 0.0, uses, peer
        self.budgets: list[float] = []
        self.raises: dict[str, Exception] = {}
        metering = object() if metered else None
        self.instrument: Any = SimpleNamespace(settings=Settings(), metering=metering)

    def measure_layer(self, instrument: Any, layer: Layer, settings: Settings) -> list[Measured]:
        if layer.name in self.raises:
            raise self.raises[layer.name]
        self.budgets.append(settings.case_budget_s)
        roof_s = at_the_roof_s(layer, PEAKS)
        names = ["ours", "library"] if self.peer else ["ours"]
        self.now += len(names) * max(self.uses * settings.case_budget_s, roof_s)
        return [Measured(name, Row(status="ok", time_s=roof_s)) for name in names]

    def run(self, shapes: Any, deadline: float) -> list[Any]:
        return list(measured_shapes(self.instrument, shapes, PEAKS, deadline, clock=lambda: self.now))


@pytest.fixture
def bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(**getattr(request, "param", {}))
    monkeypatch.setattr(one_model, "measure_layer", made.measure_layer)
    monkeypatch.setattr(one_model, "has_peer", lambda: made.peer)
    return made


RESNET = shapes_of(models.load("resnet50").layers, PEAKS)


def test_shapes_are_counted_and_the_costliest_together_come_first() -> None:
    layers = models.load("resnet50").layers
    assert sum(shape.count for shape in RESNET) == len(layers) == 54
    assert len({shape.layer.shape for shape in RESNET}) == len(RESNET) == 24
    costs = [shape.count * at_the_roof_s(shape.layer, PEAKS) for shape in RESNET]
    assert costs == sorted(costs, reverse=True)


def test_the_roof_is_of_arithmetic_or_of_memory() -> None:
    fc = Layer.fc(N=1, C=1000, K=1000)
    assert at_the_roof_s(fc, PEAKS) == 4 * (1_000_000 + 2000) / 1e10
    conv = Layer(N=1, C=64, H=56, W=56, K=64, R=3, S=3, pad_h=1, pad_w=1)
    assert at_the_roof_s(conv, PEAKS) == conv.macs / 1e11


@pytest.mark.parametrize("seconds", [10.0, 30.0, 100.0])
def test_every_shape_gets_its_share_of_the_time(bench: Bench, seconds: float) -> None:
    found = bench.run(RESNET, seconds)
    assert [one.shape for one in found] == RESNET
    assert bench.now <= seconds
    equal = seconds / len(RESNET) / 2
    assert all(0.7 * min(equal, 2.0) < budget <= 2.0 for budget in bench.budgets)


@pytest.mark.parametrize("bench", [{"uses": 0.1}], indirect=True)
def test_time_that_one_shape_does_not_need_goes_to_those_after_it(bench: Bench) -> None:
    bench.run(RESNET, 12.0)
    assert bench.budgets[-1] > 3 * bench.budgets[0]


def test_what_the_time_does_not_suffice_for_is_the_cheapest(bench: Bench) -> None:
    found = bench.run(RESNET, 3.0)
    assert bench.now <= 3.0 + 2 * 0.1
    assert 5 < len(found) < len(RESNET)
    assert [one.shape for one in found] == RESNET[: len(found)]


def test_one_shape_is_measured_whatever_the_time(bench: Bench) -> None:
    assert [one.shape for one in bench.run(RESNET, -1.0)] == RESNET[:1]


def test_a_layer_too_long_for_the_rest_of_the_time_makes_room_for_shorter_ones(bench: Bench) -> None:
    small, large = Layer.fc(N=1, C=100, K=100), Layer.fc(N=10_000, C=10_000, K=10_000)  # 10 s at the roof
    shapes = [one_model.Shape(layer, 1) for layer in (small, large, small.with_batch(2))]
    assert [one.shape.layer for one in bench.run(shapes, 20.0)] == [small, small.with_batch(2)]


@pytest.mark.parametrize("bench", [{"metered": True}], indirect=True)
def test_no_visit_to_a_metered_gpu_begins_that_would_end_too_late(bench: Bench) -> None:
    bench.uses = 4.0 / 2.0  # each takes the four seconds of a visit, whatever the budget
    found = bench.run(RESNET, 30.0)
    assert 1 < len(found) < len(RESNET)
    assert bench.now <= 30.0 + 1e-9


def test_a_layer_that_fails_is_told_and_the_others_go_on(bench: Bench) -> None:
    second = RESNET[1].layer.name
    bench.raises[second] = DeviceError("misaligned address")
    found = bench.run(RESNET, 30.0)
    assert [one.ours.row.reason for one in found if one.failed] == ["misaligned address"]
    assert len(found) == len(RESNET)
    model = MeasuredModel(models.load("resnet50"), tuple(RESNET), tuple(found))
    assert second not in {one.shape.layer.name for one in model.measured}
    assert model.share.partial and model.left_out == []


def test_a_device_that_is_lost_ends_the_run(bench: Bench) -> None:
    bench.raises[RESNET[2].layer.name] = DeviceFaultError("illegal access")
    with pytest.raises(DeviceFaultError):
        bench.run(RESNET, 30.0)


def measured(bench: Bench, raises: BaseException | None = None, paces: Any = None) -> MeasuredModel:
    model = models.load("resnet50")
    if raises is not None:
        bench.raises[RESNET[2].layer.name] = raises  # type: ignore[assignment]  # also an interrupt
    bench.instrument.pace = None if paces is None else SimpleNamespace(now_s=lambda waited: next(paces))
    return one_model.measured_model(bench.instrument, model, RESNET, PEAKS, 100.0, clock=lambda: bench.now)


def test_an_interrupt_and_a_lost_device_keep_what_was_measured(bench: Bench) -> None:
    whole = measured(bench)
    assert (len(whole.tried), whole.cut_short, whole.paces_s) == (len(RESNET), False, ())
    stopped = measured(bench, KeyboardInterrupt())
    assert (len(stopped.tried), stopped.interrupted, stopped.lost) == (2, True, "")
    lost = measured(bench, DeviceFaultError("CUDA, run: misaligned address"))
    assert (len(lost.tried), lost.interrupted, lost.lost) == (2, False, "CUDA, run: misaligned address")
    assert lost.left_out == list(RESNET[2:])


def test_the_pace_is_looked_at_beside_every_shape(bench: Bench) -> None:
    paces = ((1.0, 1.0 + 0.1 * (turn % 2)) for turn in itertools.count())
    found = measured(bench, paces=paces)
    assert found.paces_s == tuple((1.0, 1.0 + 0.1 * (turn % 2)) for turn in range(len(RESNET) + 1))
    # Half of them 1.1: a standard deviation of ln 1.1 / 2, times Student's 2.07 at 23 degrees of freedom.
    assert found.pace_ci == pytest.approx(2.069 * math.log(1.1) / 2, rel=0.05)
    one_pace = ((1.0 + 0.02 * (turn % 2),) for turn in itertools.count())
    assert measured(bench, paces=one_pace).pace_ci == 0.0, "the probe itself differs by so much"


def of_rows(*rows: tuple[int, dict[str, Any]]) -> MeasuredModel:
    shapes = [Shape(shape.layer, number) for shape, (number, _) in zip(RESNET, rows, strict=False)]
    tried = [
        MeasuredShape(shape, Measured("kernel", Row(status="ok", time_s=1.0, **cells)), None)
        for shape, (_, cells) in zip(shapes, rows, strict=True)
    ]
    return MeasuredModel(models.load("resnet50"), tuple(shapes), tuple(tried))


def test_the_interval_of_a_sum_adds_what_is_common_and_squares_what_is_not() -> None:
    own = {"energy_j": 10.0, "energy_ci_j": 3.0, "ci_spread_j": 3.0}
    assert of_rows((1, own), (1, own)).whole_ci == pytest.approx(3 * math.sqrt(2))
    assert of_rows((2, own)).whole_ci == pytest.approx(6.0), "two layers of one shape were measured once"
    common = own | {"ci_spread_j": 0.0, "ci_drift_j": 3.0}
    assert of_rows((1, common), (1, common)).whole_ci == pytest.approx(6.0)
    both = {"energy_j": 10.0, "energy_ci_j": 5.0, "ci_spread_j": 4.0, "ci_drift_j": 3.0}
    assert of_rows((1, both), (1, both)).whole_ci == pytest.approx(math.hypot(4 * math.sqrt(2), 6.0))
    paced = attrs.evolve(of_rows((1, own), (1, own)), paces_s=((1.0,), (1.2,), (1.1,), (1.1,)))
    assert paced.whole_ci == pytest.approx(math.hypot(3 * math.sqrt(2), 20.0 * (paced.pace_ci or 0.0)))
    assert paced.pace_ci and attrs.evolve(paced, paces_s=paced.paces_s[:3]).whole_ci is None
    of_time = {"time_ci_s": 0.1, "ci_drift_j": 9.0}
    assert of_rows((1, of_time)).whole_ci == pytest.approx(0.1), "drift is of joules"
    assert of_rows((1, of_time), (1, {})).whole_ci is None


def test_what_was_measured_is_a_share_of_all_multiply_adds(bench: Bench) -> None:
    layers = (Layer.fc(N=1, C=10, K=10, name="m/a"), Layer.fc(N=1, C=30, K=10, name="m/b"))
    part = NotCovered(name="m/up", op="ConvTranspose", reason="transposed", macs=100)
    model = Model(name="m", batch=1, layers=layers, not_covered=(part,))
    shapes = tuple(shapes_of(layers, PEAKS))
    found = MeasuredModel(model, shapes, tuple(bench.run(shapes[:1], 1.0)))
    assert (found.share.macs, found.share.macs_known, found.share.partial) == (300, 500, True)
    assert [shape.layer.name for shape in found.left_out] == ["m/a"]
