"""The report: a sweep's table and manifest as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dibench import files
from dibench.errors import UserError
from dibench.schema import NO_LAYER, read_csv

if TYPE_CHECKING:
    import pandas as pd

    from dibench.report.sections import Study

TABLE, MANIFEST, PAGE = "sweep.csv", "manifest.json", "report.html"


def write_report(directory: str | Path, *, figures: Path | None = None) -> Path:
    """Write `report.html` beside the `sweep.csv` (and `manifest.json`) of a sweep's directory.

    The page replaces an older one whole or not at all.

    Args:
        directory: of the sweep.
        figures: where to write each figure of the page as an SVG file too.

    Raises:
        UserError: the directory or its table is missing or cannot be read, or the page cannot be written.
    """
    from dibench.report.page import render

    folder = Path(directory)
    if not folder.is_dir():
        raise UserError("DIR", "must be the directory of a sweep", str(directory))
    frame = read_csv(folder / TABLE)
    frame = frame[~frame["op"].isin(NO_LAYER)].reset_index(drop=True)  # the page draws layers
    manifest = files.read_json_object(folder / MANIFEST)
    sources = [TABLE] if manifest is None else [TABLE, MANIFEST]
    page = render(frame, manifest, _study(frame), sources)
    files.replace_file(folder / PAGE, page.html.encode())
    if figures is not None:
        with files.explained(figures):
            figures.mkdir(parents=True, exist_ok=True)
        for name, svg in page.figures.items():
            files.replace_file(figures / f"{name}.svg", svg.encode())
    return folder / PAGE


def _study(frame: pd.DataFrame) -> Study:
    from dibench.report.sections import Study
    from dibench.study import fit

    try:
        found = fit(frame)
    except UserError as error:
        return Study(why_not=str(error))
    figures, check = found.to_json(), found.pipeline_check
    checked = Study(figures["pipeline_check"], check.to_frame()) if check else None
    return Study(figures, found.to_frame(), check=checked)
