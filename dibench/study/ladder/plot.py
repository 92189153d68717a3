"""One figure of a fit for notebooks: what AI and weighted DI predict of rows they were not fitted to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dibench import intensity
from dibench.study.ladder.rungs import Rung
from dibench.words import MODEL_NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dibench.study.ladder.fit import Fit

TITLES = {name: MODEL_NAMES[name] for name in ("ai", "di_weighted")}
MARKERS = {"standard": "o", "depthwise": "^", "pointwise": "s", "grouped": "D", "fc": "X"}
COLOURS = {  # Okabe and Ito, told apart whatever colours one sees: those of the report
    "standard": "#0072b2",
    "depthwise": "#d55e00",
    "pointwise": "#009e73",
    "grouped": "#c2689a",
    "fc": "#23262d",
}


def plot(fit: Fit) -> Figure:
    """Held-out predictions against the rows, on logarithms; the line is a perfect prediction."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2, sharex=True, sharey=True), TITLES, strict=True):
        rung = fit.rungs[name]
        axes.set_title(TITLES[name])
        source = "measured" if fit.selection.measured else " or ".join(fit.selection.sources)
        axes.set_xlabel(f"{source} {fit.selection.kind} ({_unit(fit)})")
        if not isinstance(rung, Rung):
            axes.text(
                0.5, 0.5, f"not fitted: {rung.reason}", ha="center", transform=axes.transAxes, wrap=True
            )
            continue
        known = np.isfinite(rung.held_out)
        ends = [fit.data.y.min(), fit.data.y.max()]
        axes.loglog(ends, ends, color="grey", linewidth=1)
        for op in intensity.OPERATORS:
            rows = known & (fit.data.op == op)
            if rows.any():
                axes.loglog(
                    fit.data.y[rows],
                    rung.held_out[rows],
                    MARKERS[op],
                    color=COLOURS[op],
                    markersize=4,
                    label=op,
                )
        axes.legend(fontsize="small")
    figure.axes[0].set_ylabel(f"predicted, held out by {fit.folds.by}")
    label = "" if fit.selection.measured else "not measured: a check of the pipeline. "
    figure.suptitle(f"{label}{fit.verdict}: {fit.comparison.verdict.reasons[0].brief}")
    return figure


def _unit(fit: Fit) -> str:
    return "s" if fit.selection.kind == "time" else "J"
