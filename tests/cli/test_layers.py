"""`layers` as its user meets it: intensities with any α, what drags a network down, and what is left out."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dibench import intensity, networks
from dibench.cli import main
from dibench.layer import Layer
from dibench.models.intensities import AlphaValues, drags, reuse_of
from dibench.models.model import Model, NotCovered
from dibench.models.table import read_table
from dibench.show.blocks import Table
from dibench.show.models import layer_blocks

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_main(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_info:
            main(["layers", *arguments])
        captured = capsys.readouterr()
        assert isinstance(exit_info.value.code, int)
        return exit_info.value.code, captured.out, captured.err

    return run_main


def fit_file(path: Path, weighted: Any, disjoint: Any = 0.25) -> Path:
    """The part of `fit --json` that says α."""
    alpha = {"weighted": {"value": weighted}, "disjoint": {"value": disjoint}}
    path.write_text(json.dumps({"alpha": alpha, "verdict": "undecided"}))
    return path


def test_json_has_counts_reuse_and_both_forms_of_di_of_layers_and_network(run: Run, tmp_path: Path) -> None:
    fit = fit_file(tmp_path / "fit.json", 0.7)
    status, out, _ = run("alexnet", "--json", "--batch", "4", "--fit", str(fit))
    figures = json.loads(out)
    layers = [layer.with_batch(4) for layer in networks.load("alexnet")]
    assert status == 0 and figures["batch"] == 4 and len(figures["layers"]) == len(layers)
    for shown, layer in zip(figures["layers"], layers, strict=True):
        m, w, a = layer.macs, layer.weights, layer.activations
        assert (shown["macs"], shown["weights"], shown["ai"]) == (m, w, layer.ai)
        assert shown["input_reuse"] == m / layer.inputs
        assert shown["di_weighted"] == intensity.di_weighted(m, w, a, 0.7)
        assert shown["di_disjoint"] == intensity.di_disjoint(m, w, a, 0.25)
        assert (shown["alpha_weighted"], shown["alpha_disjoint"]) == (0.7, 0.25)
    network = figures["network"]
    w, a = (sum(getattr(layer, what) for layer in layers) for what in ("weights", "activations"))
    assert network["macs"] == 4 * 714188480
    assert network["ai"] == pytest.approx(network["macs"] / (w + a))
    assert network["di_weighted"] == pytest.approx(network["macs"] / (2 * (0.7 * w + 0.3 * a)))


def test_the_layer_that_drags_most_is_the_one_whose_mending_helps_most() -> None:
    layers = list(networks.load("alexnet"))
    ranked = drags(layers)
    assert [drag.layer.name for drag in ranked[:3]] == [f"alexnet/classifier.{i}" for i in (1, 4, 6)]
    whole = reuse_of(layers)
    for drag in ranked:
        elements = sum(layer.weights + layer.activations for layer in layers)
        own = drag.layer.weights + drag.layer.activations
        fair = min(own, drag.layer.macs / whole.ai)  # as many elements per MAC as the network
        mended = whole.macs / (elements - own + fair)
        assert drag.lost == pytest.approx(mended / whole.ai - 1)
    assert sum(drag.macs_share for drag in ranked) == pytest.approx(1)


def test_alpha_decides_what_drags() -> None:
    weights_bound, activations_bound = (
        Layer.fc(N=1, C=512, K=512),
        Layer(N=1, C=64, H=56, W=56, K=4, R=1, S=1),
    )
    middle = Layer(N=1, C=64, H=14, W=14, K=64, R=3, S=3, pad_h=1, pad_w=1)
    layers = [weights_bound, activations_bound, middle]
    assert drags(layers, 0.95)[0].layer is weights_bound
    assert drags(layers, 0.05)[0].layer is activations_bound


def test_half_is_ai() -> None:
    reuse = reuse_of(networks.load("googlenet"))
    assert reuse.di(AlphaValues(weighted=0.5, disjoint=0.5))[0] == pytest.approx(reuse.ai)


def test_the_table_shows_network_drag_and_coverage(run: Run) -> None:
    status, out, _ = run("vgg16", "--alpha", "0.7")
    assert status == 0
    assert "DI weighted" in out and "at α = 0.7" in out
    assert "What drags it down" in out and out.index("classifier.0") > 0
    assert out.rstrip().endswith("(100%): every convolution and product of the model.")


def test_csv_has_di_where_an_alpha_is_chosen(run: Run) -> None:
    _, out, err = run("alexnet", "--csv", "--alpha", "0.5")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert err == ""
    assert all(float(row["di_weighted"]) == pytest.approx(float(row["ai"])) for row in rows)


def test_several_batch_sizes_are_shown_one_after_the_other(run: Run) -> None:
    status, out, err = run("alexnet", "--batch", "1,8")
    assert (status, err) == (0, "")
    assert out.index("alexnet, batch 1") < out.index("alexnet, batch 8")
    one, eight = (json.loads(run("alexnet", "--batch", n, "--json", "-")[1]) for n in ("1", "8"))
    assert json.loads(run("alexnet", "--batch", "1,8", "--json", "-")[1]) == [one, eight]
    rows = list(csv.DictReader(io.StringIO(run("alexnet", "--batch", "1,8", "--csv")[1])))
    assert [row["N"] for row in rows] == ["1"] * 8 + ["8"] * 8
    assert [row["name"] for row in rows[:8]] == [row["name"] for row in rows[8:]]


def test_csv_says_beside_it_what_it_leaves_out(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    import onnx_files as files
    from onnx import helper

    path = files.save(
        tmp_path / "up.onnx",
        [helper.make_node("Conv", ["x", "w"], ["y"]), helper.make_node("MatMul", ["y", "y"], ["z"])],
        [files.value("x", [1, 3, 10, 10])],
        [files.weight("w", [4, 3, 3, 3])],
    )
    status, out, err = run(str(path), "--csv")
    assert status == 0 and len(out.splitlines()) == 2
    assert err == "dibench: up: the table covers 6,912 of 8,960 MACs (77.1%): 1 not covered\n"
    _, out, _ = run(str(path))
    assert "not covered: 1 × MatMul, product of two activations, no weight: 2.05k MACs (z)" in out
    # y is 4·8·8: as both operands and as the result; each element meets 8.
    (row,) = [line.split() for line in out.splitlines() if line.startswith("z ")]
    assert row == ["z", "MatMul", "1", "2.05k", "256", "256", "256", "8", "8", "8", "2.7"]
    assert "products of two activations" in out
    assert "Its layers: ≥ 6.91k MACs (77% of MACs), ≥ 108 weights" in out
    status, out, err = run(str(path), "--json", "--strict")
    figures = json.loads(out)
    (part,) = figures["not_covered"]
    assert (part["operands"], part["outputs"]) == ([256, 256], 256)
    assert (part["first_reuse"], part["second_reuse"], part["output_reuse"]) == (8, 8, 8)
    assert part["ai"] == 2_048 / 768
    assert (status, err) == (4, "dibench: --strict: up is partial, 77% of MACs\n")
    assert (figures["share_of_macs"], figures["partial"]) == (6_912 / 8_960, True)
    assert run("alexnet", "--strict")[::2] == (0, "")


def test_products_of_two_activations_are_shown_once_for_each_of_their_counts() -> None:
    """Of a ViT's 24 two kinds; of many kinds those with most multiply-adds in all their products."""

    def part(name: str, tokens: int, outputs: int | None = 8) -> NotCovered:
        operands = (8 * tokens, 8)
        return NotCovered(
            name=f"m/{name}", op="bmm", reason="", macs=64 * tokens, operands=operands, outputs=outputs
        )

    def table(parts: list[NotCovered]) -> list[Table]:
        model = Model(name="m", batch=1, layers=(), not_covered=tuple(parts))
        return [block for block in layer_blocks(model, None, []) if isinstance(block, Table)]

    (few,) = table([part("one", 7), part("two", 3), part("three", 3), part("four", 3)])
    assert [row[:4] for row in few.rows] == [["two …", "bmm", "3", "192"], ["one", "bmm", "1", "448"]]
    (many,) = table([part(str(tokens), tokens) for tokens in range(1, 13)])
    assert [row[0] for row in many.rows] == [str(tokens) for tokens in range(12, 2, -1)]
    assert many.caption == "products of two activations, 10 of 12 kinds"
    assert table([part("unknown", 7, outputs=None)]) == []


