"""RAPL promises: every joule of the machine once, or none and the reason; no other number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from one_visit import measure_case
from powercap import Machine

from dibench.errors import UserError
from dibench.measure.settings import Settings
from dibench.meters.rapl import RaplMeter, Zone, find_zones, watch

_RANGE_UJ = 65_532_610_987


def test_rapl_sums_packages_and_dram_once(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    meter = RaplMeter.open(tmp_path, machine.clock)
    assert meter.facts["zones"] == ["package-0", "package-1", "package-0/dram", "package-1/dram"]
    reading = meter.window(lambda: machine.pass_time(2.0) and 2.0, {}, 1)
    assert reading.time_s == 2.0
    assert reading.energy_j == pytest.approx(2.0 * (50 + 50 + 5 + 5), rel=1e-3)
    assert (meter.source, meter.has_variance) == ("rapl", True)


def test_rapl_detects_its_update_period(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert RaplMeter.open(tmp_path, machine.clock).period_s == pytest.approx(1e-3, rel=0.21)


def test_rapl_counts_through_the_wrap_around(tmp_path: Path) -> None:
    machine = Machine(tmp_path, packages=1)
    meter = RaplMeter.open(tmp_path, machine.clock)
    counter = tmp_path / "intel-rapl:0" / "energy_uj"
    machine.watts[counter] = (50.0, machine.RANGE_UJ - 40_000_000 - int(machine.now * 50e6))
    machine.pass_time(0.0)
    before = int(counter.read_text())
    reading = meter.window(lambda: machine.pass_time(2.0) and 2.0, {}, 1)
    assert int(counter.read_text()) < before, "the counter began anew inside the window"
    assert reading.energy_j == pytest.approx(2.0 * (50 + 5), rel=1e-3)


def test_rapl_refuses_a_machine_without_counters(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"virtual machine does not offer one$"):
        RaplMeter.open(tmp_path)
    with pytest.raises(UserError, match="no package counter"):
        RaplMeter.open(tmp_path / "absent")


def test_rapl_refuses_a_counter_that_stands_still(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    now = iter(range(1_000_000))
    with pytest.raises(UserError, match="does not change"):
        RaplMeter.open(machine.root, lambda: next(now) * 0.01)


def test_rapl_names_the_remedy_where_the_user_may_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may read everything, so the refusal is replayed.
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UserError, match=r"may not be read by this user: run as root, or .*sudo chmod a\+r"):
        Zone("package-0", Path("energy_uj"), 1000).read_uj()


def test_rapl_explains_a_counter_that_is_no_number(tmp_path: Path) -> None:
    machine = Machine(tmp_path, packages=1)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("?\n")
    with pytest.raises(UserError, match="energy_uj cannot be read"):
        RaplMeter.open(machine.root, machine.clock)


def _dies(machine: Machine, *starts_uj: int, socket: int = 0) -> None:
    for start_uj in starts_uj:
        number = len(list(machine.root.glob("intel-rapl:*")))
        name = f"package-{socket}-die-{number}"
        machine.zone(machine.root / f"intel-rapl:{number}", name, 68.0, start_uj)


def test_dies_that_show_the_counter_of_their_socket_count_once(tmp_path: Path) -> None:
    """A Threadripper 1950X: 68 W on both dies, 68 W in truth. A second socket has its own counter."""
    machine = Machine(tmp_path, packages=0)
    _dies(machine, 0, 0)
    meter = RaplMeter.open(tmp_path, machine.clock)
    mirrored = [name for name, why in meter.left_out.items() if why.startswith("shows the counter of")]
    assert len(meter.zones) == len(mirrored) == 1
    assert meter.facts["left_out"] == meter.left_out
    assert meter.window(lambda: machine.pass_time(1.0) and 1.0, {}, 1).energy_j == pytest.approx(68, rel=2e-3)


def test_each_socket_counts_once_however_many_dies_show_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, packages=0)
    _dies(machine, 0, 0, 0)
    _dies(machine, 4711, 4711, 4711, socket=1)
    meter = RaplMeter.open(tmp_path, machine.clock)
    assert len(meter.zones) == 2 and len(meter.left_out) == 4
    reading = meter.window(lambda: machine.pass_time(1.0) and 1.0, {}, 1)
    assert reading.energy_j == pytest.approx(2 * 68, rel=2e-3)


def test_dies_with_counters_of_their_own_are_summed(tmp_path: Path) -> None:
    machine = Machine(tmp_path, packages=0)
    _dies(machine, 0, 61)
    meter = RaplMeter.open(tmp_path, machine.clock)
    assert len(meter.zones) == 2 and not meter.left_out
    reading = meter.window(lambda: machine.pass_time(1.0) and 1.0, {}, 1)
    assert reading.energy_j == pytest.approx(2 * 68, rel=2e-3)


def test_dies_that_show_the_same_two_readings_count_once_without_watching(tmp_path: Path) -> None:
    machine = Machine(tmp_path, packages=0)
    _dies(machine, 1_000_000, 1_000_000)
    meter = RaplMeter(find_zones(tmp_path), 0.001)
    assert meter.window(lambda: machine.pass_time(1.0) and 1.0, {}, 1).energy_j == 68.0


class Slow:
    """Counters of which each read takes time, so that an update may fall between two reads."""

    def __init__(self, read_s: float) -> None:
        self.read_s, self.now = read_s, 0.0

    def zone(self, name: str, start_uj: int, late_s: float = 0.0) -> Zone:
        return Zone(name, _Counter(self, start_uj, late_s), None)  # type: ignore[arg-type]  # only read_text is used

    def clock(self) -> float:
        return self.now


@attrs.frozen
class _Counter:
    machine: Slow
    start_uj: int
    late_s: float

    def read_text(self) -> str:
        self.machine.now += self.machine.read_s
        return str(self.start_uj + 68_000 * int((self.machine.now - self.late_s) * 1000))


@pytest.mark.parametrize("late_s", [0.0, 0.4e-3, 2.7e-3])
@pytest.mark.parametrize("read_s", [7e-6, 83e-6, 210e-6])
def test_an_update_between_two_reads_makes_no_two_counters_of_one(read_s: float, late_s: float) -> None:
    """Nor does one die that shows the counter later than the other."""
    machine = Slow(read_s)
    zones = (machine.zone("die-0", 0), machine.zone("die-1", 0, late_s), machine.zone("die-2", 9))
    found = watch(zones, machine.clock)
    assert [zone.name for zone in found.zones] == ["die-0", "die-2"]
    assert found.period_s == pytest.approx(1e-3, rel=0.65)


def test_reads_slower_than_the_updates_do_not_take_two_counters_for_one() -> None:
    machine = Slow(1.3e-3)
    assert len(watch((machine.zone("die-0", 0), machine.zone("die-1", 9)), machine.clock).zones) == 2


def test_a_zone_that_stands_still_is_left_out_by_name(tmp_path: Path) -> None:
    machine = Machine(tmp_path, packages=1)
    machine.watts[tmp_path / "intel-rapl:0" / "intel-rapl:0:1" / "energy_uj"] = (0.0, 0)
    meter = RaplMeter.open(tmp_path, machine.clock)
    assert meter.left_out == {"package-0/dram": "does not change"}


@pytest.mark.parametrize(
    ("before_uj", "after_uj", "range_uj", "reason"),
    [
        pytest.param(60_000_000_000, 5_000_000, f"{_RANGE_UJ}", "a reset?", id="5,537 J"),
        pytest.param(60_000_000_000, 5_000_000, "0", "a reset?", id="-59,995 J"),
        pytest.param(60_000_000_000, 5_000_000, "-1", "a reset?", id="negative range"),
        pytest.param(60_000_000_000, 5_000_000, "?", "a reset?", id="range is no number"),
        pytest.param(60_000_000_000, 5_000_000, None, "a reset?", id="no range"),
        pytest.param(5_000_000, 60_000_000_000, f"{_RANGE_UJ}", "a reset?", id="leap"),
        pytest.param(-5_000_000, 5_000_000, f"{_RANGE_UJ}", "a reset?", id="negative"),
        pytest.param(5_000_000, 7_000_000, "6000000", "more than its range", id="beyond its range"),
        pytest.param(5_000_000, 7_000_000, "9000000", "may have wrapped more than once", id="short range"),
        pytest.param(5_000_000, 5_000_000, f"{_RANGE_UJ}", "did not change", id="still"),
        pytest.param(5_000_000, "", f"{_RANGE_UJ}", "cannot be read", id="nothing"),
    ],
)
def test_what_is_no_energy_is_no_number(
    tmp_path: Path, before_uj: int, after_uj: int | str, range_uj: str | None, reason: str
) -> None:
    machine = Machine(tmp_path, packages=1)
    top = tmp_path / "intel-rapl:0"
    (top / "energy_uj").write_text(f"{before_uj}")
    (top / "max_energy_range_uj").unlink() if range_uj is None else (top / "max_energy_range_uj").write_text(
        range_uj
    )

    def run() -> float:
        machine.pass_time(1.0)
        (top / "energy_uj").write_text(f"{after_uj}")
        return 1.0

    reading = RaplMeter(find_zones(tmp_path), 0.001).window(run, {}, 1)
    assert reading.energy_j is None and reason in reading.reason and reading.time_s == 1.0


def test_an_unknown_range_costs_nothing_while_the_counter_rises(tmp_path: Path) -> None:
    machine = Machine(tmp_path, packages=1)
    (tmp_path / "intel-rapl:0" / "max_energy_range_uj").write_text("0")
    reading = RaplMeter.open(tmp_path, machine.clock).window(lambda: machine.pass_time(2.0) and 2.0, {}, 1)
    assert reading.energy_j == pytest.approx(2 * 55, rel=1e-3)


@given(
    range_uj=st.sampled_from([262_143_328_850, _RANGE_UJ, 4_294_967_295]),
    watts=st.floats(0.5, 600),
    seconds=st.floats(0.02, 100),
    start=st.floats(0, 1, exclude_max=True),
    reset_at=st.none() | st.floats(0, 1),
)
def test_joules_are_true_or_none(
    range_uj: int, watts: float, seconds: float, start: float, reset_at: float | None
) -> None:
    """Any power a processor has, any number of wraps, and a reset at any instant of the window."""
    before_uj, true_uj = int(start * range_uj), round(watts * seconds * 1e6)
    after_uj = before_uj + true_uj
    if reset_at is not None:
        # From so near its end that it could have wrapped, a reset is a wrap to whoever reads the counter.
        # One that begins so low that it is passed again leaves no trace either.
        after_uj = round(true_uj * (1 - reset_at))
        assume(after_uj < before_uj < range_uj - 2000e6 * seconds)
    found = Zone("package-0", Path("energy_uj"), range_uj).joules(before_uj, after_uj % range_uj, seconds)
    if reset_at is None and 2000 * seconds < range_uj / 1e6:
        assert found == pytest.approx(true_uj / 1e6), "nothing was wrong with it"
    assert isinstance(found, str) or (reset_at is None and found == pytest.approx(true_uj / 1e6))


class _Launches:
    """A launch takes 10 ms of the replayed machine."""

    def __init__(self, machine: Machine, then: Callable[[float], None]) -> None:
        self.machine, self.then = machine, then

    def launch(self, number: int) -> float:
        self.then(self.machine.pass_time(0.01 * number))
        return 0.01 * number


def test_the_row_says_why_it_has_no_joules(tmp_path: Path) -> None:
    machine = Machine(tmp_path, packages=1)
    counter = tmp_path / "intel-rapl:0" / "energy_uj"
    meter = RaplMeter.open(tmp_path, machine.clock)

    def reset(now: float) -> None:
        if now > 2.0:
            machine.watts[counter] = (50.0, -100_000_000)  # zero at 2 s
            machine.pass_time(0.0)

    settings = Settings(window_s=0.2, warm_up_s=0.01, case_budget_s=4.0)
    found = measure_case(_Launches(machine, reset), meter, settings, machine.clock)
    assert (found.energy_j, found.power_w, found.status) == (None, None, "flagged")
    assert "the meter did not read every window: package-0 went from" in found.reason
    assert found.time_s == pytest.approx(0.01), "the time is kept"
