"""How long and how exactly cases are measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from dibench.measure.pace import Following


@attrs.frozen
class VisitSettings:
    """How long a visit lasts; part of the manifest."""

    visit_s: float = 3.0
    settle_s: float = 1.0
    longest_settle_s: float = 3.0
    baseline_every_s: float = 300.0
    """Seconds after which active idle power is measured again; a clear change flags later visits."""


@attrs.frozen
class Settings:
    """How long and how exactly a case is measured; a sweep resumes only with the same settings.

    A sweep itself sets `gives_up` and, by what repeats tell, `target`, `between` and `follows`.
    """

    target: float = 0.02
    """Relative half-width of the 95% interval at which a case is finished."""
    case_budget_s: float = 1.0
    """Seconds after which a case ends, warm-up included; it is flagged if the target is not reached."""
    warm_up_s: float = 0.02
    """Least seconds of launches before the first window (and at least one launch)."""
    window_s: float = 0.01
    """Least seconds of a window: ten million ticks of the CPU's monotonic clock. A slow meter needs more."""
    between: float = 0.0
    """Relative half-width of one visit's interval by how much visits differ; windows never claim less."""
    follows: Following | None = None
    """How times of this kernel follow the machine's pace; None: they are left as they are."""
    gives_up: bool = False
    """Whether a visit ends as soon as the target is out of reach: a sweep comes back to such cases."""
    visit: VisitSettings = attrs.field(factory=VisitSettings)
    """Used instead of all these where a GPU is metered."""

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Settings:
        """The settings that `attrs.asdict` wrote."""
        follows = Following.from_json(fields.get("follows"))
        return cls(**{**fields, "visit": VisitSettings(**fields["visit"]), "follows": follows})
