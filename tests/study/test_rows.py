"""Which rows count: every reason for staying out, the choice of the response, folds."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from study_frames import energy_of, measured, some_layers, table

import dibench
from dibench import networks
from dibench.errors import UserError
from dibench.layer import Layer
from dibench.meters.gpu_sensor import CLOCK_EVENTS, event_names
from dibench.study.ladder.folds import make_folds
from dibench.study.ladder.models import data_of
from dibench.study.table.columns import STUDIED, UNREAD, studied
from dibench.study.table.rows import WIDEST, anchors, select
from dibench.table import load


def changed(row: int, **cells: Any) -> pd.DataFrame:
    """Ten measured layers, one of them changed."""
    frame = measured(10)
    for name, value in cells.items():
        if name not in frame:
            frame[name] = pd.Series([None] * len(frame), dtype=object)
        if frame[name].dtype.kind not in "OfT" and frame[name].dtype != "Int64":
            frame[name] = frame[name].astype(object)
        frame.loc[row, name] = value
    return frame


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"status": "failed"}, "failed"),
        ({"status": "skipped"}, "skipped"),
        ({"sentinel": 1}, "sentinel"),
        ({"clock_events": "sw_power_cap"}, "at the power cap"),
        ({"clock_events": "gpu_idle;hw_thermal_slowdown"}, "clock throttled"),
        ({"macs": 17}, "counts contradict the dimensions"),
        ({"dtype": "bf16"}, "dtype bf16, the fit is for fp32"),
        ({"backend": "torch"}, "backend torch, the fit is for not given"),
        ({"data": "zeros"}, "data zeros, the fit is for not given"),
        ({"device_uuid": "GPU-2"}, "device_uuid GPU-2, the fit is for not given"),
        ({"energy_source": "model"}, "energy_source model, the fit is for rapl"),
        ({"energy_source": "simulated"}, "energy_source simulated, the fit is for rapl"),
        ({"energy_source": "none"}, "energy_source none, the fit is for rapl"),
        ({"energy_source": "zeus"}, "energy_source zeus, the fit is for rapl"),
        ({"energy_j": float("nan")}, "no energy_j"),
        ({"energy_j": float("inf")}, "no energy_j"),
        ({"energy_j": 0.0}, "energy_j not above zero"),
        ({"energy_j": -1e-6}, "energy_j not above zero"),
        ({"energy_j": 1e12}, "energy_j not from 1e-18 to 1e+09"),
    ],
)
def test_each_reason_for_staying_out_is_counted(cells: dict[str, Any], reason: str) -> None:
    selection = select(changed(3, **cells))
    assert selection.excluded == {reason: 1}
    assert selection.rows == 10
    assert len(selection.frame) == 9
    assert selection.sources == ("rapl",)


def test_every_clock_event_that_a_gpu_tells_is_harmless_or_keeps_its_row_out() -> None:
    """The names are those of `dibench.meters.gpu_sensor`; a limit that the user set holds for all rows."""
    harmless = {"applications_clocks_setting", "display_clock_setting"}
    for bit, name in CLOCK_EVENTS.items():
        frame = changed(3, clock_events=event_names(bit | 0x1))
        left_out = {"clock throttled", "at the power cap"} & select(frame).excluded.keys()
        assert bool(left_out) == (name not in harmless), name


def test_flagged_rows_and_harmless_clock_events_count() -> None:
    frame = changed(3, clock_events="gpu_idle;applications_clocks_setting")
    frame.loc[4, "status"] = "flagged"
    assert select(frame).excluded == {}


def test_every_column_that_a_question_names_is_read_for_it() -> None:
    """A table is read without the others; what shows a plan or a sweep has names of its own."""
    others = {"columns", "plan", "sweeps", "sensor"}
    rooms = [Path(dibench.__file__).with_name(room) for room in ("study", "show")]
    found = [path for room in rooms for path in room.rglob("*.py") if path.stem not in others]
    assert len(found) > 100
    for path in found:
        nodes = ast.walk(ast.parse(path.read_text()))
        texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
        assert not texts & UNREAD, f"{path.name}: {texts & UNREAD} must leave UNREAD"


def test_a_table_read_for_a_study_has_the_same_rows(tmp_path: Path) -> None:
    """Also where nothing but a column that no question reads tells two rows from copies."""
    frame = pd.concat([measured(10).drop(columns="case_id", errors="ignore")] * 3, ignore_index=True)
    frame["temp_start_c"] = [40.0] * 20 + [41.0] * 10
    frame.to_csv(tmp_path / "a.csv", index=False)
    whole, read = select(load(tmp_path / "a.csv")), select(load(tmp_path / "a.csv", only=STUDIED))
    assert "temp_start_c" not in read.frame and len(read.frame) == len(whole.frame)
    assert read.excluded == whole.excluded
    assert read.excluded["repeat of a case, its last row stands"] == 10


def test_columns_beyond_the_contract_tell_rows_apart_and_are_not_carried_along() -> None:
    frame = pd.concat([measured(10), measured(10)], ignore_index=True)
    wide = frame.assign(**{f"x{number}": "0" for number in range(300)})
    apart = wide.assign(x7=["0"] * 10 + ["1"] * 10)
    assert select(studied(wide)).excluded == select(frame).excluded
    assert select(studied(wide)).excluded["repeat of a case, its last row stands"] == 10
    assert select(studied(apart)).excluded == select(apart).excluded
    assert set(studied(wide)) == {*frame, "others"}
    tags = pd.Series([["a", 1]] * 20, index=frame.index, dtype=object)
    lists = frame.assign(tags=tags, host=None)
    assert select(studied(lists)).excluded == select(frame).excluded


def test_joules_of_any_sensor_are_evidence_and_sensors_are_not_mixed() -> None:
    frame = measured(10).assign(energy_source="external:ina3221")
    assert select(frame).evidence
    frame.loc[3, "energy_source"] = "external:pmic"
    assert select(frame).excluded == {"energy_source external:pmic, the fit is for external:ina3221": 1}
    frame.loc[3, "energy_source"] = "ina3221"
    with pytest.raises(UserError, match=r"^row 3: energy_source: must be one of .* \(got 'ina3221'\)$"):
        select(frame)


@pytest.mark.parametrize("source", ["rapl", "none"])
def test_rows_too_wide_stay_out_and_are_counted(source: str) -> None:
    """By the interval of what is explained; a row without an interval, as another tool has it, stays."""
    frame = measured(10).assign(energy_source=source)
    if source == "none":
        frame["energy_j"] = np.nan
    value, interval = ("energy_j", "energy_ci_j") if source == "rapl" else ("time_s", "time_ci_s")
    widths = np.array([0.9, 1.01, 1.5, 6.0, *[0.1] * 5, np.nan]) * WIDEST
    selection = select(frame.assign(**{interval: widths * frame[value]}))
    assert selection.excluded == {f"too wide: interval of {value} beyond ±20%": 3}
    assert len(selection.frame) == 7
    assert "too wide" not in str(select(frame).excluded)
    with pytest.raises(UserError, match=r"left out: 10 too wide: .*; measure longer \(--case-budget\)"):
        select(frame.assign(**{interval: frame[value]}))


def test_anchors_too_wide_stay_out() -> None:
    frame = measured(10)
    wide = pd.concat(
        [frame, frame.iloc[:2].assign(op="anchor", energy_ci_j=[np.inf, np.nan])], ignore_index=True
    )
    assert len(anchors(wide, select(wide))) == 1


def test_of_a_repeated_case_the_last_row_stands() -> None:
    frame = measured(10)
    again = frame.iloc[[2]].assign(energy_j=1.0, time_s=1.0)
    selection = select(pd.concat([frame, again], ignore_index=True))
    assert selection.excluded == {"repeat of a case, its last row stands": 1}
    assert (selection.frame["energy_j"] == 1.0).sum() == 1


def test_a_failed_row_does_not_hide_the_case_measured_before() -> None:
    frame = measured(10)
    failed = frame.iloc[[2]].assign(status="failed", energy_j=np.nan, time_s=np.nan)
    selection = select(pd.concat([frame, failed], ignore_index=True))
    assert selection.excluded == {"failed": 1}
    assert len(selection.frame) == 10


def test_the_same_table_twice_counts_once_with_and_without_case_id() -> None:
    for frame in (measured(10), measured(10).drop(columns="case_id")):
        selection = select(pd.concat([frame, frame], ignore_index=True))
        assert len(selection.frame) == 10
        assert selection.excluded == {"repeat of a case, its last row stands": 10}


def test_each_operator_counts_with_its_fastest_variant() -> None:
    """Mixing kernels would make their speed look like the layers' cost."""
    frame = measured(10)
    slow = frame.assign(time_s=frame["time_s"] * 2, energy_j=frame["energy_j"] / 2, variant="slow")
    slow["case_id"] = [f"slow{i}" for i in range(10)]
    selection = select(pd.concat([slow, frame.iloc[:9].assign(variant="fast")], ignore_index=True))
    # A layer that only the slow variant ran does not come in through the back door.
    assert set(selection.variants.values()) == {"fast"}
    assert selection.excluded == {"not the fastest variant of its operator": 10}
    assert len(selection.frame) == 9


