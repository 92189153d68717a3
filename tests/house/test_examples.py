"""Every file in examples/ runs, with shorter budgets, also the notebook, whose outputs are clean."""

from __future__ import annotations

import ast
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from processes import environment
from study_frames import measured

import dibench
from dibench.measure import one_layer
from dibench.table import read_csv

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NOTEBOOK = json.loads((EXAMPLES / "ten_minutes.ipynb").read_text("utf-8"))
QUICKLY = ("--case-budget", "0.02s", "--target", "50")

Run = Callable[..., str]


@pytest.fixture(autouse=True)
def short_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps and measurements of these examples, for hundredths of a second a case."""
    sweep = dibench.sweep

    def quickly(plan: Any, **further: Any) -> Any:
        budgets = {"case_budget": 0.02, "target": 0.5, "progress": False}
        return sweep(plan, **(further | budgets))

    monkeypatch.setattr(dibench, "sweep", quickly)
    monkeypatch.setattr(one_layer, "ALONE", attrs.evolve(one_layer.ALONE, case_budget_s=0.1))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a script with words; what it prints. It may end with yes or no, as a comparison does."""

    def runs(name: str, *words: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        try:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        except SystemExit as end:
            out = capsys.readouterr().out
            assert end.code in (None, False, True), end.code
            return out
        return capsys.readouterr().out

    return runs


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "made-up.csv"
    measured(120).to_csv(path, index=False)
    return path


def test_every_example_is_in_the_list() -> None:
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    files = [path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".toml", ".csv", ".ipynb")]
    assert files and all(f"]({name})" in listed for name in files)


def test_a_script_is_short_and_says_for_whom_it_is() -> None:
    for path in EXAMPLES.glob("*.py"):
        text = path.read_text("utf-8")
        assert len(text.splitlines()) < 60 and ast.get_docstring(ast.parse(text)), path.name


def test_a_student_sees_reuse_beside_cost(run: Run) -> None:
    lines = run("student.py").splitlines()
    assert lines[0].split()[:5] == ["layer", "operator", "M/W", "M/X", "AI"]
    assert [line.split()[1:5] for line in lines[1:6]] == [
        ["standard", "784", "288", "178.1"],
        ["pointwise", "784", "512", "90.6"],
        ["grouped", "784", "18", "14.1"],
        ["depthwise", "3136", "2", "1.8"],
        ["fc", "1", "1000", "1.0"],
    ]
    assert all(float(line.split()[5]) > 0 for line in lines[1:6])


def test_a_designer_compares_two_blocks(run: Run, table: Path) -> None:
    standard, separable, _ = run("network_designer.py").splitlines()
    assert standard.startswith("standard   115.6 M MACs  147,456 weights")
    assert separable.startswith("separable   13.7 M MACs   17,536 weights")
    predicted = run("network_designer.py", table).splitlines()[2:]
    assert predicted[0].startswith("standard/3x3, batch 1: ") and predicted[1].startswith(
        "separable, batch 1: "
    )
    assert "would save most: " in predicted[2]


def test_a_kernel_engineer_sees_reads_fall_and_compares(run: Run, tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    boxes = [line.split() for line in run("kernel_engineer.py", before).splitlines() if "×" in line]
    reads = {(words[1], words[2], words[3]): float(words[4]) for words in boxes}
    assert reads["13×13", "weight", "1"] == 1.0 and reads["13×13", "weight", "8"] < 0.2
    again = run("kernel_engineer.py", before, after)
    assert f"\nA is {before}, B is {after}: " in again


def test_a_lab_engineer_gets_an_answer_for_each_device(run: Run, table: Path, tmp_path: Path) -> None:
    other, broken = tmp_path / "other.csv", tmp_path / "broken.csv"
    measured(120).assign(device="another").to_csv(other, index=False)
    measured(120).head(2).assign(device="broken", status="failed").to_csv(broken, index=False)
    out = run("lab_engineer.py", table, other, broken)
    assert out.startswith("half a second of work: ")
    assert out.count("\n  Fit of ") == 2 and out.count("\n  missed by ") == 6
    assert "\nanother: 120 rows, 0% disturbed" in out and "\nbroken: 2 rows" in out
    assert "\n  not fitted: " in out


def test_a_careless_user_reads_one_line_for_each_mistake(run: Run) -> None:
    mistakes, _, busy = run("careless_user.py").partition("\nNow one layer")
    assert len(mistakes.splitlines()) == 8
    assert "perhaps resnet50" in mistakes and "must be a multiple of groups = 4 (got 30)" in mistakes
    assert re.search(r"depthwise_row_stencil: \d+ µs, (flagged|ok): ", busy)


def typed(*words: object, **further: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dibench", *map(str, words)],
        cwd=ROOT,
        env=environment(**further),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_plan_is_measured_under_a_meter_of_ones_own(tmp_path: Path) -> None:
    plan = EXAMPLES / "two_tiles.toml"
    assert "weight" in typed("sweep", plan, "--dry-run", "--backend", "cpu")
    words = ("--backend", "cpu", "--meter", "constant_power_meter:meter", "--out", tmp_path / "out")
    typed("sweep", plan, *words, *QUICKLY, PYTHONPATH=f"{EXAMPLES}:{ROOT}")
    frame = read_csv(tmp_path / "out" / "sweep.csv")
    assert set(frame["energy_source"]) == {"model"}
    assert {1, 2, 8} <= set(frame["tile_p"]) and {"output", "weight"} <= set(frame["stationarity"])


def cells() -> list[dict[str, Any]]:
    return [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def run_cell(source: str, names: dict[str, Any]) -> str:
    """A cell as a notebook runs it: its last expression is shown."""
    tree = ast.parse(source)
    last = tree.body[-1]
    if not isinstance(last, ast.Expr):
        exec(compile(tree, "<cell>", "exec"), names)
        return ""
    exec(compile(ast.Module(tree.body[:-1], []), "<cell>", "exec"), names)
    shown = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
    if shown is None:
        return ""
    rich = [getattr(shown, name)() for name in ("_repr_html_", "_repr_png_") if hasattr(shown, name)]
    assert any(rich), f"shown as text only: {shown!r}"
    return repr(shown)


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its fit is of made-up rows, since three seconds of sweep measure too few."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    said = []
    for cell in cells():
        source = "".join(cell["source"]).replace('"200s"', '"3s"')
        if "dibench.fit(" in source:
            measured(120).to_csv(tmp_path / "ten_minutes/sweep/sweep.csv", index=False)
        said.append(run_cell(source, names))
    assert any(text.startswith("plan: ") for text in said)
    assert any(text.startswith("Fit of ") for text in said)
    assert any(text.startswith("my_net, batch 1: 6 layers, 69.4M MACs") for text in said)
    assert any("per inference" in text for text in said)


def test_the_notebook_stands_executed_and_says_nothing_of_one_machine() -> None:
    assert [cell["execution_count"] for cell in cells()] == list(range(1, len(cells()) + 1))
    outputs = [output for cell in cells() for output in cell["outputs"]]
    assert outputs and {output["output_type"] for output in outputs} <= {"execute_result", "stream"}
    assert not [cell for cell in NOTEBOOK["cells"] if cell["metadata"]], (
        "times of execution, or marks of an editor"
    )
    text = json.dumps(
        [{**output.get("data", {}), "image/png": "", "text": output.get("text")} for output in outputs]
    )
    assert not re.findall(r"[\s\"'(]/(?:home|work|root|tmp|Users|opt)/\S*|\b20\d\d-\d\d-\d\d", text)
    assert len(json.dumps(NOTEBOOK)) < 500_000
