"""What the report shows beside the answers: equal boxes, speeds, the roof, error budget, residuals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_sweeps import MANIFEST, rows, write
from study_frames import card

from dibench import study
from dibench.study.findings.described import Cache, Peaks
from dibench.study.questions.described import described, equal_boxes, peaks_of, residuals
from dibench.study.table.layers import derived
from dibench.table import read_csv


def test_equal_boxes_are_compared_layer_by_layer(tmp_path: Path) -> None:
    table = rows(10, source="none", ops=["pointwise"])
    times = {"fast": 1.0, "output": 10.0, "weight": 12.0, "input": 20.0, "none": 90.0}
    for row, held in zip(table, list(times) * 2, strict=True):
        row["time_s"] = times[held]
    frame = derived(read_csv(write(tmp_path, table) / "sweep.csv"))
    pairs = equal_boxes(frame, "time_s").groupby("pair")["ratio"].agg(list).to_dict()
    # `none` works in a box of its own, and the fast kernel in none: neither has an equal.
    assert pairs == {
        "weight / output": [1.2, 1.2],
        "input / output": [2.0, 2.0],
        "input / weight": [20 / 12] * 2,
    }


def test_kernels_that_access_differently_are_no_pair(tmp_path: Path) -> None:
    table = rows(5, source="none", ops=["pointwise"])
    (held,) = [row for row in table if row["stationarity"] == "weight"]
    held["weight_reads"] += 1
    frame = derived(read_csv(write(tmp_path, table) / "sweep.csv"))
    assert equal_boxes(frame, "time_s")["pair"].tolist() == ["input / output"]


def test_the_fastest_kernel_is_that_of_the_operator(tmp_path: Path) -> None:
    table = rows(100, source="none")
    del table[0]  # a layer that was run by kernels without much reuse only
    frame = derived(read_csv(write(tmp_path, table) / "sweep.csv"))
    assert set(frame.loc[frame["fastest"], "variant"].str.partition("_")[0]) == {"fast"}
    assert int(frame["fastest"].sum()) == 19


def test_the_roof_is_the_lesser_of_compute_and_bandwidth() -> None:
    peaks = Peaks(mac_per_s=100.0, bytes_per_s=10.0)
    assert peaks.attainable(pd.Series([1.0, 10.0, 50.0])).tolist() == [10.0, 100.0, 100.0]


def peaks_with(**more: float) -> dict[str, dict[str, float]]:
    return {"peaks": {"mac_per_s": 1e15, "bytes_per_s": 1e12, "scalar_mac_per_s": 1e14, **more}}


def test_peaks_of_caches_are_those_with_size_and_rate() -> None:
    found = peaks_of(peaks_with(l1_bytes=65536, l1_bytes_per_s=1e11, l3_bytes=3e7))
    assert found == Peaks(1e15, 1e12, 1e14, (Cache(65536, 1e11),))


def test_a_layers_roof_takes_the_nearest_cache_that_holds_its_operands(tmp_path: Path) -> None:
    frame = derived(read_csv(write(tmp_path, rows(100, source="none")) / "sweep.csv"))
    fast = {"l1_bytes_per_s": 1e13}
    largest = float((frame["macs"] / frame["mac_per_byte"]).max())
    from_memory, too_small, holds_all = (
        described(frame, frame, "time_s", peaks_with(**cache)).speeds["pointwise"]
        for cache in ({}, {"l1_bytes": 1, **fast}, {"l1_bytes": largest, **fast})
    )
    assert from_memory.median_share is not None and from_memory.median_share == too_small.median_share
    assert holds_all.median_share == pytest.approx(from_memory.median_share / 10), (
        "the peak of multiply-adds is far above"
    )
    assert holds_all.by_arithmetic == 0


def test_reuse_kernels_have_the_scalar_peak_as_their_roof(tmp_path: Path) -> None:
    frame = derived(read_csv(write(tmp_path, rows(100, source="none")) / "sweep.csv"))
    roofs = described(frame, frame, "time_s", peaks_with()).roofs
    scalar = frame[~frame["variant"].str.startswith("fast")]
    assert roofs is not None and roofs.scalar_rows == len(scalar) == 80
    assert roofs.scalar_share == pytest.approx(float(scalar["mac_per_s"].median()) / 1e14)
    # Of a GPU nobody measures it, and its reuse kernels have no roof.
    without = {name: value for name, value in peaks_with()["peaks"].items() if name != "scalar_mac_per_s"}
    roofs = described(frame, frame, "time_s", {"peaks": without}).roofs
    assert roofs is not None and roofs.scalar_share is None and not roofs.beaten


def test_a_roof_that_a_kernel_beats_gives_no_shares(tmp_path: Path) -> None:
    frame = derived(read_csv(write(tmp_path, rows(100, source="none")) / "sweep.csv"))
    reached = float(frame.loc[frame["fastest"], "mac_per_s"].max())
    wrong = peaks_with(mac_per_s=reached / 2.5)
    found = described(frame, frame, "time_s", wrong)
    assert found.roofs is not None and found.roofs.most == pytest.approx(2.5) and found.roofs.beaten >= 1
    assert {own.median_share for own in found.speeds.values()} == {None}
    right = described(frame, frame, "time_s", peaks_with(mac_per_s=reached / 1.04))
    assert right.roofs is not None and not right.roofs.beaten, "within what both err by"
    assert None not in {own.median_share for own in right.speeds.values()}


def test_a_manifest_without_usable_peaks_has_none() -> None:
    assert peaks_of(MANIFEST) == Peaks(mac_per_s=1.3e11, bytes_per_s=1.9e10)
    for odd in (None, {}, {"peaks": {"mac_per_s": 1e9}}, {"peaks": {"mac_per_s": True, "bytes_per_s": 1e9}}):
        assert peaks_of(odd) is None


def test_speeds_errors_and_rank_of_a_sweep(tmp_path: Path) -> None:
    frame = derived(read_csv(write(tmp_path, rows(100, source="rapl")) / "sweep.csv"))
    found = described(frame, frame, "time_s", MANIFEST)
    fast = frame[frame["fastest"] & (frame["op"] == "pointwise")]
    own = found.speeds["pointwise"]
    assert own.rows == int((frame["op"] == "pointwise").sum()) and own.layers == len(fast)
    assert own.most_mac_per_s == fast["mac_per_s"].max()
    assert own.median_share is not None and own.best_share is not None and own.median_share <= own.best_share
    for part in found.errors:
        assert 0 < part.low <= part.median <= part.high
    ranks = frame[["accesses_per_mac", "ps_per_mac"]].dropna().rank()
    assert found.accesses_and_time == pytest.approx(ranks.corr().iloc[0, 1])
    assert not found.residuals


def test_residuals_are_held_out_where_half_of_the_rows_are() -> None:
    used = study.fit(card("a", 0.3), draws=99).to_frame()
    found = residuals(used, "energy_j")["di_weighted"]
    ratios = (used["energy_j"] / used["held_out_di_weighted"]).dropna()
    assert found.held_out and found.within_two == ((ratios < 2) & (ratios > 0.5)).mean()
    assert sum(len(one.values) for one in found.by_operator) == len(ratios)
    for one in found.by_operator:
        assert one.quartiles[1] == pytest.approx(np.median(ratios[used["op"] == one.op]))
    used.loc[used.index[: len(used) // 2 + 1], "held_out_di_weighted"] = np.nan
    assert not residuals(used, "energy_j")["di_weighted"].held_out
