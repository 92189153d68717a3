"""One figure of a fit for notebooks: what AI and weighted DI predict of rows they were not fitted to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dibench import intensity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

MARKERS = {"standard": "o", "depthwise": "^", "pointwise": "s", "grouped": "D", "fc": "X"}
COLOURS = {  # Okabe and Ito, told apart whatever colours one sees: those of the report
    "standard": "#0072b2",
    "depthwise": "#d55e00",
    "pointwise": "#009e73",
    "grouped": "#c2689a",
    "fc": "#23262d",
}


def plot(
    y: FloatArray,
    op: NDArray[np.str_],
    predictions: Mapping[str, FloatArray | str],
    *,
    x_label: str,
    y_label: str,
    title: str,
) -> Figure:
    """Predictions against the response y, on logarithms; the line is a perfect prediction.

    Args:
        y, op: response and operator of each row, (n,).
        predictions: of each panel by its title, (n,); the reason where there are none.
        x_label, y_label, title: of the figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    panels = figure.subplots(1, len(predictions), sharex=True, sharey=True)
    for axes, (name, predicted) in zip(panels, predictions.items(), strict=True):
        axes.set_title(name)
        axes.set_xlabel(x_label)
        if isinstance(predicted, str):
            axes.text(0.5, 0.5, predicted, ha="center", transform=axes.transAxes, wrap=True)
            continue
        ends = [y.min(), y.max()]
        axes.loglog(ends, ends, color="grey", linewidth=1)
        for one in intensity.OPERATORS:
            rows = np.isfinite(predicted) & (op == one)
            if rows.any():
                axes.loglog(
                    y[rows], predicted[rows], MARKERS[one], color=COLOURS[one], markersize=4, label=one
                )
        axes.legend(fontsize="small")
    figure.axes[0].set_ylabel(y_label)
    figure.suptitle(title)
    return figure
