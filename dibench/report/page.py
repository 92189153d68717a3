"""The page put together: rows, manifest and fit in, one HTML text out. Nothing here reads or writes files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import attrs
from markupsafe import Markup

from dibench import __version__
from dibench.layer import DIMENSIONS
from dibench.report import axes as ax
from dibench.report import claims, cost, fit_tables, roofline, stationarity, tables, words
from dibench.report.alpha import alpha_figure
from dibench.report.evidence_sections import evidence_sections
from dibench.report.missing import missing_section
from dibench.report.numbers import count, is_number
from dibench.report.rows import page_rows
from dibench.report.sections import sections
from dibench.report.svg import Drawn, marked

if TYPE_CHECKING:
    import pandas as pd

    from dibench.report.parts import Study

_MARKS = {
    "standard": '<circle cx="7.5" cy="7.5" r="5.5"/>',
    "depthwise": '<path d="M7.5 1.5 14 13.5H1z"/>',
    "pointwise": '<path d="M2 2h11v11H2z"/>',
    "grouped": '<path d="M7.5 .5l7 7-7 7-7-7z"/>',
    "fc": '<path d="M4 1l3.5 3.5L11 1l3 3-3.5 3.5L14 11l-3 3-3.5-3.5L4 14l-3-3 3.5-3.5L1 4z"/>',
}


@attrs.frozen
class Page:
    """The report: its HTML, and its figures by name."""

    html: str
    figures: Mapping[str, Drawn]


def render(
    frame: pd.DataFrame,
    manifest: Mapping[str, Any] | None,
    study: Study,
    files: Sequence[str] = ("sweep.csv",),
) -> Page:
    """The page and its figures.

    Args:
        frame: the sweep, as `schema.read_csv` gives it.
        manifest: the manifest, or None where there is none.
        study: the fit that the verdict rests on.
        files: names of the data files beside the page.
    """
    import jinja2

    rows = page_rows(frame)
    peaks = _peaks(manifest)
    shares = roofline.attained(rows, peaks) if peaks else {}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dibench.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    verdict = words.verdict(study.fit, study.why_not)
    css = resources.files("dibench.report").joinpath("style.css").read_text(encoding="utf-8")
    with marked(words.mark(rows, study)):
        verdict["panel"] = alpha_figure(study)
        parts = [*sections(rows, study, peaks, shares), *evidence_sections(rows, study)]
    parts += missing_section(parts, study) if parts else []
    panels = [panel for part in parts for panel in part.panels]
    html = environment.get_template("report.html.jinja").render(
        css=Markup(css),
        version=__version__,
        headline=_headline(rows, manifest),
        facts=_facts(rows, manifest),
        banners=words.banners(rows, manifest),
        verdict=verdict,
        claims=claims.cards(study.fit),
        key=_key(rows),
        operators=list(_MARKS),
        sections=parts,
        tables=_tables(frame, rows, study, shares),
        reproduce=_reproduce(manifest, files),
    )
    return Page(html, {panel.ident.removeprefix("figure-"): panel.svg for panel in panels})


def _peaks(manifest: Mapping[str, Any] | None) -> roofline.Peaks | None:
    found = (manifest or {}).get("peaks")
    names = ("mac_per_s", "bytes_per_s")
    if not isinstance(found, Mapping) or not all(
        is_number(found.get(name)) and found[name] > 0 for name in names
    ):
        return None
    return {name: float(found[name]) for name in names}


def _device(rows: pd.DataFrame, manifest: Mapping[str, Any] | None) -> str:
    given = (manifest or {}).get("device")
    if isinstance(given, Mapping):
        given = given.get("name")
    devices = sorted({name for name in rows["device"] if name})
    return str(given) if given else ", ".join(devices) or "an unnamed device"


def _headline(rows: pd.DataFrame, manifest: Mapping[str, Any] | None) -> str:
    layers = _layers(rows)
    return f"What {count(layers, 'layer')} cost{'s' if layers == 1 else ''} on {_device(rows, manifest)}"


def _facts(rows: pd.DataFrame, manifest: Mapping[str, Any] | None) -> list[dict[str, str]]:
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
    return [
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


def _tables(
    frame: pd.DataFrame, rows: pd.DataFrame, study: Study, shares: Mapping[str, Any]
) -> list[tables.Table]:
    found = fit_tables.fit_tables(study.fit) if study.fit else []
    response = cost.response_of(study.fit)
    found.append(tables.stationarities(stationarity.equal_boxes(rows, response.column), response.name))
    found.append(tables.error_budget(frame))
    found.append(tables.mishaps(rows))
    found.append(tables.operators(rows, shares))
    found += tables.ends(rows)
    return [table for table in found if table.rows]


def _reproduce(manifest: Mapping[str, Any] | None, files: Sequence[str]) -> dict[str, Any]:
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
