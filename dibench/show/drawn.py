"""Figures as files of their own: an SVG that follows the reader's theme, and PNGs for light and for dark."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from dibench import files
from dibench.show.svg import INK, Drawn, recoloured, standalone, themes, to_svg

if TYPE_CHECKING:
    from dibench.show.cost_bars import Drawing

_DOTS_PER_INCH = 144


def write_figures(folder: Path, drawings: Sequence[Drawing]) -> list[Path]:
    """Write `NAME.svg`, `NAME-light.png` and `NAME-dark.png` of each drawing; the paths.

    Raises:
        UserError: the directory cannot be made, or a file not written.
    """
    panels = []
    for one in drawings:
        # A file stands alone: what it shows is written in it. On the page it stands beside.
        one.figure.axes[0].set_title(one.title, loc="left", fontsize=11, color=INK)
        panels.append(to_svg(one.figure, one.name, title=one.title, description=one.description))
    return write_panels(folder, panels)


def write_panels(folder: Path, panels: Sequence[Drawn]) -> list[Path]:
    """The same for panels of the page."""
    css = (resources.files("dibench.show") / "style.css").read_text(encoding="utf-8")
    contents: dict[Path, bytes] = {}
    for panel in panels:
        contents[folder / f"{panel.name}.svg"] = standalone(panel, css).encode()
        for theme, colours in themes(css).items():
            recoloured(panel.figure, colours)
            image = io.BytesIO()
            panel.figure.savefig(image, format="png", dpi=_DOTS_PER_INCH)
            contents[folder / f"{panel.name}-{theme}.png"] = image.getvalue()
    with files.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for path, content in contents.items():
        files.replace_file(path, content)
    return list(contents)
