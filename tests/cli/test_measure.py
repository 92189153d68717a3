"""The verb `measure`: one layer or a whole model here, and PyTorch's beside it where that works."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shlex
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from command_line import Run, refused

from dibench.backends import DeviceError
from dibench.backends.base import DeviceFaultError
from dibench.cli import main
from dibench.errors import OutOfMemoryError
from dibench.measure import one_layer, one_model
from dibench.measure.one_layer import measure_layer
from dibench.measure.settings import Settings

LAYER = "N=1,C=8,H=8,W=8,K=8,R=1,S=1"


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [OutOfMemoryError("memory", "4 GB asked, 1 GB free"), DeviceError("CUDA, run: misaligned address")],
)
def test_ours_is_shown_whatever_becomes_of_the_peer(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(layer: object) -> None:
        raise error

    peer = types.ModuleType("dibench.backends.torch")
    peer.TorchLayer = fails  # type: ignore[attr-defined]  # a stand-in for the module
    monkeypatch.setitem(sys.modules, "dibench.backends.torch", peer)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.13.0+cpu")
    monkeypatch.setattr(one_layer, "ALONE", Settings(case_budget_s=0.1))
    with pytest.raises(SystemExit) as ended:
        main(["measure", LAYER, "--backend", "cpu", "--meter", "none"])
    said = capsys.readouterr().out
    assert not ended.value.code
    assert "pointwise_gemm" in said and "MAC/s" in said
    assert f"PyTorch 2.13.0: {error}" in " ".join(said.split())


TABLE = "name,N,C,H,W,K,R,S\na,1,8,8,8,8,3,3\nb,1,8,8,8,8,3,3\nc,1,8,8,8,16,1,1\n"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three layers of two shapes, quickly measured, in a file whose path has a colon and a slash."""
    monkeypatch.setattr(one_model, "_MOST_S", 0.1)
    folder = tmp_path / "run:1"
    folder.mkdir()
    (folder / "my.csv").write_text(TABLE)
    return folder / "my.csv"


