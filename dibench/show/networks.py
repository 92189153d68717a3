"""Whole networks: ranked by measured cost, and predicted by fits that have not seen their family."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dibench.numbers import count, number, p_text, percent, plain, share_text, short
from dibench.show.blocks import Block, Figure, Note, Section, Sentence
from dibench.show.svg import ident
from dibench.study.findings.networks import NoNetworks
from dibench.words import MODEL_NAMES

if TYPE_CHECKING:
    from dibench.show.svg import Drawn
    from dibench.study.findings.held_out import UnseenNetwork
    from dibench.study.findings.networks import Contest, ExplainedNetwork, NetworkCost, WholeNetworks

_PREDICTORS = ("macs", "ai", "di_weighted", "di_disjoint")
_CONTESTS = {"index_weighted": "bare index", "model_weighted": "model"}
_PREDICTED = {"ai": "AI", "di_weighted": "DI weighted"}
_FEWEST_RANKED, _FEWEST_PREDICTED = 4, 3
"""Networks that make a figure worth drawing."""

_MOST_NAMED = 20
_MOST_RANKED, _ENDS = 60, 5
"""Networks that are named and drawn; of more, so many from both ends are named."""


def section(
    found: WholeNetworks | NoNetworks, unseen: Sequence[UnseenNetwork] = (), card: str = ""
) -> Section:
    """Which networks were measured, their ranking, and how MACs, AI and DI rank and predict them.

    Args:
        found: the sums over layers, or why there are none.
        unseen: each network as fits predict it that have not seen its family.
        card: its name where there are several.
    """
    question = "Does DI say which network is efficient?"
    return Section("networks", "Networks", question, _told(found, unseen, card))


def _told(found: WholeNetworks | NoNetworks, unseen: Sequence[UnseenNetwork], card: str) -> list[Block]:
    shown: list[Block] = explained(found.explained)
    if isinstance(found, NoNetworks):
        return [*shown, Sentence(f"Whole networks: not summed, {found.reason}.")]
    shown.append(Sentence(_measured(found)))
    if found.ranked:
        shown.append(Sentence(f"Ranking by {found.unit}: {_ranking(found.ranked)}."))
    shown += _figures(found, unseen, card)
    if not found.ranked:  # the claims say why that is no answer
        return shown
    if found.reason is not None:
        return [*shown, Note(f"{found.reason}.")]
    shown += _correlations(found)
    for key, form in _CONTESTS.items():
        contest = found.contests[key]
        if contest is not None:
            shown.append(Sentence(_contest(form, contest)))
    return shown


def explained(found: Sequence[ExplainedNetwork]) -> list[Block]:
    """How much of measured networks their layers are, before anything is said of sums of layers."""
    if not found:
        return []
    shares = [one.share for one in found]
    least, most = (number(share, ".2f") for share in (min(shares), max(shares)))
    named = [f"{one.network} {number(one.share, '.2f')}" for one in found]
    if len(named) > _MOST_NAMED:
        named = [*named[:_ENDS], "…", *named[-_ENDS:]]
    how_many = count(len(found), "network")
    text = (
        f"Convolutions and linear layers are {least} to {most} of {how_many} measured as a whole "
        f"({', '.join(named)}). The rest runs between layers: a ranking by sums says nothing of it."
    )
    return [Note(text)]


def _ranking(ranked: Sequence[NetworkCost]) -> str:
    """Each with its efficiency; of very many the first and the last."""
    told = [f"{one.network} {short(one.efficiency)}{_partly(one)}" for one in ranked]
    if len(told) > _MOST_RANKED:
        told = [*told[:_ENDS], "…", *told[-_ENDS:]]
    return ", ".join(told)


def _partly(one: NetworkCost) -> str:
    """Of a network of which not all was measured: its figures are of the layers that were."""
    share = share_text(one.covered_macs, 1.0, 1)
    return "" if share == "100%" else f" ({share} of MACs)"


def _measured(found: WholeNetworks) -> str:
    if found.as_a_whole:
        return (
            f"Whole networks at batch {found.batch}, {_cost(found)} of each as a whole: {len(found.ranked)}. "
            "What runs between layers is in it, and no description here counts that."
        )
    total = len(found.ranked) + len(found.left_out)
    bound = sum(one.gap_bound for one in found.ranked)
    layers = sum(one.layers for one in found.ranked)
    gap = f"; of their layers, {count(bound)} of {count(layers)} ran under 50 µs" if found.ranked else ""
    return (
        f"Whole networks at batch {found.batch}, {_cost(found)} summed over layers: {len(found.ranked)} of "
        f"{total} have rows for {percent(found.required_share, 0)} of MACs and elements{gap}."
    )


def _cost(found: WholeNetworks) -> str:
    """`energy` or `time`, and what it is where it is not measured."""
    return found.response_kind if found.response_measured else f"{_adjective(found)} {found.response_kind}"


def _adjective(found: WholeNetworks) -> str:
    if found.response_measured:
        return "measured"
    return "simulated" if found.energy_source == ("simulated",) else "modelled"


def _correlations(found: WholeNetworks) -> list[Sentence]:
    """How each predictor goes with that efficiency, bare and in a model that has not seen the family."""
    shown = []
    for form, prefix in (("bare indices", ""), ("whole models, held out", "model_")):
        told = ", ".join(
            f"{MODEL_NAMES[name]} {number(one.pearson_log, '.3f')}/{number(one.spearman, '.2f')}"
            for name in _PREDICTORS
            for one in [found.correlations[prefix + name]]
        )
        shown.append(Sentence(f"r of logs/ρ with it, as {form}: {told}."))
    return shown


def _contest(form: str, one: Contest) -> str:
    """One comparison of AI and DI with its interval, width and Williams' test."""
    ends = f"{number(one.ci_low, '+.3f')} to {number(one.ci_high, '+.3f')}: width {number(one.width, '.3f')}"
    interval = "no interval" if one.ci_low is None else ends
    return (
        f"AI against DI weighted, {form}: r {number(one.r_ai, '.3f')}, {number(one.r_di, '.3f')}, difference "
        f"{number(one.difference, '+.3f')} ({interval}), "
        f"Williams {p_text(one.williams.p_value)}: **{one.decision}**."
    )