def test_a_variant_that_ran_a_few_easy_layers_is_not_the_family() -> None:
    layers = [layer for layer in some_layers(200, 0) if layer.op == "pointwise"][:20]
    wide = table(layers, energy_of(layers, alpha=0.5)).assign(variant="wide")
    narrow = wide.iloc[:5].assign(variant="narrow", time_s=1e-12, case_id=list("abcde"))
    selection = select(pd.concat([wide, narrow], ignore_index=True))
    assert selection.variants == {"pointwise": "wide"}
    assert len(selection.frame) == 20


def test_of_a_layer_the_fastest_run_counts() -> None:
    frame = measured(10).assign(variant="boxes", knobs="tile_p=1")
    faster = frame.assign(knobs="tile_p=4", time_s=frame["time_s"] / 2)
    selection = select(pd.concat([frame, faster], ignore_index=True))
    assert selection.excluded == {"slower run of the same layer": 10}
    assert set(selection.frame["knobs"]) == {"tile_p=4"}


def test_a_layer_at_two_batches_is_two_rows() -> None:
    layers = [one.with_batch(batch) for one in some_layers(5, 0) for batch in (1, 8)]
    assert len(select(table(layers, energy_of(layers, alpha=0.5))).frame) == 10


def test_the_best_energy_that_half_of_the_rows_fill_is_explained() -> None:
    frame = measured(10)
    frame["energy_above_idle_j"] = frame["energy_j"] * 0.8
    assert select(frame).response == "energy_above_idle_j"
    frame["energy_above_active_idle_j"] = frame["energy_j"] * 0.5
    assert select(frame).response == "energy_above_active_idle_j"
    frame.loc[:5, "energy_above_active_idle_j"] = np.nan
    assert select(frame).response == "energy_above_idle_j"
    frame.loc[0, "energy_above_idle_j"] = np.nan
    selection = select(frame)
    assert selection.response == "energy_above_idle_j"
    assert selection.excluded == {"no energy_above_idle_j": 1}


