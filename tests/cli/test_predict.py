"""`predict` and `explain` as their users type them, and one line for every kind of bad input."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Run, refused, shown
from study_frames import measured

import dibench
from dibench import study


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return study.fit(measured(160, noise=0.15), draws=99).to_json()


@pytest.fixture
def fit(tmp_path: Path, figures: dict[str, Any]) -> Path:
    return written(tmp_path, figures)


def written(folder: Path, figures: dict[str, Any], **changed: Any) -> Path:
    path = folder / "fit.json"
    path.write_text(json.dumps({**figures, **changed}))
    return path


def test_a_path_with_a_colon_is_a_path_for_every_verb_that_takes_a_model(
    run: Run, fit: Path, tmp_path: Path
) -> None:
    (tmp_path / "run:3").mkdir()
    table = tmp_path / "run:3" / "mine.csv"
    table.write_text("name,N,C,H,W,K,R,S\na,1,64,56,56,64,3,3\n")
    for words in (["layers", table], ["networks", table], ["predict", table, "--full", "--fit", fit]):
        status, out, err = run(*words)
        assert (status, err) == (0, "")
        assert "mine" in out and "107" in out, "54² positions × 64² × 9 = 107,495,424 MACs"


@pytest.fixture
def sequences(tmp_path: Path) -> Path:
    """A sequence-first model: its first axis is time, and no batch."""
    pytest.importorskip("onnx")
    import onnx_files as files
    from onnx import helper

    return files.save(
        tmp_path / "net.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [files.value("x", ["T", "N", 64])], [files.weight("w", [64, 32])],
    )  # fmt: skip


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_without_a_batch_the_given_shape_stands(run: Run, fit: Path, sequences: Path, verb: str) -> None:
    status, out, err = run(verb, sequences, "--full", "--fit", fit, "--input-shape", "128,2,64")
    assert (status, err) == (0, "")
    assert "covers 524,288 of 524,288 MACs (100%)" in out  # 128·2·64·32


def test_what_to_type_next_has_the_given_shape(run: Run, fit: Path, sequences: Path) -> None:
    told = shown(run, "predict", sequences, "--fit", fit, "--input-shape", "128,2,64")
    assert re.search(rf"Next: .*`python -m dibench \w+ {sequences} --input-shape 128,2,64 ", told)


def test_explain_says_why_it_tries_no_other_batch(run: Run, fit: Path, sequences: Path) -> None:
    out = shown(run, "explain", sequences, "--fit", fit, "--input-shape", "128,2,64")
    assert "Not tried: batch 1, 8, 32. --batch: must be that of --input-shape, 128, or N stand there" in out


def test_explain_tries_no_batch_that_the_file_fixes(run: Run, fit: Path, tmp_path: Path) -> None:
    """A Resize to sizes that hold the batch: behind it every layer stays at one image."""
    pytest.importorskip("onnx")
    import onnx_files as files
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Resize", ["a", "", "", "s"], ["b"]),
        helper.make_node("Conv", ["b", "v"], ["y"], name="late"),
    ]  # fmt: skip
    weights = [files.weight("w", [8, 3, 3, 3]), files.weight("v", [4, 8, 1, 1])]
    weights.append(numpy_helper.from_array(np.array([1, 8, 12, 12], dtype=np.int64), "s"))
    path = files.save(tmp_path / "fixed.onnx", nodes, [files.value("x", [1, 3, 8, 8])], weights)
    out = shown(run, "explain", path, "--fit", fit)
    assert (
        "Not tried: batch 8. " in out and "must grow with the batch from 1 to 8: the file fixes a size" in out
    )
    assert "must grow with the batch from 1 to 8" in refused(run, "explain", path, "--fit", fit, "-N", "8")


def test_beside_a_model_with_inputs_a_table_keeps_its_sizes(run: Run, fit: Path, sequences: Path) -> None:
    shape = ("--input-shape", "128,N,64")
    for words in (
        ("networks", sequences, "vgg16"),
        ("predict", sequences, "--full", "--fit", fit, "--compare", "vgg16"),
    ):
        out = shown(run, *words, *shape)
        assert "15.5G" in out and "262k" in out, "vgg16 at 224×224; 128·64·32 multiply-adds"
    assert "tables have none" in refused(run, "networks", "vgg16", "alexnet", *shape)


def test_n_in_a_shape_is_the_batch_wherever_it_stands(run: Run, fit: Path, sequences: Path) -> None:
    command = ("--fit", fit, "--input-shape", "128,N,64")
    status, out, err = run("predict", sequences, *command, "--batch", "2,4", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)["predictions"]
    assert [one["batch"] for one in found] == [2, 4]
    assert [layer["N"] for one in found for layer in one["layers"]] == [256, 512]
    batches = {
        one["setting"]
        for one in json.loads(run("explain", sequences, *command, "--batch", "1", "--json")[1])["savings"]
        if one["knob"] == "batch"
    }
    assert batches == {"8 in place of 1", "32 in place of 1"}


def test_one_network_is_shown_by_layer_operator_and_total(run: Run, fit: Path) -> None:
    status, out, err = run("predict", "mobilenet_v2", "--full", "--fit", fit)
    assert (status, err) == (0, "")
    assert out.splitlines()[0].startswith(
        "Energy, gross, predicted by DI weighted, fitted on card (fp32, rapl"
    )
    for words in ("24 costliest of 53 layers", "features.18.0", "depthwise", "95% interval", "dominant"):
        assert words in out
    assert re.search(r"total +1\.\d+ mJ \(1\.\d+ to \d\.\d+\)", out)
    assert "covers 300,774,272 of 300,774,272 MACs (100%)" in out
    assert "classifier" in run("predict", "mobilenet_v2", "--fit", fit, "--all")[1]


def test_two_networks_at_three_batches_stand_side_by_side(run: Run, fit: Path) -> None:
    compared = ("--compare", "vgg16", "--batch", "1,8,32")
    status, out, _ = run("predict", "resnet50", "--full", "--fit", fit, *compared)
    assert status == 0
    assert "vgg16, batch 32" in " ".join(out.split())
    rows = [line.split() for line in out.splitlines() if re.match(r"(resnet50|vgg16) +\d+ ", line)]
    assert [row[:2] for row in rows] == [[n, b] for n in ("resnet50", "vgg16") for b in ("1", "8", "32")]


def test_json_holds_what_the_tables_show(run: Run, fit: Path) -> None:
    status, out, _ = run("predict", "resnet50", "--fit", fit, "--batch", "8", "--json")
    content = json.loads(out)
    (one,) = content["predictions"]
    assert status == 0
    assert (one["network"], one["batch"], one["unit"], len(one["layers"])) == ("resnet50", 8, "J", 54)
    assert one["total"]["value"] == pytest.approx(sum(layer["value"] for layer in one["layers"]))
    assert one["per_inference"]["value"] == pytest.approx(one["total"]["value"] / 8)
    assert content["measured"] is True


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_time_and_modelled_energy_are_never_called_energy(
    run: Run, tmp_path: Path, figures: dict[str, Any], verb: str
) -> None:
    path = written(tmp_path, figures, response="time_s", energy_source=["none"])
    out = run(verb, "alexnet", "--full", "--fit", path)[1]
    assert out.startswith("Time (not energy), predicted")
    assert "no joules" in out
    assert re.search(r"\d [mµ]s", out)
    assert not re.search(r"\d [mµ]J", out)
    path = written(tmp_path, figures, energy_source=["model"], response_measured=False)
    assert run(verb, "alexnet", "--full", "--fit", path)[1].startswith(
        "PIPELINE CHECK, not a prediction of any device"
    )
    path = written(tmp_path, figures, energy_source=["simulated"], response_measured=False)
    assert "Simulated energy" in run(verb, "alexnet", "--full", "--fit", path)[1].splitlines()[0]


def test_operators_without_rows_are_named_and_in_no_total(
    run: Run, tmp_path: Path, figures: dict[str, Any]
) -> None:
    frame = measured(160, noise=0.15)
    frame = frame[~frame["op"].isin(["depthwise"])]
    path = written(tmp_path, study.fit(frame, draws=99).to_json())
    out = " ".join(shown(run, "predict", "mobilenet_v2", "--fit", path).split())
    assert "Next: the fit has no depthwise layer, so measure the network's own" in out
    status, out, _ = run("predict", "mobilenet_v2", "--full", "--fit", path)
    assert status == 0
    assert "no depthwise layer is in the fit; 17 layers, 6." in out
    for verb in ("predict", "explain"):
        status, out, err = run(verb, "mobilenet_v2", "--fit", path, "--strict")
        assert (status, err) == (4, "dibench: --strict: mobilenet_v2 is partial, 93% of MACs\n")
        assert "≥ " in out
        assert run(verb, "vgg16", "--fit", path, "--strict")[::2] == (0, "")
    status, out, _ = run("predict", "mobilenet_v2", "--fit", path, "--strict", "--json")
    assert status == 4 and json.loads(out)["predictions"][0]["partial"] is True


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_a_network_of_which_nothing_is_known_is_one_line(
    run: Run, fit: Path, tmp_path: Path, verb: str
) -> None:
    pytest.importorskip("onnx")
    import onnx_files as files
    from onnx import helper

    shape = [1, 16, 16]
    nodes = [helper.make_node("MatMul", ["x", "z"], ["y"])]
    path = files.save(tmp_path / "net.onnx", nodes, [files.value("x", shape), files.value("z", shape)], [])
    line = refused(run, verb, path, "--fit", fit)
    assert "must have a layer to predict: 1 not covered, such as MatMul, product of two activations" in line


@pytest.mark.parametrize("verb", ["predict", "explain"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("resnet5", "--fit", "FIT"), "network: must be one of the 25 networks, perhaps resnet50"),
        (("resnet50",), "--fit"),
        (("resnet50", "--fit", "none.json"), "dibench fit CSV --json none.json` writes it"),
        (("resnet50", "--fit", "FIT", "--model", "time"), "--model: must be one of macs, ai, di_weighted"),
        (("resnet50", "--fit", "FIT", "--dtype", "fp7"), "--dtype: must be one of fp32, tf32, fp16, bf16"),
        (("resnet50", "--fit", "FIT", "--dtype", "bf16"), "--dtype: must be fp32: costs of one data type"),
        (("resnet50", "--fit", "FIT", "--batch", "0"), "--batch"),
        (("resnet50", "--fit", "FIT", "--batch", "1,x"), "--batch"),
        (("resnet50", "--fit", "FIT", "--batch", "9999999"), "--batch: must be from 1 to 1048576"),
        (("weights.pt", "--fit", "FIT"), "holds a pickle, which can run any code"),
    ],
)
def test_bad_options_get_one_line(
    run: Run, fit: Path, verb: str, options: tuple[str, ...], words: str
) -> None:
    assert words in refused(run, verb, *(str(fit) if option == "FIT" else option for option in options))


def test_explain_takes_several_batch_sizes(run: Run, fit: Path, tmp_path: Path) -> None:
    command = ("explain", "alexnet", "--fit", fit, "--figures", tmp_path / "figures", "--batch")
    said = shown(run, *command, "1,8")
    assert said.index("alexnet at batch 1 costs") < said.index("alexnet at batch 8 costs")
    assert said.count("Figures: ") == 1
    for size in (1, 8):
        assert (tmp_path / "figures" / f"batch-{size}" / "layers-alexnet.svg").is_file()
    one, eight = (json.loads(run(*command, size, "--json")[1]) for size in ("1", "8"))
    assert json.loads(run(*command, "1,8", "--json")[1]) == [one, eight]


@pytest.mark.parametrize("verb", ["predict", "explain", "layers", "networks"])
def test_a_directory_stands_for_the_fit_in_it(
    run: Run, tmp_path: Path, figures: dict[str, Any], verb: str
) -> None:
    folder = tmp_path / "my sweep"
    folder.mkdir()
    table, command = folder / "sweep.csv", f"dibench fit '{folder}' --json '{folder}/fit.json'`"
    lacks = "has no fit.json and no sweep.csv"
    assert f"{lacks}: `python -m {command} writes it" in refused(run, verb, "vgg16", "--fit", folder)
    table.write_text("")
    made = written(folder, figures)
    figures_of = [verb, "vgg16", *(["--json", "-"] if verb in ("predict", "explain") else ["--csv"]), "--fit"]
    of_folder = run(*figures_of, folder)
    assert of_folder == run(*figures_of, made)
    assert (of_folder[0], of_folder[2]) == (0, "")
    os.utime(made, (0, 0))
    status, _, err = run(verb, "vgg16", "--fit", folder)
    assert status == 0
    assert err == f"dibench: {made} is older than sweep.csv beside it: `python -m {command} fits all rows\n"


@pytest.mark.parametrize("verb", ["predict", "explain", "layers", "networks"])
def test_a_table_is_fitted_where_a_fit_is_asked_for_and_from_python_too(
    run: Run, tmp_path: Path, figures: dict[str, Any], verb: str
) -> None:
    made, table = written(tmp_path, figures), tmp_path / "sweep.csv"
    measured(160, noise=0.15).to_csv(table, index=False)
    how = [verb, "alexnet", "--json", "-", "--fit"]
    of_fit, of_table = run(*how, made), run(*how, table)
    assert of_table[0] == 0 and json.loads(of_table[1]) == json.loads(of_fit[1])
    command = f"`python -m dibench fit {table} --json {made}`"
    assert of_table[2] == f"dibench: {table} is fitted for this answer: {command} keeps the fit\n"
    made.unlink()
    assert run(*how, tmp_path)[:2] == of_table[:2], "the table in a directory without a fit"
    if verb in ("predict", "explain"):
        found = getattr(dibench, verb)("alexnet", fit=tmp_path)
        assert json.loads(json.dumps(found.to_json())) == json.loads(of_table[1])


@pytest.mark.parametrize("verb", ["predict", "explain"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON"),
        ("[1]", "must be a JSON object"),
        ("{}", "write the file with `fit"),
        ('{"schema": 2, "calibration": {"models": {"di_weighted": {}}}, "setting": {}}', "is not what `fit`"),
        ('{"schema": 2, "calibration": 1, "setting": 2}', "is not what `fit` writes"),
        ('{"calibration": {}, "setting": {}}', "is not what `fit` writes"),
    ],
)  # fmt: skip
def test_broken_fits_get_one_line(run: Run, tmp_path: Path, verb: str, text: str, words: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    line = refused(run, verb, "resnet50", "--fit", path)
    assert words in line
    assert "broken.json" in line


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_a_fit_with_nan_or_without_the_model_is_refused(
    run: Run, tmp_path: Path, figures: dict[str, Any], verb: str
) -> None:
    text = json.dumps(figures)
    content = json.loads(text)
    content["calibration"]["models"]["di_weighted"]["values"][0] = float("nan")
    assert "values: must be finite" in refused(run, verb, "vgg16", "--fit", written(tmp_path, content))
    content["calibration"]["models"].pop("di_weighted")
    assert "is not in this fit" in refused(run, verb, "vgg16", "--fit", written(tmp_path, content))


def test_explain_names_dominant_terms_and_ranks_changes(run: Run, fit: Path) -> None:
    status, out, err = run("explain", "resnet50", "--full", "--fit", fit)
    assert (status, err) == (0, "")
    assert "The whole network: MACs " in out
    for words in (
        "bottleneck width",
        "depthwise-separable",
        "groups",
        "wherever it fits",
        "accuracy is not known",
    ):
        assert words in out
    saved = json.loads(run("explain", "resnet50", "--fit", fit, "--json")[1])["savings"]
    values = [one["saved"]["value"] for one in saved]
    assert values == sorted(values, reverse=True)
    assert {"bottleneck width", "depthwise-separable", "groups", "batch"} <= {one["knob"] for one in saved}


def test_a_data_type_is_a_knob_where_a_fit_of_it_is_given(
    run: Run, tmp_path: Path, figures: dict[str, Any]
) -> None:
    single = written(tmp_path, figures)
    halves = tmp_path / "half.json"
    half = json.loads(json.dumps(figures))
    half["setting"]["dtype"] = "fp16"
    entry = half["calibration"]["models"]["di_weighted"]
    entry["values"] = [value / 2 for value in entry["values"]]
    spreads = np.array(entry["errors"]["spreads"]) / 4
    entry["errors"]["spreads"] = spreads.tolist()
    halves.write_text(json.dumps(half))
    command = ("explain", "vgg16", "--fit", single, "--dtype-fit")
    saved = json.loads(run(*command, halves, "--json")[1])["savings"]
    (one,) = [one for one in saved if one["knob"] == "dtype"]
    assert one["share"] == pytest.approx(0.5)
    assert one["saved"]["low"] < one["saved"]["value"] < one["saved"]["high"]
    assert "must be of another data type" in refused(run, *command, single)
    half["setting"]["device"] = "another card"
    halves.write_text(json.dumps(half))
    assert "must have the device of --fit" in refused(run, *command, halves)


def test_the_library_stands_beside_ours(run: Run, tmp_path: Path, figures: dict[str, Any]) -> None:
    ours, library = written(tmp_path, figures), tmp_path / "library.json"
    theirs = {**figures, "setting": {**figures["setting"], "backend": "torch"}}
    library.write_text(json.dumps(theirs))
    status, out, err = run("predict", "resnet50", "--fit", ours, "--library", library)
    assert (status, err) == (0, "")
    assert re.search(r"total +\S+ mJ \(.*\) +\S+ mJ \(.*\) +1\.00 \(0\.\d+ to 1\.\d+\)", out)
    assert "must be a fit of rows of PyTorch" in refused(
        run, "predict", "resnet50", "--fit", ours, "--library", ours
    )
    theirs["setting"]["device"] = "another card"
    library.write_text(json.dumps(theirs))
    line = refused(run, "predict", "resnet50", "--fit", ours, "--library", library)
    assert "--library: must have the device of --fit, card" in line


def in_brief(out: str) -> tuple[list[str], list[str]]:
    """The sentences before the table, and the table's lines."""
    told, _, table = out.partition("\n\n")
    return re.split(r" (?=How sure:|It goes to|Next:)", " ".join(told.split())), table.splitlines()


