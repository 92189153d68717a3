"""Whole networks: ranked by measured cost, and predicted by fits that have not seen their family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dibench.show.axes import log_axes, rows_of_text
from dibench.show.blocks import Section
from dibench.show.numbers import is_number
from dibench.show.parts import Json, Study, panel, section_of
from dibench.show.response import response_of
from dibench.show.svg import ACCENT, MUTED, SURFACE, new_panel, to_svg

if TYPE_CHECKING:
    from dibench.show.svg import Drawn

_HELD_OUT = {"ai": "AI", "di_weighted": "DI weighted"}


def sections(studies: Sequence[Study]) -> list[Section]:
    """The ranking of each card's networks, and their costs predicted unseen; none where too few are whole."""
    panels = []
    for study in studies:
        figures, response = study.fit or {}, response_of(study.fit)
        ranking = ranking_panel(
            figures.get("networks") or {}, response.adjective, name=study.ident("ranking")
        )
        if ranking is not None:
            lines = ["top: most efficient; coloured: AI or DI moves it by a third of the field or more"]
            panels.append(panel("Who is first?", lines, ranking, study.card))
        unseen = held_out_panel(
            figures.get("held_out") or {}, response.unit[1:], response.adjective, name=study.ident("held-out")
        )
        if unseen is not None:
            lines = ["each network by a fit without its family and every shape in it; on the line: right"]
            panels.append(panel("Predicted unseen", lines, unseen, study.card))
    question = "Does DI say which network is efficient?"
    return [section_of("networks", "Networks", question, [], panels)] if panels else []


def ranking_panel(networks: Json, adjective: str, *, name: str = "ranking") -> Drawn | None:
    """Ranks of the networks by their cost (`adjective`: measured, simulated…), MACs, AI and DI, as lines."""
    ranked: Sequence[Json] = networks.get("ranked") or ()
    columns = {"MACs": "macs", "AI": "ai", "DI": "di_weighted"}
    if len(ranked) < 4 or any(name not in ranked[0]["predictors"] for name in columns.values()):
        return None
    values = [[one["efficiency"] for one in ranked]]
    values += [[one["predictors"][name] for one in ranked] for name in columns.values()]
    ranks = np.argsort(np.argsort(-np.array(values, dtype=float)))  # (columns, networks)
    figure, axes = new_panel(420, 60 + 17 * len(ranked))
    for measured, macs, ai, di in ranks.T.tolist():
        moved = max(abs(measured - ai), abs(measured - di)) >= len(ranked) / 3
        colour = ACCENT if moved else MUTED
        axes.plot(range(4), [measured, macs, ai, di], color=colour, linewidth=1.6, marker="o", markersize=3.5)
    order = np.argsort(ranks[0])
    rows_of_text(axes, range(len(ranked)), [ranked[index]["network"] for index in order])
    axes.set_xlim(-0.1, 3.1)
    axes.set_xticks(range(4), [adjective, *columns])
    axes.grid(visible=False)
    first = ", ".join(ranked[index]["network"] for index in order[:3])
    return to_svg(figure, name, title="Networks ranked", description=f"Most efficient: {first}.")


def held_out_panel(held_out: Json, unit: str, adjective: str, *, name: str = "held-out") -> Drawn | None:
    """Whole networks: predicted by AI and by DI without their family, against the sum of their layers.

    None without any. `adjective` says what these sums are: measured, modelled, simulated.
    """
    found = [
        one
        for one in held_out.get("networks") or ()
        if is_number(one.get("measured"))
        and all(is_number((one.get("held_out") or {}).get(model)) for model in _HELD_OUT)
    ]
    if len(found) < 3:
        return None
    x = np.array([one["measured"] for one in found])
    y = {model: np.array([one["held_out"][model] for one in found]) for model in _HELD_OUT}
    figure, axes = new_panel(330, 300)
    log_axes(axes, [x], list(y.values()))
    ends = [min(x.min(), *map(np.min, y.values())), max(x.max(), *map(np.max, y.values()))]
    axes.plot(ends, ends, color=MUTED, linewidth=1)
    axes.plot(
        x, y["ai"], linestyle="none", marker="s", markersize=5.5, color=MUTED, markerfacecolor="none",
        label="AI",
    )  # fmt: skip
    axes.plot(
        x, y["di_weighted"], linestyle="none", marker="o", markersize=5, color=ACCENT,
        markeredgecolor=SURFACE, label="DI weighted",
    )  # fmt: skip
    axes.legend(loc="upper left", frameon=False, fontsize=10, handletextpad=0.2)
    axes.set(xlabel=f"{adjective}, {unit} an inference", ylabel="predicted unseen")
    return to_svg(figure, name, title="Unseen networks", description=f"{len(found)} networks.")
