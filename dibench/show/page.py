"""The page put together: rows, manifest and fit in, one HTML text out. Nothing here reads or writes files."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from markupsafe import Markup

from dibench import __version__
from dibench.layer import DIMENSIONS
from dibench.numbers import count
from dibench.schema import SEPARATOR
from dibench.show import axes as ax
from dibench.show import (
    cards,
    choices,
    claims,
    cost,
    fit_tables,
    generality,
    lattice,
    missing,
    network_costs,
    networks,
    peer,
    predicted_vs_measured,
    reuse,
    roofline,
    so_what,
    sources,
    stationarity,
    tables,
    twins,
    verdict,
)
from dibench.show.alpha import alpha_figure
from dibench.show.blocks import Figure, Section, Table, of_cards
from dibench.show.html import environment, parts, question
from dibench.show.response import response_of
from dibench.show.studies import AS_ONE, Contents, Study
from dibench.show.svg import Drawn, marked, page_script, style_sheet
from dibench.show.terms import Teller

if TYPE_CHECKING:
    import pandas as pd

    from dibench.study.findings.all_findings import Findings
    from dibench.study.findings.described import Described

Json = Mapping[str, Any]

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
    teller = Teller()  # in reading order: a term is told where it first stands
    short = [teller.section(one) for one in so_what.sections(study, contents.costs)]
    answers = [teller.section(one) for one in _claims(studies)]
    with marked(sources.mark(study)):
        first = question(teller.section(_verdict(study, alpha_figure(studies, contents.several))))
        asked = [question(teller.section(one)) for one in _sections(contents)]
    figures = [one for each in (first, *asked) for one in each.figures]
    asked += map(question, missing.sections([one.svg.name for one in figures], studies))
    html = (
        environment()
        .get_template("report.html.jinja")
        .render(
            css=Markup(style_sheet()),
            policy=Markup(_policy(style_sheet(), page_script())),
            script=Markup(page_script()),
            version=__version__,
            headline=_headline(study, manifest),
            facts=_facts(studies, manifest),
            warning=sources.noise_banner(studies),
            banners=sources.banners(_head(study), manifest=manifest is not None),
            in_short=list(map(question, short)),
            verdict=first,
            claims=list(map(question, answers)),
            joined=study.card == AS_ONE,
            key=_key(study.rows),
            questions=asked,
            numbers=parts(teller.blocks(_tables(study, contents.described))),
            reproduce=_reproduction(manifest or {}, files),
        )
    )
    return Page(html, [one.svg for one in figures])


def _claims(studies: Sequence[Study]) -> list[Section]:
    return of_cards({one.card: claims.section(one.found.claims) for one in studies if one.found})


def _verdict(study: Study, alpha: Figure) -> Section:
    if study.fit is None:
        return verdict.without_fit(study.why_not, alpha)
    about = f"{study.card}, the card with most rows" if study.card != AS_ONE else "cards of one model as one"
    return verdict.section(study.fit, alpha, f"Of {about}. " if study.card else "")


def _sections(contents: Contents) -> list[Section]:
    """The questions in reading order; none where no row has a time or an energy to show."""
    studies, study, own = contents.studies, contents.studies[0], contents.described
    found = {one.card: one.found for one in studies if one.found is not None}
    if study.fit is not None and study.fit.rows_are == "networks":
        return _of_networks(contents, found)
    if not study.rows["usable"].any():
        return []
    general = study.found.generality if study.found else None
    return [
        *of_cards({card: choices.section(one.choices, card) for card, one in found.items() if one.choices}),
        cost.section(study),
        *([cost.check_section(study.check)] if study.check else []),
        reuse.section(study.rows, own.accesses_and_time),
        roofline.section(study, own.peaks, own.roofs, own.speeds),
        stationarity.section(own.stationarity, response_of(study.fit).name),
        *predicted_vs_measured.sections(study, own.residuals),
        *([fit_tables.section(study.fit)] if study.fit else []),
        *([cards.section(contents.several)] if contents.several else []),
        *of_cards({card: twins.section(one.twins, card) for card, one in found.items() if one.twins}),
        *of_cards({card: lattice.section(one.lattice, card) for card, one in found.items() if one.lattice}),
        *of_cards(
            {
                card: networks.section(one.networks, one.fit.held_out.networks, card)
                for card, one in found.items()
            }
        ),
        *network_costs.sections(contents.costs),
        *([generality.section(general)] if general else []),
        *of_cards({card: peer.section(one.peer) for card, one in found.items() if one.peer}),
    ]


def _of_networks(contents: Contents, found: Mapping[str, Findings]) -> list[Section]:
    """Where rows are whole networks: what has no layer to draw is left out."""
    fits = {card: fit_tables.section(one.fit) for card, one in found.items()}
    ranked = {
        card: networks.section(one.networks, one.fit.held_out.networks, card) for card, one in found.items()
    }
    joined = [cards.section(contents.several)] if contents.several else []
    return [*of_cards(fits), *joined, *of_cards(ranked)]


def _head(study: Study) -> pd.DataFrame:
    """The rows that the head of the page is about: layers, or the whole networks of the fit."""
    if study.fit is None or study.fit.rows_are == "layers":
        return study.rows
    used = study.fit.used
    texts = ("name", "device", "backend", "variant", "started_at")
    cells = {name: used[name].fillna("").astype(str) if name in used else "" for name in texts}
    return used.assign(usable=True, **cells)


def _units(study: Study) -> str:
    """How many distinct layers or networks the page is about: those of the fit, where there is one."""
    rows = _head(study)
    if study.fit is not None:
        return count(study.fit.layers.used, study.fit.rows_are.removesuffix("s"))
    return count(_layers(rows), "layer")


def _headline(study: Study, manifest: Json | None) -> str:
    rows = _head(study)
    given = (manifest or {}).get("device")
    name = given.get("name") if isinstance(given, Mapping) else given
    device = str(name or ", ".join(_names(rows["device"])) or "an unnamed device")
    units = _units(study)
    return f"What {units} cost{'s' if units.startswith('1 ') else ''} on {device}"


def _policy(css: str, script: str) -> str:
    """What the page may do: show its own styles and `style` attributes, run its own script, nothing else.

    Names on the page are escaped; should one not be, it can neither run nor load anything.
    """
    own_css, own_script = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (css, script)
    )
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; style-src-elem 'sha256-{own_css}'; "
        f"style-src-attr 'unsafe-inline'; script-src 'sha256-{own_script}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


@attrs.frozen
class Fact:
    """A figure at the head of the page."""

    term: str
    value: str
    note: str = ""


def _facts(studies: Sequence[Study], manifest: Json | None) -> list[Fact]:
    rows = _head(studies[0])
    usable = rows[rows["usable"]]
    cards = {study.card for study in studies} - {AS_ONE}
    by_status = rows["status"].value_counts()
    others = [name for name in ("flagged", "failed", "skipped") if name in by_status]
    names = (part.strip() for name in usable["name"] for part in name.split(SEPARATOR))
    networks = {name.partition("/")[0] for name in names if "/" in name}
    backends = ", ".join(_names(rows["backend"]))
    source, meaning = sources.source_fact(sources.sources(rows))
    return [
        *([Fact("Cards", count(len(cards)), f"most of the page: {studies[0].card}")] if cards - {""} else []),
        Fact(
            "Rows",
            count(len(rows)),
            ", ".join(f"{count(int(by_status[name]))} {name}" for name in others) or "all ok",
        ),
        _measured_units(studies[0], len(networks)),
        Fact("Kernels", count(usable["variant"].nunique(), "variant"), backends and f"{backends} backend"),
        _when(rows, manifest or {}),
        Fact("Energy source", source, meaning),
    ]


def _measured_units(study: Study, networks: int) -> Fact:
    if study.fit is not None and study.fit.rows_are == "networks":
        return Fact("Networks", _units(study).partition(" ")[0], "each measured as a whole")
    of = f"of {count(networks, 'network')}" if networks else ""
    if study.fit is None:
        return Fact("Layers", count(_layers(study.rows)), of)
    return Fact("Layers", count(study.fit.layers.used), study.fit.layers.text())


def _when(rows: pd.DataFrame, manifest: Json) -> Fact:
    """The date of the first row, its time of day, and the name of the plan."""
    moment = min((time for time in rows["started_at"] if time), default=str(manifest.get("started_at") or ""))
    clock = f"{moment[11:16]} UTC" if len(moment) >= 16 else ""
    plan = manifest.get("plan")
    name = plan.get("name") if isinstance(plan, Mapping) else plan
    return Fact(
        "Measured",
        moment[:10] or "not recorded",
        " · ".join(filter(None, (clock, f"plan {name}" if name else ""))),
    )


def _names(column: pd.Series[str]) -> list[str]:
    return sorted({name for name in column if name})


def _layers(rows: pd.DataFrame) -> int:
    """Distinct layers that were measured."""
    return len(rows.loc[rows["usable"], [*DIMENSIONS, "dtype"]].drop_duplicates())


@attrs.frozen
class Mark:
    """An operator in the key of all figures."""

    op: str
    rows: str
    svg: Markup


def _key(rows: pd.DataFrame) -> list[Mark]:
    usable = rows[rows["usable"]]
    return [
        Mark(
            op,
            count(int((usable["op"] == op).sum()), "row"),
            Markup(f'<svg viewBox="0 0 15 15" aria-hidden="true" fill="var(--{op})">{_MARKS[op]}</svg>'),
        )
        for op in ax.present(usable)
    ]


def _tables(study: Study, own: Described) -> list[Table]:
    rows = study.rows
    found = [
        stationarity.table(own.stationarity, response_of(study.fit).name),
        tables.error_budget(own.errors),
        tables.mishaps(rows),
        tables.operators(own.speeds, study.used),
        *tables.ends(rows),
    ]
    return [table for table in found if table.rows]


@attrs.frozen
class Reproduction:
    """How to run the sweep again."""

    lines: Sequence[str]
    command: str
    files: Sequence[str]
    table: Table


def _reproduction(manifest: Json, files: Sequence[str]) -> Reproduction:
    command = manifest.get("command_line") or manifest.get("command") or ""
    if isinstance(command, (list, tuple)):
        command = " ".join(map(str, command))
    line = "The command line was not recorded."
    if command:
        line = "Run this again; finished cases are kept, and a changed kernel or device is refused."
    return Reproduction([line], str(command), files, tables.facts(manifest))
