"""`python -m dibench fit`: one screen, complete JSON, and one clear line for every kind of bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command_line import Run, refused
from processes import environment
from study_frames import measured

from dibench.show.terms import TERMS

DRAWS = ("--draws", "199")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return measured(90)


@pytest.fixture
def sweep(tmp_path: Path, frame: pd.DataFrame) -> Path:
    path = tmp_path / "sweep.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.mark.slow
def test_one_screen_and_complete_json(run: Run, sweep: Path, tmp_path: Path) -> None:
    target = tmp_path / "fit.json"
    status, out, err = run("fit", sweep, "--full", "--json", target, *DRAWS)
    assert (status, err) == (0, "")
    without = out
    for term in TERMS:
        without = without.replace(f"{term.line}\n", "")
    without = without.replace("\n\n\n", "\n\n")  # that parted lines of terms from tables
    assert len(without.splitlines()) <= 55
    first = out.splitlines()[0]
    declared = "Measured energy (energy_j, rapl), accuracy of its gain not declared."
    assert first == f"{declared} It rests on all 90 layers in the table."
    for word in (
        "MACs",
        "time",
        "AI",
        "DI weighted",
        "DI disjoint",
        "α weighted",
        "pointwise",
        "Unseen families",
        "Sensitivity",
    ):
        assert word in out
    figures = json.loads(target.read_text(encoding="utf-8"))
    assert figures["rows_used"] == 90
    assert len(figures["networks"]["ranked"]) + len(figures["networks"]["left_out"]) == 25
    assert "Whole networks at batch 1" in out
    assert figures["verdict"].lower() in out.lower()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit.json", "sweep.csv"]


def test_several_tables_are_one_fit_and_repeats_are_counted(
    run: Run, sweep: Path, tmp_path: Path, frame: pd.DataFrame
) -> None:
    other = tmp_path / "other.csv"
    measured(40, seed=9).to_csv(other, index=False)
    target = tmp_path / "fit.json"
    assert run("fit", sweep, sweep, other, "--json", target, *DRAWS)[0] == 0
    figures = json.loads(target.read_text())
    assert figures["rows"] == 90 + 90 + 40
    assert figures["excluded"]["repeat of a case, its last row stands"] == 90
    assert figures["rows_used"] + sum(figures["excluded"].values()) == figures["rows"]


@pytest.mark.slow
def test_modelled_energy_is_introduced_as_a_pipeline_check(
    run: Run, tmp_path: Path, frame: pd.DataFrame
) -> None:
    path = tmp_path / "modelled.csv"
    frame.assign(energy_source="model").to_csv(path, index=False)
    status, out, _ = run("fit", path, "--full", *DRAWS)
    assert status == 0
    assert out.startswith("Measured time: these rows have no measured energy")
    assert "measured time (not energy)" in " ".join(out.split())
    assert out.index("PIPELINE CHECK. Modelled energy") > out.index("Rows:")
    assert "measured energy the data type" not in out


def test_too_few_rows_are_undecided_and_alpha_is_not_to_be_relied_on(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    measured(12).to_csv(path, index=False)
    status, out, _ = run("fit", path, "--full", *DRAWS)
    assert status == 0
    assert "Undecided" in out
    assert "too few rows" in out
    assert "not to be relied on" in out


def spoiled(change: Callable[[str], str]) -> Callable[[str], bytes]:
    return lambda text: change(text).encode()


def second_cell(text: str, column: str, cell: str) -> str:
    """The table with another cell in the second row."""
    lines = text.splitlines()
    cells = lines[2].split(",")
    cells[lines[0].split(",").index(column)] = cell
    return "\n".join([*lines[:2], ",".join(cells), *lines[3:]]) + "\n"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: b"", ["is empty"]),
        (spoiled(lambda text: text.splitlines()[0] + "\n"), ["rows", "header only"]),
        (spoiled(lambda text: text.replace("dtype", "type", 1)), ["header", "dtype"]),
        (spoiled(lambda text: text.replace("energy_j,time_s", "e,t")), ["energy_j, time_s"]),
        (spoiled(lambda text: text[: len(text) - 30]), ["line 91", "cut off"]),
        (spoiled(lambda text: second_cell(text, "energy_j", "much")), ["line 3: energy_j", "'much'"]),
        (spoiled(lambda text: second_cell(text, "time_s", "inf")), ["line 3: time_s", "finite", "'inf'"]),
        (spoiled(lambda text: second_cell(text, "K", "3.5")), ["line 3: K", "whole number", "'3.5'"]),
        (spoiled(lambda text: second_cell(text, "K", "")), ["line 3", "K", "empty"]),
        (spoiled(lambda text: second_cell(text, "K", "-4")), ["line 3", "K", "(got -4)"]),
        (spoiled(lambda text: second_cell(text, "R", "5000")), ["line 3: op", "must be standard"]),
        (spoiled(lambda text: second_cell(text, "op", "conv")), ["line 3: op", "'conv'"]),
        (spoiled(lambda text: second_cell(text, "status", "done")), ["line 3: status", "'done'"]),
        (spoiled(lambda text: second_cell(text, "energy_source", "guess")), ["energy_source", "'guess'"]),
        (spoiled(lambda text: second_cell(text, "device", '"open')), ["CSV"]),
        (spoiled(lambda text: text.replace(",ok,", ",failed,")), ["rows", "90 failed"]),
        (lambda text: bytes(range(256)) * 20, ["UTF-8"]),
    ],
)  # fmt: skip
def test_bad_tables_get_one_line_that_names_file_field_and_value(
    run: Run, sweep: Path, tmp_path: Path, spoil: Any, words: list[str]
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_bytes(spoil(sweep.read_text()))
    target = tmp_path / "fit.json"
    line = refused(run, "fit", bad, "--json", target, *DRAWS)
    assert "bad.csv" in line
    for word in words:
        assert word in line, line
    assert not target.exists()


def test_a_missing_file_and_a_directory_are_named(run: Run, tmp_path: Path) -> None:
    assert "none.csv: no such file" in refused(run, "fit", tmp_path / "none.csv")
    assert str(tmp_path) in refused(run, "fit", tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--draws", "3"), "--draws: must be from 99 to 99999 (got 3)"),
        (("--seed", "-1"), "--seed: must be 0 or more (got -1)"),
        (("--device", "moon"), "device: must be one of 'card' (got 'moon')"),
        (("--dtype", "fp8"), "dtype: must be one of 'fp32' (got 'fp8')"),
        (("--backend", "abacus"), "backend: must be one of"),
    ],
)
def test_bad_options_are_named(run: Run, sweep: Path, options: tuple[str, str], words: str) -> None:
    assert words in refused(run, "fit", sweep, *options)


def test_a_json_destination_that_cannot_be_is_named_before_the_fit(
    run: Run, sweep: Path, tmp_path: Path
) -> None:
    assert "--json: must lie in a directory" in refused(
        run, "fit", sweep, "--json", tmp_path / "no" / "fit.json"
    )
    assert "--json: must be a file" in refused(run, "fit", sweep, "--json", tmp_path)


def test_an_earlier_json_survives_a_write_that_fails(
    run: Run, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "fit.json"
    target.write_text("earlier")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "fit.json: cannot be written: No space left" in refused(
        run, "fit", sweep, "--json", target, *DRAWS
    )
    assert target.read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit.json", "sweep.csv"]


@pytest.mark.slow
def test_a_fresh_process_fits_and_refuses_alike(sweep: Path, tmp_path: Path) -> None:
    """What a user types, in a directory of their own, with the default number of draws."""
    command = [sys.executable, "-m", "dibench", "fit"]

    def typed(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )

    fine = typed("sweep.csv", "--json", "fit.json")
    assert fine.returncode == 0, fine.stderr
    assert json.loads((tmp_path / "fit.json").read_text())["test_ai_vs_di"]["draws"] == 9999
    bad = typed("none.csv")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == "dibench: none.csv: no such file\n"
