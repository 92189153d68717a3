"""A plan of any network: a model in place of a plan file, and models in a plan file's `networks`."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from command_line import Run, refused, shown

from dibench import models, networks
from dibench.errors import UserError
from dibench.layer import Layer
from dibench.plan import load_plan

LAYERS = (
    "name,N,C,H,W,K,R,S,pad_h,pad_w\nstem,1,3,8,8,4,3,3,1,1\nmid,1,4,8,8,4,3,3,1,1\nagain,1,4,8,8,4,3,3,1,1\n"
)
FAST = "[[kernels]]\nfast = true\n"


def planned(source: Path | str, **options: object) -> list[Layer]:
    """The layers of a plan's cases, sentinels left out, sorted."""
    plan = load_plan(source, backend="cpu", **options)  # type: ignore[arg-type]  # each kind of option
    return sorted((case.layer for case in plan.cases if not case.sentinel), key=lambda layer: layer.shape)


@pytest.fixture
def onnx_net(tmp_path: Path) -> Path:
    """Two convolutions, the second of a shape of its own, and a product of activations, which is no layer."""
    pytest.importorskip("onnx")
    import onnx_files as files
    from onnx import helper

    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="stem"),
        helper.make_node("Conv", ["a", "v"], ["b"], name="body/conv"),
        helper.make_node("Transpose", ["b"], ["t"], name="turned", perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["b", "t"], ["y"], name="scores"),
    ]
    weights = [files.weight("w", [4, 3, 3, 3]), files.weight("v", [6, 4, 1, 1])]
    return files.save(tmp_path / "mine.onnx", nodes, [files.value("x", ["N", 3, 8, 8])], weights)


def test_a_model_is_a_plan_of_its_distinct_layers_under_fast_kernels(onnx_net: Path) -> None:
    stem, body = (layer.renamed("") for layer in models.load(onnx_net, batch=8).layers)
    plan = load_plan(onnx_net, backend="cpu", batches=[8])
    assert {case.layer.renamed("") for case in plan.cases if not case.sentinel} == {stem, body}
    assert {case.layer.name for case in plan.cases if not case.sentinel} == {"mine/stem", "mine/body/conv"}
    assert plan.name == "mine"
    assert plan.partial == (f"mine: the plan {models.load(onnx_net, batch=8).coverage}",)


def test_a_network_of_the_25_is_its_part_of_the_preset() -> None:
    alone = load_plan("resnet50", backend="cpu", batches=[1, 8, 32])
    every = {case.case_id for case in load_plan("networks", backend="cpu").cases}
    own = {case.case_id for case in alone.cases if not case.sentinel}
    assert own < every and len(own) == 3 * len(networks.distinct(networks.load("resnet50")))


