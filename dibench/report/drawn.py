"""Figures as files of their own: an SVG that follows the reader's theme, and PNGs for light and for dark."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from dibench import files
from dibench.report.svg import Drawn, recoloured, standalone, themes, to_svg

if TYPE_CHECKING:
    from dibench.report.costs import Drawing

_DOTS_PER_INCH = 144


def write_figures(folder: Path, drawings: Sequence[Drawing]) -> list[Path]:
    """Write `NAME.svg`, `NAME-light.png` and `NAME-dark.png` of each drawing; the paths.

    Raises:
        UserError: the directory cannot be made, or a file not written.
    """
    panels = {
        one.name: to_svg(one.figure, one.name, title=one.title, description=one.description)
        for one in drawings
    }
    return write_panels(folder, panels)


def write_panels(folder: Path, panels: Mapping[str, Drawn]) -> list[Path]:
    """The same for panels by name."""
    css = (resources.files("dibench.report") / "style.css").read_text(encoding="utf-8")
    contents: dict[Path, bytes] = {}
    for name, panel in panels.items():
        contents[folder / f"{name}.svg"] = standalone(panel, css).encode()
        for theme, colours in themes(css).items():
            recoloured(panel.figure, colours)
            image = io.BytesIO()
            panel.figure.savefig(image, format="png", dpi=_DOTS_PER_INCH)
            contents[folder / f"{name}-{theme}.png"] = image.getvalue()
    with files.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for path, content in contents.items():
        files.replace_file(path, content)
    return list(contents)
