"""Logs of ml-operator-profiling: layers exact, the last measurement stands, every line is accounted for."""

from __future__ import annotations

from pathlib import Path

import pytest
from published_files import measured, module_text, section, whole, write_logs

from dibench import networks
from dibench.datasets import find, gpu_layers
from dibench.datasets.reading import Reading, read
from dibench.errors import UserError
from dibench.intervals import t_975
from dibench.layer import DIMENSIONS, Layer
from dibench.schema import NETWORK, network_counts
from dibench.study.table.families import family_of

SOURCE = find("gpu-layers")
BOTH = sorted(set(gpu_layers._KNOWN) & set(networks.names()))


def layers_of(name: str) -> list[Layer]:
    return [layer.with_batch(32) for layer in networks.load(name)]


def reading(folder: Path) -> Reading:
    found = read(SOURCE, folder)
    assert found.ledger.lines == sum(len(path.read_text().splitlines()) for path in found.ledger.files)
    return found


@pytest.mark.parametrize("name", [name for name in BOTH if name not in ("inception_v3", "googlenet")])
def test_a_network_s_layers_and_sums_are_those_of_our_own_table(tmp_path: Path, name: str) -> None:
    layers, size = layers_of(name), networks.load(name)[0].H
    write_logs(tmp_path, "A30", section(layers), whole(name, (32, 3, size, size), ms=80.0))
    rows = reading(tmp_path).rows
    of_layers, (network,) = rows[:-1], rows[-1:]
    assert {tuple(getattr(row, dim) for dim in DIMENSIONS) for row in of_layers} == {
        one.shape for one in layers
    }
    assert network.op == NETWORK and (32, 3, size, size) == (network.N, network.C, network.H, network.W)
    assert {key: getattr(network, key) for key in network_counts(layers)} == network_counts(layers)
    named = [one for row in of_layers for one in row.name.split(";")]
    assert len(named) == len(set(named)) == len(layers)
    assert {one.partition("/")[0].partition("@")[0] for one in named} == {name}
    assert family_of(network.name) == networks.family(name)


def test_figures_are_converted_once_and_time_has_the_interval_of_its_blocks(tmp_path: Path) -> None:
    layer = Layer(N=32, C=3, H=8, W=8, K=4, R=3, S=3)
    write_logs(tmp_path, "A30", [measured(module_text(layer), (32, 3, 8, 8), ms=0.2, watts=150.0, blocks=3)])
    (row,) = reading(tmp_path).rows
    assert (row.time_s, row.energy_j, row.power_w) == pytest.approx((2e-4, 0.03, 150.0))
    assert (row.windows, row.launches, row.visits) == (3, 3000, 1)
    assert row.time_ci_s == pytest.approx(t_975(2) * 2e-6 / 3**0.5)
    assert (row.energy_source, row.power_limit_w, row.data) == ("external:nvidia-smi", 165.0, "normal")
    assert row.cache_bytes == 24 * 2**20
    assert row.caveats == "warm_operands;repeated_module;framework_calls"


def test_the_later_measurement_of_a_layer_stands_wherever_it_is(tmp_path: Path) -> None:
    text, shape = module_text(Layer.fc(N=32, C=8, K=4)), (32, 8)
    lines = [measured(text, shape, ms=ms, day=day) for ms, day in ((1.0, 7), (3.0, 9), (2.0, 8))]
    write_logs(tmp_path, "A30", lines)
    found = reading(tmp_path)
    assert [row.time_s for row in found.rows] == [pytest.approx(3e-3)]
    assert found.ledger.left_out["layer that was measured again later"] == 2


def test_tf32_is_the_convolutions_alone(tmp_path: Path) -> None:
    layers = [Layer(N=32, C=3, H=8, W=8, K=4, R=3, S=3), Layer.fc(N=32, C=8, K=4)]
    write_logs(tmp_path, "A30", section(layers))
    write_logs(tmp_path, "A30_no_tc", section(layers))
    rows = reading(tmp_path).rows
    assert [(row.session, row.op, row.dtype) for row in rows] == [
        ("A30", "standard", "tf32"), ("A30", "fc", "fp32"),
        ("A30_no_tc", "standard", "fp32"), ("A30_no_tc", "fc", "fp32"),
    ]  # fmt: skip
    assert len({row.case_id for row in rows}) == 4


