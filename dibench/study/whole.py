"""Every analysis of one table put together: what `fit --json` writes and the report draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import attrs

from dibench.errors import UserError
from dibench.study import claims
from dibench.study.families import evidence_of, family_differences
from dibench.study.fit import Fit
from dibench.study.lattice import lattice
from dibench.study.peer import peers
from dibench.study.plain import plain
from dibench.study.rows import Choice
from dibench.study.twins import agreement, twins
from dibench.study.whole_networks import whole_networks

if TYPE_CHECKING:
    import pandas as pd


def figures(frame: pd.DataFrame, found: Fit, **chosen: Unpack[Choice]) -> dict[str, Any]:
    """A fit's figures with `twins`, `lattice`, `peer` (None without such rows), `networks` and `claims`.

    Args:
        frame: the table that was fitted.
        found: its fit.
        chosen: `device`, `backend`, `dtype` of the fit.
    """
    values = found.to_json()
    values["twins"] = twin_figures(frame, values["alpha"]["weighted"], **chosen)
    lattices = lattice(frame, **chosen)
    values["lattice"] = None if lattices is None else lattices.to_json()
    values["networks"] = network_figures(frame, fit=found, **chosen)
    beside = peers(frame)
    values["peer"] = None if beside is None else beside.to_json()
    values["claims"] = claims.as_json(claims.claims(values))
    return values


def twin_figures(
    frame: pd.DataFrame, alpha: dict[str, Any] | None, **chosen: Unpack[Choice]
) -> dict[str, Any] | None:
    """The twins of a table, each with what fitted α says of it; None where there are none."""
    result = twins(frame, **chosen)
    if result is None:
        return None
    values = result.to_json()
    for response, kinds in result.responses.items():
        for entry, shown in zip(kinds["twins"], values["responses"][response]["twins"], strict=True):
            shown["fitted_alpha"] = "no comparison" if alpha is None else agreement(entry, alpha)
    return values


def network_figures(frame: pd.DataFrame, fit: Fit | None = None, **chosen: Unpack[Choice]) -> dict[str, Any]:
    """Whole networks, and AI against DI on unseen families; `{"reason": …}` where none can be summed.

    `fit`, as of `whole_networks`, saves doing again what the fit of the table has done.
    """
    try:
        found = whole_networks(frame, fit=fit, **chosen)
    except UserError as error:
        return {"reason": str(error), "ranked": [], "left_out": [], "families": {}}
    differences = family_differences(found.data, found.unseen)
    families = {
        one.model: plain({**attrs.asdict(one), "decision": one.decision}) for one in evidence_of(differences)
    }
    return {**found.to_json(), "families": families}
