"""Whole networks as they were measured, beside what a fit predicts for their layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from dibench.errors import UserError
from dibench.schema import NETWORK

if TYPE_CHECKING:
    import pandas as pd

    from dibench.study.findings.fitted_model import FittedModel
    from dibench.study.use.predict import Prediction


@attrs.frozen
class Check:
    """One network's measurement, and how its prediction compares; joules or seconds of one batch."""

    network: str
    batch: int
    backend: str
    measured: float
    ratio: float
    """Predicted over measured; below one by what runs between the layers, if the layers are right."""
    inside: bool
    """Whether the measurement lies in the interval of the sum of layers."""


def check(frame: pd.DataFrame, found: Prediction, fit: FittedModel) -> Check | None:
    """The last usable row of this network at this batch, on the fit's device, in its data type and response.

    `torchvision:resnet50` is `resnet50`: a row's name counts from its last colon.

    Raises:
        UserError: the table has whole networks, and none on the fit's device in its data type and response.
    """
    rows = frame[frame["op"] == NETWORK]
    usable = rows["status"].isin(("ok", "flagged")) & (rows["dtype"] == fit.dtype)
    if "device" in rows:
        usable &= rows["device"] == fit.device
    if fit.kind == "energy":
        usable &= rows["energy_source"].isin(fit.energy_source)
    usable &= (rows[fit.response] > 0) if fit.response in rows else False
    rows = rows[usable]
    if rows.empty:
        rule = f"must have whole networks (op network) on {fit.device}, {fit.dtype}, with {fit.response}"
        raise UserError("--measured", rule)
    same = rows["name"].fillna("").str.rpartition(":")[2] == found.network.name
    rows = rows[same & (rows["N"] == found.network.batch)]
    if rows.empty:
        return None
    last = rows.iloc[-1]
    measured = float(last[fit.response])
    return Check(
        network=found.network.name,
        batch=found.network.batch,
        backend=str(last.get("backend", "")),
        measured=measured,
        ratio=found.total.value / measured,
        inside=found.total.low <= measured <= found.total.high,
    )
