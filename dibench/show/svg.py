"""Matplotlib figures as inline SVG that follows the page: its colours, its fonts, its theme.

Matplotlib knows fixed colours only, so panels are drawn in sentinel colours that no palette uses; the
finished SVG has them replaced by the page's CSS variables, and a panel turns dark when the page does.
Matplotlib is loaded when the first figure is drawn: a terminal does not wait for it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from dibench.show.palette import (
    ACCENT,
    FAINT,
    GRID,
    INK,
    MUTED,
    OPERATOR_COLOURS,
    PANEL_WIDTH,
    SURFACE,
    TERM_COLOURS,
    TEXT,
    UNITS_PER_INCH,
    WARN,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDER_FONT = 1.08
"""How much wider than Matplotlib's own font the reader's may be."""
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    SURFACE: "--surface",
    ACCENT: "--accent",
    FAINT: "--faint",
    WARN: "--warn",
    **{colour: f"--{op}" for op, colour in OPERATOR_COLOURS.items()},
    **{colour: f"--{term.replace(' ', '-').lower()}" for term, colour in TERM_COLOURS.items()},
}

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dibench",  # the same figure gives the same text, run after run
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "legend.fontsize": TEXT,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.labelsize": TEXT,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "path.simplify": True,
}


_MARK: ContextVar[str] = ContextVar("mark", default="")


@contextmanager
def marked(words: str) -> Iterator[None]:
    """Write these words, such as "simulated", into every panel finished inside: a copy of it says so too."""
    token = _MARK.set(words)
    try:
        yield
    finally:
        _MARK.reset(token)


def new_panel(width: float = PANEL_WIDTH, height: float = 285) -> tuple[Figure, Axes]:
    """An empty panel of so many SVG units: small enough for a phone, sharp at any size."""
    figure, (axes,) = new_grid(1, 1, width, height)
    return figure, axes


def new_grid(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """An empty panel of several axes, row by row, that share both scales."""
    return _subplots(width, height, nrows=rows, ncols=columns, sharex=True, sharey=True)


def new_stack(heights: Sequence[float], width: float, height: float) -> tuple[Figure, list[Axes]]:
    """An empty panel of axes one above the other, with these shares of its height, that share one x scale."""
    return _subplots(width, height, nrows=len(heights), sharex=True, height_ratios=heights)


def _subplots(width: float, height: float, **grid: Any) -> tuple[Figure, list[Axes]]:
    import matplotlib

    from dibench.show.notebook_figure import NotebookFigure

    with matplotlib.rc_context(_STYLE):
        size = (width / UNITS_PER_INCH, height / UNITS_PER_INCH)
        figure = NotebookFigure(figsize=size, layout="constrained")
        every = figure.subplots(squeeze=False, **grid).ravel().tolist()
    for axes in every:
        axes.tick_params(length=0, pad=5)
    return figure, every


def slug(text: str) -> str:
    """A text as a part of a name.

    >>> slug("torchvision:resnet50 at batch 8")
    'torchvision-resnet50-at-batch-8'
    """
    kept = "".join(ch if (ch.isalnum() and ch.isascii()) or ch == "_" else "-" for ch in text)
    return "-".join(filter(None, kept.split("-")))[:80]


def ident(name: str, card: str) -> str:
    """The name of a figure, of this card's own where there are several.

    >>> ident("lattice", "NVIDIA H100 (GPU-2f)"), ident("lattice", "")
    ('lattice-nvidia-h100-gpu-2f', 'lattice')
    """
    return f"{name}-{slug(card).lower()}" if card else name


class Drawn(Markup):
    """A panel's `<svg>`, its name, and the figure that it was made from."""

    name: str
    figure: Figure


def to_svg(figure: Figure, name: str, *, title: str, description: str) -> Drawn:
    """The figure as one `<svg>` element: text as text, with title and description for screen readers."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    from dibench.show.marks import add_legend, told

    mark = _MARK.get()
    if mark:
        figure.suptitle(mark, x=0.995, ha="right", fontsize=TEXT, weight="bold", color=WARN)
        description = f"{mark.capitalize()}. {description}"
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        # Not `savefig`, which draws everything twice: the first time to know its size.
        canvas: Any = FigureCanvasSVG(figure)
        add_legend(figure)
        _lay_out(figure)
        marks = escape("\n".join(told(figure)))
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    body = buffer.getvalue()
    width, height = (value * UNITS_PER_INCH for value in figure.get_size_inches())
    body = body[body.index("<svg") :]
    body = body[body.index(">") + 1 : body.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = _own_idents(_short_numbers(_page_style(body)), name)
    drawn = Drawn(
        f'<svg class="panel" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'style="max-width: {1.25 * width:.0f}px" '
        f'aria-labelledby="{name}-title {name}-desc" preserveAspectRatio="xMidYMid meet"'
        + (f' data-marks="{marks}">' if marks else ">")
        + f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>'
        f"{body.strip()}</svg>"
    )
    drawn.name, drawn.figure = name, figure
    return drawn


def _lay_out(figure: Figure) -> None:
    """Place axes and labels with room for a wider font: the reader's, not Matplotlib's, sets the text."""
    from matplotlib.text import Text

    engine = figure.get_layout_engine()
    if engine is None:  # drawn before
        return
    # What was written with a default has Matplotlib's size, which is less.
    sizes = [(text, max(TEXT, float(text.get_fontsize()))) for text in figure.findobj(Text)]
    for text, size in sizes:
        text.set_fontsize(WIDER_FONT * size)
    engine.execute(figure)
    figure.set_layout_engine("none")
    for text, size in sizes:
        text.set_fontsize(size)


@cache
def style_sheet() -> str:
    """The page's style sheet."""
    return (resources.files("dibench.show") / "style.css").read_text(encoding="utf-8")


