"""Several cards of one model as one card: for a campaign that ran on whatever card it was given.

Each sensor has a gain of its own, and cards of one model differ a little in everything else. The cases that
two cards both measured, mostly anchors and sentinels, give the ratio of their joules. A card's energies and
powers are divided by it, and its rows join those of the card with most rows. Halves of twins, and kernels and
a library, are still compared within one card only: column `card` says which.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dibench.errors import UserError
from dibench.schema import RESPONSES
from dibench.study.findings.cards import AlphaDifference, Gain, OneModel
from dibench.study.findings.estimate import UNKNOWN
from dibench.study.ladder.models import Data, data_of
from dibench.study.maths.inference import student_quantile
from dibench.study.questions.devices import adjusted, cards_in, difference_of
from dibench.study.table.row_errors import cases_of
from dibench.study.table.rows import select

if TYPE_CHECKING:
    import pandas as pd

CARD = "card"
"""The column that says which card a row is from, as `device_uuid` then stands for all cards."""

MOST_SHARED = 0.5
"""Largest share of the reference's cases that another card may have measured too."""


def one_model(frame: pd.DataFrame) -> OneModel | None:
    """The rows of several cards as one card's.

    A card whose α differs significantly from that of the card with most rows stays out (Holm's method over
    the cards; a card with too few rows to tell joins). None for one card, for several models, if no two cards
    share a case or none may join, and if another card measured most of what the first did: that is a
    comparison of cards, and a fit would keep only one card's row of each case.
    """
    cards = cards_in(frame)
    if len(cards) < 2 or len({device for device, _ in cards}) > 1:
        return None
    uuids = frame["device_uuid"].fillna("").astype(str)
    logs = _log_joules(frame, uuids)
    reference = str(uuids.value_counts().idxmax())
    gains = {reference: Gain(reference, 1.0, 1.0, 1.0, 0)}
    for _, uuid in cards:
        if uuid != reference and (gain := _gain(uuid, logs, reference)) is not None:
            gains[uuid] = gain
    if len(gains) < 2 or max(gain.cases for gain in gains.values()) > MOST_SHARED * logs[reference].count():
        return None
    differences = _differences(frame, uuids, reference, [uuid for uuid in gains if uuid != reference])
    for one in differences:
        if one.significant:
            del gains[one.first]
    if len(gains) < 2:
        return None
    rows = frame[uuids.isin(list(gains))].copy()
    rows[CARD] = uuids[rows.index]
    factor = rows[CARD].map({uuid: gain.value for uuid, gain in gains.items()}).to_numpy(dtype=np.float64)
    for name in rows.columns:
        if name.endswith(("_j", "power_w")):
            rows[name] = rows[name] / factor
    rows["device_uuid"] = f"{len(gains)} cards"
    left_out = tuple(uuid for _, uuid in cards if uuid not in gains)
    return OneModel(rows.reset_index(drop=True), tuple(gains.values()), left_out, differences)


def _differences(
    frame: pd.DataFrame, uuids: pd.Series[str], reference: str, others: list[str]
) -> tuple[AlphaDifference, ...]:
    """α of each other card less that of the reference; unknown where a card's rows cannot be fitted."""

    def data(uuid: str) -> Data | None:
        try:
            selection = select(frame[uuids == uuid].reset_index(drop=True))
        except UserError:
            return None
        return data_of(selection.frame, selection.response)

    first, found = data(reference), []
    for uuid in others:
        own = data(uuid)
        if first is None or own is None:
            found.append(AlphaDifference(uuid, reference, UNKNOWN, None, None))
        else:
            found.append(difference_of(uuid, reference, own, first))
    return adjusted(found)


def _log_joules(frame: pd.DataFrame, uuids: pd.Series[str]) -> pd.DataFrame:
    """Mean log of joules by case (lines) and card (columns), NaN where a card did not measure it."""
    usable = frame["status"].isin(("ok", "flagged"))
    response = next(
        (
            name
            for name in RESPONSES
            if name != "time_s" and name in frame and (frame[name][usable] > 0).any()
        ),
        None,
    )
    if response is None:
        return uuids.iloc[:0].to_frame()
    usable &= frame[response] > 0
    table = cases_of(frame)[usable].astype("string").fillna("")
    same = list(table)
    table["card"], table["log"] = uuids[usable], np.log(frame.loc[usable, response].astype("float64"))
    return table.pivot_table(index=same, columns="card", values="log", aggfunc="mean")


def _gain(uuid: str, logs: pd.DataFrame, reference: str) -> Gain | None:
    """The geometric mean of the ratios, with a t-interval over cases."""
    if uuid not in logs or reference not in logs:
        return None
    apart = (logs[uuid] - logs[reference]).dropna().to_numpy(dtype=np.float64)
    n = len(apart)
    if not n:
        return None
    mean = float(apart.mean())
    if n == 1:
        return Gain(uuid, math.exp(mean), None, None, 1)
    half = student_quantile(n - 1) * float(apart.std(ddof=1)) / math.sqrt(n)
    return Gain(uuid, math.exp(mean), math.exp(mean - half), math.exp(mean + half), n)
