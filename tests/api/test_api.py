"""What `import dibench` offers: it completes, takes what one has at hand, and answers in short."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from study_frames import measured

import dibench
import dibench.networks
from dibench.api.batches import AtBatches
from dibench.api.measured import MeasuredLayer, MeasuredNetwork
from dibench.errors import UserError
from dibench.measure.settings import Settings
from dibench.show.palette import PANEL_WIDTH

DRAWS = 99


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return measured(60)


@pytest.fixture(scope="module")
def fit(frame: pd.DataFrame) -> Any:
    return dibench.fit(frame, draws=DRAWS)


@pytest.fixture(scope="module")
def results(frame: pd.DataFrame, fit: Any) -> dict[str, Any]:
    slower = frame.assign(energy_j=1.2 * frame["energy_j"], time_s=1.2 * frame["time_s"])
    return {
        "layers": dibench.layers("resnet50", batch=8),
        "fit": fit,
        "predict": dibench.predict(["resnet50", "mobilenet_v2"], fit=fit, batch=[1, 8]),
        "explain": dibench.explain("mobilenet_v2", fit=fit),
        "compare": dibench.compare(frame, slower),
    }


def test_names_complete_without_loading_anything_heavy() -> None:
    code = (
        "import sys, dibench; names = dir(dibench); dibench.Layer; "
        "print(*names); print(*{'numpy', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    names, heavy = out.split("\n")[:2]
    assert not heavy
    assert {
        "load",
        "layers",
        "fit",
        "predict",
        "explain",
        "compare",
        "energy",
        "Layer",
        "measure",
        "sweep",
    } <= set(names.split())


def test_every_name_is_there_for_editors_and_has_an_example() -> None:
    text = Path(dibench.__file__).read_text("utf-8")
    for name in dibench.__all__:
        thing = getattr(dibench, name)
        assert f" import {name} as {name}\n" in text, "for type checkers and editors"
        assert ">>>" in (inspect.getdoc(thing) or ""), name


@pytest.mark.parametrize("name", ["layers", "fit", "predict", "explain", "compare"])
def test_a_result_is_short_as_text_and_whole_as_html(results: dict[str, Any], name: str) -> None:
    result = results[name]
    said = repr(result)
    assert len(said) <= 300 and said.count("\n") <= 1
    page = result._repr_html_()
    assert page.startswith('<div class="dibench"><style>') and page.rstrip().endswith("</div>")
    assert "<table>" in page or name == "compare", "sweeps without a changed case have no table"
    assert "src=" not in page and "http" not in page
    assert len(result.summary()) > len(said)
    json.dumps(result.to_json(), allow_nan=False)


@pytest.mark.parametrize("name", ["fit", "predict", "explain", "compare"])
def test_a_figure_shows_itself_without_pyplot(results: dict[str, Any], name: str) -> None:
    figure = results[name].plot()
    picture, size = figure._repr_png_()
    assert picture.startswith(b"\x89PNG") and size["width"] >= PANEL_WIDTH
    assert "matplotlib.pyplot" not in sys.modules


def test_a_figure_is_chosen_by_name(results: dict[str, Any]) -> None:
    assert results["predict"].plot("operators-resnet50") is not results["predict"].plot()
    with pytest.raises(UserError, match=r"must be one of .*layers-resnet50.*\(got 'nonsense'\)"):
        results["predict"].plot("nonsense")


def test_ipython_shows_table_and_figure(results: dict[str, Any]) -> None:
    formatters = pytest.importorskip("IPython.core.formatters")
    shown, _ = formatters.DisplayFormatter().format(results["predict"])
    assert {"text/plain", "text/html"} <= shown.keys()
    shown, about = formatters.DisplayFormatter().format(results["fit"].plot())
    assert shown["image/png"] and about["image/png"]["width"] == 640


def test_a_table_is_taken_as_a_path_a_directory_a_frame_or_several(
    frame: pd.DataFrame, tmp_path: Path, fit: Any
) -> None:
    table = tmp_path / "sweep.csv"
    frame.to_csv(table, index=False)
    halves = [frame[:30], frame[30:]]
    for given in ([str(table)], [table], [tmp_path], [frame], halves, [halves]):
        assert dibench.fit(*given, draws=DRAWS).alpha.weighted.value == pytest.approx(
            fit.alpha.weighted.value
        ), given
    with pytest.raises(UserError, match="table: must be a path, a frame, or a list"):
        dibench.fit(3)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"absent.csv"):
        dibench.fit(str(tmp_path / "absent.csv"))


def test_a_fit_is_taken_as_a_result_a_file_or_a_table(frame: pd.DataFrame, tmp_path: Path, fit: Any) -> None:
    file = tmp_path / "fit.json"
    file.write_text(json.dumps(fit.to_json()))
    table = tmp_path / "sweep.csv"
    frame.to_csv(table, index=False)
    totals = {
        dibench.predict("resnet50", fit=given).predictions[0].total.value
        for given in (fit, str(file), str(table), frame)
    }
    assert max(totals) == pytest.approx(min(totals))
    with pytest.raises(UserError, match="by: must be one of macs, ai"):
        dibench.predict("resnet50", fit=fit, by="nonsense")


def test_a_model_is_taken_as_a_name_layers_or_a_result(fit: Any) -> None:
    own = dibench.layers("resnet50", batch=8)
    for given in ("resnet50", own, list(own)):
        batch = 8 if given == "resnet50" else None
        found = dibench.predict(given, fit=fit, batch=batch).predictions[0]
        assert (found.batch, len(found.layers)) == (8, 54)
    layer = dibench.Layer(N=1, C=64, H=56, W=56, K=64, R=3, S=3, pad_h=1, pad_w=1)
    assert dibench.layers(layer, batch=4).macs == 4 * layer.macs
    assert dibench.layers("resnet50/layer1.0.conv2")[0].name == "resnet50/layer1.0.conv2"
    assert dibench.layers("N=1,C=8,H=8,W=8,K=8,R=1,S=1").macs == 4096
    with pytest.raises(UserError, match="batch: is 8 in these layers"):
        dibench.predict(own, fit=fit, batch=1)
    with pytest.raises(UserError, match=r"layers: must be dibench.Layer each \(got 'int'\)"):
        dibench.layers([layer, 3])
    with pytest.raises(UserError, match="perhaps resnet50"):
        dibench.layers("resnet5")


def test_every_function_takes_several_batch_sizes(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = dibench.layers("alexnet", batch=[1, 8])
    assert (list(found), found[8].macs) == ([1, 8], 8 * found[1].macs)
    assert repr(found) == f"{found[1]!r}\n{found[8]!r}"
    assert found.to_json() == [found[1].to_json(), found[8].to_json()]
    frame = found.to_frame()
    assert list(frame["batch"]) == list(frame["N"]) == [1] * 8 + [8] * 8
    assert found._repr_html_().count("<table>") == sum(
        one._repr_html_().count("<table>") for one in found.values()
    )
    saved = dibench.explain("alexnet", fit=fit, batch=(1, 8))
    assert {size: one.prediction.batch for size, one in saved.items()} == {1: 1, 8: 8}
    monkeypatch.setattr("dibench.measure.one_layer.ALONE", Settings(case_budget_s=0.05))
    measured = dibench.measure(LAYER, batch=[1, 2], backend="cpu", meter="none")
    assert isinstance(measured, AtBatches)
    assert (
        [one["layer"]["N"] for one in measured.to_json()]
        == [1, 2]
        == sorted(set(measured.to_frame()["batch"]))
    )
    mistakes: list[Any] = [[], "1,8"]
    for mistake in mistakes:
        with pytest.raises(UserError, match="batch: must be"):
            dibench.layers("alexnet", batch=mistake)


def test_frames_of_results_have_a_row_for_each_thing(results: dict[str, Any]) -> None:
    assert len(results["layers"].to_frame()) == 54
    costs = results["predict"].to_frame().dropna()  # an operator that the fit has not seen has no cost
    assert set(costs["network"]) == {"resnet50", "mobilenet_v2"} and set(costs["batch"]) == {1, 8}
    assert (costs["low"] <= costs["value"]).all() and (costs["value"] <= costs["high"]).all()
    assert results["explain"].to_frame()["saved"].iloc[0] > 0
    assert set(results["compare"].to_frame()["column"]) == {"time_s", "energy_j"}


def test_functions_that_share_their_name_with_a_package_are_both(monkeypatch: pytest.MonkeyPatch) -> None:
    import dibench.measure.settings
    import dibench.sweep.run

    assert dibench.measure.settings.Settings and dibench.sweep.run.run_sweep  # type: ignore[attr-defined]
    assert "out" in inspect.signature(dibench.sweep).parameters
    with pytest.raises(UserError, match="perhaps resnet50"):
        dibench.measure("resnet5")
    monkeypatch.setattr("dibench.sweep.run.run_sweep", None)  # a path through the package still works


LAYER = dibench.Layer(N=1, C=8, H=8, W=8, K=8, R=1, S=1)


def test_a_layer_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dibench.measure.one_layer.ALONE", Settings(case_budget_s=0.1))
    found = dibench.measure(LAYER, backend="cpu", meter="none")
    assert isinstance(found, MeasuredLayer)
    assert found.time_s and found.energy_j is None and found.why_no_energy == "not asked for"
    assert repr(found).startswith("N=1,C=8,H=8,W=8,K=8,R=1,S=1")
    assert re.search(r"\d [nµm]s\b", repr(found))
    assert found._repr_html_().count("<table>") == 1 and "MACs that each serves" not in found.summary()
    assert "MACs that each serves" in found.full().summary() and "`.full()`" in found.summary()
    assert found.to_json()["found"][0]["time_s"] == found.time_s


def test_a_network_is_measured_as_far_as_the_time_goes(capsys: pytest.CaptureFixture[str]) -> None:
    layers = [LAYER, LAYER, LAYER.with_batch(2)]
    found = dibench.measure(layers, backend="cpu", meter="none", time_budget=0.5)
    assert isinstance(found, MeasuredNetwork) and found.unit == "s" and found.cost > 0
    frame = found.to_frame()
    assert set(frame["count"]) <= {1, 2} and frame["share"].sum() == pytest.approx(1.0)
    assert found.cost == found.found.whole and found.cost_ci == found.found.whole_ci
    assert f"{len(frame)} of 2 shapes measured" in repr(found) and "<table>" in found._repr_html_()
    assert "shapes" in capsys.readouterr().err


def test_a_sweep_of_layers_is_a_table_for_fit_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [LAYER, dibench.networks.find("squeezenet1_1/features.12.squeeze")]
    how: dict[str, Any] = {"backend": "cpu", "meter": "none", "case_budget": "0.05s", "target": 0.5}
    found = dibench.sweep(named, out=tmp_path, **how)
    assert repr(found).endswith(f" in {tmp_path}, no joules") and found.left == 0
    layers = found.frame[found.frame["sentinel"] == 0]
    assert list(layers["macs"]) and set(layers["name"]) == {layer.name for layer in named}
    assert "cases" in capsys.readouterr().err
    assert dibench.load(found).equals(found.frame)
    again = dibench.sweep(named, out=tmp_path, progress=False, **how)
    assert again.ended.measured == 0 and not capsys.readouterr().err
    assert json.dumps(again.to_json()) and "<table>" in again._repr_html_()


@pytest.mark.parametrize(
    ("plan", "options", "rule"),
    [
        ("smok", {}, "plan: must be .* perhaps smoke"),
        ("smoke", {"time_budget": "soon"}, "time_budget: must be a time such as 90s"),
        ("smoke", {"target": 2}, "target: must be from 0.0001 to 1"),
        ("resnet50/conv9", {}, "must be a layer of resnet50"),
    ],
)
def test_what_cannot_be_swept_is_refused(
    plan: str, options: dict[str, Any], rule: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=rule):
        dibench.sweep(plan, out=tmp_path / "out", backend="cpu", **options)
    assert not (tmp_path / "out").exists()


def test_the_table_of_a_sweep_stands_for_its_directory(tmp_path: Path) -> None:
    how: dict[str, Any] = {"backend": "cpu", "meter": "none", "case_budget": "0.05s", "target": 0.5}
    found = dibench.sweep([LAYER], out=tmp_path / "mine" / "sweep.csv", progress=False, **how)
    assert found.path == tmp_path / "mine" and (tmp_path / "mine" / "sweep.csv").is_file()
    with pytest.raises(
        UserError, match=r"out: must be a directory, into which sweep\.csv is written, such as"
    ):
        dibench.sweep([LAYER], out=tmp_path / "mine.csv", **how)


def test_words_are_those_of_python_not_of_the_command_line(results: dict[str, Any], fit: Any) -> None:
    for name in ("predict", "explain"):
        assert "--all" not in results[name].summary() and "--all" not in results[name]._repr_html_()
    assert ".to_json() has every one" in results["explain"].full().summary()
    with pytest.raises(UserError) as refused:
        dibench.layers("resnet50", batch=0)
    assert str(refused.value) == "batch: must be from 1 to 1048576 (got 0)"
    fixed = dibench.explain(dibench.layers("squeezenet1_1", batch=8), fit=fit)
    assert (
        len(fixed.not_tried) == 2 and "Batch 1 was not tried: batch: is 8 in these layers" in fixed.summary()
    )


@pytest.mark.parametrize("name", ["predict", "explain", "compare"])
def test_an_answer_is_brief_and_the_rest_is_behind_full(results: dict[str, Any], name: str) -> None:
    found = results[name]
    brief, full = found.summary(), found.full()
    assert brief.count("Next: ") == 1 and len(brief.splitlines()) <= 24
    assert ".full()" in brief and "python -m" not in brief and "--" not in brief
    assert found._repr_html_().count("<table>") <= 1
    assert len(repr(full)) > len(brief) and not brief.startswith("Time (not energy)")


def test_a_model_of_a_fit_is_short(fit: Any) -> None:
    for model in fit.models.values():
        assert len(repr(model)) <= 200
    assert "MAPE" in repr(fit.models["ai"]) and fit.models["ai"].formula in repr(fit.models["ai"])


def test_a_fit_answers_in_three_sentences_and_a_table_and_the_rest_is_behind_full(
    results: dict[str, Any],
) -> None:
    fit = results["fit"]
    brief, full = fit.summary(), fit.full()
    assert len(brief.splitlines()) <= 24 and brief.count("Next: ") == 1 and "How sure: " in brief
    assert "python -m" not in brief and "--" not in brief, "what comes next is typed in Python"
    assert fit._repr_html_().count("<table>") == 1
    assert len(repr(full)) > 2 * len(brief) and full._repr_html_().count("<table>") > 1
