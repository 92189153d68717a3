"""Readings that a card refuses: any one of three gives joules, and every other may be missing for itself."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from fake_nvml import FakeNvml
from replay import HOPPER, Card, Fault, ReplayedClock
from simulated_gpu import SimulatedGpu
from visit_rig import CALM, LOAD, Rig, assert_good, error

from dibench.cli.progress import Progress
from dibench.errors import UserError
from dibench.measure.visit import Visit
from dibench.meters import NOT_METERED, nvml, open_meter
from dibench.meters.gpu import GpuMeter
from dibench.meters.gpu_sensor import (
    IN_USE,
    INVALID_ARGUMENT,
    NO_FUNCTION,
    NO_PERMISSION,
    NOT_SUPPORTED,
    OPERATING_SYSTEM,
    TIMEOUT,
    UNKNOWN,
    SensorError,
    explain,
)
from dibench.sweep.events import SweepBegan

CODES = (
    *(INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, TIMEOUT, NO_FUNCTION, OPERATING_SYSTEM, IN_USE),
    *(26, UNKNOWN, 4711),
)
CELLS = {
    "limit_w": (),
    "temperature_c": ("temp_start_c", "temp_end_c"),
    "sm_mhz": ("sm_clock_mhz",),
    "most_sm_mhz": (),
    "memory_mhz": ("mem_clock_mhz",),
    "clock_events": (),
    "processes": (),
}
"""Cells that are empty without a reading."""
STATE = {"temp_start_c", "temp_end_c", "sm_clock_mhz", "mem_clock_mhz"}


def without(*readings: str, code: int = NOT_SUPPORTED, card: Card = CALM, **how: Any) -> Rig:
    return Rig(card, faults=[Fault(code, reading=reading) for reading in readings], **how)


@pytest.mark.parametrize(
    ("reading", "code"), [(reading, CODES[i::7]) for i, reading in enumerate(CELLS)], ids=str
)
def test_a_reading_that_joules_do_not_need_is_missing_for_itself(reading: str, code: tuple[int, ...]) -> None:
    for each in code:
        rig = without(reading, code=each, card=attrs.evolve(CALM, leakage_per_c=0.0))
        row = rig.row()
        assert row["status"] == "ok" and row["reason"] == "", "it flags no row"
        assert row["energy_source"] == "simulated" and abs(error(row, LOAD.joules(CALM))) < 0.01
        assert {name for name in STATE if row[name] is None} == set(CELLS[reading])
        (what,) = rig.meter.facts["not_readable"]
        assert explain(each) == rig.meter.facts["not_readable"][what], "said once, with code and remedy"


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_no_end_of_reading_the_rest(code: int) -> None:
    """As every optional reading at once is refused."""
    clock = ReplayedClock()
    gpu = SimulatedGpu(clock, faults=[Fault(code, reading=reading) for reading in CELLS])
    meter = GpuMeter(nvml.gpus(FakeNvml([gpu]))[0], clock, "auto")
    meter.measure_idle()
    assert meter.source == "nvml_counter" and len(meter.refused) == len(CELLS)
    assert meter.idle is not None and meter.idle.celsius is None


@pytest.mark.parametrize("what", ["clock_events", "sm_mhz", "memory_mhz", "most_sm_mhz"])
def test_one_refused_state_does_not_take_the_temperature_with_it(what: str) -> None:
    rig = without(what)
    assert rig.meter.idle is not None and rig.meter.idle.celsius == 35.0


@pytest.mark.parametrize(
    ("refused", "estimator", "source"),
    [
        ((), "energy counter", "nvml_counter"),
        (("instant_mw",), "energy counter", "nvml_counter"),
        (("instant_mw", "average_mw"), "energy counter", "nvml_counter"),
        (("energy_mj",), "instant power", "nvml_power"),
        (("energy_mj", "instant_mw"), "power averaged over one second", "nvml_power"),
    ],
)
@pytest.mark.parametrize("code", [NOT_SUPPORTED, NO_PERMISSION, OPERATING_SYSTEM, UNKNOWN])
def test_any_one_reading_gives_measured_joules(
    refused: tuple[str, ...], estimator: str, source: str, code: int
) -> None:
    rig = without(*refused, code=code, source="auto")
    facts = rig.meter.facts
    assert (facts["estimator"], rig.meter.source) == (estimator, source)
    assert ("instead_of" in facts) == ("energy_mj" in refused), "what it takes the place of, and why"
    row = rig.row()
    assert row["energy_source"] == source and row["status"] == "ok", row["reason"]
    assert abs(row["energy_j"] - rig.truth()) <= row["energy_ci_j"] < 0.05 * rig.truth()
    assert (row["energy_alt_j"] is not None) == (refused == ()), "an average is anew too seldom for 3 s"
    assert row["energy_above_idle_j"] is not None and row["energy_above_active_idle_j"] is not None


def test_an_average_is_waited_for_and_never_integrated_as_if_instant() -> None:
    """It shows the filler for a second after it ended: by instant rules this row would read 10% high."""
    rig = without("energy_mj", "instant_mw", source="auto")
    visits = [rig.visit(pause_s=0.0) for _ in range(3)]
    row = rig.cells(visits)
    assert rig.meter.period_s == 1.0, "it is anew once a second"
    assert abs(error(row, rig.truth())) < 0.01


def test_no_row_calls_the_average_of_a_second_instant() -> None:
    """Windows over ticks of 2 s are long enough for both, and then they may differ."""
    rig = without("instant_mw", card=attrs.evolve(CALM, counter_s=2.0, counter_gain=0.8), source="auto")
    row = rig.row()
    assert row["energy_alt_j"] is not None and "two estimators differ by 2" in row["reason"]
    assert "J, power 0." in row["reason"] and "instant" not in row["reason"]


def test_a_counter_that_stands_still_gives_way_to_power() -> None:
    class Still(SimulatedGpu):
        def energy_mj(self) -> int:
            return 1_000_000

    def started(source: str) -> GpuMeter:
        clock = ReplayedClock()
        gpu = Still(clock, CALM)
        clock.sleep(0.5)
        meter = GpuMeter(nvml.gpus(FakeNvml([gpu]))[0], clock, source)
        gpu.open_context()
        meter.start(gpu.busy)
        return meter

    meter = started("auto")
    assert meter.source == "nvml_power" and meter.active_idle.power_w == pytest.approx(120.0, rel=0.1)
    assert meter.facts["instead_of"] == "energy counter: it stood still for 6 s under load"
    with pytest.raises(UserError, match=r"its sensor must move, did not within 6 s.*nvml_counter"):
        started("nvml_counter")


def test_a_counter_that_stands_still_at_idle_gives_way_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle power was looked for in vain, and the whole meter was refused."""
    monkeypatch.setattr(SimulatedGpu, "energy_mj", lambda gpu: 1_000_000)
    rig = Rig(CALM, source="auto")
    assert rig.meter.facts["instead_of"] == "energy counter: it stood still for 6 s at idle"
    assert rig.meter.idle is not None and rig.meter.idle.power_w == pytest.approx(76.0, rel=0.02), (
        "as warm as it is"
    )
    row = rig.row()
    assert (row["status"], row["energy_source"], row["reason"]) == ("ok", "nvml_power", "")
    with pytest.raises(UserError, match=r"its sensor must move, did not within 20 s.*nvml_counter"):
        Rig(CALM, source="nvml_counter")


