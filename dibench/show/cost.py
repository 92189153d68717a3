"""Time or energy per MAC against AI and DI with the fit's curves; modelled energy likewise, as a check."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dibench.numbers import count, interval, plain
from dibench.show import axes as ax
from dibench.show import fit_curves, verdict
from dibench.show.blocks import Block, Figure, Note, Section, Sentence
from dibench.show.palette import OPERATOR_COLOURS, SURFACE
from dibench.show.response import Response, response_of
from dibench.show.studies import Study
from dibench.show.svg import marked, new_panel, to_svg
from dibench.words import MODEL_NAMES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from dibench.show.svg import Drawn

_AXIS = {
    "ai": "AI (MAC per element)",
    "di_weighted": "weighted DI (MAC per element)",
    "di_disjoint": "disjoint DI (MAC per element)",
}


def section(study: Study) -> Section:
    """Of the layers of the fit; without a fit, of the fastest kernel of each."""
    response = response_of(study.fit)
    lead = (
        f"Each point is one layer, run by the fastest kernel of its operator. If an intensity explained "
        f"{response.name}, the points of an operator would lie on one falling curve."
    )
    figures = _figures(study, response)
    notes = []
    if study.fit:
        notes.append("Curves: the fitted cost without its launch, which lifts layers of few MACs above them.")
    if len(figures) < len(_AXIS):
        notes.append("DI needs a fitted α; where these rows do not determine one, its figure is left out.")
    question = f"Does a MAC get cheaper in {response.name} as its data are reused?"
    blocks: list[Block] = [Sentence(lead), *figures, *map(Note, notes)]
    return Section("cost", response.name.capitalize(), question, blocks)


def check_section(check: Study) -> Section:
    """The same for modelled energy, beside measured time: do study and energy model agree?"""
    assert check.fit is not None
    response = response_of(check.fit)
    question = "Pipeline check, not evidence: does the study find what the energy model put in?"
    blocks: list[Block] = [*verdict.pipeline_check(check.fit), *_figures(check, response, response.adjective)]
    return Section("check", f"{response.adjective.capitalize()} energy", question, blocks)


def _figures(study: Study, response: Response, mark: str = "") -> list[Figure]:
    """One figure an intensity, of DI where α is known."""
    figures = []
    for model in _AXIS:
        line = "weights and activations count alike"
        if model != "ai":
            found = None if study.fit is None else fit_curves.alpha(study.fit, model)
            if found is None or found.value is None:
                continue
            line = f"at the fitted α: {interval(found)}"
        name = f"{response.name}-{model}".replace("_", "-")
        draw = partial(intensity_panel, study, model, response, mark)
        figures.append(Figure(name, f"Against {MODEL_NAMES[model]}", draw, [line]))
    return figures


def intensity_panel(study: Study, model: str, response: Response, mark: str = "") -> Drawn | None:
    """Cost per MAC against one intensity, the fastest kernel of each layer; None where α is not known.

    The curve is the fit's cost without the launch; layers of few MACs lie above it by e_launch/M.
    """
    values = fit_curves.intensity_of(study.used, study.fit, model)
    if values is None:
        return None
    drawn = ax.thin(study.used.assign(intensity=values), "intensity", response.per_mac)
    if drawn.empty:
        return None
    figure, axes = new_panel()
    ax.log_axes(axes, [drawn["intensity"]], [drawn[response.per_mac]])
    index = MODEL_NAMES[model]
    ax.scatter(
        axes, drawn, "intensity", response.per_mac,
        lambda x, y: f"{index} {plain(x)}, {plain(y)} {response.unit} per MAC", alpha=0.62,
    )  # fmt: skip
    _draw_curves(axes, drawn, study, model)
    axes.set_xlabel(_AXIS[model])
    axes.set_ylabel(response.axis)
    medians = ", ".join(f"{op} {plain(value)}" for op, value in study.medians.items())
    with marked(mark) if mark else nullcontext():
        return to_svg(
            figure,
            f"{response.name}-{model}".replace("_", "-"),
            title=f"{response.name.capitalize()} per MAC against {index}",
            description=f"{count(len(study.used), 'layer')}. Median {response.unit} per MAC: {medians}.",
        )


def _draw_curves(axes: Axes, drawn: pd.DataFrame, study: Study, model: str) -> None:
    """One curve per operator over the range of its rows."""
    limits = axes.get_ylim()
    for op in ax.present(drawn):
        own = drawn[drawn["op"] == op]
        x = np.geomspace(own["intensity"].min(), own["intensity"].max(), 80)
        y = None if study.fit is None else fit_curves.per_mac(study.fit, model, op, x)
        if y is None:
            continue
        visible = np.where(y > 0, y, np.nan)
        # A light seam keeps the curve apart from the points that it crosses.
        axes.plot(x, visible, color=SURFACE, linewidth=4.5, alpha=0.8, zorder=3)
        axes.plot(x, visible, color=OPERATOR_COLOURS[op], linewidth=2, zorder=4)
    axes.set_ylim(limits)