def test_networks_of_the_same_layers_are_told_apart_by_the_log_of_networks(tmp_path: Path) -> None:
    layers = layers_of("resnet50")
    assert networks.distinct(layers)[5].shape in {layer.shape for layer in layers_of("resnet101")}
    write_logs(tmp_path, "A30", section(layers), whole("resnet50", (32, 3, 224, 224)))
    write_logs(tmp_path, "A30_no_tc", [*section(layers), *section(layers)], [
        *whole("resnet101", (32, 3, 224, 224)), *whole("resnet50", (32, 3, 224, 224)),
    ])  # fmt: skip
    rows = reading(tmp_path).rows
    one, two = (
        {part.partition("/")[0] for row in rows if row.session == mode for part in row.name.split(";")}
        for mode in ("A30", "A30_no_tc")
    )
    assert (one, two) == ({"resnet50"}, {"resnet50", "resnet101"})
    sums = {row.name: row.macs for row in rows if row.op == NETWORK and row.session == "A30_no_tc"}
    assert sums == {name: sum(layer.macs for layer in layers_of(name)) for name in ("resnet50", "resnet101")}


def test_another_image_size_is_another_network(tmp_path: Path) -> None:
    alexnet = layers_of("alexnet")
    larger = [Layer(N=32, C=3, H=299, W=299, K=64, R=11, S=11, stride_h=4, stride_w=4, pad_h=2, pad_w=2)]
    larger += alexnet[1:]
    write_logs(tmp_path, "A30", [*section(alexnet), *section(larger)], whole("alexnet", (32, 3, 299, 299)))
    rows = reading(tmp_path).rows
    assert rows[-1].name == "alexnet@299"
    assert rows[-1].macs == sum(layer.macs for layer in larger)
    assert {row.name for row in rows if row.H == 224} == {"alexnet/standard1"}


def test_layers_of_training_alone_have_rows_and_are_in_no_sum(tmp_path: Path) -> None:
    aux = [
        Layer(N=32, C=768, H=5, W=5, K=128, R=1, S=1),
        Layer(N=32, C=128, H=5, W=5, K=768, R=5, S=5),
        Layer.fc(N=32, C=768, K=1000),
    ]
    layers = layers_of("inception_v3")
    distinct = networks.distinct(layers)
    shown = [*distinct[:30], *aux, *distinct[30:]]
    write_logs(tmp_path, "A30", section(shown), whole("inception_v3", (32, 3, 299, 299)))
    rows = reading(tmp_path).rows
    assert len(rows) == len(distinct) + len(aux) + 1
    assert rows[-1].macs == sum(layer.macs for layer in layers)


def test_a_section_of_no_known_network_has_rows_without_names_and_a_note(tmp_path: Path) -> None:
    write_logs(tmp_path, "A30", section(layers_of("vgg16")), whole("vgg16", (32, 3, 224, 224)))
    found = reading(tmp_path)
    assert {row.name for row in found.rows[:-1]} == {""} and found.rows[-1].macs is None
    assert any("of no network known here" in note for note in found.ledger.notes)
    assert any("no layers of vgg16 at 224" in note for note in found.ledger.notes)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("Error processing the log file: no columns", "is no line that this log is known to have"),
        (measured("ReLU()", (1, 2)).rsplit(" ", 1)[0], "is no line that this log is known to have"),
        (measured("ReLU()", (1, 2), ms=float("nan")), "figures must be finite, and time, energy, power and"),
        (measured("ReLU()", (1, 2), watts=0.0), "figures must be finite, and time, energy, power and"),
        (measured("Linear(in_features=4, out_features=2, bias=True)", (3, 5)), "input: must end with in_"),
        (
            measured("Conv2d(3, 4, kernel_size=(3, 3), padding_mode=reflect)", (1, 3, 8, 8)),
            "padding_mode: is",
        ),
    ],
)
def test_a_line_that_cannot_be_read_is_listed(tmp_path: Path, line: str, why: str) -> None:
    write_logs(tmp_path, "A30", [line])
    found = reading(tmp_path)
    (unread,) = found.ledger.unread
    assert (unread.file, unread.line) == ("finalbench_all_operations_A30", 2)
    assert unread.why.startswith(why)
    assert not found.rows


def test_the_clone_and_its_folder_are_both_taken(tmp_path: Path) -> None:
    folder = tmp_path / "functional_general_benchmark"
    write_logs(folder, "A30", section([Layer.fc(N=32, C=8, K=4)]))
    assert reading(tmp_path).rows == reading(folder).rows
    with pytest.raises(
        UserError, match=r"must be a clone of https://github\.com/ConstantinNicolai.* it has no"
    ):
        read(SOURCE, tmp_path.parent)
    with pytest.raises(UserError, match="must be a clone of"):
        read(SOURCE, tmp_path / "nowhere")
