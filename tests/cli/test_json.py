"""`--json [FILE]` means the same in every verb: beside the words in FILE, else in their place."""

from __future__ import annotations

import json
from pathlib import Path

import every_verb
import pytest
import typer
from command_line import Run

from dibench.cli import app
from dibench.layer import DIMENSIONS, Layer

LAYER = Layer(N=1, C=4, H=6, W=6, K=4, R=1, S=1, name="net/one")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tables, the fit of one of them, somebody's table, and a model of one layer."""
    folder = every_verb.write_tables(tmp_path_factory.mktemp("json"))
    header = ["name", *DIMENSIONS, "dtype", "time_s"]
    cells = [LAYER.name, *map(str, LAYER.dims.values()), "fp32", "0.001"]
    (folder / "theirs.csv").write_text(f"{','.join(header)}\n{','.join(cells)}\n")
    (folder / "net.csv").write_text(f"{','.join(header[:-2])}\n{','.join(cells[:-2])}\n")
    return folder


VERBS = {
    "fit": "fit {}/a.csv --draws 99",
    "fit of several cards": "fit {}/cards.csv --draws 99",
    "generality": "generality {}/a.csv --subsets 100",
    "report": "report {}/a.csv",
    "compare": "compare {0}/a.csv {0}/a.csv",
    "predict": "predict mobilenet_v2 --fit {}/a.csv",
    "explain": "explain mobilenet_v2 --fit {}/a.csv",
    "networks": "networks alexnet",
    "layers": "layers alexnet",
    "variants": "variants --backend cpu",
    "doctor": "doctor",
    "selftest": "selftest --backend cpu --only fc_dot --small",
    "datasets": "datasets",
    "datasets of one": "datasets gpu-layers",
    "import": "import {0}/theirs.csv --set energy_source=none --out {0}/ours.csv",
    "sweep of no time": "sweep smoke --dry-run",
    "sweep": "sweep {0}/net.csv --backend cpu --meter none --out {0}/swept",
    "merge": "merge {0}/swept --out {0}/merged",
    "campaign of no time": "campaign --dry-run",
    "measure": "measure N=1,C=4,H=6,W=6,K=4,R=1,S=1 --backend cpu --meter none",
}
"""What needs no GPU; `counters`, `calibrate`, `publish` and a campaign's run have it in their own tests."""
ON_A_GPU = {"calibrate", "counters", "publish"}


def test_every_verb_has_it_and_explains_it_alike() -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group of commands
    told = {name: [(one.metavar, one.help) for one in verb.params if "--json" in one.opts]
            for name, verb in verbs.items()}  # fmt: skip
    assert all(told.values()), [name for name, options in told.items() if not options]
    assert len({words for options in told.values() for words in options}) == 1
    assert {name.split()[0] for name in VERBS} | ON_A_GPU == set(verbs)


@pytest.mark.parametrize("verb", VERBS)
def test_it_goes_to_standard_output_or_into_a_file(run: Run, place: Path, verb: str) -> None:
    words = VERBS[verb].format(place).split()
    status, bare, _ = run(*words, "--json")
    assert status == 0
    found = json.loads(bare)
    assert found, "nothing but JSON is printed"
    file = place / "found.json"
    status, words_shown, _ = run(*words, "--json", file)
    assert status == 0
    of_file = json.loads(file.read_text(encoding="utf-8"))
    assert shape(of_file) == shape(found)
    if verb != "selftest":  # which says on the way where it is
        assert words_shown.rstrip().endswith(f"Every figure: {file}")
    assert not words_shown.startswith(("{", "["))
    file.unlink()


def shape(found: object) -> object:
    """The names of what JSON holds: a second measurement has other numbers."""
    return sorted(found) if isinstance(found, dict) else type(found)


@pytest.mark.parametrize(
    "verb", ["sweep", "merge", "report", "import", "campaign of no time", "datasets", "fit"]
)
def test_a_file_that_cannot_be_written_is_refused_before_the_work(run: Run, place: Path, verb: str) -> None:
    words = VERBS[verb].format(place).split()
    status, out, err = run(*words, "--json", place / "no" / "such.json")
    assert (status, out) == (2, "") and "--json: must lie in a directory that exists" in err


def test_a_table_on_standard_output_leaves_no_room_for_it(run: Run, place: Path) -> None:
    words = ("import", place / "theirs.csv", "--set", "energy_source=none", "--json")
    status, out, err = run(*words)
    assert (status, out) == (2, "") and "--json: must name a file, or --out must" in err
    status, out, _ = run(*words, place / "told.json")
    assert status == 0 and out.startswith("name,")
    assert json.loads((place / "told.json").read_text())["rows"] == 1


def test_a_model_behind_it_is_its_file_and_the_error_says_so(run: Run) -> None:
    status, _, told = run("layers", "--json", "alexnet")
    assert status == 2
    assert "Missing argument 'MODEL'. alexnet is the file of --json here; `--json -` prints" in told
