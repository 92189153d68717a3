"""The report: a sweep's table and manifest as one self-contained HTML page.

The study answers the questions here, once; `show` turns the answers into the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dibench import files, models
from dibench.errors import UserError
from dibench.show.figure_files import write_panels
from dibench.show.page import render
from dibench.show.response import response_of
from dibench.show.studies import AS_ONE, Contents, Study
from dibench.study import cards_in
from dibench.study.questions.all_questions import of_cards, of_table
from dibench.study.questions.described import described, medians
from dibench.study.table.columns import STUDIED
from dibench.study.table.layers import derived, layers_of
from dibench.study.use.explain import network_costs
from dibench.study.use.fitted_model import fitted_model
from dibench.table import read_csv, table_of

if TYPE_CHECKING:
    import pandas as pd

    from dibench.study.findings.all_findings import Findings, Several
    from dibench.study.findings.ladder import Fit
    from dibench.study.findings.prediction import NetworkCosts

TABLE, MANIFEST, PAGE = "sweep.csv", "manifest.json", "report.html"

SUBSETS = 2_000
"""Of networks and of layers that the page's distributions are drawn from."""

NETWORKS, BATCH = ("resnet50", "mobilenet_v2"), 8
"""Whose costs the page shows: one of standard layers, one of depthwise ones."""


def write_report(source: str | Path, *, figures: Path | None = None) -> Path:
    """Write `report.html` beside a sweep's `sweep.csv` and `manifest.json`, `NAME-report.html` beside others.

    The page replaces an older one whole or not at all.

    Args:
        source: the directory of a sweep, its table, or any other table of the CSV contract.
        figures: where to write each figure of the page too, as SVG and, light and dark, as PNG.

    Raises:
        UserError: there is no such directory or table, it or cannot be read, or the page cannot be written.
    """
    return reported(source, figures=figures)[0]


def reported(source: str | Path, *, figures: Path | None = None) -> tuple[Path, Contents]:
    """`write_report`, and what the page is made of."""
    path = table_of(source)
    if not Path(source).exists():
        raise UserError("CSV", "must be a table, or the directory of a sweep", str(source))
    table, own = read_csv(path, STUDIED), path.name == TABLE
    manifest = files.read_json_object(path.with_name(MANIFEST)) if own else None
    beside = [path.name] if manifest is None else [path.name, MANIFEST]
    contents = contents_of(table, manifest)
    page = render(contents, manifest, beside)
    written = path.with_name(PAGE if own else f"{path.name.partition('.')[0]}-report.html")
    files.replace_file(written, files.encoded(page.html))
    if figures is not None:
        write_panels(figures, page.panels)
    return written, contents


def contents_of(table: pd.DataFrame, manifest: Mapping[str, Any] | None = None) -> Contents:
    """What the page is about first, all cards as one or that of the most rows; then each card.

    Args:
        table: of the CSV contract.
        manifest: of the sweep; None where there is none.
    """
    several = None
    if len(cards_in(table)) < 2:
        try:
            studies = [_study(table, of_table(table, subsets=SUBSETS))]
        except UserError as error:
            studies = [_study(table, None, why_not=str(error))]
    else:
        several = of_cards(table, subsets=SUBSETS)
        studies = _studies(several)
    first = studies[0]
    found = described(first.rows, first.used, response_of(first.fit).column, manifest)
    return Contents(studies, found, several, _costs(first.fit))


def _studies(found: Several) -> list[Study]:
    """Of several cards: all as one where they are joined, then each; else that of the most rows first."""
    cards = found.cards
    if found.joined is None:
        cards = tuple(sorted(cards, key=lambda card: -len(card.rows)))
    studies = [_study(card.rows, card.fit, why_not=card.why_not, card=card.label) for card in cards]
    if found.joined is not None and found.one_model is not None:
        studies.insert(0, _study(found.one_model.frame, found.joined, card=AS_ONE))
    return studies


def _study(table: pd.DataFrame, found: Findings | None, *, why_not: str = "", card: str = "") -> Study:
    """One card's rows of the CSV contract with what was found of them, or why they could not be fitted."""
    rows = layers_of(table)
    fit = None if found is None else found.fit
    check = None if fit is None else fit.pipeline_check
    beside = None if check is None else Study(rows, *_drawn(rows, check), check)
    return Study(rows, *_drawn(rows, fit), fit, why_not, beside, found, card)


def _drawn(rows: pd.DataFrame, fit: Fit | None) -> tuple[pd.DataFrame, dict[str, float]]:
    """The layers of the fit, or the fastest kernel of each, and their median response per MAC by operator."""
    of_layers = fit is not None and fit.rows_are == "layers"
    used = derived(fit.to_frame()) if fit is not None and of_layers else rows[rows["fastest"]]
    return used, medians(used, response_of(fit).per_mac)


def _costs(fit: Fit | None) -> NetworkCosts | None:
    """Of two networks by weighted DI; None where it was not fitted."""
    fitted = None if fit is None else fitted_model(fit, "di_weighted")
    if fitted is None:
        return None
    found = network_costs([models.load(name, batch=BATCH) for name in NETWORKS], fitted)
    return found if found.predictions else None
