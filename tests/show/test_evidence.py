"""The page's figures beyond one fit: claims, twins, lattice, networks, generality, of one card and of two."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pandas as pd
import pytest
from study_frames import card, distinct_layers, energy_of, table

from dibench.report import write_report
from dibench.show import generality, lattice, missing, twins
from dibench.show.alpha import Line, alpha_panel
from dibench.show.palette import SURFACE
from dibench.show.studies import Study
from dibench.study.findings.estimate import Estimate
from dibench.study.findings.lattice import BoxCost, Lattice, Slope
from dibench.study.findings.twins import Compared, Pairs, TwinPairs
from dibench.study.questions.generality import generality as study_generality
from dibench.study.questions.subsets import describe
from dibench.study.table.layers import derived


@pytest.fixture(scope="module")
def page(report_of_a_campaign: Path) -> str:
    return (report_of_a_campaign / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def cards(report_of_two_cards: Path) -> str:
    return (report_of_two_cards / "report.html").read_text(encoding="utf-8")


def part(html: str, begin: str, end: str) -> str:
    return html[html.index(f'id="{begin}"') : html.index(f'id="{end}"')]


def test_the_page_begins_with_what_costs_most_and_whether_reuse_explains_it(page: str) -> None:
    short = part(page, "so-what", "claims")
    assert "DI: a weight and an activation do not cost the same energy here" in short
    told = re.search(r"from the cheapest operator to the dearest: (.+?) pJ \(medians\)", short)
    assert told is not None
    costs = [float(one.split()[1]) for one in told[1].split(", ")]
    assert len(costs) == 5 and costs == sorted(costs)
    assert re.search(r"The dearest layer is \S+ \(\w+\), [\d.,]+ pJ", short)
    assert "By this fit, resnet50 at batch 8 spends" in short
    assert re.search(r"MACs alone.*AI.*DI", short, re.DOTALL)


def test_the_page_begins_with_an_answer_to_each_claim(page: str) -> None:
    assert page.index('id="so-what"') < page.index('id="claims"') < page.index('id="verdict"')
    assert page.count('class="card claim') == 4
    assert 'class="card claim good-answer"' in page and "α = 0.2" in page


def test_every_question_has_its_figures(page: str) -> None:
    for name in (
        "energy-roofline", "ranking", "held-out", "generality-networks", "generality-quantiles-layers",
        "twins-standard", "twins-grouped", "twins-pointwise", "twins-fc", "lattice-1", "lattice-2",
        "cost-resnet50", "cost-mobilenet-v2", "cost-compared",
    ):  # fmt: skip
        assert f'id="figure-{name}"' in page, name
    assert "stable across subsets of these networks" in page
    assert page.count("a weight costs less than an input") >= 3


def test_each_card_has_claims_twins_and_lattice_under_its_name(cards: str) -> None:
    assert cards.count('class="card claim') == 8
    for begin, end in (("claims", "verdict"), ("twins", "lattice"), ("lattice", "costs")):
        own = part(cards, begin, end)
        assert re.findall(r'class="of-card">(.*?)<', own) == ["a GPU (gpu-1)", "another GPU (gpu-2)"]
    cards_of = ("a-gpu-gpu-1", "another-gpu-gpu-2")
    both = [f'id="figure-{name}-{card}"' for name in ("twins-fc", "lattice-1") for card in cards_of]
    assert all(ident in cards for ident in both)
    apart = part(cards, "cards", "twins")
    assert (
        "Not fitted together: α differs significantly between a GPU (gpu-1) and another GPU (gpu-2)" in apart
    )
    assert "α of a GPU (gpu-1) less that of another GPU (gpu-2): −0." in apart and "after Holm" in apart
    alpha = part(cards, "figure-alpha", "cost")
    assert ">all, gains fitted</text>" not in alpha and alpha.count(">another GPU (gpu-2)</text>") == 6
    assert "Error budget" in cards and "1%" in cards and "the sensor&#39;s gain" in cards


@pytest.mark.slow
def test_cards_of_one_model_stand_as_one_and_each_by_itself_behind(tmp_path: Path) -> None:
    cards = [card("a", 0.3).iloc[:100], card("b", 0.3, 1.08, seed=2).iloc[60:130]]
    pd.concat(cards, ignore_index=True).to_csv(tmp_path / "sweep.csv", index=False)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    shown = part(html, "claims", "verdict")
    assert re.findall(r'class="of-card">(.*?)<', shown) == ["all cards as one"]
    assert re.findall(r"<summary>(.*?)<", shown) == ["card (a) by itself", "card (b) by itself"]
    assert "from 40 cases" in html and "It rests on all 130 layers in the table" in html, "each once"


def test_simulated_joules_are_never_called_measured(cards: str) -> None:
    assert "measured" not in part(cards, "twins", "costs")
    answer = re.search(r'class="answer(?: \w+)?">([^<]*)', cards)
    assert answer is not None and answer[1].startswith("No evidence, a check of the pipeline only.")
    assert cards.count('class="answer-word">not testable') == 8
    drawn = re.findall(r'<svg class="panel".*?</svg>', cards, re.DOTALL)
    assert len(drawn) > 20
    assert all(">simulated</text>" in one and ">Simulated. " in one for one in drawn)


def test_what_is_missing_is_said_with_the_command_that_brings_it(page: str, cards: str) -> None:
    assert "Another card beside this one" in part(page, "missing", "tables")
    lacking = part(cards, "missing", "tables")
    assert "<code>python -m dibench sweep networks --out DIR</code>, run to its end" in lacking
    assert "sweep twins" not in lacking and "doctor" in lacking
    layers = derived(table(distinct_layers()[:1], [1.0]))
    one = Study(layers, layers, {})
    (nothing,) = missing.sections([], [one])
    assert "sweep twins" in str(nothing.blocks) and "sweep lattice" in str(nothing.blocks)
    (said,) = missing.sections(["twins-fc"], [one])
    assert "twins" not in str(said.blocks)


def pairs_of(kind: type[Pairs], *ratios: float, **more: Any) -> Any:
    mean = float(np.exp(np.mean(np.log(ratios))))
    return kind(
        op="standard", lanes="p", pairs=len(ratios), kernels=1, ratio=mean, ci_low=min(ratios),
        ci_high=max(ratios), p_value=0.01, p_holm=0.01, p_equivalent=0.9, decision="differs", reason="",
        by_kernel={}, by_pair=ratios, **more,
    )  # fmt: skip


def compared(twins: Sequence[float], placebo: Sequence[float] = ()) -> Compared:
    beside = (pairs_of(Pairs, *placebo),) if placebo else ()
    return Compared((pairs_of(TwinPairs, *twins, fitted_alpha="agrees"),), beside)


def test_a_pair_of_twins_is_a_line_that_falls_where_the_half_of_many_weights_costs_less() -> None:
    svg = twins.slopes_panel(compared([0.9, 0.96], [1.01, 0.99]), "standard", "energy", 0.03)
    assert svg is not None and "0.930×" in svg and "lanes p" in svg
    (axes,) = svg.figure.axes
    lines = [np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()]
    slopes = [line[1] / line[0] for line in lines if len(line) == 2]
    for ratio in (0.9, 0.96, 1.01, 0.99):
        assert any(slope == pytest.approx(ratio) for slope in slopes)
    (band,) = axes.patches
    low, high = band.get_bbox().intervaly  # type: ignore[attr-defined]  # patches are known as Artist
    assert high / low == pytest.approx(1.03), "a line that stays inside differs by less than 3%"
    bottom, top = axes.get_ylim()
    assert bottom < 0.9**0.5 < 0.9**-0.5 < top


def test_twins_without_a_placebo_say_so_and_without_pairs_are_not_drawn() -> None:
    alone = twins.slopes_panel(compared([0.9]), "standard", "energy", 0.03)
    assert alone is not None and "no placebo" in alone
    assert twins.slopes_panel(compared([0.9]), "fc", "energy", 0.03) is None


def lattice_of(costs: dict[tuple[int, int, int], float]) -> Lattice:
    boxes = tuple(BoxCost(*box, cost) for box, cost in costs.items())
    return Lattice(
        level="L2", lanes="p", layer={}, operands_bytes=300_000, rows=len(boxes), boxes=len(boxes), shares=(),
        coefficients={name: Slope(1.0, None, None) for name in ("weight", "input", "output")}, alpha=None,
        per_box=boxes, condition=1.0, reason="",
    )  # fmt: skip


def test_the_lattice_has_a_map_for_each_tile_c_and_a_cell_for_each_box() -> None:
    boxes = [(p, k, c) for p in (1, 4) for k in (1, 2, 8) for c in (1, 16)]
    svg = lattice.lattice_panel(lattice_of({box: 100.0 / sum(box) for box in boxes}), "pJ")
    maps = svg.figure.axes
    assert [axes.get_title(loc="left") for axes in maps] == ["tile_c 1", "tile_c 16"]
    assert [len(axes.collections) for axes in maps] == [6, 6]
    assert not lattice.has_map(lattice_of({(1, k, 1): 1.0 for k in (1, 2)}))


def test_a_lattice_without_differences_is_not_painted_as_if_it_had_some() -> None:
    boxes = [(p, k, 1) for p in (1, 4) for k in (1, 8)]

    def strengths(*costs: float) -> list[float]:
        svg = lattice.lattice_panel(lattice_of(dict(zip(boxes, costs, strict=True))), "pJ")
        return [float(area.get_alpha() or 0.0) for area in svg.figure.axes[0].collections]

    assert np.ptp(strengths(17.0, 17.0001, 17.0002, 17.0003)) < 0.01
    assert np.ptp(strengths(17.0, 34.0, 51.0, 68.0)) > 0.7


def alpha_line(value: float | None, low: float | None, high: float | None, **more: Any) -> Line:
    found = Estimate(value, low, high)
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
    names = [one.get_text() for one in axes.texts if one.get_horizontalalignment() == "left"]
    assert names == ["all operators", "gpu-1", "a card wit…(gpu-2)", "fc", "gpu-1", "a card wit…(gpu-2)"]
    hollow = [line for line in axes.get_lines() if line.get_markerfacecolor() == SURFACE]
    assert [float(np.asarray(line.get_ydata())[0]) for line in hollow] == [4.0, 5.0]


def test_what_lies_beyond_the_scale_is_an_arrow_and_no_mark() -> None:
    svg = alpha_panel([alpha_line(2.0, -3.0, 7.0)])
    assert svg is not None and "2.00 (−3.00 to 7.00)" in svg
    markers = [line.get_marker() for line in svg.figure.axes[0].get_lines()]
    assert {"<", ">"} <= set(markers) and "X" not in markers


def test_distributions_need_subsets() -> None:
    layers = distinct_layers()
    rows = table(layers, energy_of(layers, alpha=0.2, noise=0.1))
    found = study_generality(rows, subsets=50, half_only=True)
    assert [[size.k for size in one.sizes] for one in found.populations.values()] == [[12], [200]]
    assert len(list(generality.distributions(found))) == 4
    assert not list(generality.distributions(attrs.evolve(found, populations={})))


def test_quantiles_of_standardised_values_are_drawn_as_they_are() -> None:
    normal = [-2.0, -1.0, 0.0, 1.0, 2.0]
    found = describe(np.linspace(1.6, 1.8, 50))
    assert found is not None
    z = attrs.evolve(found, normal_quantiles=tuple(normal), quantiles=tuple(normal))
    axes = generality.draw_quantiles("layers", z).figure.axes[0]
    line, points = axes.get_lines()
    assert [np.asarray(one.get_ydata()).tolist() for one in (line, points)] == [normal, normal]