def test_a_counter_whose_ticks_a_window_cannot_use_gives_way_to_power_unless_it_was_asked_for() -> None:
    """Ticks of two seconds made a visit of 18 s, and a brief calibration of 92 s."""
    card = attrs.evolve(CALM, counter_s=2.0)
    rig = Rig(card, source="auto")
    assert rig.meter.estimator == "instant power" and rig.clock.now() < 18.0
    assert rig.meter.facts["instead_of"].startswith("energy counter: it moved ")
    assert rig.meter.idle is not None and rig.meter.idle.power_w == pytest.approx(76.0, rel=0.02)
    before_s = rig.clock.now()
    assert_good(rig.row(), rig.truth())
    assert rig.clock.now() - before_s < 6.0
    asked = Rig(card, source="nvml_counter")
    assert asked.meter.estimator == "energy counter" and asked.meter.counter_period_s == pytest.approx(2.0)
    assert_good(asked.row(), asked.truth())


def test_idle_power_that_a_stuck_reading_showed_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedGpu, "instant_mw", lambda gpu: 75_000)
    rig = without("energy_mj", source="auto")
    assert rig.meter.estimator == "power averaged over one second" and rig.meter.idle is None
    assert rig.meter.no_idle == (
        "it was read by instant power, the rows are by power averaged over one second"
    )


