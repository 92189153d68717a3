"""The command line as its user meets it: what it prints, and one clear line for each mistake."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from command_line import Run

from dibench import networks
from dibench.cli import app, main


def test_alone_it_says_what_it_is_and_gives_three_examples(run: Run) -> None:
    status, out, _ = run()
    assert status == 0
    assert out.startswith("dibench: how much energy")
    assert out.count("\n  python -m dibench ") == 3


def test_the_examples_it_gives_are_commands_it_understands(run: Run) -> None:
    _, out, _ = run()
    verbs = [line.split()[3] for line in out.splitlines() if line.startswith("  python -m dibench ")]
    for verb in verbs:
        status, help_text, _ = run(verb, "--help")
        assert status == 0 and "Usage" in help_text


def test_every_verb_and_every_option_has_a_help_text() -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group of commands
    assert len(verbs) > 15
    for name, verb in verbs.items():
        assert verb.help, name
        for parameter in verb.params:
            assert parameter.help, f"{name} {parameter.name}"


def test_networks_as_csv_has_the_25_totals(run: Run) -> None:
    status, out, _ = run("networks", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 0
    assert list(rows[0])[:7] == ["network", "layers", "macs", "weights", "inputs", "outputs", "ai"]
    assert [row["network"] for row in rows] == list(networks.names())
    resnet50 = next(row for row in rows if row["network"] == "resnet50")
    assert (resnet50["layers"], resnet50["macs"], resnet50["weights"]) == ("54", "4089184256", "25502912")


def test_layers_as_csv_has_every_layer_with_its_counts(run: Run) -> None:
    status, out, _ = run("layers", "resnet50", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 0 and len(rows) == 54
    assert rows[2]["name"] == "resnet50/layer1.0.conv2"
    assert (rows[2]["op"], rows[2]["macs"], rows[2]["weights"]) == ("standard", "115605504", "36864")
    assert float(rows[2]["weight_reuse"]) == 3136
    _, batch, _ = run("layers", "resnet50", "--csv", "--batch", "8")
    assert int(list(csv.DictReader(io.StringIO(batch)))[2]["macs"]) == 8 * 115605504


def test_tables_name_every_network_and_layer(run: Run) -> None:
    _, out, _ = run("networks")
    assert all(name in out for name in networks.names())
    _, out, _ = run("layers", "alexnet")
    assert all(layer.name.partition("/")[2] in out for layer in networks.load("alexnet"))


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_a_missing_fit_says_how_to_make_one(run: Run, verb: str) -> None:
    status, _, told = run(verb, "resnet50")
    assert status == 2 and told.count("\n") == 1
    assert "`python -m dibench fit D --json D/fit.json`" in told


def test_doctor_gives_a_remedy_for_everything_this_machine_cannot(run: Run) -> None:
    status, out, _ = run("doctor", "--json")
    findings = json.loads(out)
    assert status == 0
    assert {"CPU kernels", "RAPL", "NVIDIA driver", "CuPy", "PyTorch (peer)"} <= {f["what"] for f in findings}
    assert all(finding["seen"] and (finding["ok"] or finding["remedy"]) for finding in findings)
    _, text, _ = run("doctor")
    assert text.startswith("CPU kernels run here") and "\nNext: `python -m dibench measure" in text
    assert len(text.splitlines()) <= 30, "one screen"
    _, remedies, _ = run("doctor", "--full")
    said = " ".join(remedies.split())
    assert all(" ".join(finding["remedy"].split()) in said for finding in findings)


BAD_INPUT = [
    ("swep", "No such command 'swep'"),
    ("networks --cvs", "No such option: --cvs"),
    ("layers", "Missing argument"),
    ("layers resnet5", "network: must be one of the 25 networks, perhaps resnet50"),
    ("layers resnet50 --batch 0", "--batch: must be whole numbers above zero, such as 1,8,32 (got '0')"),
    (
        "layers resnet50 --batch many",
        "--batch: must be whole numbers above zero, such as 1,8,32 (got 'many')",
    ),
    ("measure resnet50/nowhere", "layer: must be a layer of resnet50"),
    ("measure N=1,C=64", "H: must be given"),
    ("measure N=1,C=2,H=3,W=3,K=2,R=5,S=5", "R: must be at most H + 2*pad_h = 3 (got 5)"),
    ("sweep no_such_plan --out {tmp}/o", "no_such_plan"),
    ("sweep smoke --backend abacus --out {tmp}/o", "abacus"),
    ("sweep smoke --meter guess --out {tmp}/o", "guess"),
    ("sweep smoke --time-budget soon --out {tmp}/o", "soon"),
    ("sweep smoke --out {tmp}/file/below", "file"),
    ("fit {tmp}/none.csv", "no such file"),
    ("fit {tmp}", "sweep.csv: no such file"),
    ("fit {tmp}/file", "must have the column"),
    ("report {tmp}/none", "none"),
    ("report {tmp}", "sweep.csv"),
]


@pytest.mark.parametrize(("line", "message"), BAD_INPUT, ids=[line for line, _ in BAD_INPUT])
def test_bad_input_is_one_clear_line_and_status_2(run: Run, tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "file").write_text("not a table\n")
    status, out, err = run(*line.format(tmp=tmp_path).split())
    assert status == 2
    assert message in err and err.startswith("dibench: ")
    assert err.count("\n") == 1 and "Traceback" not in err
    assert out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"], "nothing is half-written"


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m dibench layers densenet201 --csv | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("name,op,N")
    assert done.stderr == ""


def test_a_table_whose_reader_is_gone_is_no_error_either() -> None:
    command = f"set -o pipefail; {sys.executable} -m dibench variants | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


SHOWN = ["", "--version", "variants", "variants --json", "networks", "networks --csv", "layers vgg16 --json"]
VERBS = [str(command.name) for command in app.registered_commands]


@pytest.mark.parametrize("line", [*SHOWN, *(f"{verb} --help" for verb in VERBS)])
def test_a_full_disk_behind_the_output_is_one_clear_line(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as exit_info:
            main(line.split())
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "dibench: output cannot be written: No space left on device\n"


def test_what_is_left_of_lost_output_is_not_tried_again() -> None:
    command = f"{sys.executable} -m dibench layers densenet201 --csv > /dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_output_that_is_closed_goes_nowhere() -> None:
    command = f"{sys.executable} -m dibench networks >&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_the_package_needs_neither_extension_nor_heavy_modules() -> None:
    script = (
        "import sys; sys.modules['dibench._cpu'] = None\n"
        "import dibench, dibench.cli\n"
        "heavy = {'pandas', 'scipy', 'matplotlib', 'torch', 'numpy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_analysis_needs_no_second_core(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    run("variants")
    assert "OPENBLAS_NUM_THREADS" not in os.environ, "a library that is measured has all cores"
    run("fit", "none.csv")
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
