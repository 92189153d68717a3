"""What `measure MODEL` shows: the costliest first, the sum marked where it is partial, and both libraries."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from dibench.backends import Device
from dibench.layer import Layer
from dibench.measure.one_layer import Measured
from dibench.measure.one_model import MeasuredModel, MeasuredShape, Shape
from dibench.models.model import Model, NotCovered
from dibench.schema import Row
from dibench.show.blocks import Headline, Sentence, Table
from dibench.show.measured_model import blocks, plain
from dibench.show.terminal import text, that_fit

PEAKS = {"mac_per_s": 1e11, "bytes_per_s": 1e10}
DEVICE = Device("card", "uuid", {"threads": 2})
CONV = Layer(N=1, C=64, H=56, W=56, K=64, R=3, S=3, pad_h=1, pad_w=1, name="m/stem/conv")  # 115,605,504 MACs
FC = Layer.fc(N=1, C=1000, K=1000, name="m/fc")


def shape(
    layer: Layer, count: int, time_s: float | None, theirs_s: float | None = None, **cells: Any
) -> MeasuredShape:
    """A measured shape; without a time it failed, and without theirs there is no library."""
    row = Row(status="ok" if time_s else "failed", time_s=time_s, **cells)
    peer = None if theirs_s is None else Measured("PyTorch 9", Row(status="ok", time_s=theirs_s))
    return MeasuredShape(Shape(layer, count), Measured("kernel", row), peer)


def model(*tried: MeasuredShape, left: tuple[Shape, ...] = (), covered: bool = True) -> MeasuredModel:
    shapes = (*(one.shape for one in tried), *left)
    layers = tuple(each.layer for each in shapes for _ in range(each.count))
    part = NotCovered(name="m/up", op="ConvTranspose", reason="transposed convolution", macs=CONV.macs)
    whole = Model(name="m", batch=1, layers=layers, not_covered=() if covered else (part,))
    return MeasuredModel(whole, shapes, tried)


def told(found: MeasuredModel, why_no_energy: str = "no sensor") -> str:
    return " ".join(text(blocks(found, DEVICE, PEAKS, why_no_energy)).split())


def test_costs_count_every_layer_of_a_shape_and_the_costliest_is_first() -> None:
    found = model(shape(FC, 1, 0.004), shape(CONV, 3, 0.002))
    said = told(found)
    assert said.index("stem/conv 3") < said.index("fc 1")
    assert "All layers: 10.0 ms for an inference" in said and "≥" not in said
    rows = plain(found, DEVICE, PEAKS, "")
    assert rows["complete"] and rows["cost"] == pytest.approx(0.010)
    assert [(one["name"], one["share"]) for one in rows["layers"]] == [
        ("m/stem/conv", pytest.approx(0.6)), ("m/fc", pytest.approx(0.4)),
    ]  # fmt: skip


def test_how_sure_a_time_is_has_room_beside_a_library_on_80_columns() -> None:
    long = attrs.evolve(CONV, name="m/layer4/layer4.0/downsample/downsample.0/Conv")
    found = model(
        shape(long, 12, 0.0123, 0.0234, time_ci_s=0.0001), shape(FC, 1, 0.004, 0.005, time_ci_s=0.01)
    )
    (table,) = (one for one in blocks(found, DEVICE, PEAKS, "") if isinstance(one, Table))
    assert "±" in [table.columns[number].name for number in that_fit(table, 80)]


def test_the_first_answer_is_three_sentences_and_a_table() -> None:
    layers = [attrs.evolve(CONV.with_batch(number), name=f"m/conv{number}") for number in range(1, 16)]
    tried = [shape(layer, 1, 0.002, 0.001, time_ci_s=0.001) for layer in layers]
    first = blocks(model(*tried), DEVICE, PEAKS, "no sensor")
    assert [type(one) for one in first] == [Headline, Sentence, Sentence, Table]
    said = " ".join(text(first).split())
    assert "the 10 costliest of 15 shapes; `--full` says every shape, why no joules, and the roofs" in said
    everything = text(blocks(model(*tried), DEVICE, PEAKS, "no sensor", full=True))
    assert all(layer.name.removeprefix("m/") in everything for layer in layers)
    assert "Energy: no sensor." in everything and "Roofs, measured just now" in everything


def test_each_layer_stands_beside_its_own_roof() -> None:
    conv, fc = plain(model(shape(CONV, 1, 0.00231211008), shape(FC, 1, 0.0008016)), DEVICE, PEAKS, "")[
        "layers"
    ]
    assert (conv["roof"], conv["of_the_roof"]) == ("compute", pytest.approx(0.5))
    assert (fc["roof"], fc["of_the_roof"]) == ("memory", pytest.approx(0.5))  # 4 · 1,002,000 bytes at 10 GB/s


def test_a_sum_without_some_shapes_says_so_with_its_share() -> None:
    said = told(model(shape(CONV, 1, 0.002), left=(Shape(CONV.with_batch(3), 1),)))
    assert "All layers: ≥ 2.00 ms, 25% of MACs" in said
    assert "not measured: 1 shape, 75% of MACs (stem/conv): no time was left (--time-budget)" in said


def test_a_sum_without_what_is_no_layer_says_so_with_its_share() -> None:
    said = told(model(shape(CONV, 1, 0.002), covered=False))
    assert "All layers: ≥ 2.00 ms, 50% of MACs" in said
    assert "not covered: 1 × ConvTranspose, transposed convolution: 116M MACs (up)" in said


def test_a_layer_that_failed_is_in_no_sum_and_told() -> None:
    found = model(shape(CONV, 1, 0.002), shape(FC, 1, None, reason="no memory"))
    assert "≥ 2.00 ms" in told(found) and "not measured: fc: no memory" in told(found)
    assert [one["reason"] for one in plain(found, DEVICE, PEAKS, "")["not_measured"]] == ["no memory"]
    nothing = model(shape(FC, 1, None, reason="no memory"))
    assert "All layers" not in told(nothing) and plain(nothing, DEVICE, PEAKS, "")["cost"] == 0


def test_libraries_are_compared_on_the_layers_that_both_ran() -> None:
    both = told(model(shape(CONV, 3, 0.002, 0.001), shape(FC, 1, 0.004, 0.002)))
    assert "PyTorch 9 takes 5.00 ms for the same layers: ours takes 2.00× that" in both
    one = told(model(shape(CONV, 3, 0.002, 0.001), shape(FC, 1, 0.004)))
    assert "PyTorch 9 takes 3.00 ms for 1 of these shapes: ours takes 2.00× that" in one
    assert "PyTorch" not in told(model(shape(CONV, 3, 0.002)))


def test_joules_lead_where_every_layer_has_them() -> None:
    found = model(shape(CONV, 2, 0.002, energy_j=0.1), shape(FC, 1, 0.010, energy_j=0.05))
    assert "All layers: 250 mJ for an inference" in told(found, "")
    assert [one["name"] for one in plain(found, DEVICE, PEAKS, "")["layers"]] == ["m/stem/conv", "m/fc"]
    mixed = model(shape(CONV, 2, 0.002, energy_j=0.1), shape(FC, 1, 0.010))
    assert "All layers: 14.0 ms" in told(mixed) and plain(mixed, DEVICE, PEAKS, "")["unit"] == "s"


def test_the_sum_has_an_interval_where_every_layer_has_one() -> None:
    both = shape(CONV, 2, 0.004, time_ci_s=0.0003), shape(FC, 1, 0.002, time_ci_s=0.0008)
    found = model(*both)
    assert "All layers: 10.0 ms ±10.0% for an inference" in told(found)  # √(0.6² + 0.8²) ms of 10 ms
    assert plain(found, DEVICE, PEAKS, "")["cost_ci"] == pytest.approx(0.001)
    half = model(both[0], shape(FC, 1, 0.002))
    assert "All layers: 10.0 ms for" in told(half) and plain(half, DEVICE, PEAKS, "")["cost_ci"] is None
    paced = attrs.evolve(found, paces_s=((0.9,), (1.0,), (1.0,), (1.1,)))
    assert "the machine's pace changed by 22% meanwhile, which alone may be ±26" in told(paced)
    far = attrs.evolve(found, paces_s=((1.0,), (14.0,), (14.0,)))
    assert "the machine's pace changed by a factor of 14 meanwhile" in told(far)
    few = attrs.evolve(found, paces_s=((1.0,), (1.25,)))
    assert "All layers: 10.0 ms for" in told(few), "t of one degree of freedom is 12.7: ±200%"
    assert "pace changed by 25% meanwhile, seen too few times for an ±; " in told(few)
    assert [plain(few, DEVICE, PEAKS, "")[key] for key in ("cost_ci", "pace_ci")] == [None, None]


def test_uncertain_times_are_counted() -> None:
    found = model(shape(CONV, 1, 0.002, time_ci_s=0.0001), shape(FC, 1, 0.004, time_ci_s=0.001))
    assert "1 of 2 times may be off by more than ±10%" in told(found)
