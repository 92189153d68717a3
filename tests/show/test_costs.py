"""Figures of predictions as files: what they say, in light and in dark, and in colours all can tell apart."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import attrs
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from study_frames import measured

from dibench import models, study
from dibench.cli import main
from dibench.show import cost_bars, predicted_costs
from dibench.show.blocks import Table
from dibench.show.figure_files import write_figures
from dibench.show.palette import ACCENT, INK, MUTED, OPERATOR_COLOURS, SURFACE, TERM_COLOURS, WARN
from dibench.show.svg import themes
from dibench.study.findings.fitted_model import FittedModel
from dibench.study.use.explain import explain
from dibench.study.use.fitted_model import read_fitted_model
from dibench.study.use.predict import predict


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return study.fit(measured(160, noise=0.15), draws=99).to_json()


@pytest.fixture(scope="module")
def fit(figures: dict[str, Any]) -> FittedModel:
    return read_fitted_model(figures, "di_weighted")


def words(svg: Path) -> str:
    return " ".join(ElementTree.fromstring(svg.read_text(encoding="utf-8")).itertext())


@pytest.mark.slow
def test_predict_and_explain_write_figures(
    tmp_path: Path, figures: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fit.json"
    path.write_text(json.dumps(figures))
    out = tmp_path / "figures"
    for command in (
        ("predict", "mobilenet_v2", "--compare", "alexnet", "--batch", "1,8"), ("explain", "mobilenet_v2")
    ):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            main([*command, "--fit", str(path), "--figures", str(out)])
        assert ended.value.code == 0
    assert f"Figures: {out}" in capsys.readouterr().out.replace("\n", "")
    names = {"comparison", "savings-mobilenet_v2"} | {
        f"{what}-{network}{batch}"
        for what, batch in (("layers", ""), ("operators", "-at-batch-1"))
        for network in ("mobilenet_v2", "alexnet")
    }
    found = {file.name for file in out.iterdir()}
    assert found == {f"{name}{end}" for name in names for end in (".svg", "-light.png", "-dark.png")}
    said = words(out / "comparison.svg")
    for text in ("mobilenet_v2, batch 8", "alexnet, batch 1", "depthwise", "predicted energy per inference"):
        assert text in said
    assert "bottleneck width" in words(out / "savings-mobilenet_v2.svg")


@pytest.mark.slow
def test_svg_follows_the_theme_and_pngs_have_one_each(tmp_path: Path, fit: FittedModel) -> None:
    (drawing, _) = predicted_costs.figures(predict([models.load("alexnet")], fit))
    write_figures(tmp_path, [drawing])
    text = (tmp_path / "layers-alexnet.svg").read_text()
    assert not re.search("#0101[0-9a-f]{2}", text)  # no colour of a panel's own
    assert "var(--macs)" in text
    assert "var(--weights)" in text
    light, dark = (imread(tmp_path / f"layers-alexnet-{theme}.png") for theme in ("light", "dark"))
    assert light[0, 0, :3] == pytest.approx(to_rgb("#ffffff"), abs=0.01)
    assert dark[0, 0, :3] == pytest.approx(to_rgb("#1b1e24"), abs=0.01)
    # The same drawing again, after it was painted: the same files.
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    write_figures(tmp_path, [drawing])
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_bars_add_up_to_the_cost(fit: FittedModel) -> None:
    network = models.load("squeezenet1_1")
    found = explain(network, fit)
    drawing = cost_bars.layer_bars(found.prediction, found.terms, "predicted energy")
    drawn = drawing.draw()
    assert drawn is not None
    (axes,) = drawn.figure.axes
    ends = sorted(patch.get_x() + patch.get_width() for patch in axes.patches)  # type: ignore[attr-defined]  # patches are known as Artist
    assert ends[-1] * 1e-6 == pytest.approx(max(one.value for one in found.prediction.layers))
    assert "28" not in drawing.title
    assert len(axes.get_yticklabels()) == len(network.layers)


def test_a_long_network_shows_its_costliest_and_says_so(fit: FittedModel) -> None:
    (drawing, _) = predicted_costs.figures(predict([models.load("densenet201")], fit))
    assert drawing.title.endswith("the 28 costliest")


def test_the_costliest_layers_stand_with_the_costliest_first(fit: FittedModel) -> None:
    found = predict([models.load("resnet50")], fit)
    by_name = {one.layer.name.partition("/")[2]: one.value for one in found.predictions[0].layers}

    def costs(*, every: bool) -> list[float]:
        table = next(b for b in predicted_costs.blocks(found, "", every=every) if isinstance(b, Table))
        return [by_name[str(row[0])] for row in table.rows]

    assert costs(every=False) == sorted(by_name.values(), reverse=True)[:24]
    assert costs(every=True) == list(by_name.values()), "all of them as they run"


def test_nothing_to_draw_is_drawn(fit: FittedModel, tmp_path: Path) -> None:
    (one,) = predict([models.load("alexnet")], fit).predictions
    found = attrs.evolve(one, network="../empty", layers=(), by_operator={})
    kind = "predicted energy"
    drawings = [
        cost_bars.layer_bars(found, {}, kind), cost_bars.operator_bars(found, {}, kind),
        cost_bars.side_by_side([found], kind), cost_bars.saving_bars(found, [], kind),
    ]  # fmt: skip
    written = write_figures(tmp_path, drawings)
    assert all(path.parent == tmp_path for path in written)  # a model's name leads nowhere else


def luminance(colour: str) -> float:
    def linear(value: float) -> float:
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    r, g, b = map(linear, to_rgb(colour))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


# Viénot, Brettel and Mollon 1999: what a dichromat sees of linear RGB.
DICHROMATS = {
    "protan": ((0.1121, 0.8853, -0.0005), (0.1127, 0.8897, -0.0001), (0.0045, 0.0, 1.0019)),
    "deutan": ((0.2920, 0.7054, -0.0003), (0.2934, 0.7089, 0.0), (-0.02098, 0.02559, 1.0019)),
}


@pytest.mark.parametrize("seen", ["all", *DICHROMATS])
def test_neighbouring_terms_differ_for_everybody(seen: str) -> None:

    for colours in themes().values():
        found = []
        for sentinel in TERM_COLOURS.values():
            rgb = [value**2.2 for value in to_rgb(colours[sentinel])]
            if seen in DICHROMATS:
                rgb = [sum(a * b for a, b in zip(row, rgb, strict=True)) for row in DICHROMATS[seen]]
            found.append([max(value, 0.0) ** (1 / 2.2) for value in rgb])
        for (one, a), (other, b) in combinations(zip(TERM_COLOURS, found, strict=True), 2):
            distance = sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5
            assert distance > 0.1, (one, other, distance)


def test_a_colour_means_one_thing_and_is_seen_on_its_ground() -> None:
    """WCAG 2.1 asks 3:1 of what a graph is made of (1.4.11), and 4.5:1 of text (1.4.3)."""
    meaning = [*OPERATOR_COLOURS.values(), *TERM_COLOURS.values(), ACCENT]
    for colours in themes().values():
        seen = {one: contrast(colours[one], colours[SURFACE]) for one in (*meaning, INK, MUTED, WARN)}
        assert len({colours[one] for one in meaning}) == len(meaning)
        assert {one: ratio for one, ratio in seen.items() if ratio < 3} == {}
        assert min(seen[one] for one in (INK, MUTED, WARN)) >= 4.5
