"""The report: a sweep's table and manifest as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench import files
from dibench.errors import UserError
from dibench.schema import LIBRARY, NO_LAYER, read_csv

if TYPE_CHECKING:
    import pandas as pd

    from dibench.report.parts import Study

TABLE, MANIFEST, PAGE = "sweep.csv", "manifest.json", "report.html"
SUBSETS = 2_000
"""Of networks and of layers that the page's distributions are drawn from."""


def write_report(directory: str | Path, *, figures: Path | None = None) -> Path:
    """Write `report.html` beside the `sweep.csv` (and `manifest.json`) of a sweep's directory.

    The page replaces an older one whole or not at all.

    Args:
        directory: of the sweep.
        figures: where to write each figure of the page too, as SVG and, light and dark, as PNG.

    Raises:
        UserError: the directory or its table is missing or cannot be read, or the page cannot be written.
    """
    from dibench.report.drawn import write_panels
    from dibench.report.page import render

    folder = Path(directory)
    if not folder.is_dir():
        raise UserError("DIR", "must be the directory of a sweep", str(directory))
    table = read_csv(folder / TABLE)
    cards, table = _cards(table)
    frame = _drawn(table)
    manifest = files.read_json_object(folder / MANIFEST)
    sources = [TABLE] if manifest is None else [TABLE, MANIFEST]
    page = render(frame, manifest, attrs.evolve(_study(table), cards=cards), sources)
    files.replace_file(folder / PAGE, page.html.encode())
    if figures is not None:
        write_panels(figures, page.figures)
    return folder / PAGE


def _drawn(table: pd.DataFrame) -> pd.DataFrame:
    """Layers by our kernels; by a library where nothing else ran: beside ours it has a table of its own."""
    layers = table[~table["op"].isin(NO_LAYER)]
    theirs = layers["backend"].eq(LIBRARY) if "backend" in layers else None
    if theirs is not None and not theirs.all():
        layers = layers[~theirs]
    return layers.reset_index(drop=True)


def _cards(frame: pd.DataFrame) -> tuple[Mapping[str, Any] | None, pd.DataFrame]:
    """What several cards say, None of one; and the rows to draw: of all as one, or of one of them."""
    from dibench.study import cards_in, fit_cards, one_model

    if len(cards_in(frame)) < 2:
        return None, frame
    cards, joined = fit_cards(frame).to_json(), one_model(frame)
    if joined is None:
        return cards, _card_with_most_rows(frame)
    return {**cards, **joined.to_json()}, joined.frame


def _card_with_most_rows(frame: pd.DataFrame) -> pd.DataFrame:
    keys = [name for name in ("device", "device_uuid") if name in frame]
    groups = frame.fillna(dict.fromkeys(keys, "")).groupby(keys, sort=False)
    return max((group for _, group in groups), key=len).reset_index(drop=True)


def _study(frame: pd.DataFrame) -> Study:
    from dibench.report.parts import Study
    from dibench.study import fit, whole

    try:
        found = fit(frame)
        figures = whole.figures(frame, found)
    except UserError as error:
        return Study(why_not=str(error))
    check = found.pipeline_check
    checked = Study(figures["pipeline_check"], check.to_frame()) if check else None
    return Study(figures, found.to_frame(), check=checked, generality=_generality(frame))


def _generality(frame: pd.DataFrame) -> Mapping[str, Any] | None:
    """With fewer subsets than the verb `generality`, enough to draw; None where there is nothing to study."""
    from dibench.study.generality import generality

    try:
        return generality(frame, subsets=SUBSETS).to_json()
    except UserError:
        return None
