"""Predicted against measured cost, and by operator how far off: with AI, and with DI."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from dibench.numbers import common_scale, count, plain, share
from dibench.show import axes as ax
from dibench.show import fit_curves, verdict
from dibench.show.blocks import Block, Figure, Note, Section, Sentence
from dibench.show.response import Response, response_of
from dibench.show.studies import Study
from dibench.show.svg import MUTED, new_panel, to_svg
from dibench.words import MODEL_NAMES

if TYPE_CHECKING:
    import pandas as pd

    from dibench.show.svg import Drawn
    from dibench.study.findings.ladder import Fit

_MODELS = ("ai", "di_weighted")
_STRIP = 24  # SVG units


def sections(study: Study) -> list[Section]:
    """Predictions by AI and DI, and their residuals; nothing if the fit predicted no row."""
    fit, used = study.fit, study.used
    if fit is None or used is None:
        return []
    response = response_of(fit)
    figures = [
        Figure(
            f"predicted-{model}".replace("_", "-"),
            f"Predicted by {MODEL_NAMES[model]}",
            partial(predicted_panel, used, fit, model, response),
            [_how(used, model, response.adjective)],
        )
        for model in _MODELS
        if fit_curves.prediction(used, model) is not None
    ]
    if not figures:
        return []
    beside = "right of 1: dearer than predicted; dot: median, bar: the middle half"
    draw = partial(residual_panel, used, response)
    figures.append(Figure("residuals", "Where are they wrong?", draw, [beside]))
    question = f"Can AI or DI predict the {response.name} of a layer?"
    note = "Layers whose operator no other family has cannot be held out: they are missing here."
    blocks: list[Block] = [Sentence(verdict.best_model(fit)), *figures, Note(note)]
    return [Section("prediction", "Prediction", question, blocks)]


def _how(used: pd.DataFrame, model: str, adjective: str) -> str:
    if (fit_curves.prediction(used, model) or "").startswith(fit_curves.HELD_OUT):
        return f"by a fit that has not seen the layer's family; on the line: as {adjective}"
    return f"in sample; on the line: as {adjective}"


def predicted_panel(rows: pd.DataFrame, fit: Fit, model: str, response: Response) -> Drawn | None:
    """Predicted against measured cost per launch of each layer of the fit; None without predictions."""
    column = fit_curves.prediction(rows, model)
    if column is None:
        return None
    drawn = ax.thin(
        rows.assign(predicted=rows[column], measured=rows[response.column]), "measured", "predicted"
    )
    scale, prefix = common_scale([drawn["measured"].median()])
    unit = prefix + ("s" if response.name == "time" else "J")
    drawn = drawn.assign(predicted=drawn["predicted"] / scale, measured=drawn["measured"] / scale)
    figure, axes = new_panel()
    both = [drawn["measured"], drawn["predicted"]]
    ax.log_axes(axes, both, both)
    axes.plot(axes.get_xlim(), axes.get_xlim(), color=MUTED, linewidth=1.2, zorder=1.5)
    ax.scatter(axes, drawn, "measured", "predicted", alpha=0.65)
    axes.set_xlabel(f"{response.adjective} {response.name} ({unit})")
    axes.set_ylabel(f"predicted {response.name} ({unit})")
    own = fit.models[model]
    scores = own.held_out if column.startswith(fit_curves.HELD_OUT) else own.scores
    ax.note(axes, f"R² {plain(scores.r2)}\nmean error {share(scores.mape)}")
    within = float((np.abs(np.log2(drawn["predicted"] / drawn["measured"])) < 1).mean())
    return to_svg(
        figure,
        f"predicted-{model}".replace("_", "-"),
        title=f"Predicted against {response.adjective} {response.name}, {MODEL_NAMES[model]}",
        description=f"{count(len(drawn), 'layer')}; {share(within)} are predicted within a factor of two.",
    )


def residual_panel(rows: pd.DataFrame, response: Response) -> Drawn | None:
    """Measured over predicted by operator, AI above DI: where a model is wrong, and in which direction."""
    ratios = _ratios(rows, response)
    if not ratios:
        return None
    heights = [0.0]
    for (above, _), (op, _) in pairwise(ratios):
        heights.append(heights[-1] + (1.0 if op == above else 1.5))
    figure, axes = new_panel(330, max(285, 62 + _STRIP * len(ratios)))
    every = np.concatenate(list(ratios.values()))
    ax.log_axis(axes, "x", min(float(every.min()), 0.5), max(float(every.max()), 2.0))
    axes.axvline(1.0, color=MUTED, linewidth=1.2)
    for height, ((op, _), own) in zip(heights, ratios.items(), strict=True):
        ax.strip(axes, own, op, height)
    names = [f"{op} · {'AI' if model == 'ai' else 'DI'}" for op, model in ratios]
    ax.rows_of_text(axes, heights, names)
    axes.set_xlabel(f"{response.adjective} / predicted {response.name}")
    said = "; ".join(
        f"{op} {MODEL_NAMES[model]} {plain(float(np.median(own)))}" for (op, model), own in ratios.items()
    )
    return to_svg(
        figure,
        "residuals",
        title="Residuals by operator",
        description=f"Median ratio of {response.adjective} to predicted {response.name}: {said}.",
    )


def _ratios(rows: pd.DataFrame, response: Response) -> dict[tuple[str, str], Any]:
    """By operator and model the ratios of measured to predicted, ascending, of rows that have both."""
    found = {}
    for op in ax.present(rows):
        own = rows[rows["op"] == op]
        for model in _MODELS:
            column = fit_curves.prediction(rows, model)
            ratio = (own[response.column] / own[column]).to_numpy(dtype=float) if column else np.array([])
            ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
            if ratio.size:
                found[op, model] = np.sort(ratio)
    return found
