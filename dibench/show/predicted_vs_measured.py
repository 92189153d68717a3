"""Predicted against measured cost, and by operator how far off: with AI, and with DI."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from dibench.intensity import OPERATORS
from dibench.numbers import common_scale, count, percent, plain
from dibench.show import axes as ax
from dibench.show import verdict
from dibench.show.blocks import Block, Figure, Note, Section, Sentence
from dibench.show.palette import MUTED
from dibench.show.response import Response, response_of
from dibench.show.studies import Study
from dibench.show.svg import new_grid, new_panel, painted, to_svg
from dibench.words import MODEL_NAMES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

    from dibench.show.svg import Drawn
    from dibench.study.findings.described import Residuals
    from dibench.study.findings.ladder import Fit

_STRIP = 24  # SVG units


def sections(study: Study, residuals: Mapping[str, Residuals]) -> list[Section]:
    """Predictions by AI and DI, and their residuals; nothing if the fit predicted no row."""
    fit = study.fit
    if fit is None or not residuals:
        return []
    response = response_of(fit)
    how = {True: "by a fit that has not seen the layer's family", False: "in sample"}
    figures = [
        Figure(
            f"predicted-{model}".replace("_", "-"),
            f"Predicted by {MODEL_NAMES[model]}",
            partial(predicted_panel, study.used, fit, model, own),
            [f"{how[own.held_out]}; on the line: as {response.adjective}"],
        )
        for model, own in residuals.items()
    ]
    beside = "Each mark is one layer. Right of 1: dearer than predicted."
    draw = partial(residual_panel, residuals, response)
    figures.append(Figure("residuals", "Where are they wrong?", draw, [beside]))
    question = f"Can AI or DI predict the {response.name} of a layer?"
    note = "Layers whose operator no other family has cannot be held out: they are missing here."
    blocks: list[Block] = [Sentence(verdict.best_model(fit)), *figures, Note(note)]
    return [Section("prediction", "Prediction", question, blocks)]


def predicted_panel(rows: pd.DataFrame, fit: Fit, model: str, residuals: Residuals) -> Drawn:
    """Predicted against measured cost per launch of each layer of the fit."""
    response, drawn = response_of(fit), sum(len(one.values) for one in residuals.by_operator)
    layers = count(drawn, "layer" if not residuals.held_out or drawn == fit.layers.used else "held-out layer")
    figure, axes = new_panel()
    _draw_predicted(axes, rows, fit, model, residuals)
    return to_svg(
        figure,
        f"predicted-{model}".replace("_", "-"),
        title=f"Predicted against {response.adjective} {response.name}, {MODEL_NAMES[model]}",
        description=f"{layers}; {percent(residuals.within_two)} are predicted within a factor of two.",
    )


def figure_of(fit: Fit, residuals: Mapping[str, Residuals]) -> MatplotlibFigure:
    """AI and weighted DI side by side in the page's light colours, for a notebook."""
    figure, every = new_grid(1, 2, 640, 330)
    for axes, model in zip(every, ("ai", "di_weighted"), strict=True):
        axes.set_title(MODEL_NAMES[model])
        own = residuals.get(model)
        if own is None:
            axes.text(0.5, 0.5, f"not fitted: {fit.models[model].reason}", ha="center", wrap=True)
            continue
        _draw_predicted(axes, fit.to_frame(), fit, model, own)
        axes.legend(loc="lower right", frameon=False)
        how = f"held out by {fit.folds.by}" if own.held_out else "in sample"
        axes.set_title(f"{MODEL_NAMES[model]}, {how}")
    check = "" if fit.response_measured else "Not measured, a check of the pipeline. "
    figure.suptitle(f"{check}{fit.verdict}: {fit.brief}")
    return painted(figure)


def _draw_predicted(axes: Axes, rows: pd.DataFrame, fit: Fit, model: str, residuals: Residuals) -> None:
    response = response_of(fit)
    chosen = rows.assign(predicted=rows[residuals.column], measured=rows[response.column])
    drawn = ax.thin(chosen, "measured", "predicted")
    scale, prefix = common_scale([drawn["measured"].median()])
    unit = prefix + ("s" if response.name == "time" else "J")
    drawn = drawn.assign(predicted=drawn["predicted"] / scale, measured=drawn["measured"] / scale)
    both = [drawn["measured"], drawn["predicted"]]

    def says(measured: float, predicted: float) -> str:
        return f"{response.adjective} {plain(measured)} {unit}, predicted {plain(predicted)} {unit}"

    ax.log_axes(axes, both, both)
    ax.scatter(axes, drawn, "measured", "predicted", says, alpha=0.65)
    axes.plot(
        axes.get_xlim(), axes.get_xlim(), color=MUTED, linewidth=1.2, zorder=1.5,
        label=f"as {response.adjective}",
    )  # fmt: skip
    axes.set_xlabel(f"{response.adjective} {response.name} ({unit})")
    axes.set_ylabel(f"predicted {response.name} ({unit})")
    own = fit.models[model]
    scores = own.held_out if residuals.held_out else own.scores
    ax.note(axes, f"R² {plain(scores.r2)}\nmean error {percent(scores.mape)}")


def residual_panel(residuals: Mapping[str, Residuals], response: Response) -> Drawn:
    """Measured over predicted by operator, AI above DI: where a model is wrong, and in which direction."""
    found = [(model, one) for model, own in residuals.items() for one in own.by_operator]
    found.sort(key=lambda pair: OPERATORS.index(pair[1].op))
    heights = [0.0]
    for (_, above), (_, one) in pairwise(found):
        heights.append(heights[-1] + (1.0 if one.op == above.op else 1.5))
    figure, axes = new_panel(height=max(285, 62 + _STRIP * len(found)))
    every = np.concatenate([one.values for _, one in found])
    ax.log_axis(axes, "x", min(float(every.min()), 0.5), max(float(every.max()), 2.0))
    axes.axvline(1.0, color=MUTED, linewidth=1.2)
    names = [f"{one.op} · {'AI' if model == 'ai' else 'DI'}" for model, one in found]
    for height, name, (_, one) in zip(heights, names, found, strict=True):
        ax.strip(axes, one, height, f"{name}, {response.adjective} over predicted {response.name}")
    ax.rows_of_text(axes, heights, names)
    axes.set_xlabel(f"{response.adjective} / predicted {response.name}")
    said = "; ".join(f"{one.op} {MODEL_NAMES[model]} {plain(one.quartiles[1])}" for model, one in found)
    return to_svg(
        figure,
        "residuals",
        title="Residuals by operator",
        description=f"Median ratio of {response.adjective} to predicted {response.name}: {said}.",
    )
