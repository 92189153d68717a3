"""What costs: the energy or the time that a fit explains, whether it was measured, and in which columns."""

from __future__ import annotations

import attrs

from dibench.show.parts import Json


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


def response_of(fit: Json | None) -> Response:
    """What the fit explains; measured time where there is no fit."""
    column = str((fit or {}).get("response", "time_s"))
    if column == "time_s":
        return Response("time", "measured", "ps_per_mac", column, "ps")
    if (fit or {}).get("evidence"):
        adjective = "measured"
    else:
        adjective = "simulated" if (fit or {}).get("energy_source") == ["simulated"] else "modelled"
    return Response("energy", adjective, "pj_per_mac", column, "pJ")
