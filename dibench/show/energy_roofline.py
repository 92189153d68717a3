"""The energy roofline: MAC per joule against intensity, under the arch that the fit of AI draws.

A multiply-add costs e₀ and an element e, so at AI a layer does at most 1/(e₀ + e/AI) multiply-adds per
joule: where the energy roofline of Choi, Bedard, Fowler and Vuduc (IPDPS 2013) bends, at AI = e/e₀, moving
data costs as much as computing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dibench.numbers import count, plain, short
from dibench.show import axes as ax
from dibench.show import fit_curves
from dibench.show.blocks import Figure
from dibench.show.palette import MUTED, OPERATOR_COLOURS
from dibench.show.response import response_of
from dibench.show.studies import Study
from dibench.show.svg import new_panel, to_svg

if TYPE_CHECKING:
    import pandas as pd

    from dibench.show.svg import Drawn
    from dibench.study.findings.ladder import Fit

_UP = 2
"""Matplotlib's marker of a tick upwards."""


def figures(study: Study) -> list[Figure]:
    """Of fits of energy: modelled joules beside measured time stay in the section that checks the model."""
    response = response_of(study.fit)
    if study.fit is None or response.name != "energy":
        return []
    beside = (
        "Curves: AI's fit without the launch, which pulls small layers below. Marks on the axis: where an "
        "operator's data cost as much as its multiply-adds."
    )
    draw = partial(energy_roofline_panel, study.used, study.fit, response.adjective)
    return [Figure("energy-roofline", f"Work per {response.adjective} joule", draw, [beside])]


def balance(fit: Fit, op: str) -> float | None:
    """AI at which an operator's elements cost as much as its multiply-adds, e/e₀; None where unknown."""
    known = fit_curves.coefficients(fit, "ai")
    base, element = known.get(f"e0[{op}]", known.get("e0")), known.get("e")
    if base is None or element is None or base <= 0 or element <= 0:
        return None
    return element / base


def energy_roofline_panel(rows: pd.DataFrame, fit: Fit, adjective: str) -> Drawn | None:
    """MAC/J against AI of the layers that were fitted, one arch an operator; None without energies.

    Args:
        rows: of the fit.
        fit: of energy.
        adjective: what its joules are: measured, modelled, simulated.
    """
    drawn = ax.thin(rows.assign(mac_per_j=1e12 / rows["pj_per_mac"]), "ai", "mac_per_j")
    if drawn.empty:
        return None
    figure, axes = new_panel(height=300)
    ax.log_axes(axes, [drawn["ai"]], [drawn["mac_per_j"]], prefixes="y")
    ax.scatter(
        axes, drawn, "ai", "mac_per_j", lambda x, y: f"AI {plain(x)}, {short(y, 'MAC')} per joule", alpha=0.6
    )
    bends = []
    for op in ax.present(drawn):
        at = balance(fit, op)
        if at is None:
            continue
        x = np.geomspace(*axes.get_xlim(), 120)
        cost = fit_curves.per_mac(fit, "ai", op, x)
        assert cost is not None  # its coefficients are those of the balance
        axes.plot(x, 1e12 / cost, color=OPERATOR_COLOURS[op], linewidth=1.6)
        axes.plot([at], [0.0], marker=_UP, markersize=12, markeredgewidth=2, color=OPERATOR_COLOURS[op],
                  transform=axes.get_xaxis_transform(), clip_on=False)  # fmt: skip
        bends.append(f"{op} {plain(at, 2)}")
    axes.set_xlabel("AI (MAC per element)")
    axes.set_ylabel(f"MAC per {adjective} joule")
    axes.tick_params(labelcolor=MUTED)
    said = f" Data cost as much as computing at an AI of: {', '.join(bends)}." if bends else ""
    return to_svg(
        figure,
        "energy-roofline",
        title="Energy roofline",
        description=f"{count(len(drawn), 'layer')}, {adjective} energy.{said}",
    )
