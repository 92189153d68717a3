"""The report: a sweep's table and manifest as one self-contained HTML page.

`studies` makes of the table what the page is about; `page` puts it together from one module a question
(`alpha`, `cost`, `twins`, `lattice`…); `svg` turns Matplotlib's figures into parts of the page.
"""

from __future__ import annotations

from pathlib import Path

from dibench import files
from dibench.errors import UserError
from dibench.table import read_csv

TABLE, MANIFEST, PAGE = "sweep.csv", "manifest.json", "report.html"


def write_report(directory: str | Path, *, figures: Path | None = None) -> Path:
    """Write `report.html` beside the `sweep.csv` (and `manifest.json`) of a sweep's directory.

    The page replaces an older one whole or not at all.

    Args:
        directory: of the sweep.
        figures: where to write each figure of the page too, as SVG and, light and dark, as PNG.

    Raises:
        UserError: the directory or its table is missing or cannot be read, or the page cannot be written.
    """
    from dibench.show.drawn import write_panels
    from dibench.show.page import render
    from dibench.show.studies import studies_of

    folder = Path(directory)
    if not folder.is_dir():
        raise UserError("DIR", "must be the directory of a sweep", str(directory))
    table = read_csv(folder / TABLE)
    manifest = files.read_json_object(folder / MANIFEST)
    studies, together = studies_of(table)
    page = render(studies, together, manifest, [TABLE] if manifest is None else [TABLE, MANIFEST])
    files.replace_file(folder / PAGE, page.html.encode())
    if figures is not None:
        write_panels(figures, page.panels)
    return folder / PAGE
