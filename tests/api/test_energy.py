"""`dibench.energy`: a block and a decorator; what is not measured is None, and says why."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import pytest

import dibench
from dibench.api.own_code import Calls, Spent
from dibench.errors import UserError
from dibench.measure import own_code
from dibench.meters.spans import Metered


class Battery:
    """A sensor that shows so many joules a second of a clock that the test moves."""

    source = "rapl"

    def __init__(self) -> None:
        self.now, self.opened, self.closed = 0.0, 0, 0
        self.ends: list[Metered] = []

    def begin(self) -> float:
        return self.now

    def end(self, mark: float) -> Metered:
        seconds = self.now - mark
        found = Metered(seconds, 10.0 * seconds, 0.1) if seconds else Metered(0.0, reason="too short")
        self.ends.append(found)
        return found

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def battery(monkeypatch: pytest.MonkeyPatch) -> Iterator[Battery]:
    made = Battery()

    def opens(device: str, meter: str) -> Battery:
        made.opened += 1
        return made

    monkeypatch.setattr(own_code, "_open", opens)
    monkeypatch.setattr(own_code, "_opened", {})
    yield made


def test_a_block_has_its_joules_when_it_has_ended(battery: Battery) -> None:
    with dibench.energy("training step") as spent:
        assert (spent.energy_j, spent.time_s) == (None, None)
        assert repr(spent) == "training step: has not ended yet"
        battery.now += 2.0
    assert (spent.energy_j, spent.energy_ci_j, spent.time_s, spent.power_w) == (20.0, 0.1, 2.0, 10.0)
    assert (spent.energy_source, spent.reason, spent.error) == ("rapl", "", "")
    assert repr(spent) == "training step: 20.0 J ± 0.1, 2.00 s, 10 W (rapl)"
    assert spent.to_json()["power_w"] == 10.0
    assert "whoever used them" in spent.summary() and "training step" in spent._repr_html_()


def test_what_could_not_be_measured_is_none_and_says_why(battery: Battery) -> None:
    with dibench.energy() as spent:
        pass
    assert (spent.energy_j, spent.power_w, spent.energy_source) == (None, None, "none")
    assert repr(spent) == "0 s, no joules: too short"


def test_an_exception_goes_on_and_what_was_measured_stays(battery: Battery) -> None:
    with pytest.raises(ZeroDivisionError), dibench.energy("step") as spent:
        battery.now += 1.0
        _ = 1 / 0
    assert (spent.energy_j, spent.error) == (10.0, "ZeroDivisionError")


def test_blocks_nest_and_one_object_is_entered_again(battery: Battery) -> None:
    meter = dibench.energy("epoch")
    with meter as outer:
        battery.now += 1.0
        with meter as inner:
            battery.now += 2.0
        battery.now += 1.0
    assert (inner.time_s, outer.time_s) == (2.0, 4.0)
    assert battery.opened == 1


def test_threads_that_share_an_object_keep_their_blocks_apart(battery: Battery) -> None:
    meter, turns = dibench.energy("worker"), [threading.Event() for _ in range(3)]
    found: dict[str, Spent] = {}

    def late() -> None:
        turns[0].wait(5)
        with meter as found["late"]:
            turns[1].set()
            turns[2].wait(5)

    thread = threading.Thread(target=late)
    thread.start()
    with meter as found["early"]:
        battery.now += 1.0
        turns[0].set()
        turns[1].wait(5)
        battery.now += 1.0
    turns[2].set()
    thread.join()
    assert (found["early"].time_s, found["late"].time_s) == (2.0, 1.0)


def test_a_decorated_function_collects_its_calls(battery: Battery) -> None:
    @dibench.energy("layer")
    def layer(seconds: float, *, fails: bool = False) -> float:
        """Documented."""
        battery.now += seconds
        if fails:
            raise RuntimeError
        return 2 * seconds

    assert repr(layer.spent) == "layer: not called yet"
    assert layer(1.0) == 2.0
    with pytest.raises(RuntimeError):
        layer(0.5, fails=True)
    assert isinstance(layer.spent, Calls) and layer.__doc__ == "Documented."
    assert [(one.time_s, one.error) for one in layer.spent] == [(1.0, ""), (0.5, "RuntimeError")]
    assert layer.spent.total.energy_j == 15.0 and layer.spent.total.energy_ci_j == pytest.approx(0.2)
    assert repr(layer.spent) == "layer, 2 calls: 15.0 J ± 0.2, 1.50 s, 10 W (rapl)"
    assert "10.0 J ± 0.1" in layer.spent.summary()
    assert len(layer.spent.to_json()["calls"]) == 2 and "<table>" in layer.spent._repr_html_()
    layer(0.0)
    assert layer.spent.total.energy_j is None
    assert layer.spent.total.reason == "1 of 3 calls have none: too short"


def test_calls_inside_each_other_have_no_sum(battery: Battery) -> None:
    @dibench.energy
    def fall(depth: int) -> None:
        battery.now += 1.0
        if depth:
            fall(depth - 1)

    fall(0)
    assert fall.spent.total.energy_j == 10.0
    fall(1)
    assert [one.energy_j for one in fall.spent] == [10.0, 10.0, 20.0]
    assert fall.spent.total.energy_j is None and "calls overlapped" in repr(fall.spent)


def test_a_method_and_a_bare_decorator_are_named_after_the_function(battery: Battery) -> None:
    class Net:
        @dibench.energy
        def forward(self, x: int) -> int:
            battery.now += 1.0
            return x

    assert Net().forward(3) == 3
    assert Net.forward.spent[0].name.endswith("Net.forward")


def test_generators_and_coroutines_are_refused_in_words() -> None:
    async def coroutine() -> None: ...

    def generator() -> Iterator[int]:
        yield 1

    for function in (coroutine, generator):
        with pytest.raises(UserError, match=r"cannot be a.*meter a block inside it \(got '.*rator|.*tine"):
            dibench.energy(function)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"meter": "model"}, "meter: must be one of auto, rapl, none for device cpu"),
        ({"meter": "rapl", "device": "cuda"}, "must be one of auto, nvml_counter"),
        ({"device": "tpu"}, "device: must be cpu, cuda or cuda:N"),
        ({"device": "cpu:1"}, "device: must be cpu"),
    ],
)
def test_what_there_is_not_is_refused_at_once(options: dict[str, str], rule: str) -> None:
    with pytest.raises(UserError, match=rule):
        dibench.energy("block", **options)


def test_auto_goes_without_a_sensor_that_refuses_and_a_named_one_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuses(device: str, meter: str) -> Any:
        raise UserError("RAPL", "there is no counter")

    monkeypatch.setattr(own_code, "_open", refuses)
    monkeypatch.setattr(own_code, "_opened", {})
    with dibench.energy("block") as spent:
        pass
    assert (spent.energy_j, spent.energy_source, spent.reason) == (None, "none", "RAPL: there is no counter")
    assert spent.time_s is not None and spent.time_s >= 0
    with (
        pytest.raises(UserError, match="no counter; use meter auto or none to go on"),
        dibench.energy("block", meter="rapl"),
    ):
        pass


def test_a_gpu_is_waited_for_at_both_edges(battery: Battery, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[tuple[int, float]] = []
    torch = types.SimpleNamespace(
        cuda=types.SimpleNamespace(
            is_initialized=lambda: True, synchronize=lambda ordinal: waited.append((ordinal, battery.now))
        )
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    with dibench.energy("step", device="cuda:1"):
        battery.now += 1.0
    assert waited == [(1, 0.0), (1, 1.0)]
    with dibench.energy("on the processor"):
        pass
    assert len(waited) == 2


def test_the_sensor_is_opened_once_in_a_process_and_closed_at_its_end(battery: Battery) -> None:
    for _ in range(3):
        with dibench.energy("block"):
            pass
    assert battery.opened == 1
    own_code._close()
    assert battery.closed == 1
