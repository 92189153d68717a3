"""How much of a measured network its measured layers explain: whole-network rows beside layer rows.

A network runs more than convolutions and linear layers: normalisation, activations, additions, pooling, and
what moves between them. Where a table has both, the sum of a network's layers over its own measurement says
how much of it any ranking by sums is about. Rows at the power cap count: each is what it cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from dibench.schema import NETWORK, NO_LAYER
from dibench.study.findings.networks import ExplainedNetwork
from dibench.study.ladder.models import data_of
from dibench.study.ladder.network_sums import network_sums
from dibench.study.table.columns import counts, numbers, texts
from dibench.study.table.network_rows import with_counts, without_counts

if TYPE_CHECKING:
    import pandas as pd

    from dibench.study.ladder.ladder import Ladder

ALL_OF_IT = 0.999
"""Share of a network's multiply-adds that its measured layers must hold: the rest is then no layer."""

CLOSE = 1e-6
"""Relative difference of multiply-adds up to which layers and network are of one input."""


def explained_share(frame: pd.DataFrame, ladder: Ladder) -> tuple[ExplainedNetwork, ...]:
    """Each measured network of which every layer was measured with the settings of the fit; least first."""
    selection = ladder.selection
    if selection.networks:
        return ()
    rows = _measured(frame, selection.setting, selection.sources, selection.response)
    whole = rows["op"] == NETWORK
    if not whole.any():
        return ()
    layers = rows[~whole & ~rows["op"].isin(NO_LAYER) & ~(numbers(rows, "sentinel") == 1)]
    if not len(layers):
        return ()
    data = data_of(layers.reset_index(drop=True), selection.response)
    sums = {
        (one.network, one.batch): (one.macs * one.batch, float(data.y[one.rows].sum()))
        for one in network_sums(data, ladder.catalogue)
        if one.holds(ALL_OF_IT)
    }
    return tuple(
        sorted(_shares(with_counts(rows[whole]), selection.response, sums), key=lambda one: one.share)
    )


def _measured(
    frame: pd.DataFrame, setting: Mapping[str, str], sources: tuple[str, ...], response: str
) -> pd.DataFrame:
    own = np.isin(texts(frame, "status").astype(str), ("ok", "flagged")) & (numbers(frame, response) > 0)
    for name, value in setting.items():
        own &= texts(frame, name) == value
    if response != "time_s":
        own &= np.isin(texts(frame, "energy_source").astype(str), sources)
    return frame[own]


def _shares(
    rows: pd.DataFrame, response: str, sums: Mapping[tuple[str, int], tuple[float, float]]
) -> Iterator[ExplainedNetwork]:
    """Of the last row of each network and batch; none where the counts show another input."""
    known, macs, cost = ~without_counts(rows), counts(rows)["macs"], numbers(rows, response)
    last = {key: at for at, key in enumerate(zip(texts(rows, "name"), numbers(rows, "N"), strict=True))}
    for (name, batch), at in last.items():
        found = sums.get((name, int(batch) if batch >= 1 else 1))
        if found is not None and (not known[at] or abs(found[0] / macs[at] - 1) < CLOSE):
            yield ExplainedNetwork(name, int(batch), float(cost[at]), found[1], found[1] / float(cost[at]))
