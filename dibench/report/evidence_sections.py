"""The questions that need more than one fit: operators, twins, the lattice, whole networks, generality."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench import models
from dibench.errors import UserError
from dibench.report import cost, costs, evidence, twins
from dibench.report.parts import Panel, Section, Study
from dibench.report.svg import to_svg
from dibench.study.calibrated import read_calibration
from dibench.study.explain import with_constant_power
from dibench.study.predict import predict
from dibench.words import gains_text, interval

if TYPE_CHECKING:
    import pandas as pd

BATCH = 8


def evidence_sections(rows: pd.DataFrame, study: Study) -> list[Section]:
    """Those that the rows allow, in reading order."""
    return [
        *_cards_section(study),
        *twins.section(study),
        *_lattice_section(rows, study),
        *_networks_section(study),
        *_costs_section(study),
        *_generality_section(study),
    ]


def _cards_section(study: Study) -> list[Section]:
    if study.cards is None:
        return []
    joint = study.cards["joint"]
    lines = ["The rest of this page is about the card with most rows; cards are never pooled silently."]
    if "gains" in study.cards:
        lines = [f"The rest of this page takes all cards as one. {gains_text(study.cards)}"]
    elif joint:
        gains = (
            f"{name} ×{gain['value']:.3f}" for name, gain in zip(joint["cards"], joint["gains"], strict=True)
        )
        lines.append(f"Fitted together with a gain per card: {', '.join(gains)}.")
    for one in study.cards["differences"]:
        lines.append(f"α of {one['first']} less that of {one['second']}: {interval(one['alpha'])}.")
    return [Section("cards", "Cards", "Do all cards say the same?", lines)]


def _lattice_section(rows: pd.DataFrame, study: Study) -> list[Section]:
    lattices = (study.fit or {}).get("lattice")
    response = cost.response_of(study.fit)
    unit = "pJ" if response.name == "energy" else "ps"
    if not lattices or (svg := evidence.lattice_panel(rows[rows["usable"]], response.column, unit)) is None:
        return []
    panel = Panel("figure-lattice", f"{unit} per MAC by box", ["darker: dearer"], svg)
    lead = (
        f"One layer under many boxes ({lattices['basis']}): reuse is the only thing that changes. What one "
        "access costs at each level is in `fit --lattice`."
    )
    return [Section("lattice", "Lattice", "What does reuse save, all else equal?", [lead], [panel])]


def _networks_section(study: Study) -> list[Section]:
    figures = study.fit or {}
    networks, held_out = figures.get("networks") or {}, figures.get("held_out") or {}
    response = cost.response_of(study.fit)
    panels = []
    if (svg := evidence.ranking_panel(networks, response.adjective)) is not None:
        lines = ["first: most efficient; coloured: moved by a third of the field or more"]
        panels.append(Panel("figure-ranking", "Who is first?", lines, svg))
    if (svg := evidence.held_out_panel(held_out, response.unit[1:], response.adjective)) is not None:
        lines = ["each network by a fit without its family and every shape in it"]
        panels.append(Panel("figure-held-out", "Predicted unseen", lines, svg))
    if not panels:
        return []
    return [Section("networks", "Networks", "Does DI say which network is efficient?", [], panels)]


SHOWN = ("resnet50", "mobilenet_v2")
"""Networks whose predicted cost the page draws: one of standard layers, one of depthwise ones."""


def _costs_section(study: Study) -> list[Section]:
    """What two networks cost by the fit, split by term; `predict` and `explain` do it for any network."""
    try:
        fit = read_calibration(study.fit or {}, "di_weighted")
    except UserError:
        return []
    found = predict([models.load(name, batch=BATCH) for name in SHOWN], fit)
    panels = []
    for one in found:
        drawn = costs.operator_bars(one, with_constant_power(one.costs, fit), fit.unit, fit.kind)
        ident = f"figure-cost-{one.network.name}".replace("_", "-")
        svg = to_svg(
            drawn.figure, ident.removeprefix("figure-"), title=drawn.title, description=drawn.description
        )
        panels.append(Panel(ident, drawn.title, [drawn.description], svg))
    drawn = costs.comparison(found, fit.unit, fit.kind)
    svg = to_svg(drawn.figure, "cost-compared", title=drawn.title, description=drawn.description)
    panels.append(Panel("figure-cost-compared", drawn.title, [], svg))
    basis = fit.basis.rstrip(".")
    lead = f"Predicted by weighted DI as fitted here ({basis}). `predict` and `explain` show any network."
    return [Section("costs", "Costs", "What is a network's cost made of?", [lead], panels, wide=True)]


def _generality_section(study: Study) -> list[Section]:
    if study.generality is None:
        return []
    panels = [
        Panel(
            f"figure-generality-{number}", title, ["line: what drawing from a fixed set gives by itself"], svg
        )
        for number, (title, svg) in enumerate(evidence.distribution_panels(study.generality))
    ]
    if not panels:
        return []
    return [
        Section(
            "generality",
            "Generality",
            "Would other networks have said the same?",
            list(study.generality["words"]),
            panels,
            ["Bell shapes over subsets of a fixed set describe; they are no evidence for other networks."],
        )
    ]
