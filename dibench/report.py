"""The report: a sweep's table and manifest as one self-contained HTML page.

The study answers the questions here, once; `show` turns the answers into the page.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dibench import files
from dibench.errors import UserError
from dibench.table import read_csv

if TYPE_CHECKING:
    import pandas as pd

    from dibench.show.studies import Contents
    from dibench.study.findings.ladder import Fit
    from dibench.study.findings.prediction import NetworkCosts

TABLE, MANIFEST, PAGE = "sweep.csv", "manifest.json", "report.html"

SUBSETS = 2_000
"""Of networks and of layers that the page's distributions are drawn from."""

NETWORKS, BATCH = ("resnet50", "mobilenet_v2"), 8
"""Whose costs the page shows: one of standard layers, one of depthwise ones."""


def write_report(directory: str | Path, *, figures: Path | None = None) -> Path:
    """Write `report.html` beside the `sweep.csv` (and `manifest.json`) of a sweep's directory.

    The page replaces an older one whole or not at all.

    Args:
        directory: of the sweep.
        figures: where to write each figure of the page too, as SVG and, light and dark, as PNG.

    Raises:
        UserError: the directory or its table is missing or cannot be read, or the page cannot be written.
    """
    from dibench.show.figure_files import write_panels
    from dibench.show.page import render

    folder = Path(directory)
    if not folder.is_dir():
        raise UserError("DIR", "must be the directory of a sweep", str(directory))
    table = read_csv(folder / TABLE)
    manifest = files.read_json_object(folder / MANIFEST)
    page = render(contents_of(table), manifest, [TABLE] if manifest is None else [TABLE, MANIFEST])
    files.replace_file(folder / PAGE, page.html.encode())
    if figures is not None:
        write_panels(figures, page.panels)
    return folder / PAGE


def contents_of(table: pd.DataFrame) -> Contents:
    """What the page is about first, all cards as one or that of the most rows; then each card.

    Args:
        table: of the CSV contract.
    """
    from dibench.show.studies import Contents, studies_of, study_of
    from dibench.study import cards_in
    from dibench.study.questions.all_questions import of_cards, of_table

    if len(cards_in(table)) < 2:
        try:
            study = study_of(table, of_table(table, subsets=SUBSETS))
        except UserError as error:
            study = study_of(table, None, why_not=str(error))
        return Contents([study], None, _costs(study.fit))
    found = of_cards(table, subsets=SUBSETS)
    studies = studies_of(found)
    return Contents(studies, found, _costs(studies[0].fit))


def _costs(fit: Fit | None) -> NetworkCosts | None:
    """Of two networks by weighted DI; None where it was not fitted."""
    from dibench import models
    from dibench.study.use.explain import network_costs
    from dibench.study.use.fitted_model import fitted_model

    fitted = None if fit is None else fitted_model(fit, "di_weighted")
    if fitted is None:
        return None
    return network_costs([models.load(name, batch=BATCH) for name in NETWORKS], fitted)
