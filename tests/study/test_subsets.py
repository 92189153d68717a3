"""Rows at a power cap, throttled or launch-bound: how each is recognised, and which a fit uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from study_frames import measured

from dibench.schema import CAVEATS, KINDS
from dibench.study.table.rows import select
from dibench.study.table.subsets import capped, has_caveat, launch_bound, throttled


def rows(**cells: Any) -> pd.DataFrame:
    """Four layers with further cells."""
    return measured(4).assign(**cells)


def test_a_row_is_capped_by_its_clock_event_or_by_its_power() -> None:
    events = ["sw_power_cap", "gpu_idle;sw_power_cap", "sw_thermal_slowdown", "gpu_idle"]
    assert capped(rows(clock_events=events)).tolist() == [True, True, False, False]
    assert throttled(rows(clock_events=events)).tolist() == [False, False, True, False]
    powers = rows(power_w=[161.6, 161.8, 165.4, np.nan], power_limit_w=165.0)
    assert capped(powers).tolist() == [False, True, True, False]
    assert not capped(powers.drop(columns="power_limit_w")).any()
    assert not capped(powers.assign(power_limit_w=[np.nan] * 4)).any()


def test_without_a_column_power_is_gross_energy_over_time() -> None:
    frame = rows(power_limit_w=165.0, time_s=[1.0, 2.0, 0.0, np.nan], energy_j=[162.0, 162.0, 162.0, 162.0])
    assert capped(frame).tolist() == [True, False, False, False]


def test_only_calls_of_a_framework_are_launch_bound() -> None:
    times = {"time_s": [99e-6, 101e-6, 1e-6, np.nan]}
    assert launch_bound(rows(**times, caveats="warm_operands; framework_calls")).tolist() == [
        True, False, True, False,
    ]  # fmt: skip
    assert not launch_bound(rows(**times)).any()
    assert not launch_bound(rows(**times, caveats="warm_operands")).any()
    assert has_caveat(rows(caveats=["warm_operands", "", "a;b", "cold"]), "warm_operands").tolist() == [
        True, False, False, False,
    ]  # fmt: skip
    assert KINDS["caveats"] == "text" and KINDS["power_limit_w"] == "float" and len(CAVEATS) == 3


@pytest.mark.parametrize(("at_limit", "used"), [(0, 10), (2, 8), (5, 5), (6, 10), (10, 10)])
def test_capped_rows_stay_out_unless_they_are_most_of_the_rows(at_limit: int, used: int) -> None:
    """What is left of a card that is nearly always at its cap is not what the card does."""
    powers = np.where(np.arange(10) < at_limit, 164.0, 100.0)
    frame = measured(10).assign(power_w=powers, power_limit_w=165.0)
    selection = select(frame)
    assert len(selection.frame) == used
    assert selection.excluded == ({} if used == 10 else {"at the power cap": at_limit})
    assert len(select(frame, at_cap=True).frame) == 10
    if at_limit < 10:
        assert len(select(frame, at_cap=False).frame) == 10 - at_limit


def test_repeats_are_of_the_rows_that_count() -> None:
    frame = measured(10).assign(clock_events="sw_power_cap", case_id="")
    again = frame.assign(energy_j=frame["energy_j"] * 1.1)
    both = pd.concat([frame, again], ignore_index=True)
    assert select(both).repeats.df == 10
    mixed = both.assign(clock_events=np.where(np.arange(20) % 10 < 3, "sw_power_cap", ""))
    assert select(mixed).repeats.df == 7 and select(mixed, at_cap=True).repeats.df == 10