def test_without_measured_energy_time_is_explained_and_modelled_energy_only_on_request() -> None:
    frame = measured(10).assign(energy_source="model")
    selection = select(frame)
    assert (selection.response, selection.evidence, selection.measured) == ("time_s", False, True)
    check = select(frame, modelled=True)
    assert (check.response, check.evidence, check.measured) == ("energy_j", False, False)


def test_simulated_rows_never_pass_for_measured_time() -> None:
    frame = measured(10).assign(energy_source="simulated")
    selection = select(frame)
    assert (selection.response, selection.evidence, selection.measured) == ("energy_j", False, False)
    frame.loc[:4, "energy_source"] = "none"
    mixed = select(frame)
    assert mixed.response == "time_s"
    assert mixed.excluded == {"simulated device": 5}


def test_devices_are_never_pooled() -> None:
    frame = pd.concat([measured(10), measured(8, seed=1).assign(device="other")], ignore_index=True)
    with pytest.raises(UserError, match=r"device: must be chosen, devices are never pooled: 'card', 'other'"):
        select(frame)
    selection = select(frame, device="card")
    assert len(selection.frame) == 10
    assert selection.excluded == {"device other, the fit is for card": 8}
    with pytest.raises(UserError, match=r"device: must be one of 'card', 'other' \(got 'x'\)"):
        select(frame, device="x")