def test_networks_of_which_part_is_known_say_so_beside_whole_ones(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    import onnx_files as files
    from onnx import helper

    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"]), helper.make_node("MatMul", ["y", "y"], ["z"])]
    path = files.save(tmp_path / "net.onnx", nodes, [files.value("x", [8, 8])], [files.weight("w", [8, 8])])
    words = ["networks", str(path), "alexnet"]
    for options, status in (([], 0), (["--strict"], 4), (["--csv", "--strict"], 4)):
        with pytest.raises(SystemExit) as ended:
            main([*words, *options])
        assert ended.value.code == status
    out = capsys.readouterr().out
    assert "≥ 512" in out and "≥ 714M" not in out
    assert "net: the table covers 512 of 1,024 MACs (50.0%): 1 not covered." in out
    rows = list(csv.DictReader(out[out.rindex("network,") :].splitlines()))
    assert [(row["share_of_macs"], row["partial"]) for row in rows] == [("0.5", "1"), ("1.0", "0")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--alpha", "1.5"], "--alpha: must be from 0 to 1 (got 1.5)"),
        (["--alpha", "nan"], "--alpha: must be from 0 to 1 (got nan)"),
        (["--alpha", "0.5", "--fit", "{tmp}/fit.json"], "--alpha: must not stand with --fit"),
        (["--fit", "{tmp}/none.json"], "none.json: no such file"),
        (["--fit", "{tmp}/none.txt/x"], "cannot be read"),
        (["--fit", "{tmp}/empty.json"], "empty.json: alpha: must be there, as `fit --json` writes it"),
        (["--fit", "{tmp}/open.json"], "alpha weighted: was not determined by this fit"),
        (["--fit", "{tmp}/wide.json"], "alpha weighted: must be from 0 to 1 to weigh anything (got 1.2)"),
        (["--csv", "--json"], "--csv: must not stand with --json"),
        (["--input-shape", "x=1,3"], "--input-shape: must stand with an ONNX file or a PyTorch module"),
        (["--input-shape", "big"], "--input-shape: must be at most 8 whole numbers such as 1,3,224,224"),
        (["--input-shape", "x=1,-3"], "--input-shape x: must be at most 8 whole numbers"),
        (["--input-shape", "x=0"], "--input-shape x: must have sizes from 1 to 2147483647"),
        (["--input-shape", "x=1", "--input-shape", "x=2"], "--input-shape: must name each input once"),
    ],
)
def test_a_wrong_option_is_one_line(run: Run, tmp_path: Path, options: list[str], message: str) -> None:
    fit_file(tmp_path / "fit.json", 0.5)
    fit_file(tmp_path / "open.json", None)
    fit_file(tmp_path / "wide.json", 1.2)
    (tmp_path / "empty.json").write_text("{}")
    (tmp_path / "none.txt").write_text("")
    status, out, err = run("alexnet", *(option.format(tmp=tmp_path) for option in options))
    assert (status, out) == (2, "")
    assert message in err and err.count("\n") == 1


