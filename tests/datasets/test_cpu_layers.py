"""Files of dl-energy-estimator: repeats are one row, joules that RAPL lost are in none."""

from __future__ import annotations

from pathlib import Path

import pytest
from published_files import codecarbon, conv_facts

from dibench.datasets import find
from dibench.datasets.reading import Reading, read
from dibench.errors import UserError
from dibench.layer import Layer

SOURCE = find("cpu-layers")
LAYER = Layer(N=3, C=8, H=20, W=20, K=6, R=5, S=5, stride_h=2, stride_w=2, pad_h=1, pad_w=1)
LINEAR = {
    "module": "Linear", "rep_no": 1, "macs": 7 * (40 * 30 + 30), "batch_size": 7, "input_size": 40,
    "output_size": 30, "freeText": "architecture=vgg11;layer_idx=22", "forward_passes": 500,
}  # fmt: skip


def reading(root: Path) -> Reading:
    found = read(SOURCE, root)
    assert found.ledger.lines == sum(len(path.read_text().splitlines()) - 1 for path in found.ledger.files)
    return found


def test_repeats_are_one_row_with_the_interval_of_their_mean(tmp_path: Path) -> None:
    path = tmp_path / "data" / "conv2d" / "00_conv2d-raw.csv"
    codecarbon(
        path, [(conv_facts(LAYER, n), seconds, 76.0) for n, seconds in ((1, 29.0), (2, 30.0), (3, 31.0))]
    )
    (row,) = reading(tmp_path).rows
    assert {dim: getattr(row, dim) for dim in LAYER.dims} == LAYER.dims
    assert (row.macs, row.weights, row.visits, row.launches) == (LAYER.macs, LAYER.weights, 3, 30)
    # Seconds of a pass: 2.9, 3.0, 3.1. The 97.5% quantile of t with two degrees of freedom is 4.30265.
    half_width = 4.30265 * 0.1 / 3**0.5
    assert (row.time_s, row.time_ci_s) == pytest.approx((3.0, half_width), rel=1e-5)
    assert (row.energy_j, row.energy_ci_j, row.power_w) == pytest.approx(
        (228.0, 76 * half_width, 76.0), rel=1e-5
    )
    assert row.energy_source == "external:codecarbon-rapl"


def test_a_linear_layer_of_an_architecture_has_its_name(tmp_path: Path) -> None:
    codecarbon(tmp_path / "01_linear-architecture-configs-raw.csv", [(LINEAR, 30.0, 76.0)])
    (row,) = reading(tmp_path).rows
    assert (row.op, row.N, row.C, row.K, row.name) == ("fc", 7, 40, 30, "vgg11/layer22")
    assert row.time_s == pytest.approx(0.06) and row.time_ci_s is None


def test_a_repeat_of_which_rapl_lost_joules_counts_with_its_time_alone(tmp_path: Path) -> None:
    other = Layer(N=2, C=4, H=9, W=9, K=4, R=3, S=3)
    lines = [(conv_facts(LAYER, n), 30.0, watts) for n, watts in ((1, 76.0), (2, 40.0), (3, 74.0))]
    lines += [(conv_facts(other, n), 33.0, 50.0) for n in (1,)]
    lines += [(conv_facts(Layer(N=n, C=4, H=9, W=9, K=4, R=3, S=3), 1), 30.0, 76.0) for n in (3, 4, 5)]
    codecarbon(tmp_path / "00_conv2d-raw.csv", lines)
    found = reading(tmp_path)
    first, lost = found.rows[:2]
    assert first.visits == 3 and first.power_w == pytest.approx(75.0)
    assert first.energy_j == pytest.approx(3.0 * 75.0)
    assert lost.time_s == pytest.approx(3.3) and lost.energy_j is None and lost.energy_source == "none"
    assert "RAPL lost joules in lines 3, 5:" in found.ledger.notes[0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"macs": 17}, "macs: must be "),
        ({"padding": 2}, "macs: must be "),
        ({"module": "MaxPool2d"}, "module: must be Conv2d or Linear"),
        ({"kernel_size": "many"}, "invalid literal for int()"),
        ({"forward_passes": 0}, "forward_passes and duration must be above zero"),
    ],
)
def test_a_line_that_cannot_be_read_is_listed(tmp_path: Path, change: dict[str, object], why: str) -> None:
    lines = [(conv_facts(LAYER, 1), 30.0, 76.0), (conv_facts(LAYER, 2) | change, 30.0, 76.0)]
    codecarbon(tmp_path / "00_conv2d-raw.csv", lines)
    found = reading(tmp_path)
    (unread,) = found.ledger.unread
    assert (unread.file, unread.line) == ("00_conv2d-raw.csv", 3)
    assert unread.why.startswith(why)
    assert [row.visits for row in found.rows] == [1]


def test_a_line_that_lacks_a_fact_or_a_cell_is_listed(tmp_path: Path) -> None:
    facts = conv_facts(LAYER, 1)
    del facts["stride"]
    path = tmp_path / "00_conv2d-raw.csv"
    codecarbon(path, [(facts, 30.0, 76.0)])
    path.write_text(path.read_text() + "2022-12-22T03:26:18\n")
    assert len(reading(tmp_path).ledger.unread) == 2


def test_a_folder_without_its_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"it has no data/conv2d/00_conv2d-raw\.csv"):
        read(SOURCE, tmp_path)
