"""How long and how exactly cases are measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class VisitSettings:
    """How long a visit lasts. They stand in the manifest."""

    visit_s: float = 3.0
    settle_s: float = 1.0
    longest_settle_s: float = 3.0
    baseline_every_s: float = 300.0
    """Active idle power is measured again after so long; a change beyond its intervals flags what follows."""


@attrs.frozen
class Settings:
    """How long and how exactly a case is measured. They stand in the manifest; resuming needs equal ones."""

    target: float = 0.02
    """Relative half-width of the 95% interval at which a case is finished."""
    case_budget_s: float = 1.0
    """Seconds of one case, warm-up included, after which it ends, flagged if the target is not reached."""
    warm_up_s: float = 0.02
    """Least seconds of launches before the first window (and at least one launch)."""
    window_s: float = 0.01
    """Least seconds of a window: ten million ticks of the CPU's monotonic clock; longer for a slow meter."""
    visit: VisitSettings = attrs.field(factory=VisitSettings)
    """Instead of all these, where a GPU is metered."""

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Settings:
        """The settings of `attrs.asdict`."""
        return cls(**{**fields, "visit": VisitSettings(**fields["visit"])})