def test_power_that_stands_still_is_none_beside_a_good_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    """It hid the rise under load, and the whole meter was refused."""
    monkeypatch.setattr(SimulatedGpu, "instant_mw", lambda gpu: 75_000)
    rig = Rig(CALM, source="auto")
    row = rig.row()
    assert row["status"] == "ok" and row["energy_source"] == "nvml_counter"
    assert abs(error(row, rig.truth())) < 0.01 and row["energy_alt_j"] is None


def test_a_refusal_that_passes_is_asked_again_and_one_that_does_not_is_none() -> None:
    rig = Rig(faults=[Fault(TIMEOUT, 0.0, 0.25)], source="auto")
    assert rig.meter.source == "nvml_counter" and not rig.meter.facts["not_readable"]


def test_no_reading_at_all_is_said_once_with_the_remedy() -> None:
    with pytest.raises(UserError) as refused:
        without("energy_mj", "instant_mw", "average_mw", code=OPERATING_SYSTEM, source="auto")
    said = str(refused.value)
    assert said.count("blocks the GPU's control device") == 1 and "/dev/nvidiactl" in said
    assert "energy counter, instant power and power averaged over one second" in said
    with pytest.raises(UserError, match="--meter nvml_counter works here"):
        without("instant_mw", "average_mw", source="nvml_power")


def test_every_code_of_nvml_has_a_meaning_and_a_remedy() -> None:
    pynvml = pytest.importorskip("pynvml")
    codes = {value for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_")}
    assert len(codes) > 25
    for code in codes:
        assert not explain(code).startswith("NVML refuses: "), code
        assert ": " in explain(code)
    assert explain(4711).startswith("NVML refuses: ") and not SensorError(4711).passing


def test_visits_of_older_files_are_read() -> None:
    visit = Rig(HOPPER).visit()
    written = visit.to_json()
    del written["notes"], written["idle"]["settled"], written["active_idle"]["settled"]
    assert Visit.from_json(written) == visit


@pytest.mark.parametrize("code", [NOT_SUPPORTED, OPERATING_SYSTEM])
def test_auto_says_what_it_falls_to_and_why(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(name: str, *refused: str) -> Any:
        gpu = SimulatedGpu(ReplayedClock(), faults=[Fault(code, reading=reading) for reading in refused])
        monkeypatch.setattr("dibench.meters.nvml.import_pynvml", lambda: FakeNvml([gpu]))
        return open_meter(name, "cuda", gpu.uuid)

    def said(meter: Any) -> str:
        return str(meter.facts.get("instead_of") or meter.facts.get(NOT_METERED) or "")

    assert (opened("auto").source, said(opened("auto"))) == ("nvml_counter", "")
    power, average = opened("auto", "energy_mj"), opened("auto", "energy_mj", "instant_mw")
    assert power.source == average.source == "nvml_power"
    assert said(power) == f"energy counter: {explain(code)}"
    assert said(average) == f"energy counter: {explain(code)}; instant power: {explain(code)}"
    model = opened("auto", "energy_mj", "instant_mw", "average_mw")
    assert model.source == "model" and explain(code) in said(model), "and what `sweep` shows at once"
    for name in ("nvml_counter", "nvml_power"):
        with pytest.raises(UserError, match=r"NVML error"):
            opened(name, "energy_mj", "instant_mw", "average_mw")


def test_what_energy_is_measured_by_and_why_is_the_first_line_of_a_sweep(
    capsys: pytest.CaptureFixture[str],
) -> None:
    began = SweepBegan("Card", "model", 3, 0, 3, because="NVML: this user may not read it")
    Progress(None).show(began)
    said = capsys.readouterr().err
    assert "Card; energy: model (NVML: this user may not read it); 3 cases to measure" in said