def _figures(found: WholeNetworks, unseen: Sequence[UnseenNetwork], card: str) -> Iterator[Figure]:
    """The ranking of a card's networks, and their costs predicted unseen."""
    adjective = _adjective(found)
    if drawable(found.ranked):
        name = ident("ranking", card)
        lines = ["Top: most efficient. Misplaced: by a third of the field or more"]
        yield Figure(name, "Who is first?", partial(draw_ranking, found.ranked, adjective, name), lines)
    predicted = [
        one for one in unseen if all(math.isfinite(one.held_out.get(name, math.nan)) for name in _PREDICTED)
    ]
    if len(predicted) >= _FEWEST_PREDICTED:
        name = ident("held-out", card)
        lines = ["each network by a fit without its family and every shape in it; on the line: right"]
        draw = partial(draw_held_out, predicted, found.cost_unit, adjective, name)
        yield Figure(name, "Predicted unseen", draw, lines)


def draw_ranking(ranked: Sequence[NetworkCost], adjective: str, name: str = "ranking") -> Drawn | None:
    """Ranks of the networks by their cost (`adjective`: measured, simulated…), MACs, AI and DI, as lines."""
    from dibench.show.axes import rows_of_text, shortened
    from dibench.show.marks import tell
    from dibench.show.palette import FAINT, INK
    from dibench.show.svg import new_panel, to_svg

    columns = {"MACs": "macs", "AI": "ai", "DI": "di_weighted"}
    values = [[one.efficiency for one in ranked]]
    values += [[one.predictors[name] for one in ranked] for name in columns.values()]
    ranks = np.argsort(np.argsort(-np.array(values, dtype=float)))  # (columns, networks)
    figure, axes = new_panel(height=60 + 17 * len(ranked))
    for one, (measured, macs, ai, di) in zip(ranked, ranks.T.tolist(), strict=True):
        moved = max(abs(measured - ai), abs(measured - di)) >= len(ranked) / 3
        colour, says = (INK, "AI or DI misplace it") if moved else (FAINT, "both place it nearly right")
        own = [measured, macs, ai, di]
        axes.plot(range(4), own, color=colour, linewidth=1.6, marker="o", markersize=3.5, label=says)
        by = zip((adjective, *columns), own, strict=True)
        tell(axes, range(4), own, [f"{one.network}: place {place + 1} by {what}" for what, place in by])
    order = np.argsort(ranks[0])
    rows_of_text(axes, range(len(ranked)), [shortened(ranked[index].network) for index in order])
    axes.set_xlim(-0.1, 3.1)
    axes.set_xticks(range(4), [adjective, *columns])
    axes.get_xticklabels()[0].set_horizontalalignment("right")  # there is room below the names
    axes.grid(visible=False)
    first = ", ".join(ranked[index].network for index in order[:3])
    return to_svg(figure, name, title="Networks ranked", description=f"Most efficient: {first}.")


def drawable(ranked: Sequence[NetworkCost]) -> bool:
    """Whether these are enough networks, and each has what its rank is drawn by."""
    return _FEWEST_RANKED <= len(ranked) <= _MOST_RANKED and all(
        _PREDICTED.keys() <= one.predictors.keys() for one in ranked
    )


def draw_held_out(
    networks: Sequence[UnseenNetwork], unit: str, adjective: str, name: str = "held-out"
) -> Drawn:
    """Whole networks: predicted by AI and by DI without their family, against the sum of their layers.

    `adjective` says what these sums are: measured, modelled, simulated.
    """
    from dibench.show.axes import log_axes
    from dibench.show.marks import tell
    from dibench.show.palette import ACCENT, MUTED, SURFACE
    from dibench.show.svg import new_panel, to_svg

    x = np.array([one.measured for one in networks])
    y = {model: np.array([one.held_out[model] for one in networks]) for model in _PREDICTED}
    figure, axes = new_panel(height=300)
    log_axes(axes, [x], list(y.values()))
    ends = [min(x.min(), *map(np.min, y.values())), max(x.max(), *map(np.max, y.values()))]
    axes.plot(ends, ends, color=MUTED, linewidth=1, label=f"as {adjective}")
    axes.plot(
        x, y["ai"], linestyle="none", marker="s", markersize=5.5, color=MUTED, markerfacecolor="none",
        label="AI",
    )  # fmt: skip
    axes.plot(
        x, y["di_weighted"], linestyle="none", marker="o", markersize=5, color=ACCENT,
        markeredgecolor=SURFACE, label="DI weighted",
    )  # fmt: skip
    for model, said in _PREDICTED.items():
        words = [
            f"{one.network}, batch {one.batch}: {adjective} {plain(one.measured)} {unit}, {said} "
            f"{plain(one.held_out[model])} {unit}"
            for one in networks
        ]
        tell(axes, x, y[model], words)
    axes.set(xlabel=f"{adjective}, {unit} an inference", ylabel="predicted unseen")
    return to_svg(figure, name, title="Unseen networks", description=f"{len(networks)} networks.")