def test_backend_and_dtype_can_be_chosen() -> None:
    frame = pd.concat(
        [measured(10).assign(backend="cpu"), measured(8, seed=1).assign(backend="torch", dtype="bf16")],
        ignore_index=True,
    )
    assert len(select(frame).frame) == 10
    assert len(select(frame, backend="torch").frame) == 8
    assert len(select(frame, dtype="bf16").frame) == 8


def test_nothing_left_is_an_error_that_counts_the_reasons() -> None:
    frame = measured(3)
    frame["status"] = ["failed", "failed", "skipped"]
    with pytest.raises(
        UserError, match="rows: must leave at least one to fit, left out: 2 failed, 1 skipped"
    ):
        select(frame)
    with pytest.raises(UserError, match="header only"):
        select(measured(3).iloc[:0])
    with pytest.raises(UserError, match="response: must be above zero"):
        select(measured(3).assign(energy_j=np.nan, time_s=np.nan))
    with pytest.raises(UserError, match="columns: must contain dtype"):
        select(measured(3).drop(columns="dtype"))
    with pytest.raises(UserError, match="columns: must contain one of"):
        select(measured(3).drop(columns=["energy_j", "time_s"]))
    with pytest.raises(UserError, match="status: must be one of"):
        select(measured(3).assign(status="fine"))


def test_a_launch_is_shared_among_instances() -> None:
    data = data_of(measured(4).assign(instances=pd.array([1, 2, 4, pd.NA], dtype="Int64")), "energy_j")
    np.testing.assert_array_equal(data.launch, [1.0, 0.5, 0.25, 1.0])


def test_folds_hold_out_families_with_every_shape_they_share() -> None:
    names = ("resnet50", "resnet101", "vgg16", "mobilenet_v2", "densenet121")
    layers = [layer for name in names for layer in networks.load(name)]
    data = data_of(table(layers, np.ones(len(layers))), "energy_j")
    folds = make_folds(data)
    assert folds.by == "family"
    assert [fold.name for fold in folds.folds] == ["densenet", "mobilenet", "resnet", "vgg"]
    assert sum(int(fold.test.sum()) for fold in folds.folds) == len(layers)
    for fold in folds.folds:
        members = {one.shape[1:] for name in networks.FAMILIES[fold.name] for one in networks.load(name)}
        learned = {layers[row].shape[1:] for row in np.flatnonzero(fold.train)}
        assert not members & learned
    # Across families shapes are shared too: holding densenet out takes rows of other families with it.
    densenet = folds.folds[0]
    assert (~densenet.test & ~densenet.train).any()


def test_rows_without_a_known_network_are_held_out_by_layer_with_all_batches() -> None:
    layers = [Layer.fc(batch, 64 * i, 100).renamed("mine/fc") for i in range(1, 41) for batch in (1, 8)]
    data = data_of(table(layers, np.ones(80)), "energy_j")
    folds = make_folds(data)
    assert folds.by == "layer"
    assert len(folds.folds) == 10
    for fold in folds.folds:
        assert not set(data.layer[fold.test]) & set(data.layer[fold.train])
        assert fold.test.sum() == 8
