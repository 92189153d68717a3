"""The page's figures beyond one fit, from synthetic tables and from dictionaries as analyses give them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from study_frames import distinct_layers, energy_of, table

from dibench.report import evidence, twins, write_report
from dibench.report.alpha import Line, alpha_panel
from dibench.report.claims import cards
from dibench.report.missing import missing_section
from dibench.report.parts import Panel, Section, Study
from dibench.report.svg import SURFACE
from dibench.study.generality import generality


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The page of all 572 shapes with α = 0.2, and its figures as files."""
    folder = tmp_path_factory.mktemp("evidence")
    layers = distinct_layers()
    frame = table(
        layers, energy_of(layers, alpha=0.2, noise=0.05, seed=1), instances=1, stationarity="output"
    )
    frame["variant"] = "made_up"
    frame.to_csv(folder / "sweep.csv", index=False)
    return write_report(folder, figures=folder / "figures").read_text(encoding="utf-8"), folder / "figures"


def test_the_page_begins_with_an_answer_to_each_claim(page: tuple[str, Path]) -> None:
    html, _ = page
    assert html.index('id="claims"') < html.index('id="verdict"')
    assert html.count('class="card claim') == 4
    assert 'class="card claim yes"' in html and "α = 0.2" in html


def test_networks_and_generality_are_drawn(page: tuple[str, Path]) -> None:
    html, _ = page
    for name in ("energy-roofline", "ranking", "held-out", "generality-0", "generality-1"):
        assert f'id="figure-{name}"' in html, name
    assert "stable across subsets of these networks" in html


def test_every_figure_is_a_file_in_three_forms(page: tuple[str, Path]) -> None:
    html, figures = page
    svgs = sorted(path.stem for path in figures.glob("*.svg"))
    assert svgs and len(svgs) == html.count('<svg class="panel"') - html.count('id="figure-alpha"')
    for name in svgs:
        for theme in ("light", "dark"):
            assert (figures / f"{name}-{theme}.png").read_bytes().startswith(b"\x89PNG")


def twins_of(*ratios: float) -> dict[str, Any]:
    return {
        "op": "standard", "lanes": "p", "pairs": len(ratios), "ratio": float(np.exp(np.mean(np.log(ratios)))),
        "ci_low": min(ratios), "ci_high": max(ratios), "by_pair": list(ratios), "decision": "differs",
    }  # fmt: skip


def test_a_pair_of_twins_is_a_line_that_falls_where_the_half_of_many_weights_costs_less() -> None:
    kinds = {"twins": [twins_of(0.9, 0.96)], "placebo": [twins_of(1.01, 0.99)]}
    svg = twins.slopes_panel(kinds, "standard", "energy", 0.03)
    assert svg is not None and "×0.930" in svg and "lanes p" in svg
    (axes,) = svg.figure.axes
    lines = [np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()]
    slopes = [line[1] / line[0] for line in lines if len(line) == 2]
    for ratio in (0.9, 0.96, 1.01, 0.99):
        assert any(slope == pytest.approx(ratio) for slope in slopes)
    (band,) = axes.patches
    low, high = band.get_bbox().intervaly  # type: ignore[attr-defined]
    assert high / low == pytest.approx(1.03), "a line that stays inside differs by less than 3%"
    bottom, top = axes.get_ylim()
    assert bottom < 0.9**0.5 < 0.9**-0.5 < top


def test_twins_without_a_placebo_say_so_and_without_pairs_are_not_drawn() -> None:
    alone = twins.slopes_panel({"twins": [twins_of(0.9)], "placebo": []}, "standard", "energy", 0.03)
    assert alone is not None and "no placebo" in alone
    assert twins.slopes_panel({"twins": [twins_of(0.9)], "placebo": []}, "fc", "energy", 0.03) is None


def test_the_lattice_shows_every_box() -> None:
    boxes = [(p, k) for p in (1, 4) for k in (1, 2, 8)]
    frame = pd.DataFrame(boxes, columns=["tile_p", "tile_k"]).assign(
        stationarity="output", macs=1e9, N=1, C=8, H=8, W=8, K=8, R=1, S=1
    )
    frame["energy_j"] = [0.001 * (1 / p + 1 / k) for p, k in boxes]
    svg = evidence.lattice_panel(frame, "energy_j", "pJ")
    assert svg is not None and svg.count("<text") >= len(boxes) + 2 + 3
    assert evidence.lattice_panel(frame[frame["tile_p"] == 1], "energy_j", "pJ") is None


def alpha_line(value: float | None, low: float | None, high: float | None, **more: Any) -> Line:
    found = {"value": value, "ci_low": low, "ci_high": high}
    return Line(**{"op": "fc", "card": "", "found": found, "reliable": True, **more})


def test_an_alpha_without_both_bounds_is_words_and_no_mark() -> None:
    whole = alpha_line(0.3, 0.2, 0.4, op="standard")
    svg = alpha_panel([whole, alpha_line(0.6, 0.5, None), alpha_line(None, None, None, op="grouped")])
    assert svg is not None
    for said in ("0.30 (0.20 to 0.40)", "above 0.50", "not determined"):
        assert f">{said}</text>" in svg
    (axes,) = svg.figure.axes
    marks = [line.get_marker() for line in axes.get_lines() if line.get_marker() != "None"]
    assert marks == ["o"], "of the first, which is bounded on both sides"
    assert alpha_panel([alpha_line(0.6, 0.5, None)]) is None