def test_a_plan_file_names_models_relative_to_itself(
    tmp_path: Path, onnx_net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "plans:1"
    folder.mkdir()
    (folder / "own.csv").write_text(LAYERS)
    text = f'[[layers]]\nnetworks = ["own.csv", "../mine.onnx", "nin"]\nbatches = [1, 2]\n{FAST}'
    (folder / "plan.toml").write_text(text)
    expected = [
        layer
        for batch in (1, 2)
        for source in (folder / "own.csv", onnx_net, "nin")
        for layer in models.load(source, batch=batch).layers
    ]
    monkeypatch.chdir(tmp_path)
    found = planned("plans:1/plan.toml")
    assert [layer.shape for layer in found] == sorted({layer.shape for layer in expected})


def test_a_layer_of_a_model_is_named_behind_a_slash(tmp_path: Path, onnx_net: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(f'[[layers]]\nlayers = ["mine.onnx/body/conv"]\nbatches = [1, 4]\n{FAST}')
    assert [(layer.name, layer.N) for layer in planned(path)] == [
        ("mine/body/conv", 1),
        ("mine/body/conv", 4),
    ]


def test_a_plan_gives_sizes_to_inputs(tmp_path: Path, onnx_net: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(f'[[layers]]\nnetworks = "mine.onnx"\ninput_shape = "x=N,3,16,12"\nbatches = 5\n{FAST}')
    assert planned(path) == planned(onnx_net, batches=[5], input_shape=["5,3,16,12"])
    assert {(layer.N, layer.H, layer.W) for layer in planned(path)} == {(5, 16, 12), (5, 14, 10)}


def test_without_a_batch_a_model_has_its_own(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    import onnx_files as files
    from onnx import helper

    path = files.save(
        tmp_path / "four.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [files.value("x", [4, 8])], [files.weight("w", [8, 2])],
    )  # fmt: skip
    assert [layer.N for layer in planned(path)] == [4]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none.onnx",), "none.onnx: cannot be read: No such file or directory"),
        (("none.csv",), "none.csv: no such file"),
        (("net.pt",), "net.pt: holds a pickle"),
        (
            ("resnet5",),
            "must be a file, a model or one of the presets default, lattice, networks, smoke, twins",
        ),
        (
            ("resnet50", "--input-shape", "1,3,8,8"),
            "--input-shape: must stand with an ONNX file or a PyTorch",
        ),
        (
            ("smoke", "--batch", "4"),
            "--batch: is of models: the plan smoke says it itself, as batches (got '4')",
        ),
        (
            ("plan.toml", "--input-shape", "1,2"),
            "the plan plan.toml says it itself, as input_shape (got '1,2')",
        ),
        (("lost.toml",), "lost.toml: [[layers]] 1: networks: lost.onnx: cannot be read"),
        (
            ("layer.toml",),
            "layer.toml: [[layers]] 1: layers: layer: must be a layer of mine.csv, perhaps stem",
        ),
        (("grid.toml",), "[[layers]] 1: input_shape: must not stand beside grid, it is of networks"),
        (("resnet50", "--models", "a:b"), "PLAN: is of layers"),
    ],
)
def test_a_mistake_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").write_text(LAYERS)
    plans = {
        "plan": 'networks = "nin"', "lost": 'networks = "lost.onnx"', "layer": 'layers = "mine.csv/stam"',
        "grid": 'grid = {N = 1, C = 1, H = 1, W = 1, K = 1, R = 1, S = 1}\ninput_shape = "1,3"',
    }  # fmt: skip
    for name, line in plans.items():
        (tmp_path / f"{name}.toml").write_text(f"[[layers]]\n{line}\n{FAST}")
    assert message in refused(run, "sweep", *words, "--backend", "cpu", "--dry-run")


def test_a_model_in_which_nothing_is_a_layer_is_no_plan(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    import onnx_files as files
    from onnx import helper

    path = files.save(
        tmp_path / "relu.onnx", [helper.make_node("Relu", ["x"], ["y"])], [files.value("x", [1, 3, 8, 8])], []
    )
    with pytest.raises(UserError, match="must have a layer that dibench knows"):
        load_plan(path, backend="cpu")


def test_a_dry_run_says_what_the_plan_does_not_cover(run: Run, onnx_net: Path) -> None:
    out = shown(run, "sweep", onnx_net, "--backend", "cpu", "--dry-run")
    assert f"mine: the plan {models.load(onnx_net).coverage}." in out


@pytest.mark.slow
def test_a_sweep_of_a_model_resumes_until_the_model_changes(run: Run, tmp_path: Path) -> None:
    path, out = tmp_path / "mine.csv", tmp_path / "out"
    path.write_text(LAYERS)
    command = ("sweep", path, "--batch", "1,2", "--out", out, "--backend", "cpu", "--meter", "none")
    quick = ("--case-budget", "0.1", "--target", "100")
    for _ in range(2):  # the second finds every case measured
        assert run(*command, *quick)[0] == 0
    rows = list(csv.DictReader((out / "sweep.csv").read_text().splitlines()))
    own = [(row["name"], row["N"]) for row in rows if row["sentinel"] == "0"]
    assert sorted(own) == [("mine/mid", "1"), ("mine/mid", "2"), ("mine/stem", "1"), ("mine/stem", "2")]
    path.write_text(LAYERS.replace("mid,1,4,8,8,4", "mid,1,4,8,8,5"))
    err = refused(run, *command, *quick)
    assert "content of the plan (SHA-256): was" in err and "take another --out, or --fresh" in err