@cache
def page_script() -> str:
    """The page's script: what a mark is, where a reader points at it."""
    return (resources.files("dibench.show") / "page.js").read_text(encoding="utf-8")


@cache
def fragment_style() -> str:
    """The style of a piece of HTML inside somebody else's page: the page's colours, and no rule beyond it."""
    own = (resources.files("dibench.show") / "fragment.css").read_text(encoding="utf-8")
    return _theme().replace(":root", ".dibench") + own


def _theme() -> str:
    """The page's colours for light and for dark."""
    pattern = r":root \{.*?\n\}\n@media \(prefers-color-scheme: dark\) \{.*?\n\}\n"
    theme = re.search(pattern, style_sheet(), re.DOTALL)
    assert theme is not None, "style.css begins with the light theme, then the dark one"
    return theme[0]


def standalone(panel: str) -> str:
    """A panel of `to_svg` as a file of its own, with the page's colours for light and dark, and their ground.

    The ground is its own because a reader's site may be light where his system is dark.
    """
    style = f"<style>{_theme()}svg {{ font: 400 {TEXT}px var(--sans); background: var(--surface); }}</style>"
    head, end, body = re.sub(r' data-marks="[^"]*"', "", panel).partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"{end}{style}{body}\n'


def themes() -> dict[str, dict[str, str]]:
    """Of `light` and `dark` the colour that stands for each sentinel colour, from the page's style sheet."""
    light, dark = (
        dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", style_sheet(), re.DOTALL)[:2]
    )
    return {
        theme: {sentinel: variables[name] for sentinel, name in _VARIABLES.items()}
        for theme, variables in (("light", light), ("dark", {**light, **dark}))
    }


def recoloured(figure: Figure, colours: Mapping[str, str]) -> None:
    """Paint a figure in real colours, its surface too; it may have been painted before."""
    from matplotlib.colors import to_hex, to_rgba
    from matplotlib.text import Text

    grounds = [text.get_bbox_patch() for text in figure.findobj(Text) if isinstance(text, Text)]
    kinds = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")
    for artist in (*figure.findobj(), *filter(None, grounds)):  # a text does not name its ground as its child
        known: dict[str, str] = artist.__dict__.setdefault("_dibench_sentinels", {})
        for kind in kinds:
            if not hasattr(artist, f"get_{kind}") or not hasattr(artist, f"set_{kind}"):
                continue
            now = getattr(artist, f"get_{kind}")()
            if isinstance(now, np.ndarray) and now.ndim == 2:
                now = now[0] if len(now) else "none"
            sentinel = known.setdefault(kind, to_hex(now))
            if sentinel in colours:
                getattr(artist, f"set_{kind}")(to_rgba(colours[sentinel], to_rgba(now)[3]))
    figure.set_facecolor(colours[SURFACE])


def painted(figure: Figure) -> Figure:
    """The figure in the page's light colours, for a notebook."""
    recoloured(figure, themes()["light"])
    return figure


def _page_style(body: str) -> str:
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    # The page's font instead of Matplotlib's list of fonts, and no rotation by 0 degrees.
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r' transform="rotate\(-0 [^"]*"', "", body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    return re.sub(r'((?:<use [^>]*style="([^"]*)"/>\n)(?:<use [^>]*style="\2"/>\n)+)', _style_once, body)


def _style_once(markers: re.Match[str]) -> str:
    """Markers of one style, often thousands, in a group that has the style."""
    bare = markers[1].replace(f' style="{markers[2]}"', "")
    return f'<g style="{markers[2]}">{bare}</g>'


def _short_numbers(body: str) -> str:
    """Coordinates to a hundredth of a unit, in attributes only: text keeps its digits."""

    def shorten(match: re.Match[str]) -> str:
        return re.sub(r"(\.\d\d)\d+", r"\1", match.group(0))

    return re.sub(r'\b(?:d|x|y|width|height|transform|points)="[^"]*"', shorten, body)


def _own_idents(body: str, ident: str) -> str:
    """Idents made unique on the page; those that nothing refers to are dropped."""
    body = body.replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    short = {name: f"{ident}-{number}" for number, name in enumerate(sorted(used))}
    body = re.sub(r' id="([^"]+)"', lambda m: f' id="{short[m[1]]}"' if m[1] in short else "", body)
    return re.sub(r'(href="#|url\(#)([^")]+)', lambda m: m[1] + short[m[2]], body)