def test_cards_stand_side_by_side_under_their_operator() -> None:
    lines = [
        alpha_line(0.3, 0.2, 0.4, op=op, card=card, reliable=op != "fc")
        for op in ("all operators", "fc")
        for card in ("gpu-1", "a card with a very long name (gpu-2)")
    ]
    svg = alpha_panel(lines)
    assert svg is not None
    (axes,) = svg.figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["all operators", "gpu-1", "a card wit…(gpu-2)", "fc", "gpu-1", "a card wit…(gpu-2)"]
    hollow = [line for line in axes.get_lines() if line.get_markerfacecolor() == SURFACE]
    assert [float(np.asarray(line.get_ydata())[0]) for line in hollow] == [4.0, 5.0]


def test_what_lies_beyond_the_scale_is_an_arrow_and_no_mark() -> None:
    svg = alpha_panel([alpha_line(2.0, -3.0, 7.0)])
    assert svg is not None and "2.00 (−3.00 to 7.00)" in svg
    markers = [line.get_marker() for line in svg.figure.axes[0].get_lines()]
    assert {"<", ">"} <= set(markers) and "X" not in markers


def test_distributions_need_subsets() -> None:
    assert evidence.distribution_panels({"populations": {}}) == []
    layers = distinct_layers()
    found = generality(table(layers, energy_of(layers, alpha=0.2, noise=0.1)), subsets=50).to_json()
    panels = evidence.distribution_panels(found)
    assert len(panels) == 4 and np.all(["<svg" in svg for _, svg in panels])


def test_no_claims_without_a_fit() -> None:
    assert cards(None) == [] and cards({}) == []


def test_what_networks_cost_is_split_by_term(page: tuple[str, Path]) -> None:
    html, figures = page
    for name in ("cost-resnet50", "cost-mobilenet-v2", "cost-compared"):
        assert f'id="figure-{name}"' in html and (figures / f"{name}-light.png").exists()


def test_quantiles_of_standardised_values_are_drawn_as_they_are() -> None:
    normal = [-2.0, -1.0, 0.0, 1.0, 2.0]
    z = {"normal_quantiles": normal, "quantiles": normal, "mean": 1.7, "sd": 0.04, "skew": 0.0,
         "excess_kurtosis": 0.0}  # fmt: skip
    axes = evidence._quantiles("layers", z).figure.axes[0]
    line, points = axes.get_lines()
    assert [np.asarray(one.get_ydata()).tolist() for one in (line, points)] == [normal, normal]


def test_a_lattice_without_differences_is_not_painted_as_if_it_had_some() -> None:
    boxes = [(p, k) for p in (1, 4) for k in (1, 8)]
    frame = pd.DataFrame(boxes, columns=["tile_p", "tile_k"]).assign(
        stationarity="output", macs=1e9, N=1, C=8, H=8, W=8, K=8, R=1, S=1
    )
    frame["energy_j"] = [0.017, 0.0170001, 0.0170002, 0.0170003]

    def strengths(frame: pd.DataFrame) -> list[float]:
        svg = evidence.lattice_panel(frame, "energy_j", "pJ")
        assert svg is not None
        return [float(area.get_alpha() or 0.0) for area in svg.figure.axes[0].collections]

    assert np.ptp(strengths(frame)) < 0.01
    frame["energy_j"] *= [1.0, 2.0, 3.0, 4.0]
    assert np.ptp(strengths(frame)) > 0.7


def test_simulated_joules_are_never_called_measured(tmp_path: Path) -> None:
    layers = distinct_layers()
    frame = table(layers, energy_of(layers, alpha=0.2, noise=0.05, seed=1), instances=1)
    frame["variant"], frame["energy_source"] = "made_up", "simulated"
    frame.to_csv(tmp_path / "sweep.csv", index=False)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    figures = html[html.index('id="figure-ranking"') : html.index('id="generality"')]
    assert "simulated, J an inference" in figures and "measured" not in figures
    answer = re.search(r'class="answer">([^<]*)', html)
    assert answer is not None and answer[1].startswith("Pipeline check, not evidence: ")
    assert html.count('class="answer-word">not testable') == 4
    drawn = re.findall(r'<svg class="panel".*?</svg>', html, re.DOTALL)
    assert all(">simulated</text>" in one and ">Simulated. " in one for one in drawn)


def test_what_is_missing_is_said_with_the_command_that_brings_it(page: tuple[str, Path]) -> None:
    html, _ = page
    missing = html[html.index('id="missing"') : html.index('id="tables"')]
    assert "sweep twins" in missing and "sweep lattice" in missing, "these rows have neither"
    assert "ranking" not in missing and "doctor" not in missing, "energy and all networks are there"
    twins = Panel("figure-twins-energy", "", [], None)  # type: ignore[arg-type]
    said = missing_section([Section("twins", "", "", [], [twins])], Study())[0].notes
    assert not any("twins" in line for line in said) and "doctor" in said[0]
