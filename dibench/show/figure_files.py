"""Figures as files of their own: an SVG that follows the reader's theme, and PNGs for light and for dark."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dibench import files
from dibench.show.svg import Drawn, recoloured, standalone, themes

if TYPE_CHECKING:
    from dibench.show.blocks import Figure

_DOTS_PER_INCH = 144


def write_figures(folder: Path, figures: Sequence[Figure]) -> list[Path]:
    """Write `NAME.svg`, `NAME-light.png` and `NAME-dark.png` of each figure; the paths.

    Raises:
        UserError: the directory cannot be made, or a file not written.
    """
    return write_panels(folder, [drawn for one in figures if (drawn := one.draw()) is not None])


def write_panels(folder: Path, panels: Sequence[Drawn]) -> list[Path]:
    """The same for panels of the page."""
    contents: dict[Path, bytes] = {}
    for panel in panels:
        contents[folder / f"{panel.name}.svg"] = files.encoded(standalone(panel))
        for theme, colours in themes().items():
            recoloured(panel.figure, colours)
            image = io.BytesIO()
            panel.figure.savefig(image, format="png", dpi=_DOTS_PER_INCH)
            contents[folder / f"{panel.name}-{theme}.png"] = image.getvalue()
    with files.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for path, content in contents.items():
        files.replace_file(path, content)
    return list(contents)
