"""Whole networks that others measured: NAS-Bench-201 on a Raspberry Pi, and timm's times."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from published_files import cell_of, pi_line, write_cells

from dibench.datasets import find
from dibench.datasets.nasbench201 import Cell, Task, layers_of, read_cell
from dibench.datasets.pi5_networks import _TASKS, rows_of
from dibench.datasets.reading import read
from dibench.datasets.source import Ledger
from dibench.errors import UserError
from dibench.schema import NETWORK, network_counts

CONV3, CONV1, POOL, SKIP, NONE = "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3", "skip_connect", "none"
DATA = Path("results")


def as_texts(line: dict[str, Any]) -> dict[str, str]:
    return {name: "" if cell is None else str(cell) for name, cell in line.items()}


@pytest.mark.parametrize(
    ("operation", "macs"),
    [
        # Multiply-adds for CIFAR-10 as NAS-Bench-201's API states them, less the classifier's ten biases: the
        # most costly cell, of 3x3 convolutions alone, and the cheapest, without any.
        (CONV3, 220_119_690 - 10),
        (SKIP, 7_783_050 - 10),
    ],
)
def test_the_counts_of_a_cell_are_those_that_its_authors_publish(operation: str, macs: int) -> None:
    for pruned in (False, True):
        cell = read_cell(cell_of(*[operation] * 6), pruned=pruned)
        assert network_counts(layers_of(cell, Task(3, 32, 32, 10)))["macs"] == macs


@pytest.mark.parametrize(
    ("operations", "kernels", "pruned", "needs_input"),
    [
        ((CONV3, NONE, CONV1, SKIP, POOL, CONV1), (1, 1, 3), (1, 1, 3), True),
        ((CONV3, CONV1, CONV1, SKIP, NONE, NONE), (1, 1, 3), (), True),  # nodes 1 and 2 lead nowhere
        ((CONV3, CONV1, NONE, CONV1, NONE, CONV3), (1, 1, 3, 3), (1, 1, 3), True),  # node 1 leads nowhere
        ((CONV3, CONV3, CONV3, NONE, NONE, NONE), (3, 3, 3), (), False),  # the output is zero
        ((NONE, NONE, POOL, NONE, CONV3, CONV1), (1, 3), (1, 3), False),  # it does not depend on the input
    ],
)
def test_a_converter_keeps_what_reaches_the_output(
    operations: tuple[str, ...], kernels: tuple[int, ...], pruned: tuple[int, ...], needs_input: bool
) -> None:
    text = cell_of(*operations)
    assert read_cell(text) == Cell(kernels, needs_input=True)
    assert read_cell(text, pruned=True) == Cell(pruned, needs_input)


def test_of_a_network_that_ignores_its_input_the_last_cell_is_left() -> None:
    layers = layers_of(Cell((3,), needs_input=False), _TASKS["cifar100"])
    assert [(layer.op, layer.C, layer.H) for layer in layers] == [("standard", 64, 8), ("fc", 64, 1)]


def test_anything_else_is_no_cell() -> None:
    for text in (
        "",
        "|nor_conv_3x3~0|",
        cell_of("nor_conv_5x5", *[SKIP] * 5),
        cell_of(*[SKIP] * 6) + "+|none~0|",
    ):
        with pytest.raises(UserError, match="cell: must be"):
            read_cell(text)


def test_halves_of_odd_maps_are_those_of_a_strided_convolution() -> None:
    sizes = [(layer.H, layer.W) for layer in layers_of(Cell((1,), True), _TASKS["ninapro"]) if layer.K != 18]
    assert list(dict.fromkeys(sizes)) == [(52, 16), (26, 8), (13, 4)]


def test_a_network_has_a_row_for_each_runtime_and_copies_have_none() -> None:
    book, cells = Ledger(), {7: cell_of(CONV3, NONE, NONE, SKIP, NONE, NONE)}
    lines = [
        pi_line(7),
        pi_line(7, task="darcy", framework="litert", lat_ms_median=3.0, energy_mj=None, device="pixel"),
        pi_line(9, rep_arch_idx=7),
    ]
    first, second = rows_of(map(as_texts, lines), cells, book)
    counts = network_counts(layers_of(Cell((3,), True), _TASKS["cifar100"]))
    assert {name: getattr(first, name) for name in counts} == counts
    assert (first.op, first.N, first.C, first.H, first.W) == (NETWORK, 1, 3, 32, 32)
    assert (first.time_s, first.energy_above_idle_j, first.energy_j) == (0.002, 0.004, None)
    assert (first.energy_source, first.backend, first.device) == ("external:pmic", "onnx", "Raspberry Pi 5")
    assert (second.energy_above_idle_j, second.energy_source, second.time_s) == (None, "none", 0.003)
    assert (second.C, second.H, second.name) == (1, 88, first.name)
    assert second.layers == 8 and first.layers == 23  # LiteRT left out the convolution
    assert (book.lines, book.used, book.left_out.total(), book.unread) == (3, 2, 1, [])


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ({"task": "mnist"}, "is not known: 'mnist'"),
        ({"framework": "tvm"}, "framework must be one of"),
        ({"status": "failed"}, "framework must be one of litert, onnx, torchmobile, and status ok"),
        ({"energy_mj": -1.0}, "lat_ms_median and energy_mj must be above zero"),
        ({"arch_idx": 8, "rep_arch_idx": 8}, "is not known"),
    ],
)
def test_a_line_of_the_pi_that_cannot_be_read_is_listed(cells: dict[str, object], why: str) -> None:
    book = Ledger()
    assert not list(rows_of([as_texts(pi_line(7, **cells))], {7: cell_of(*[SKIP] * 6)}, book))
    assert book.unread[0].why.startswith(why)


def results(root: Path, lines: list[dict[str, Any]]) -> Path:
    """The file of the clone, as CSV: what it is says its content, not its name."""
    path = root / "results" / "dataset.parquet"
    path.parent.mkdir(exist_ok=True)
    text = [",".join(lines[0]), *(",".join(as_texts(line).values()) for line in lines)]
    path.write_text("\n".join(text) + "\n")
    return path


def test_cells_are_found_in_hw_nas_bench_without_loading_its_pickles(tmp_path: Path) -> None:
    configs = tmp_path / "data" / "hw-nas-bench" / "dev" / "proj_edgegpu" / "arch_configs" / "cifar100"
    configs.mkdir(parents=True)
    known = {"name": "infer.tiny", "C": 16, "arch_str": cell_of(CONV3, *[NONE] * 5), "num_classes": 100}
    (configs / "config_7.pkl").write_bytes(pickle.dumps(known))
    (configs / "config_8.pkl").write_bytes(pickle.dumps({"name": "infer.tiny"}))
    (configs / "config_6.pkl").write_bytes(b"no pickle")
    results(tmp_path, [pi_line(7), pi_line(8), pi_line(9), pi_line(6)])
    found = read(find("pi5-networks"), tmp_path)
    whole = network_counts(layers_of(Cell((3,), True), _TASKS["cifar100"]))
    assert [row.macs_standard for row in found.rows] == [whole["macs_standard"]]
    assert [one.line for one in found.ledger.unread] == [3, 4, 5]


def test_a_clone_without_cells_or_without_its_file_says_what_it_needs(tmp_path: Path) -> None:
    source = find("pi5-networks")
    with pytest.raises(UserError, match=r"it has no results/dataset\.parquet"):
        read(source, tmp_path)
    results(tmp_path, [pi_line(7)])
    with pytest.raises(UserError, match="must hold the cells of NAS-Bench-201: git clone https"):
        read(source, tmp_path)
    write_cells(tmp_path, {7: cell_of(*[SKIP] * 6)})
    assert len(read(source, tmp_path).rows) == 1
    (tmp_path / "nb201_archs.json").write_text("[")
    with pytest.raises(UserError, match=r"nb201_archs\.json: is not JSON"):
        read(source, tmp_path)


def test_parquet_is_read_as_its_csv(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="no Parquet without pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    write_cells(tmp_path, {7: cell_of(*[SKIP] * 6)})
    lines = [pi_line(7), pi_line(7, framework="litert", energy_mj=None), pi_line(9, rep_arch_idx=7)]
    path = results(tmp_path, lines)
    as_csv = read(find("pi5-networks"), tmp_path).rows
    parquet.write_table(pyarrow.Table.from_pylist(lines), path)
    assert read(find("pi5-networks"), tmp_path).rows == as_csv
    assert len(as_csv) == 2


def timm(folder: Path, name: str, *lines: str) -> None:
    (folder / DATA).mkdir(exist_ok=True)
    head = "model,infer_img_size,infer_samples_per_sec,infer_step_time,infer_batch_size,param_count,"
    (folder / DATA / name).write_text("\n".join([head + "infer_gmacs,infer_macts", *lines]) + "\n")


def test_a_file_of_timm_says_device_data_type_and_library_by_its_name(tmp_path: Path) -> None:
    timm(
        tmp_path,
        "benchmark-infer-amp-nhwc-pt240-cu124-rtx4090.csv",
        "resnet50,224,1000.0,256.2,256.0,25.56,4.11,11.11",
    )
    timm(
        tmp_path,
        "benchmark-infer-fp32-nchw-pt240-cpu-i7_12700h-dynamo.csv",
        "vit_tiny,224,100.0,10.1,1,5.7,,",
    )
    found = read(find("timm-times"), tmp_path)
    first, second = found.rows
    assert (first.name, first.op, first.N, first.C, first.H, first.W) == (
        "resnet50",
        NETWORK,
        256,
        3,
        224,
        224,
    )
    assert (first.device, first.dtype) == ("NVIDIA GeForce RTX 4090", "fp16")
    assert first.variant == "pytorch-pt240-cu124-nhwc-amp"
    assert first.time_s == pytest.approx(0.2562)
    assert (first.energy_j, first.energy_source) == (None, "none")
    assert (first.macs, first.weights, first.inputs) == (4_110_000_000 * 256, 25_560_000, None)
    assert first.outputs == 11_110_000 * 256
    assert (second.device, second.dtype, second.macs) == ("Intel Core i7-12700H", "fp32", None)
    assert second.variant == "pytorch-pt240-cpu-nchw-dynamo"


def test_a_line_of_timm_that_cannot_be_read_is_listed(tmp_path: Path) -> None:
    file = "benchmark-infer-amp-nchw-pt240-cu124-rtx4090.csv"
    wrong = (
        "a,224,,256.2,256,25,4,11",
        "b,224,1000,0.2562,256,25,4,11",
        "c,224,1000,256,2.5,25,4,11",
        "d,224",
    )
    timm(tmp_path, file, *wrong)
    timm(
        tmp_path,
        "benchmark-infer-int4-nchw-pt240-cu124-rtx4090.csv",
        "e,224,1000.0,256.2,256.0,25.56,4.11,11.11",
    )
    found = read(find("timm-times"), tmp_path)
    assert not found.rows
    assert [(one.file, one.line) for one in found.ledger.unread[:4]] == [(file, line) for line in range(2, 6)]
    assert "about batch size over samples per second" in found.ledger.unread[1].why
    assert "MODE" in found.ledger.unread[4].why
