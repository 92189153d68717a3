"""What a figure says of its marks: a legend that names each kind once, ticks, and words at their places."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from matplotlib.text import Text

from dibench.show.axes import above, log_axis
from dibench.show.marks import tell
from dibench.show.palette import ACCENT, FAINT, PANEL_WIDTH, SURFACE, TEXT
from dibench.show.svg import Drawn, new_panel, painted, standalone, to_svg
from dibench.show.ticks import Tick, even_ticks, log_ticks


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


def test_a_painted_figure_has_colours_of_the_page_only(tmp_path: Path) -> None:
    """Panels are drawn in colours that stand for others; one that is left is as good as black."""
    figure, axes = new_panel()
    axes.scatter([1], [1], c=ACCENT, edgecolors=SURFACE)
    axes.plot([0, 1], [0, 1], color=FAINT, label="a kind")
    above(axes, "words on a ground", 0.0, 1)
    painted(to_svg(figure, "figure", title="t", description="d").figure)
    figure.savefig(tmp_path / "figure.svg")
    colours = set(re.findall("#[0-9a-f]{6}", (tmp_path / "figure.svg").read_text()))
    assert len(colours) > 4 and not {one for one in colours if one.startswith("#0101")}


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


ENDS = st.floats(-15, 15).map(lambda exponent: 10.0**exponent)
UNITS = {"P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "m": 1e-3, "µ": 1e-6, "n": 1e-9, "p": 1e-12,
         "f": 1e-15, "a": 1e-18, "": 1.0}  # fmt: skip


def meant(label: str) -> float:
    """The number that a label says."""
    digits = label.replace("−", "-").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    if label[-1] in "⁰¹²³⁴⁵⁶⁷⁸⁹":
        power = re.fullmatch(r"(?:(.+)·)?10(-?\d+)", digits)
        assert power, label
        return float(power[1] or 1) * 10.0 ** int(power[2])
    number = re.fullmatch(r"(-?[\d.]+)(\D?)", digits)
    assert number, label
    return float(number[1]) * UNITS[number[2]]


def say_their_values(ticks: list[Tick], low: float, high: float) -> None:
    """Three ticks at least, inside, no two labels alike, each label true to 1% of the way to the next."""
    values, labels = zip(*ticks, strict=True)
    assert 3 <= len(values) <= 7 and len(set(labels)) == len(labels)
    gaps = np.diff(values)
    room = 1e-9 * max(abs(low), abs(high))
    assert np.all(gaps > 0) and low - room <= values[0] and values[-1] <= high + room
    for (value, label), gap in zip(ticks, [*gaps, gaps[-1]], strict=True):
        assert abs(meant(label) - value) <= 0.01 * gap, (label, value)
        assert len(label) <= 12, label


@given(ENDS, st.floats(1.012, 1e12) | st.floats(1.012, 1.5) | st.floats(1, 20).map(lambda d: 10.0**d))
def test_ticks_of_a_logarithmic_axis_say_their_values(low: float, ratio: float) -> None:
    say_their_values(log_ticks(low, low * ratio), low, low * ratio)
    if low > 1e-12 and low * ratio < 1e16:
        say_their_values(log_ticks(low, low * ratio, prefixes=True), low, low * ratio)


@given(st.floats(-1e6, 1e6), ENDS)
def test_ticks_of_a_linear_axis_say_their_values(low: float, width: float) -> None:
    assume(width > 1e-5 * abs(low))
    say_their_values(even_ticks(low, low + width), low, low + width)
