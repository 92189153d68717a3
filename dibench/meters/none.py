"""No meter: time only, the energy cells stay empty."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from dibench.meters.base import Reading


@attrs.frozen
class NoMeter:
    """Energy is not known, which is not the same as zero.

    >>> NoMeter().window(lambda: 0.5, {}, 1)
    Reading(time_s=0.5, energy_j=None, reason='')
    """

    source: str = "none"
    has_variance: bool = False
    period_s: float | None = None
    facts: Mapping[str, Any] = attrs.field(factory=dict)

    def window(self, run: Callable[[], float], counts: Mapping[str, int], launches: int) -> Reading:
        """The window's time."""
        return Reading(run(), None)
