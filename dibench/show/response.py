"""What costs: the energy or the time that a fit explains, whether it was measured, and in which columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from dibench.study.findings.ladder import Fit


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


def response_of(fit: Fit | None) -> Response:
    """What the fit explains; measured time where there is no fit."""
    if fit is None or fit.response_kind == "time":
        return Response("time", "measured", "ps_per_mac", "time_s", "ps")
    adjective = "measured" if fit.evidence else "modelled"
    if fit.energy_source == ("simulated",):
        adjective = "simulated"
    return Response("energy", adjective, "pj_per_mac", fit.response, "pJ")