def test_networks_puts_any_models_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("name,N,C,H,W,K,R,S\nfc,1,100,1,1,50,1,1\n")
    with pytest.raises(SystemExit) as exit_info:
        main(["networks", "vgg16", str(table), "--csv", "--batch", "4", "--alpha", "0.7"])
    vgg, mine = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert exit_info.value.code == 0
    assert (vgg["family"], vgg["macs"], vgg["batch"]) == ("vgg", str(4 * 15470264320), "4")
    assert (mine["network"], mine["weights"], mine["weight_reuse"], mine["family"]) == (
        "mine",
        "5000",
        "4.0",
        "",
    )
    assert float(mine["di_weighted"]) == pytest.approx(20000 / (2 * (0.7 * 5000 + 0.3 * 600)))
    with pytest.raises(SystemExit):
        main(["networks", "vgg16", str(table), "--alpha", "0.7"])
    out = capsys.readouterr().out
    assert "2 networks, batch 1" in out and "DI weighted" in out and "mine" in out


def test_a_transposed_convolution_is_a_layer_also_when_its_table_is_read_back(
    run: Run, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    import onnx_files as files
    from onnx import helper

    up = helper.make_node("ConvTranspose", ["x", "v"], ["z"], strides=[2, 2])
    path = files.save(
        tmp_path / "up.onnx", [up], [files.value("x", [1, 4, 8, 8])], [files.weight("v", [4, 2, 2, 2])]
    )
    status, out, err = run(str(path), "--csv", "--strict")
    assert (status, err) == (0, "")
    table = tmp_path / "back.csv"
    table.write_text(out)
    (layer,) = read_table(table)
    assert layer.transposed and (layer.macs, layer.inputs, layer.outputs) == (2048, 256, 512)
    assert "4×8×8 → 2×16×16  2×2 /2 transposed" in run(str(table))[1]
    table.write_text(out.replace(",1,2048,", ",yes,2048,"))
    assert "transposed: must be 1, 0 or empty (got 'yes')" in run(str(table))[2]


def test_layers_beyond_what_anybody_reads_are_listed_when_asked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table may have a million; into a pipe, too, their sum and the heaviest are shown unasked."""
    whole = run("resnet50")[1]
    assert whole == run("resnet50", "--full")[1] and "layer1.0.conv3" in whole
    monkeypatch.setattr(sys.modules["dibench.cli.layers"], "MOST_LISTED", 53)
    status, brief, _ = run("resnet50")
    assert status == 0 and len(brief.splitlines()) < 40 and "`--full`" in brief
    assert run("resnet50", "--full")[1] == whole
