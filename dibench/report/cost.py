"""The cost panels: time or energy per MAC against AI and DI with the fit's curves, and its residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dibench.report import axes as ax
from dibench.report import fitted
from dibench.report.numbers import count, plain, share
from dibench.report.svg import INK, MUTED, OPERATOR_COLOURS, OPERATOR_MARKERS, SURFACE, new_panel, to_svg
from dibench.words import MODEL_NAMES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from dibench.report.svg import Drawn

INTENSITIES = ("ai", "di_weighted", "di_disjoint")
_AXIS = {
    "ai": "AI (MAC per element)",
    "di_weighted": "weighted DI (MAC per element)",
    "di_disjoint": "disjoint DI (MAC per element)",
}
_STRIP = 30
_POINTS_PER_STRIP = 120


@attrs.frozen
class Response:
    """What costs: its name, whether it is measured, its columns per MAC and per launch, its unit per MAC."""

    name: str
    adjective: str
    per_mac: str
    column: str
    unit: str

    @property
    def axis(self) -> str:
        """Label of an axis per MAC."""
        return f"{self.name} per MAC ({self.unit})"


def response_of(fit: fitted.FitJson | None) -> Response:
    """What the fit explains; measured time where there is no fit."""
    column = str((fit or {}).get("response", "time_s"))
    if column == "time_s":
        return Response("time", "measured", "ps_per_mac", column, "ps")
    if (fit or {}).get("evidence"):
        adjective = "measured"
    else:
        adjective = "simulated" if (fit or {}).get("energy_source") == ["simulated"] else "modelled"
    return Response("energy", adjective, "pj_per_mac", column, "pJ")


def intensity_panel(rows: pd.DataFrame, fit: fitted.FitJson, model: str, response: Response) -> Drawn | None:
    """Cost per MAC against one intensity, the fastest kernel of each layer; None where α is not known.

    The curve is the fit's cost without the launch; layers of few MACs lie above it by e_launch/M.
    """
    values = fitted.intensity_of(rows, fit, model)
    if values is None:
        return None
    rows = rows.assign(intensity=values)
    drawn = ax.thin(rows, "intensity", response.per_mac)
    if drawn.empty:
        return None
    figure, axes = new_panel()
    ax.log_axes(axes, [drawn["intensity"]], [drawn[response.per_mac]])
    ax.scatter(axes, drawn, "intensity", response.per_mac, alpha=0.62)
    ends = _draw_curves(axes, drawn, fit, model, response)
    ax.end_labels(axes, ends)
    axes.set_xlabel(_AXIS[model])
    axes.set_ylabel(response.axis)
    medians = ", ".join(
        f"{op} {plain(float(drawn.loc[drawn['op'] == op, response.per_mac].median()))}"
        for op in ax.present(drawn)
    )
    return to_svg(
        figure,
        f"{response.name}-{model}".replace("_", "-"),
        title=f"{response.name.capitalize()} per MAC against {MODEL_NAMES[model]}",
        description=f"{count(len(drawn), 'layer')}. Median {response.unit} per MAC: {medians}.",
    )


def _draw_curves(
    axes: Axes, drawn: pd.DataFrame, fit: fitted.FitJson, model: str, response: Response
) -> list[Any]:
    """One curve per operator over the range of its rows; label, height and colour of each end."""
    ends = []
    bottom, top = axes.get_ylim()
    for op in ax.present(drawn):
        own = drawn[drawn["op"] == op]
        x = np.geomspace(own["intensity"].min(), own["intensity"].max(), 80)
        y = fitted.per_mac(fit, model, op, x)
        colour = OPERATOR_COLOURS[op]
        if y is None:
            ends.append((op, float(own[response.per_mac].median()), colour))
            continue
        visible = np.where(y > 0, y, np.nan)
        # A light seam keeps the curve apart from the points that it crosses.
        axes.plot(x, visible, color=SURFACE, linewidth=4.5, alpha=0.8, zorder=3)
        axes.plot(x, visible, color=colour, linewidth=2, zorder=4)
        last = visible[-1] if np.isfinite(visible[-1]) else float(own[response.per_mac].median())
        last = float(np.clip(last, bottom, top))
        axes.plot(
            [x[-1], axes.get_xlim()[1]],
            [last, last],
            color=colour,
            linewidth=0.8,
            linestyle=(0, (1, 2)),
            alpha=0.8,
        )
        ends.append((op, last, colour))
    axes.set_ylim(bottom, top)
    return ends


def predicted_panel(rows: pd.DataFrame, fit: fitted.FitJson, model: str, response: Response) -> Drawn | None:
    """Predicted against measured cost per launch of each layer of the fit; None without predictions."""
    column = fitted.prediction(rows, model)
    if column is None:
        return None
    drawn = ax.thin(
        rows.assign(predicted=rows[column], measured=rows[response.column]), "measured", "predicted"
    )
    unit, scale = _unit_of(float(drawn["measured"].median()), "s" if response.name == "time" else "J")
    drawn = drawn.assign(predicted=drawn["predicted"] / scale, measured=drawn["measured"] / scale)
    figure, axes = new_panel()
    both = [drawn["measured"], drawn["predicted"]]
    ax.log_axes(axes, both, both)
    axes.plot(axes.get_xlim(), axes.get_xlim(), color=MUTED, linewidth=1.2, zorder=1.5)
    ax.scatter(axes, drawn, "measured", "predicted", alpha=0.65)
    axes.set_xlabel(f"{response.adjective} {response.name} ({unit})")
    axes.set_ylabel(f"predicted {response.name} ({unit})")
    figures = fit["models"][model]
    if column.startswith(fitted.HELD_OUT):
        figures = figures["held_out"]
    ax.note(axes, f"R² {plain(figures['r2'])}\nmean error {share(figures['mape'])}")
    within = float((np.abs(np.log2(drawn["predicted"] / drawn["measured"])) < 1).mean())
    return to_svg(
        figure,
        f"predicted-{response.name}-{model}".replace("_", "-"),
        title=f"Predicted against {response.adjective} {response.name}, {MODEL_NAMES[model]}",
        description=f"{count(len(drawn), 'layer')}; {share(within)} are predicted within a factor of two.",
    )


def _unit_of(typical: float, unit: str) -> tuple[str, float]:
    for scale, prefix in ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")):
        if typical >= scale:
            return prefix + unit, scale
    return "p" + unit, 1e-12


def residual_panel(rows: pd.DataFrame, response: Response) -> Drawn | None:
    """Measured over predicted by operator, AI above DI: where a model is wrong, and in which direction."""
    columns = {model: column for model in ("ai", "di_weighted") if (column := fitted.prediction(rows, model))}
    models = list(columns)
    ratios = {model: rows[response.column] / rows[column] for model, column in columns.items()}
    every = np.concatenate([ratio.to_numpy(dtype=float) for ratio in ratios.values()] or [np.array([])])
    every = every[np.isfinite(every) & (every > 0)]
    if not every.size:
        return None
    lines = [
        (op, model)
        for op in ax.present(rows)
        for model in models
        if (ratios[model][rows["op"] == op] > 0).any()
    ]
    figure, axes = new_panel(330, max(285, 62 + _STRIP * len(lines) * 0.8))
    ax.log_axis(axes, "x", min(float(every.min()), 0.5), max(float(every.max()), 2.0))
    axes.axvline(1.0, color=MUTED, linewidth=1.2)
    heights: list[float] = []
    for position, (op, model) in enumerate(lines):
        apart = 0.0 if not position else 1.5 if lines[position - 1][0] != op else 1.0
        height = (heights[-1] if heights else 0.0) + apart
        heights.append(height)
        own = ratios[model][(rows["op"] == op) & np.isfinite(ratios[model])].sort_values()
        _draw_strip(axes, own.to_numpy(dtype=float), op, height)
    axes.set_ylim(heights[-1] + 0.8, -0.8)
    axes.set_yticks(heights, [f"{op} · {'AI' if model == 'ai' else 'DI'}" for op, model in lines])
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"{response.adjective} / predicted {response.name}")
    said = "; ".join(
        f"{op} {MODEL_NAMES[model]} {plain(float(ratios[model][rows['op'] == op].median()))}"
        for op, model in lines
    )
    return to_svg(
        figure,
        f"residuals-{response.name}",
        title="Residuals by operator",
        description=f"Median ratio of {response.adjective} to predicted {response.name}: {said}.",
    )


def _draw_strip(axes: Axes, ratios: Any, op: str, height: float) -> None:
    shown = ratios[np.unique(np.linspace(0, len(ratios) - 1, _POINTS_PER_STRIP).round().astype(int))]
    lift = 0.26 * np.sin(2.4 * np.arange(len(shown)))
    axes.plot(
        shown,
        height + lift,
        linestyle="none",
        marker=OPERATOR_MARKERS[op],
        markersize=3.2,
        color=OPERATOR_COLOURS[op],
        markeredgewidth=0,
        alpha=0.55,
    )
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    axes.plot([low, high], [height, height], color=INK, linewidth=1.8, solid_capstyle="butt")
    axes.plot([middle], [height], marker="o", markersize=6, color=INK, markeredgecolor=SURFACE)
