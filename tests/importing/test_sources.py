"""Units and formulas: exact, with the unit that a name ends in, and one line for what makes no sense."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dibench.errors import UserError
from dibench.importing.sources import read_source
from dibench.importing.units import UNITS, unit, unit_in_name


def value(target: str, formula: str, **cells: str) -> Fraction | None:
    (found,) = read_source([target], formula, list(cells)).numbers(cells, ".")
    return found


@pytest.mark.parametrize(
    ("target", "formula", "text", "expected"),
    [
        ("time_s", "x:ns", "250", "2.5e-7"),
        ("time_s", "x:us", "250", "2.5e-4"),
        ("time_s", "x:µs", "250", "2.5e-4"),  # the micro sign
        ("time_s", "x:μs", "250", "2.5e-4"),  # the Greek letter
        ("time_s", "x:ms", "5.426", "0.005426"),
        ("time_s", "x:s", "0.1", "0.1"),
        ("time_s", "x:min", "2", "120"),
        ("time_s", "x:h", "2", "7200"),
        ("energy_j", "x:nJ", "3", "3e-9"),
        ("energy_j", "x:µJ", "3", "3e-6"),
        ("energy_j", "x:uJ", "3", "3e-6"),
        ("energy_j", "x:mJ", "3", "3e-3"),
        ("energy_j", "x:J", "3", "3"),
        ("energy_j", "x:Wh", "1", "3600"),
        ("energy_j", "x:kWh", "1", "3600000"),  # 3.6 MJ
        ("power_w", "x:mW", "1500", "1.5"),
        ("power_w", "x:W", "1.5", "1.5"),
        ("sm_clock_mhz", "x:GHz", "1.41", "1410"),
        ("sm_clock_mhz", "x", "1410", "1410"),
        ("macs", "x:G", "4.09", "4090000000"),
        ("N", "x", "32.0", "32"),
        ("time_s", "x", "0.25", "0.25"),
    ],
)
def test_a_unit_is_converted_exactly(target: str, formula: str, text: str, expected: str) -> None:
    assert value(target, formula, x=text) == Fraction(expected)


decimals = st.decimals("1e-12", "1e12", allow_nan=False, places=12).filter(bool)


def quantity(name: str) -> tuple[int, int]:
    return UNITS[name].joules, UNITS[name].seconds


FILLS = {"time_s": "s", "energy_j": "J", "power_w": "W", "sm_clock_mhz": "MHz", "ai": "k"}


@given(decimals, decimals, st.sampled_from(list(FILLS.items())), st.data())
def test_a_value_is_the_same_in_every_unit_of_its_quantity(
    number: Decimal, other: Decimal, fills: tuple[str, str], data: st.DataObject
) -> None:
    """The ratio of two values is what their numbers and units say; the nearest double is written."""
    target, own = fills
    alike = st.sampled_from([name for name in UNITS if quantity(name) == quantity(own)])
    a, b = data.draw(alike), data.draw(alike)
    first, second = value(target, f"x:{a}", x=str(number)), value(target, f"x:{b}", x=str(other))
    ratio = value("ai", f"x:{a}/y:{b}", x=str(number), y=str(other))
    assert first is not None and second and ratio == first / second
    assert value(target, f"x:{a}*y:{b}/y:{b}", x=str(number), y=str(other)) == first


@given(decimals, decimals, st.sampled_from(["ns", "us", "ms", "s", "h"]), st.sampled_from(["mW", "W", "kW"]))
def test_power_times_time_is_energy_and_over_time_power_again(
    watts: Decimal, time: Decimal, t: str, p: str
) -> None:
    joules = value("energy_j", f"p:{p}*t:{t}", p=str(watts), t=str(time))
    assert joules == Fraction(watts) * unit(p).factor * Fraction(time) * unit(t).factor
    seconds = value("time_s", f"t:{t}", t=str(time))
    assert joules is not None and seconds
    assert value("power_w", f"p:{p}", p=str(watts)) == joules / seconds
    assert float(joules) == pytest.approx(float(watts) * float(unit(p).factor) * float(seconds), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("latency_ms", "ms"), ("latency (ms)", "ms"), ("Energy[mJ]", "mJ"), ("energy_mj", "mJ"),
        ("energy_MJ", "MJ"), ("power.W", "W"), ("power_mw", "mW"), ("e_kwh", "kWh"), ("t-sec", "s"),
        ("time_µs", "µs"), ("lat_ms_median", "ms"), ("energy_mJ_mean", "mJ"), ("s_count", ""), ("w2", ""),
        ("latency_min", ""), ("latency", ""), ("class", ""), ("items", ""), ("gmacs_G", ""),
    ],
)  # fmt: skip
def test_a_name_may_end_in_its_unit(name: str, expected: str) -> None:
    assert unit_in_name(name) == expected.replace("µ", "μ")


def test_the_unit_of_a_name_counts_and_a_unit_that_is_given_counts_more() -> None:
    assert value("time_s", "t_ms", t_ms="5") == Fraction(5, 1000)
    assert value("time_s", "t_ms:us", t_ms="5") == Fraction(5, 1000000)
    assert value("energy_j", "power_w*t_ms", power_w="50", t_ms="4") == Fraction(1, 5)
    assert read_source(["time_s"], "t_ms", ["t_ms"]).said == "t_ms:ms"
    assert value("N", "batch_s", batch_s="8") == 8, "a count has no unit"


def test_names_may_hold_any_letters() -> None:
    header = ["gpu", "gpu/power", "time (ms)", "a:b", "x*y", "gpu power"]
    cells = dict(zip(header, "123456", strict=True))
    for formula, expected in {
        "gpu/power": 2,
        "time (ms):s": 3,
        '"time (ms)":s': 3,
        "a:b": 4,
        "a:b:ms": Fraction(4, 1000),
        "x*y*2": 10,
        "gpu power / gpu": 6,
        '"gpu" * "a:b"': 4,
        "gpu/2": Fraction(1, 2),
    }.items():
        assert read_source(["time_s"], formula, header).numbers(cells, ".") == [expected], formula


def test_one_cell_may_hold_a_number_for_each_column() -> None:
    source = read_source(["R", "S"], "k", ["k"])
    for text, expected in {
        "3": [3, 3],
        "(3, 5)": [3, 5],
        "[3,5]": [3, 5],
        "3x5": [3, 5],
        "": [None, None],
    }.items():
        assert source.numbers({"k": text}, ".") == expected
    assert read_source(["R", "S"], "3", ["k"]).numbers({"k": "?"}, ".") == [3, 3]
    spread = read_source(["time_s", "time_ci_s"], "t:ms", ["t"])
    assert spread.numbers({"t": "2.5 ± 1e-1"}, ".") == [Fraction(25, 10000), Fraction(1, 10000)]
    assert spread.numbers({"t": "2.5"}, ".") == [Fraction(25, 10000)] * 2
    shape = read_source(["N", "C", "H", "W"], "s", ["s"])
    assert shape.numbers({"s": "torch.Size([8, 3, 224, 160])"}, ".") == [8, 3, 224, 160]
    with pytest.raises(UserError, match=r"k: must be a number or hold one for each of R, S \(got '\(3,\)'\)"):
        source.numbers({"k": "(3,)"}, ".")


@pytest.mark.parametrize(
    ("target", "formula", "message"),
    [
        ("time_s", "lat", "must be a column of the table, perhaps latency"),
        ("time_s", "latency:sec", "unit: must be one of"),
        ("time_s", "latency:mJ", "must make time_s, latency:mJ does not"),
        ("energy_j", "power_w", "must make energy_j, power_w:W does not"),
        ("energy_j", "power_w*latency", "must make energy_j, power_w:W*latency does not"),
        ("N", "latency:ms", "must make N, latency:ms does not"),
        ("time_s", "latency power_w", "must be a column of the table"),
        ("time_s", "2 latency", "must have *, / or :UNIT behind a column"),
        ("time_s", "latency*", "must be a column of the table"),
        ("time_s", "latency/0", "must not divide by zero"),
        ("name", "latency*power_w", "must be columns with / between: name is text"),
        ("name", "latency:ms", "must be columns without a unit: name is text"),
        ("name", "'card'", "must be a column of the table"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(target: str, formula: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_source([target], formula, ["latency", "power_w"])
    assert str(caught.value).startswith(f"--map {target}={formula}: ") and message in str(caught.value)


@given(st.text(max_size=12) | st.text('ab c:*/"d1.me', max_size=12), st.text(max_size=5))
def test_any_text_is_a_formula_of_any_cells_or_refused(text: str, cell: str) -> None:
    header = ["a", "b c", 'd"']
    for targets in (["time_s"], ["N"], ["H", "W"], ["name"]):
        try:
            source = read_source(targets, text, header)
            numbers = source.numbers(dict.fromkeys(header, cell), ".")
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert len(numbers) == len(targets)


@pytest.mark.parametrize("text", ["fast", "1e9999", "inf", "1_0", "１"])
def test_a_cell_that_is_no_number_is_named_with_its_column(text: str) -> None:
    with pytest.raises(UserError, match="x: must be a finite number or empty"):
        value("time_s", "x:ms", x=text)
    assert value("time_s", "x:ms", x="NaN") is None
    with pytest.raises(UserError, match="b: must not be zero, it divides"):
        value("time_s", "x:ms/b", x="1", b="0")
