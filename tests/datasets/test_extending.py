"""docs/extending.md does what it says: its dataset is one file elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_line import Run, refused, shown

from dibench import files
from dibench.table import load

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


def example() -> str:
    text = PAGE.read_text(encoding="utf-8").partition("## A dataset")[2]
    (found,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return str(found)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"my_board_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(example())
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"{name}:SOURCE"


def test_a_dataset_is_one_file(run: Run, module: str, tmp_path: Path) -> None:
    clone = tmp_path / "my-board" / "data"
    clone.mkdir(parents=True)
    (clone / "layers.csv").write_text("batch,in,out,mJ\n1,8,4,2.5\n1,8,none,2.5\n1,16,4,5.0\n")
    assert "INA3221, 1 kHz, for 10 s" in shown(run, "datasets", module)
    said = shown(run, "datasets", module, clone.parent, "--out", tmp_path / "out")
    assert "layers.csv line 3: invalid literal for int()" in said
    table = load(tmp_path / "out")
    assert table["energy_j"].tolist() == [0.0025, 0.005]
    assert set(table["energy_source"]) == {"external:ina3221"}
    assert set(table["gain_accuracy_pct"]) == {1.0}
    manifest = files.read_json_object(tmp_path / "out" / "manifest.json")
    assert manifest is not None
    assert manifest["meter"]["gain_accuracy_pct"] == 1
    assert manifest["dataset"]["lines_unread"] == [
        {"file": "layers.csv", "line": 3, "why": "invalid literal for int() with base 10: 'none'"}
    ]


def test_a_reader_that_loses_lines_is_refused(run: Run, module: str, tmp_path: Path) -> None:
    name = module.partition(":")[0]
    path = tmp_path / f"{name}.py"
    path.write_text(path.read_text().replace("            ledger.used += 1\n", ""))
    (tmp_path / "layers.csv").write_text("batch,in,out,mJ\n1,8,4,2.5\n")
    message = refused(run, "datasets", module, tmp_path, "--out", tmp_path / "out")
    assert "its reader must say what became of all 1 lines, says it of 0" in message
    assert not (tmp_path / "out").exists()


def test_what_is_no_source_is_refused(run: Run, module: str) -> None:
    assert "must be module:SOURCE with a dibench" in refused(run, "datasets", module.replace("SOURCE", "URL"))
    assert "must be module:SOURCE (" in refused(run, "datasets", module.replace("SOURCE", "NOTHING"))
