"""What a figure says of its marks: a legend that names each kind once, ticks, and words at their places."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.text import Text

from dibench.show.axes import log_axis
from dibench.show.marks import tell
from dibench.show.palette import PANEL_WIDTH, TEXT
from dibench.show.svg import Drawn, new_panel, standalone, to_svg


def drawn(*, width: float = PANEL_WIDTH) -> Drawn:
    figure, axes = new_panel(width, 200)
    for label in ("a kind", "another kind", "a kind", "_not told"):
        axes.plot([0, 1], [0, 1], label=label)
    axes.annotate("by default", (0.5, 0.5))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    tell(
        axes, [0.9, 0.1, 2.0, float("nan")], [0.5, 0.5, 0.5, 0.5], ["b <i>", 'a "x"', "out of sight", "none"]
    )
    return to_svg(figure, "figure", title="t", description="d")


def test_a_legend_names_each_kind_once_and_the_figure_grows_by_it() -> None:
    svg = drawn()
    assert svg.count(">a kind</text>") == svg.count(">another kind</text>") == 1 and "not told" not in svg
    assert svg.figure.get_figheight() * 72 > 200


def test_every_text_can_be_read_on_a_phone() -> None:
    assert min(text.get_fontsize() for text in drawn().figure.findobj(Text) if text.get_text()) == TEXT == 12


def test_marks_in_sight_have_their_words_where_they_are_drawn() -> None:
    svg = drawn()
    assert 'data-marks="' in svg and "out of sight" not in svg
    first, second = svg.partition('data-marks="')[2].partition('"')[0].split("\n")
    assert first.endswith(" a &#34;x&#34;") and second.endswith(" b &lt;i&gt;")
    (x, y), (further, same) = (map(float, line.split()[:2]) for line in (first, second))
    (axes,) = svg.figure.axes
    box = axes.get_position()
    width, height = (72 * inches for inches in svg.figure.get_size_inches())
    assert x == pytest.approx((box.x0 + 0.1 * box.width) * width, abs=0.1)
    assert further == pytest.approx((box.x0 + 0.9 * box.width) * width, abs=0.1)
    assert y == same == pytest.approx((1 - box.y0 - 0.5 * box.height) * height, abs=0.1)
    assert "data-marks" not in standalone(svg)


@pytest.mark.parametrize("low", [0.0013, 0.97, 6.9, 43, 1.3e9])
@pytest.mark.parametrize("ratio", [1.001, 1.03, 1.1, 1.5, 2, 3, 10, 1e3, 1e6])
def test_a_logarithmic_axis_has_three_ticks_at_least_and_no_two_alike(low: float, ratio: float) -> None:
    _, axes = new_panel()
    log_axis(axes, "x", low, low * ratio)
    ends = axes.get_xlim()
    ticks = [at for at in axes.get_xticks() if ends[0] <= at <= ends[1]]
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert 3 <= len(ticks) <= 8
    assert len(set(labels)) == len(labels) and np.all(np.diff(ticks) > 0)
