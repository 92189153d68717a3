"""Any network as a model: names, tables, batches, and one clear line for what is none."""

from __future__ import annotations

import gzip
import sys
import zipfile
from pathlib import Path

import pytest

from dibench import models, networks
from dibench.cli import main
from dibench.errors import UserError
from dibench.layer import Layer
from dibench.models.model import Model, NotCovered


def test_a_built_in_network_is_its_table_at_any_batch() -> None:
    model = models.load("mobilenet_v2", batch=8)
    assert (model.name, model.batch) == ("mobilenet_v2", 8)
    assert model.macs == 8 * sum(layer.macs for layer in networks.load("mobilenet_v2"))
    assert model.not_covered == () and "100%" in model.coverage


def test_a_table_that_layers_wrote_gives_the_same_layers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["layers", "googlenet", "--csv"])
    table = tmp_path / "googlenet.csv"
    table.write_text(capsys.readouterr().out)
    assert models.load(table).layers == models.load("googlenet").layers


def test_a_table_needs_only_the_dimensions_without_default(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("name,N,C,H,W,K,R,S,pad_h,comment\na,1,3,8,8,4,3,3,1,first\na,2,4,1,1,9,1,1,,\n")
    model = models.load(table, batch=2)
    assert [layer.name for layer in model.layers] == ["mine/a", "mine/a#2"]
    assert model.layers[0].shape == Layer(N=2, C=3, H=8, W=8, K=4, R=3, S=3, pad_h=1).shape
    assert model.layers[1].op == "fc" and model.layers[1].N == 4


@pytest.mark.parametrize("folder", ["2026-01-01T10:00:00", "run:3"])
def test_the_path_of_a_file_is_a_file_whatever_letters_it_has(folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    lines = "name,N,C,H,W,K,R,S\na,1,3,8,8,4,3,3\n"
    for name in ("mine.csv", "mine", "mine:v2.txt"):
        (tmp_path / folder / name).write_text(lines)
        (layer,) = models.load(str(tmp_path / folder / name)).layers
        assert layer.macs == 3 * 4 * 9 * 6 * 6
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        models.load(str(tmp_path / folder / "none.csv"))


def test_a_table_of_layers_may_come_from_pandas_or_a_spreadsheet(tmp_path: Path) -> None:
    lines = "name,N,C,H,W,K,R,S,pad_h\na,1.0,3,8,8,4,3,3,NaN\nb,1.0,3,8,8,4,3,3,1.0\n\n"
    (tmp_path / "mine.csv").write_text(lines)
    (tmp_path / "mine.tsv").write_text(lines.replace(",", "\t"))
    (tmp_path / "mine.csv.gz").write_bytes(gzip.compress(lines.replace(",", ";").encode()))
    for name in ("mine.csv", "mine.tsv", "mine.csv.gz"):
        model = models.load(tmp_path / name)
        assert [(layer.name, layer.pad_h) for layer in model.layers] == [("mine/a", 0), ("mine/b", 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header: must have the column name"),
        ("name,N,C,H,W,K,R,S\n", "must have at least one layer"),
        ("name,N,C,H,W,K,R,S\na,1,1\n", "line 2: must have 8 cells as the header has, it is cut off (got 3)"),
        ("name,N,C,H,W,K,R,S\na,1,x,1,1,1,1,1\n", "line 2: C: must be a whole number (got 'x')"),
        ("name,N,C,H,W,K,R,S\na,0,1,1,1,1,1,1\n", "line 2: N: must be from 1 to 2147483647 (got 0)"),
        ("name,N,C,H,W,K,R,S\na,,1,1,1,1,1,1\n", "line 2: N: must be given"),
        ('name,N,C,H,W,K,R,S\n"a,1,1', "is not a CSV file in UTF-8"),
    ],
)
def test_a_wrong_table_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "wrong.csv"
    table.write_text(text)
    with pytest.raises(UserError) as caught:
        models.load(table)
    assert message in str(caught.value) and str(table) in str(caught.value)


@pytest.mark.parametrize("name", ["model.pt", "model.PTH", "a/b.pkl", "x.ckpt"])
def test_no_pickle_is_ever_loaded(name: str, tmp_path: Path) -> None:
    path = tmp_path / Path(name).name
    path.write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(UserError, match="holds a pickle, which can run any code"):
        models.load(path)


def test_an_archive_of_torchscript_is_named(tmp_path: Path) -> None:
    for inside, what in (
        ("net/code/__torch__.py", "is TorchScript: give the module"),
        ("net/data.pkl", "pickle"),
    ):
        path = tmp_path / "net.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(inside, "")
        with pytest.raises(UserError, match=what):
            models.load(path)
    path.write_bytes(b"PK no archive")
    with pytest.raises(UserError, match="pickle"):
        models.load(path)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("resnet5", {}, "network: must be one of the 25 networks, perhaps resnet50"),
        ("nets.py:Net", {}, "model: needs PyTorch: pip install 'torch>=2.2'"),
        ("resnet50", {"batch": 0}, "--batch: must be from 1 to 1048576 (got 0)"),
        ("resnet50", {"shapes": {"": "1,3,96,96"}}, "--input-shape: must stand with an ONNX file"),
    ],
)
def test_a_wrong_source_is_one_line(
    source: str, options: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError) as caught:
        models.load(source, **options)  # type: ignore[arg-type]  # each kind of option
    assert message in str(caught.value)


def test_what_is_not_covered_is_said_with_its_share() -> None:
    part = NotCovered(name="m/up", op="ConvTranspose", reason="transposed", macs=300)
    unknown = NotCovered(name="m/x", op="Foo", reason="unknown", macs=None)
    model = Model(name="m", batch=1, layers=(Layer.fc(N=1, C=10, K=10),), not_covered=(part, unknown))
    assert (
        model.coverage
        == "covers 100 of 400 known MACs (at most 25.0%): 2 not covered, 1 of them of unknown MACs"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("net.ort", "is onnxruntime's own format: give the .onnx file"),
        ("net.safetensors", "holds weights and no graph: name the model's code as module:callable"),
        ("net.tflite", "is a TensorFlow Lite model: convert it with python -m tf2onnx.convert --tflite FILE"),
        ("net.PB", "is a TensorFlow graph: convert it with python -m tf2onnx.convert --graphdef FILE"),
        ("net.pt2", "is an exported PyTorch program: give it to torch.onnx.export"),
        ("net.keras", r"is a Keras model: write it with model.export\('model.onnx', format='onnx'\)"),
        ("folder", "is a SavedModel of TensorFlow: convert it with python -m tf2onnx.convert --saved-model"),
    ],
)
def test_other_formats_are_named_with_the_way_to_onnx(name: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        (path / "saved_model.pb").touch()
    with pytest.raises(UserError, match=rf"{path.name}: {message}"):
        models.load(path)