@pytest.mark.slow
def test_a_model_is_measured_layer_by_layer(run: Run, table: Path, tmp_path: Path) -> None:
    command = ("measure", table, "--backend", "cpu", "--meter", "none", "--time-budget", "60s")
    status, out, _ = run(*command, "--json", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert status == 0
    assert {(one["name"], one["count"]) for one in found["layers"]} == {("my/a", 2), ("my/c", 1)}
    assert found["cost"] == pytest.approx(sum(one["count"] * one["time_s"] for one in found["layers"]))
    assert found["complete"] and "All layers: " in out
    assert f"Next: python -m dibench sweep {shlex.quote(str(table))} --out results/local/my" in out
    status, out, _ = run(*command, "--json", "-", "--batch", "2")
    assert (status, [one["N"] for one in json.loads(out)["layers"]]) == (0, [2, 2])


def test_ctrl_c_keeps_what_was_measured(run: Run, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def second_is_interrupted(*words: Any) -> Any:
        if calls:
            raise KeyboardInterrupt
        calls.append(words)
        return measure_layer(*words)

    monkeypatch.setattr(one_model, "measure_layer", second_is_interrupted)
    status, out, _ = run("measure", table, "--backend", "cpu", "--meter", "none", "--time-budget", "60s")
    assert status == 130
    assert "All layers: ≥ " in out and "16% of MACs (c): interrupted before" in " ".join(out.split())


@pytest.mark.slow
def test_one_layer_of_a_model_is_named_behind_a_slash(
    run: Run, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_layer, "ALONE", Settings(case_budget_s=0.1))
    status, out, _ = run("measure", f"{table}/c", "--batch", "3", "--backend", "cpu", "--meter", "none")
    assert status == 0
    assert "pointwise, 3×8×8×8 → 3×16×8×8  1×1" in out


@pytest.mark.slow
def test_a_layer_has_json_and_batch_sizes_like_a_model(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_layer, "ALONE", Settings(case_budget_s=0.1))
    command = ("measure", f"{table}/c", "--backend", "cpu", "--meter", "none")
    status, out, _ = run(*command, "--json")
    found = json.loads(out)
    assert (status, found["layer"]["name"], found["macs"]) == (0, "my/c", 8 * 16 * 64)
    row, reached = found["found"][0], found["found"][0]["of_the_roof"]
    assert found["macs"] / row["time_s"] == pytest.approx(
        reached * (found["ai"] / 4 * found["peaks"]["bytes_per_s"] if found["roof"] == "memory"
                   else found["peaks"]["mac_per_s"])
    )  # fmt: skip
    status, out, _ = run(*command, "--batch", "1,3", "--json", tmp_path / "found.json")
    assert [one["layer"]["N"] for one in json.loads((tmp_path / "found.json").read_text())] == [1, 3]
    assert out.index(" 8×8×8 → 16×8×8") < out.index("3×8×8×8 → 3×16×8×8")


@pytest.mark.slow
def test_the_time_is_of_all_batch_sizes_together(run: Run, table: Path) -> None:
    command = ("measure", table, "--backend", "cpu", "--meter", "none", "--batch", "1,2")
    status, out, _ = run(*command, "--time-budget", "20s", "--json")
    assert status == 0
    assert [(one["batch"], one["complete"], one["lost"]) for one in json.loads(out)] == [
        (1, True, ""), (2, True, ""),
    ]  # fmt: skip
    assert all("cost_ci" in one for one in json.loads(out))
    _, out, _ = run(*command, "--time-budget", "1s")
    assert out.index("my, batch 1, on") < out.index("my, batch 2, on")
    assert f"sweep {shlex.quote(str(table))} --batch 1,2 --out" in out


def test_a_lost_device_is_told_with_what_was_measured(
    run: Run, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def second_takes_the_device(*words: Any) -> Any:
        if calls:
            raise DeviceFaultError("CUDA, run: misaligned address")
        calls.append(words)
        return measure_layer(*words)

    monkeypatch.setattr(one_model, "measure_layer", second_takes_the_device)
    status, out, err = run("measure", table, "--backend", "cpu", "--meter", "none", "--batch", "1,2")
    assert status == 2
    assert "(c): the device was lost: CUDA, run: misaligned address" in " ".join(out.split())
    assert "dibench: the device is lost: CUDA, run: misaligned address\n" in err
    assert "dibench: not measured: my at batch 2\n" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none.onnx",), "none.onnx: cannot be read: No such file or directory"),
        (("folder/none.onnx/conv",), "folder/none.onnx: cannot be read: No such file or directory"),
        (("resnet5",), "network: must be one of the 25 networks, perhaps resnet50"),
        (("resnet50/layer1.0.conv9",), "layer: must be a layer of resnet50, perhaps layer1.0.conv3"),
        (("resnet50", "--time-budget", "soon"), "--time-budget: must be a time such as 90s"),
        (("resnet50", "--json", "none/x.json"), "--json: must lie in a directory that exists"),
        (("resnet50", "--batch", "1,0"), "--batch: must be whole numbers above zero, such as 1,8,32"),
        (("resnet50", "--input-shape", "1,3,8,8"), "--input-shape: must stand with an ONNX file"),
        (
            ("resnet50/conv1", "--time-budget", "9s"),
            "--time-budget: is of a whole model, and resnet50/conv1 is",
        ),
        (("resnet50", "--backend", "torch"), "--backend: must be auto, cuda or cpu: PyTorch's library is"),
        ((LAYER, "--json", "none/x.json"), "--json: must lie in a directory that exists"),
        ((LAYER, "--batch", "0"), "--batch: must be whole numbers above zero, such as 1,8,32"),
        ((LAYER, "--input-shape", "1,2"), "--input-shape: must not stand with a layer's own dimensions"),
    ],
)
def test_a_mistake_is_one_line(run: Run, words: tuple[str, ...], message: str) -> None:
    assert message in refused(run, "measure", *words)
