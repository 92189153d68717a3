"""The page put together: rows, manifest and fit in, one HTML text out. Nothing here reads or writes files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from markupsafe import Markup

from dibench import __version__
from dibench.layer import DIMENSIONS
from dibench.show import axes as ax
from dibench.show import (
    cards,
    claims,
    cost,
    fit_tables,
    generality,
    lattice,
    missing,
    network_costs,
    networks,
    peer,
    prediction,
    reuse,
    roofline,
    stationarity,
    tables,
    twins,
    verdict,
    words,
)
from dibench.show.alpha import alpha_figure
from dibench.show.blocks import Section, Table
from dibench.show.html import draw, environment, question
from dibench.show.numbers import count
from dibench.show.response import response_of
from dibench.show.studies import AS_ONE, Contents, Study
from dibench.show.svg import Drawn, marked, style_sheet

if TYPE_CHECKING:
    import pandas as pd

    from dibench.study.findings.whole import Findings

Json = Mapping[str, Any]
Shares = Mapping[str, roofline.Attained]

_MARKS = {
    "standard": '<circle cx="7.5" cy="7.5" r="5.5"/>',
    "depthwise": '<path d="M7.5 1.5 14 13.5H1z"/>',
    "pointwise": '<path d="M2 2h11v11H2z"/>',
    "grouped": '<path d="M7.5 .5l7 7-7 7-7-7z"/>',
    "fc": '<path d="M4 1l3.5 3.5L11 1l3 3-3.5 3.5L14 11l-3 3-3.5-3.5L4 14l-3-3 3.5-3.5L1 4z"/>',
}


@attrs.frozen
class Page:
    """The report: its HTML, and its figures."""

    html: str
    panels: Sequence[Drawn]


def render(contents: Contents, manifest: Json | None, files: Sequence[str] = ("sweep.csv",)) -> Page:
    """The page and its figures.

    Args:
        contents: what the study found.
        manifest: None where there is none.
        files: names of the data files beside the page.
    """
    studies, study = contents.studies, contents.studies[0]
    peaks = roofline.peaks_of(manifest)
    shares = roofline.attained(study.rows, peaks)
    ratios = stationarity.ratios(study.rows, response_of(study.fit).column)
    with marked(words.mark(study)):
        alpha = draw(alpha_figure(studies, contents.several))
        asked = list(map(question, _sections(contents, peaks, shares, ratios)))
    figures = [*([alpha] if alpha else []), *(one for each in asked for one in each.figures)]
    asked += map(question, missing.sections([one.svg.name for one in figures], studies))
    html = (
        environment()
        .get_template("report.html.jinja")
        .render(
            css=Markup(style_sheet()),
            version=__version__,
            headline=_headline(study.rows, manifest),
            facts=_facts(studies, manifest),
            banners=words.banners(study.rows, manifest),
            verdict={**verdict.on_page(study), "panel": alpha},
            claims=claims.answers(studies),
            joined=study.card == AS_ONE,
            key=_key(study.rows),
            questions=asked,
            tables=_tables(study, shares, ratios),
            reproduce=_reproduce(manifest, files),
        )
    )
    return Page(html, [one.svg for one in figures])


def _sections(
    contents: Contents, peaks: roofline.Peaks | None, shares: Shares, ratios: Sequence[stationarity.Ratios]
) -> list[Section]:
    """The questions in reading order; none where no row has a time or an energy to show."""
    studies, study = contents.studies, contents.studies[0]
    if not study.rows["usable"].any():
        return []
    return [
        cost.section(study),
        *([cost.check_section(study.check)] if study.check else []),
        reuse.section(study.rows),
        roofline.section(study, peaks, shares),
        stationarity.section(ratios, response_of(study.fit).name),
        *prediction.sections(study),
        *cards.sections(contents.several),
        *twins.sections(studies),
        *lattice.sections(studies),
        *networks.sections(studies),
        *network_costs.sections(contents.costs),
        *generality.sections(study.found.generality if study.found else None),
    ]


def _device(rows: pd.DataFrame, manifest: Json | None) -> str:
    given = (manifest or {}).get("device")
    if isinstance(given, Mapping):
        given = given.get("name")
    devices = sorted({name for name in rows["device"] if name})
    return str(given) if given else ", ".join(devices) or "an unnamed device"


def _headline(rows: pd.DataFrame, manifest: Json | None) -> str:
    layers = _layers(rows)
    return f"What {count(layers, 'layer')} cost{'s' if layers == 1 else ''} on {_device(rows, manifest)}"


def _facts(studies: Sequence[Study], manifest: Json | None) -> list[dict[str, str]]:
    rows = studies[0].rows
    by_status = rows["status"].value_counts()
    others = ", ".join(
        f"{count(int(by_status[name]))} {name}"
        for name in ("flagged", "failed", "skipped")
        if name in by_status
    )
    usable = rows[rows["usable"]]
    networks = {name.partition("/")[0] for name in usable["name"] if "/" in name}
    source, note = words.source_fact(words.sources(rows))
    times = sorted(time for time in rows["started_at"] if time) or [
        str((manifest or {}).get("started_at") or "")
    ]
    plan = (manifest or {}).get("plan")
    backends = ", ".join(sorted({name for name in rows["backend"] if name}))
    names = {study.card for study in studies} - {AS_ONE}
    several = {"term": "Cards", "value": count(len(names)), "note": f"most of the page: {studies[0].card}"}
    return [
        *([several] if len(studies) > 1 else []),
        {"term": "Rows", "value": count(len(rows)), "note": others or "all ok"},
        {
            "term": "Layers",
            "value": count(_layers(rows)),
            "note": f"of {count(len(networks), 'network')}" if networks else "",
        },
        {
            "term": "Kernels",
            "value": count(usable["variant"].nunique(), "variant"),
            "note": f"{backends} backend" if backends else "",
        },
        {
            "term": "Measured",
            "value": times[0][:10] or "not recorded",
            "note": " · ".join(filter(None, (_clock(times[0]), _plan_name(plan)))),
        },
        {"term": "Energy source", "value": source, "note": note},
    ]


def _layers(rows: pd.DataFrame) -> int:
    """Distinct layers that were measured."""
    return len(rows.loc[rows["usable"], [*DIMENSIONS, "dtype"]].drop_duplicates())


def _clock(moment: str) -> str:
    return f"{moment[11:16]} UTC" if len(moment) >= 16 else ""


def _plan_name(plan: Any) -> str:
    name = plan.get("name") if isinstance(plan, Mapping) else plan
    return f"plan {name}" if name else ""


def _key(rows: pd.DataFrame) -> list[dict[str, Any]]:
    usable = rows[rows["usable"]]
    return [
        {
            "op": op,
            "rows": count(int((usable["op"] == op).sum()), "row"),
            "svg": Markup(
                f'<svg viewBox="0 0 15 15" aria-hidden="true" fill="var(--{op})">{_MARKS[op]}</svg>'
            ),
        }
        for op in ax.present(usable)
    ]


def _tables(study: Study, shares: Shares, ratios: Sequence[stationarity.Ratios]) -> list[Table]:
    rows = study.rows
    found = [
        *(fit_tables.fit_tables(study.fit) if study.fit else []),
        *_beside_the_fit(study.found),
        stationarity.table(ratios, response_of(study.fit).name),
        tables.error_budget(rows),
        tables.mishaps(rows),
        tables.operators(rows, shares),
        *tables.ends(rows),
    ]
    return [table for table in found if table.rows]


def _beside_the_fit(found: Findings | None) -> list[Table]:
    """Twins, lattice and a library, of those that were measured."""
    if found is None:
        return []
    return [
        *([twins.table(found.twins)] if found.twins else []),
        *([lattice.table(found.lattice)] if found.lattice else []),
        *([peer.table(found.peer)] if found.peer else []),
    ]


def _reproduce(manifest: Json | None, files: Sequence[str]) -> dict[str, Any]:
    known = manifest or {}
    command = known.get("command_line") or known.get("command") or ""
    if isinstance(command, (list, tuple)):
        command = " ".join(map(str, command))
    lines = (
        ["Run this again; finished cases are kept, and a changed kernel or device is refused."]
        if command
        else ["The command line was not recorded."]
    )
    return {"lines": lines, "command": str(command), "files": list(files), "table": tables.facts(known)}
