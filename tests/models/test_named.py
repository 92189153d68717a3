"""Which model a text names, and which of its layers: what exists wins over every way to split."""

from __future__ import annotations

from pathlib import Path

import pytest

from dibench import models
from dibench.errors import UserError
from dibench.models.named import beside, has_inputs, is_model, split_layer

LAYERS = "name,N,C,H,W,K,R,S\nblock/a,1,8,8,8,8,3,3\nb,1,8,8,8,16,1,1\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("nets:v1/my.onnx", "nets:v1/make.py", "deep/er/t.csv", "odd:name", "net.onnx"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(LAYERS)
    (tmp_path / "saved").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "model", "layer"),
    [
        ("nets:v1/my.onnx", "nets:v1/my.onnx", ""),
        ("nets:v1/my.onnx/stem/conv", "nets:v1/my.onnx", "stem/conv"),
        ("nets:v1/make.py:net", "nets:v1/make.py:net", ""),
        ("nets:v1/make.py:net/stem/0", "nets:v1/make.py:net", "stem/0"),
        ("deep/er/t.csv/b", "deep/er/t.csv", "b"),
        ("odd:name", "odd:name", ""),
        ("odd:name/b", "odd:name", "b"),
        ("net.onnx/block:0/conv", "net.onnx", "block:0/conv"),
        ("resnet50/layer1.0.conv2", "resnet50", "layer1.0.conv2"),
        ("torchvision:resnet50/layer1.0.conv2", "torchvision:resnet50", "layer1.0.conv2"),
        ("my.nets:make/conv", "my.nets:make", "conv"),
        ("none/such.onnx/conv", "none/such.onnx", "conv"),
        ("none/such.onnx", "none/such.onnx", ""),
    ],
)
def test_a_layer_stands_behind_its_model(folder: Path, text: str, model: str, layer: str) -> None:
    assert split_layer(text) == (model, layer)


@pytest.mark.parametrize("absolute", [True, False])
def test_a_layer_is_found_by_its_name(folder: Path, absolute: bool) -> None:
    source = folder / "deep/er/t.csv" if absolute else "deep/er/t.csv"
    assert [
        models.find(f"{source}/{layer.name.partition('/')[2]}") for layer in models.load(source).layers
    ] == [*models.load(source).layers]
    assert models.find(f"{source}/b", batch=8).N == 8
    with pytest.raises(UserError, match=r"layer: must be a layer of .*t.csv, perhaps b .*\(got 'bb'\)"):
        models.find(f"{source}/bb")


def test_what_is_no_layer_of_a_model_says_why(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    import onnx_files as files
    from onnx import helper

    path = files.save(
        tmp_path / "up.onnx",
        [helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up")],
        [files.value("x", [1, 3, 8, 8, 8])], [files.weight("w", [3, 2, 2, 2, 2])],
    )  # fmt: skip
    with pytest.raises(UserError, match="layer: up/up is ConvTranspose, no layer: transposed convolution"):
        models.find(f"{path}/up")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("resnet50", True), ("net.onnx", True), ("lost.onnx", True), ("lost.csv", True), ("lost.pt", True),
        ("nets:v1/make.py:net", True), ("timm:resnet18", True), ("my.nets:make", True),
        ("plan.toml", False), ("a:b.toml", False), ("my.plan", False), ("networks", False), ("smoke", False),
        ("saved", False), ("odd:name", False), ("resnet5", False),
    ],
)  # fmt: skip
def test_a_model_is_told_from_a_plan(folder: Path, text: str, named: bool) -> None:
    assert is_model(text) == named


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        ("resnet50", False), ("deep/er/t.csv", False), ("odd:name", False), ("lost.csv.gz", False),
        ("net.onnx", True), ("nets:v1/my.onnx", True), ("nets:v1/make.py:net", True), ("timm:a", True),
    ],
)  # fmt: skip
def test_tables_of_layers_have_no_inputs(folder: Path, text: str, inputs: bool) -> None:
    assert has_inputs(text) == inputs


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("net.onnx", "plans/net.onnx"), ("lost.csv", "plans/lost.csv"),
        ("nets.py:make", "plans/nets.py:make"),
        ("../net.onnx/conv", "plans/../net.onnx/conv"), ("/elsewhere/a.onnx", "/elsewhere/a.onnx"),
        ("resnet50", "resnet50"), ("resnet50/conv1", "resnet50/conv1"), ("timm:a", "timm:a"),
        ("my.nets:make", "my.nets:make"), ("resnet5", "resnet5"),
    ],
)  # fmt: skip
def test_a_path_in_a_plan_begins_in_its_folder(text: str, path: str) -> None:
    assert beside(text, "plans") == path
