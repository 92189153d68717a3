"""Every file in examples/ runs, as its README types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from processes import environment
from study_frames import measured

from dibench.table import read_csv

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
QUICKLY = ("--case-budget", "0.02s", "--target", "50")


def run(*words: object, **further: str) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env=environment(**further),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_in_the_list() -> None:
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    files = [path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".toml", ".csv")]
    assert files and all(f"]({name})" in listed for name in files)


def test_a_table_is_fitted(tmp_path: Path) -> None:
    table = tmp_path / "sweep.csv"
    measured(120).to_csv(table, index=False)
    out = run(EXAMPLES / "fit_a_table.py", table)
    assert "DI weighted" in out and "misses most" in out
    assert len(out.partition("misses most:\n")[2].splitlines()) == 6


def test_two_designs_are_compared() -> None:
    standard, separable = run(EXAMPLES / "design_a_block.py").splitlines()
    assert standard.startswith("standard    115.6 M MACs 147,456 weights")
    assert separable.startswith("separable ")


def test_a_plan_is_measured_under_a_meter_of_ones_own(tmp_path: Path) -> None:
    plan = EXAMPLES / "two_tiles.toml"
    assert "weight" in run("-m", "dibench", "sweep", plan, "--dry-run", "--backend", "cpu")
    words = ("--backend", "cpu", "--meter", "constant_power_meter:meter", "--out", tmp_path / "out")
    run("-m", "dibench", "sweep", plan, *words, *QUICKLY, PYTHONPATH=f"{EXAMPLES}:{ROOT}")
    frame = read_csv(tmp_path / "out" / "sweep.csv")
    assert set(frame["energy_source"]) == {"model"}
    assert {1, 2, 8} <= set(frame["tile_p"]) and {"output", "weight"} <= set(frame["stationarity"])
