"""Whole networks: planned, measured through PyTorch where it is installed, and held against predictions."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import attrs
import pandas as pd
import pytest
from study_frames import energy_of, measured, some_layers, table

from dibench import kernels, models, schema, study
from dibench.cli import main
from dibench.errors import UserError
from dibench.layer import DIMENSIONS, Layer
from dibench.models.inputs import parse_inputs
from dibench.plan import Case, usual_case
from dibench.plan.whole_networks import network_plan
from dibench.show import predicted_costs
from dibench.show.blocks import Sentence
from dibench.study.findings.fitted_model import FittedModel
from dibench.study.use.fitted_model import read_fitted_model
from dibench.study.use.predict import predict
from dibench.sweep import record
from dibench.table import read_csv

NET = """
import torch

def net():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 3, stride=2, padding=1),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 10),
    )

def broken():
    raise ValueError("no such thing")
"""


def case(**changed: Any) -> Case:
    (variant,) = kernels.registry("torch").values()
    layer = Layer(N=8, C=3, H=64, W=48, K=1, R=1, S=1, name="torchvision:resnet50")
    return usual_case(layer, variant, **{"network": "torchvision:resnet50", **changed})


def network_rows(fit: FittedModel, **changed: Any) -> pd.DataFrame:
    """Rows of resnet50 at batch 8 in the frame of a layer table, at 1.2 times what is predicted."""
    (found,) = predict([models.load("resnet50", batch=8)], fit).predictions
    layers = some_layers(3, seed=1)
    frame = table(layers, energy_of(layers, alpha=0.2))
    rows = frame.iloc[:1].assign(name="torchvision:resnet50", op=schema.NETWORK, N=8, backend="torch")
    rows = rows.assign(C=3, H=224, W=224)
    rows = rows.assign(energy_j=1.2 * found.total.value, **changed)
    return pd.concat([frame, rows], ignore_index=True)


@pytest.fixture(scope="module")
def fit() -> FittedModel:
    return read_fitted_model(study.fit(measured(120), draws=99).to_json(), "di_weighted")


def test_a_network_is_a_row_with_its_input_only(tmp_path: Path) -> None:
    row = case().row()
    sizes = (*DIMENSIONS, "macs", "weights", "outputs", "ai")
    assert set(sizes) & set(row.known()) == {"N", "C", "H", "W"}
    assert (row.op, row.name, row.N) == ("network", "torchvision:resnet50", 8)
    path = tmp_path / "sweep.csv"
    record.write(path, [attrs.evolve(row, time_s=1.0, energy_source="none", status="ok")])
    frame = read_csv(path)
    assert frame["op"].tolist() == ["network"]
    assert frame["H"].tolist() == [64]
    with pytest.raises(UserError, match="left out: 1 no sums of macs, weights and outputs"):
        study.fit(frame)


def test_its_id_is_of_the_network_and_its_input() -> None:
    assert case().case_id != case(network="").case_id
    assert case().case_id != case(network="torchvision:resnet18").case_id


@pytest.mark.slow
def test_a_fit_leaves_networks_out_and_says_so(fit: FittedModel) -> None:
    layers = some_layers(60, seed=2)
    frame = table(layers, energy_of(layers, alpha=0.2, noise=0.1))
    alone = study.fit(frame, draws=99).to_json()
    both = study.fit(pd.concat([frame, network_rows(fit).tail(1)], ignore_index=True), draws=99).to_json()
    assert both["excluded"]["whole network, no layer"] == 1
    assert both["models"] == alone["models"]


def test_a_measurement_is_held_against_the_prediction(fit: FittedModel) -> None:
    networks = [models.load("resnet50", batch=b) for b in (1, 8)]
    found = predict(networks, fit, measured=network_rows(fit))
    (one,) = found.measured_networks
    assert one.batch == 8  # none at batch 1
    assert one.ratio == pytest.approx(1 / 1.2)
    assert one.inside == (1.2 * (total := found.predictions[1].total).value <= total.high)
    assert one.backend == "torch"


def test_a_measurement_says_nothing_of_a_part_of_its_network(fit: FittedModel) -> None:
    whole = models.load("resnet50", batch=8)
    up = models.NotCovered(name="resnet50/up", op="ConvTranspose", reason="transposed", macs=whole.macs)
    found = predict([attrs.evolve(whole, not_covered=(up,))], fit, measured=network_rows(fit))
    (one,) = found.measured_networks
    assert (one.inside, one.covered.share_of_macs) == (None, 0.5)
    (block,) = predicted_costs.measured(found)
    assert isinstance(block, Sentence) and "is a part of it, 50% of MACs: 0.83× that" in block.text
    assert "inside" not in block.text


def at_size(fit: FittedModel, *sizes: int, **changed: Any) -> pd.DataFrame:
    """One network measured at several sizes of image, the last row at the last of them."""
    rows = [
        network_rows(fit, **changed).tail(1).assign(H=size, W=size, energy_j=size / 100) for size in sizes
    ]
    return pd.concat(rows, ignore_index=True)


def test_a_row_of_another_image_size_is_another_network(fit: FittedModel) -> None:
    network = models.load("resnet50", batch=8)
    for sizes in ((224, 299), (299, 224)):
        (one,) = predict([network], fit, measured=at_size(fit, *sizes)).measured_networks
        assert one.measured == 2.24, "the same image, whichever row comes last"
    found = predict([network], fit, measured=at_size(fit, 160, 299))
    assert found.measured_networks == ()
    assert found.measured_otherwise == (
        "resnet50, batch 8: measured with 3×160×160, 3×299×299, predicted with 3×224×224",
    )
    same_layers = attrs.evolve(network, input_shapes={"image": (8, 3, 299, 299)})
    (one,) = predict([same_layers], fit, measured=at_size(fit, 224, 299)).measured_networks
    assert one.measured == 2.99, "what a model says of its input counts before its layers"


@pytest.mark.parametrize(("share", "taken"), [(1.0, True), (1.005, True), (1.02, False), (None, False)])
def test_a_row_without_its_input_is_told_by_its_macs(fit: FittedModel, share: float, taken: bool) -> None:
    network = models.load("resnet50", batch=8)
    macs = pd.NA if share is None else round(share * network.macs)
    rows = network_rows(fit, H=pd.NA, macs=macs)
    found = predict([network], fit, measured=rows)
    assert len(found.measured_networks) == taken
    assert ("neither the size of its input" in str(found.measured_otherwise)) != taken


@pytest.mark.parametrize(
    "changed", [{"device": "other"}, {"dtype": "bf16"}, {"energy_source": "model"}, {"status": "failed"}]
)
def test_a_measurement_of_another_setting_is_no_check(fit: FittedModel, changed: dict[str, str]) -> None:
    network = models.load("resnet50", batch=8)
    with pytest.raises(UserError, match=r"--measured: must have whole networks \(op network\) on card, fp32"):
        predict([network], fit, measured=network_rows(fit, **changed))


def test_predict_shows_the_measured_network(
    tmp_path: Path, fit: FittedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    path, table_path = tmp_path / "fit.json", tmp_path / "networks.csv"
    path.write_text(json.dumps(study.fit(measured(120), draws=99).to_json()))
    network_rows(fit).to_csv(table_path, index=False)
    with pytest.raises(SystemExit) as ended:
        main(["predict", "resnet50", "--batch", "8", "--fit", str(path), "--measured", str(table_path)])
    assert ended.value.code == 0
    assert "is 0.83× that" in " ".join(capsys.readouterr().out.split())
    network_rows(fit, H=299, W=299).to_csv(table_path, index=False)
    with pytest.raises(SystemExit):
        main(["predict", "resnet50", "--batch", "8", "--fit", str(path), "--measured", str(table_path)])
    said = " ".join(capsys.readouterr().out.split())
    assert said.endswith(
        "Not compared: resnet50, batch 8: measured with 3×299×299, predicted with 3×224×224."
    )


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["sweep", *arguments, "--out", "/nowhere/out"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_bad_networks_get_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--models: must stand with --backend torch" in refused(
        capsys, "--models", "a:b", "--backend", "cpu"
    )
    command = ("--backend", "torch", "--models")
    assert "must be torchvision:NAME, timm:NAME, module:callable or" in refused(capsys, *command, "resnet50")
    assert "must give the size of an image as @3x224x224" in refused(capsys, *command, "a:b@224")
    assert "--batch: must be whole numbers" in refused(capsys, *command, "a:b", "--batch", "0")


# With PyTorch


@pytest.fixture
def source(tmp_path: Path) -> str:
    pytest.importorskip("torch")
    path = tmp_path / "nets.py"
    path.write_text(NET)
    return str(path)


def test_a_network_is_measured_at_every_batch(source: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["sweep", "--backend", "torch", "--models", f"{source}:net@3x16x16", "--batch", "1,4"]
    for _ in range(2):  # the second goes on and finds nothing to do
        with pytest.raises(SystemExit) as ended:
            main([*command, "--meter", "none", "--case-budget", "0.2", "--out", str(out)])
        assert ended.value.code == 0
    rows = list(csv.DictReader((out / "sweep.csv").read_text().splitlines()))
    assert [(row["op"], row["N"], row["C"], row["H"]) for row in rows] == [
        ("network", "1", "3", "16"), ("network", "4", "3", "16")
    ]  # fmt: skip
    assert all(row["status"] in ("ok", "flagged") and float(row["time_s"]) > 0 for row in rows)


def test_a_dry_run_names_networks_and_inputs(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "sweep",
                "--backend",
                "torch",
                "--models",
                f"{source}:net@3x16x16",
                "--batch",
                "1,4",
                "--dry-run",
            ]
        )
    assert ended.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "batch 4, images 3×16×16" in out
    assert "pointwise" not in out


def test_what_is_launched_is_the_network(source: str) -> None:
    import torch

    from dibench.backends.torch_library import TorchBackend
    from dibench.models.torch_source import build

    (planned,) = network_plan([f"{source}:net@3x16x16"], [2]).cases
    made: Any = TorchBackend.open().prepare(planned)
    torch.manual_seed(planned.seed)
    module = build(f"{source}:net", device="cpu")[0].eval()
    from dibench.backends.operands import operand

    with torch.inference_mode():
        expected = module(torch.from_numpy(operand((2, 3, 16, 16), "uniform", 1, 0)))
    assert torch.equal(torch.from_numpy(made.output()), expected)
    assert made.launch(3) > 0


@pytest.mark.parametrize("shape", ["1,3,16,16", "N,3,16,16", "input=1,3,16,16"])
def test_a_size_of_its_own_option_is_the_same_case(source: str, shape: str) -> None:
    behind = network_plan([f"{source}:net@3x16x16"], [1, 4])
    assert network_plan([f"{source}:net"], [1, 4], shapes=parse_inputs([shape])) == behind


def test_another_number_of_visits_is_another_sweep(source: str) -> None:
    once, again, thrice = (network_plan([f"{source}:net@3x16x16"], [2], visits=n) for n in (1, 1, 3))
    assert once.sha == again.sha != thrice.sha


def test_a_network_that_cannot_be_built_is_refused_before_anything_is_measured(source: str) -> None:
    with pytest.raises(UserError, match="cannot be built: ValueError: no such thing"):
        network_plan([f"{source}:broken@3x16x16"], [1])
    with pytest.raises(UserError, match="--input-shape"):
        network_plan([f"{source}:net"], [1])
    with pytest.raises(UserError, match="--input-shape: must not stand with an @ and a size behind it"):
        network_plan([f"{source}:net@3x16x16"], [1], shapes={"": "1,3,16,16"})
    with pytest.raises(UserError, match="must name each network once"):
        network_plan([f"{source}:net@3x16x16"] * 2, [1])
    with pytest.raises(UserError, match="does not run on inputs of"):
        network_plan([f"{source}:net@4x16x16"], [1])


def test_a_network_measured_in_another_hour_is_stated_at_the_pace_of_the_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It took half as long again for the pace of the machine alone."""
    found = study.fit(measured(120).assign(energy_source="none", energy_j=math.nan), draws=99)
    by_time = read_fitted_model(found.to_json(), "di_weighted")
    total_s = predict([models.load("resnet50", batch=8)], by_time).predictions[0].total.value
    fitted, networks = tmp_path / "fitted", tmp_path / "networks"
    rows = network_rows(by_time).tail(1)
    rows = rows.assign(energy_source="none", energy_j=math.nan, time_s=1.5 * total_s, time_ci_s=0.0)
    kernel = {"shares": [1.0], "share_sds": [0.05], "known_sds": [0.03]}
    for folder, usual_s in ((fitted, 1.0), (networks, 1.5)):
        folder.mkdir()
        pace = {"gemm": {**kernel, "usual_s": [usual_s]}}
        manifest = {"device": {"name": "card"}, "windows": {"pace": pace}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    (fitted / "fit.json").write_text(json.dumps(found.to_json()))
    rows.to_csv(networks / "sweep.csv", index=False)
    command = ["predict", "resnet50", "--batch", "8", "--fit", str(fitted), "--measured", str(networks)]
    with pytest.raises(SystemExit):
        main([*command, "--json"])
    figures = json.loads(capsys.readouterr().out)
    assert figures["measured_networks"][0]["ratio"] == pytest.approx(1.0)
    assert figures["pace_apart"]["ratio"] == pytest.approx(1.5)
    with pytest.raises(SystemExit):
        main(command)
    said = " ".join(capsys.readouterr().out.split())
    assert "times of the measured networks are stated at the pace of the fit's sweep" in said
    (fitted / "manifest.json").unlink()
    with pytest.raises(SystemExit):
        main([*command, "--json"])
    assert json.loads(capsys.readouterr().out)["measured_networks"][0]["ratio"] == pytest.approx(1 / 1.5)
