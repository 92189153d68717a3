"""The questions of the page, each with its figures and the words that make them readable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dibench.report import axes as ax
from dibench.report import cost, fitted, reuse, roofline, stationarity, words
from dibench.report.energy_roofline import energy_roofline_panel
from dibench.report.numbers import count, scaled
from dibench.report.parts import Panel, Section, Study
from dibench.report.rows import page_rows
from dibench.report.svg import marked
from dibench.words import MODEL_NAMES, interval

if TYPE_CHECKING:
    import pandas as pd


def sections(
    rows: pd.DataFrame, study: Study, peaks: roofline.Peaks | None, shares: Mapping[str, Any]
) -> list[Section]:
    """The questions in reading order; none where no row has a time or an energy to show."""
    if not rows["usable"].any():
        return []
    return [
        _cost_section(rows, study),
        *([_check_section(study.check)] if study.check else []),
        _reuse_section(rows),
        _roofline_section(rows, study, peaks, shares),
        _stationarity_section(rows, study),
        *_prediction_section(study),
    ]


def _intensity_panels(rows: pd.DataFrame, fit: Mapping[str, Any], response: cost.Response) -> list[Panel]:
    panels = []
    for model in cost.INTENSITIES:
        svg = cost.intensity_panel(rows, fit, model, response)
        if svg is not None:
            form = {"di_weighted": "weighted", "di_disjoint": "disjoint"}.get(model)
            found = fitted.alpha(fit, form) if form else {}
            line = f"at the fitted α: {interval(found)}" if form else "weights and activations count alike"
            ident = f"figure-{response.name}-{model}".replace("_", "-")
            panels.append(Panel(ident, f"Against {MODEL_NAMES[model]}", [line], svg))
    return panels


def _cost_section(rows: pd.DataFrame, study: Study) -> Section:
    response = cost.response_of(study.fit)
    used = rows[rows["fastest"]] if study.used is None else page_rows(study.used)
    panels = _intensity_panels(used, study.fit or {}, response)
    missing = len(cost.INTENSITIES) - len(panels)
    notes = (
        ["Curves: the fitted cost without its launch, which lifts layers of few MACs above them."]
        if study.fit
        else []
    )
    if missing:
        notes.append("DI needs a fitted α; where these rows do not determine one, its panel is left out.")
    return Section(
        "cost",
        response.name.capitalize(),
        f"Does a MAC get cheaper in {response.name} as its data are reused?",
        [
            f"Each point is one layer, run by the fastest kernel of its operator. If an intensity explained "
            f"{response.name}, the points of an operator would lie on one falling curve.",
        ],
        panels,
        notes,
    )


def _check_section(check: Study) -> Section:
    assert check.fit is not None and check.used is not None
    response = cost.response_of(check.fit)
    with marked(response.adjective):
        panels = _intensity_panels(page_rows(check.used), check.fit, response)
    source = " and ".join(check.fit.get("energy_source") or [])
    return Section(
        "check",
        f"{response.adjective.capitalize()} energy",
        "Pipeline check, not evidence: does the study find what the energy model put in?",
        [
            f"These joules are {response.adjective}, not measured (energy source: {source}). The curves "
            "show that counts, "
            "table, fit and figures hang together. They say nothing about this machine."
        ],
        panels,
    )


def _reuse_section(rows: pd.DataFrame) -> Section:
    panels = [
        Panel(
            "figure-reuse-shapes",
            "What the shapes allow",
            ["faint: the layers of 25 networks at batch 1"],
            reuse.shapes_panel(rows),
        )
    ]
    kernels, accesses = reuse.kernels_panel(rows), reuse.accesses_panel(rows)
    if kernels is not None:
        panels.append(
            Panel(
                "figure-reuse-kernels",
                "What the kernels do",
                ["counted reads, all variants and boxes"],
                kernels,
            )
        )
    if accesses is not None:
        panels.append(
            Panel("figure-reuse-cost", "What an access costs", ["all variants and boxes"], accesses)
        )
    usable = int(rows["usable"].sum())
    return Section(
        "reuse",
        "Reuse",
        "Which reuse did the sweep cover?",
        [
            "A shape bounds reuse: every weight and every activation moved once. A kernel's box decides "
            "how much of it "
            "happens: tile_p positions share a weight, tile_k channels share an input."
        ],
        panels,
        _thinned(usable),
    )


def _thinned(usable: int) -> list[str]:
    if usable <= ax.POINTS_PER_PANEL:
        return []
    return [
        f"Panels with more than {count(ax.POINTS_PER_PANEL)} points show an even selection of the "
        f"{count(usable, 'row')}."
    ]


def _roofline_section(
    rows: pd.DataFrame, study: Study, peaks: roofline.Peaks | None, shares: Mapping[str, Any]
) -> Section:
    if peaks:
        simulated = bool((rows["energy_source"] == "simulated").any())
        whose = "the simulated device's" if simulated else "this machine's own"
        basis = "set beforehand" if simulated else "measured in this sweep"
        lines = [
            f"The roof is {whose}: {scaled(peaks['mac_per_s'], 'MAC/s')} of multiply-adds and "
            f"{scaled(peaks['bytes_per_s'], 'B/s')} from memory, both {basis}.",
            roofline.attained_words(dict(shares)),
        ]
    else:
        lines = ["No peaks of this machine were recorded, so there is no roof to compare with."]
    beside = [
        "Filled: the fastest kernel of each operator. Hollow: all other kernels, whose reuse is a knob.",
        "Bytes are compulsory: every element once. Kernels with little reuse access far more, mostly in "
        "caches; "
        "data that stay in a cache can lift a layer above the slanted roof.",
    ]
    panel = Panel(
        "figure-roofline", "How near does each layer come?", beside, roofline.roofline_panel(rows, peaks)
    )
    panels = [panel, *_energy_roofline(study)]
    return Section(
        "roofline", "Roofline", "How near do the kernels come to what this machine can do?", lines, panels
    )


def _energy_roofline(study: Study) -> list[Panel]:
    """Of fits of energy: modelled joules beside measured time stay in the section that checks the model."""
    response = cost.response_of(study.fit)
    if study.fit is None or study.used is None or response.name != "energy":
        return []
    svg = energy_roofline_panel(page_rows(study.used), study.fit, response.adjective)
    if svg is None:
        return []
    beside = [
        "Curves: AI's fit without the launch, which pulls small layers below. Marks on the axis: where an "
        "operator's data cost as much as its multiply-adds."
    ]
    return [Panel("figure-energy-roofline", f"Work per {response.adjective} joule", beside, svg)]


def _stationarity_section(rows: pd.DataFrame, study: Study) -> Section:
    response = cost.response_of(study.fit)
    pairs = stationarity.equal_boxes(rows, response.column)
    svg = stationarity.stationarity_panel(pairs, response.name)
    lines = [
        "With equal boxes, the kernels read and write the same number of elements. What still differs is "
        "which operand "
        "waits in registers, and in which order the others pass."
    ]
    if svg is None:
        lines.append("No layer of this sweep was run with the same box under two stationarities.")
        panels = []
    else:
        beside = [
            f"{count(len(pairs), 'pair')} of kernels. Each mark is one layer and box.",
            "Dot and number: median. Bar: the middle half. Right of 1, holding what is named first takes "
            f"more {response.name}.",
        ]
        panels = [Panel("figure-stationarity", "Same accesses, another order", beside, svg)]
    return Section("stationarity", "Stationarity", "Does it matter which operand stays?", lines, panels)


def _prediction_section(study: Study) -> list[Section]:
    if study.fit is None or study.used is None:
        return []
    response = cost.response_of(study.fit)
    used = page_rows(study.used)
    panels = []
    for model in ("ai", "di_weighted"):
        svg = cost.predicted_panel(used, study.fit, model, response)
        if svg is not None:
            panels.append(
                Panel(
                    f"figure-predicted-{model}".replace("_", "-"),
                    f"Predicted by {MODEL_NAMES[model]}",
                    [_predicted_how(used, model, response.adjective)],
                    svg,
                )
            )
    residuals = cost.residual_panel(used, response)
    if residuals is not None:
        panels.append(
            Panel(
                "figure-residuals",
                "Where are they wrong?",
                ["right of 1: dearer than predicted; dot: median, bar: the middle half"],
                residuals,
            )
        )
    if not panels:
        return []
    return [
        Section(
            "prediction",
            "Prediction",
            f"Can AI or DI predict the {response.name} of a layer?",
            [words.best_model(study.fit)],
            panels,
            ["Layers whose operator no other family has cannot be held out: they are missing here."],
        )
    ]


def _predicted_how(used: pd.DataFrame, model: str, adjective: str) -> str:
    if (fitted.prediction(used, model) or "").startswith(fitted.HELD_OUT):
        return f"by a fit that has not seen the layer's family; on the line: as {adjective}"
    return f"in sample; on the line: as {adjective}"
