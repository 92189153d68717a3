"""`fit --twins`, `fit --lattice`, `fit --choices` and their keys of the JSON, as a user sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Run, shown
from lattice_frames import anchor_rows
from lattice_frames import table as lattice_table
from study_frames import measured
from twin_frames import STANDARD
from twin_frames import measured as measured_pairs

DRAWS = ("--draws", "99")


def test_twins_on_one_screen_and_in_json(run: Run, tmp_path: Path) -> None:
    table, target = tmp_path / "sweep.csv", tmp_path / "fit.json"
    measured_pairs(STANDARD, w=60.0, noise=0.005).to_csv(table, index=False)
    out = shown(run, "fit", table, "--twins", "--json", target, *DRAWS)
    for words in ("Of measured energy (energy_j).", "differs", "no placebo", "depthwise: not testable"):
        assert words in out
    twins = json.loads(target.read_text())["twins"]
    (entry,) = twins["responses"]["energy"]["twins"]
    assert (entry["op"], entry["pairs"], entry["decision"]) == ("standard", 12, "differs")
    assert entry["fitted_alpha"] in ("agrees", "compatible", "contradicts", "no comparison")
    assert twins["measured"] is True


@pytest.mark.slow
def test_a_table_without_twins_says_what_to_measure(run: Run, tmp_path: Path) -> None:
    table, target = tmp_path / "sweep.csv", tmp_path / "fit.json"
    frame = measured(30)
    frame.to_csv(table, index=False)
    assert "No exact twins in these rows. `python -m dibench sweep twins --out DIR` measures" in shown(
        run, "fit", table, "--twins", "--json", target, *DRAWS
    )
    assert json.loads(target.read_text())["twins"] is None
    both = shown(run, "fit", table.parent, "--twins", "--lattice", *DRAWS)
    assert both.index("depthwise: not testable, ") < both.index("No reuse lattice in these rows")


@pytest.mark.slow
def test_lattice_on_one_screen_and_in_json(run: Run, tmp_path: Path) -> None:
    table, target = tmp_path / "sweep.csv", tmp_path / "fit.json"
    anchor_rows(40.0, lattice_table(noise=0.005)).to_csv(table, index=False)
    out = shown(run, "fit", table, "--lattice", "--json", target, *DRAWS)
    for words in (
        "Of measured energy (energy_j).",
        "L2, warm",
        "anchor_l2: 40",
        "expected 32 to 48: outside",
    ):
        assert words in out
    found = json.loads(target.read_text())["lattice"]
    assert found["lattices"][0]["alpha"]["value"] == pytest.approx(0.25, abs=0.02)
    lattice_table(noise=0.005, shares=[132]).to_csv(table, index=False)
    assert "1: no costs are shown, as every row ran on the same multiprocessors" in shown(
        run, "fit", table, "--lattice", *DRAWS
    )
    measured(30).to_csv(table, index=False)
    assert "No reuse lattice in these rows" in shown(run, "fit", table, "--lattice", *DRAWS)


@pytest.mark.slow
def test_other_choices_are_a_sentence_a_table_and_json(run: Run, tmp_path: Path) -> None:
    table, target = tmp_path / "sweep.csv", tmp_path / "fit.json"
    measured(60).to_csv(table, index=False)
    out = " ".join(shown(run, "fit", table, "--full", "--json", target, *DRAWS).split())
    found = json.loads(target.read_text())["choices"]
    total = len(found["choices"])
    assert sum(found["answers"].values()) == total > 10
    assert f"{total} reasonable choices (--choices)" in out
    assert {"changes", "rows", "response", "alpha", "alpha_by_family", "verdict"} <= found["choices"][
        0
    ].keys()
    (fitted,) = (one for one in found["choices"] if not one["changes"])
    assert fitted["verdict"] == json.loads(target.read_text())["verdict"]
    listed = shown(run, "fit", table, "--choices", *DRAWS)
    assert f"The verdict under {total} choices, by α" in listed
    for one in found["choices"]:
        assert ", ".join(one["changes"]) in listed
    assert "as fitted" in listed and "Measured energy" not in listed
