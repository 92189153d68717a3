"""The model of time: bounds that no launch beats, and what binds where it is plain to see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dibench.limits.cards import CARDS
from dibench.limits.machine_code import Instruction
from dibench.limits.main_loop import MainLoop
from dibench.limits.prediction import START_S, BlockWork, predict

H200 = CARDS[90]
CYCLES = st.floats(1, 1e6)


@pytest.mark.parametrize(
    ("arch", "dtype", "tera"),
    # NVIDIA's data sheets: dense TFLOP/s.
    [
        (80, "fp32", 19.5), (80, "tf32", 156), (80, "bf16", 312), (86, "fp32", 37.4), (86, "bf16", 149.7),
        (89, "fp32", 91.6), (89, "bf16", 362), (90, "bf16", 989), (90, "tf32", 494), (100, "bf16", 2250),
        (120, "fp32", 104.8), (120, "bf16", 209.5), (75, "fp32", 13.4),
    ],
)  # fmt: skip
def test_peaks_are_those_of_the_data_sheets(arch: int, dtype: str, tera: float) -> None:
    assert 2 * CARDS[arch].peak_macs_per_s(dtype) / 1e12 == pytest.approx(tera, rel=0.015)


@given(st.integers(1, 5000), st.integers(1, 16), CYCLES, CYCLES, st.floats(0, 1e9))
def test_no_launch_is_faster_than_each_of_its_parts(
    grid: int, blocks: int, busy: float, alone: float, dram_bytes: float
) -> None:
    told = predict(
        H200, BlockWork({"issue": busy}, alone, 0.0), grid=grid, blocks=blocks, dram_bytes=dram_bytes
    )
    least = max(dram_bytes / H200.dram_bytes_per_s, grid * busy / H200.sms / H200.clock_hz)
    least = max(least, alone / H200.clock_hz)
    assert told.time_s >= (START_S + least) * (1 - 1e-9)


@given(st.integers(1, 5000), st.integers(1, 16), CYCLES, CYCLES)
def test_more_blocks_never_take_less_time(grid: int, blocks: int, busy: float, alone: float) -> None:
    work = BlockWork({"issue": busy}, alone, 0.0)
    one, two = (predict(H200, work, grid=n, blocks=blocks, dram_bytes=0.0) for n in (grid, grid + 1))
    assert one.time_s <= two.time_s * (1 + 1e-12)


@pytest.mark.parametrize(
    ("grid", "dram_bytes", "unit", "binds"),
    [
        (132 * 20, 0.0, {"FP32": 1e5, "issue": 8e4}, "FP32"),
        (132 * 20, 0.0, {"FP32": 1e5, "L1": 2e5}, "L1"),
        (132 * 20, 0.0, {"FP32": 10.0}, "latency"),
        (132 * 20, 2e10, {"FP32": 1e5}, "DRAM"),
        (30, 0.0, {"FP32": 1e5}, "few blocks"),
        (132 * 2 + 1, 0.0, {"FP32": 1e5}, "tail"),
        (1, 0.0, {"FP32": 10.0}, "start"),
    ],
)
def test_what_binds(grid: int, dram_bytes: float, unit: dict[str, float], binds: str) -> None:
    alone = 1e3 if binds == "start" else 5e4
    assert (
        predict(H200, BlockWork(unit, alone, 0.0), grid=grid, blocks=2, dram_bytes=dram_bytes).binds == binds
    )


# ---- a warp alone ------------------------------------------------------------------------------------------


def one(
    name: str, stall: int = 1, sets: int | None = None, waits: tuple[int, ...] = (), operands: str = ""
) -> Instruction:
    return Instruction(0, False, name, operands, stall, sets, None, waits)


def test_loads_that_are_waited_for_together_overlap() -> None:
    four = MainLoop((*(one("LDG.E", sets=0) for _ in range(4)), one("FFMA", waits=(0,))), 1)
    assert four.warp_pass(1000) == pytest.approx(1004, abs=1)


def test_loads_that_are_waited_for_one_by_one_do_not() -> None:
    code = [each for _ in range(4) for each in (one("LDG.E.128", sets=0), one("FFMA", waits=(0,)))]
    assert MainLoop(tuple(code), 4).warp_pass(1000) == pytest.approx(4004, abs=4)


@pytest.mark.parametrize(("allowed", "in_flight"), [("0x0", 1), ("0x1", 2), ("0x2", 3)])
def test_batches_of_copies_that_may_still_be_under_way(allowed: str, in_flight: int) -> None:
    """A stage of copies in each pass, of which so many may be open: as many passes fit into one latency."""
    code = (one("LDGSTS.E"), one("LDGDEPBAR", sets=0), one("DEPBAR.LE", operands=f"SB0, {allowed}"))
    assert 1000 / MainLoop(code, 1).warp_pass(1000) == pytest.approx(in_flight, rel=0.03)