def test_predict_answers_in_three_sentences_and_a_table(run: Run, fit: Path) -> None:
    (answer, sure, after), table = in_brief(run("predict", "mobilenet_v2", "--fit", fit)[1])
    cost = r"1\.\d+ mJ \(1\.\d+ to \d\.\d+\)"
    assert re.fullmatch(rf"An inference of mobilenet_v2 at batch 1 costs {cost} on card\.", answer)
    assert sure.startswith("How sure: the brackets hold 95 of 100 measurements")
    assert after.startswith("Next: `python -m dibench explain mobilenet_v2 --fit ")
    rows = [re.split(r" {2,}", line) for line in table[2:12]]
    shares = [float(row[3].rstrip("%")) for row in rows[:8]]
    assert shares == sorted(shares, reverse=True), "the costliest layer stands first"
    assert rows[8][0] == "45 others" and rows[9][0] == "all"


def test_explain_answers_in_three_sentences_and_a_table(run: Run, fit: Path) -> None:
    (answer, parts, after), table = in_brief(run("explain", "resnet50", "--fit", fit)[1])
    assert answer.startswith("An inference of resnet50 at batch 1 costs ")
    assert re.match(r"It goes to \d+% \w+, .*; the costliest layer is [\w.]+ \(\w+\) with [\d.]+%\.", parts)
    assert after.startswith("Next: try ") and after.endswith("to accuracy is not known here.")
    assert sum("→" in line for line in table) == 8


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_what_is_modelled_is_no_prediction(
    run: Run, tmp_path: Path, figures: dict[str, Any], verb: str
) -> None:
    path = written(tmp_path, figures, energy_source=["model"], response_measured=False)
    assert shown(run, verb, "alexnet", "--fit", path).startswith("A check of the program, no prediction: ")
    path = written(tmp_path, figures, response="time_s", energy_source=["none"])
    _, out, _ = run(verb, "alexnet", "--fit", path)
    assert " takes " in out.splitlines()[0] and not re.search(r"\d [mµ]J", out)


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_a_fit_of_disturbed_rows_says_so_and_what_to_do(
    run: Run, figures: dict[str, Any], tmp_path: Path, verb: str
) -> None:
    few = written(tmp_path, figures, rows_flagged=figures["rows_used"] // 3)
    assert "Noisy" not in run(verb, "mobilenet_v2", "--fit", few)[1]
    most = written(tmp_path, figures, rows_flagged=figures["rows_used"])
    said = " ".join(run(verb, "mobilenet_v2", "--fit", most)[1].split())
    assert "Noisy: other work disturbed 100% of the fit's rows, so measure again on a quiet machine" in said
