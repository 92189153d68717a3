"""What measuring asks of a meter that is read at the edges of windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs


@attrs.frozen
class Reading:
    """One window: its seconds by the device's clock, and its joules where the meter knows them."""

    time_s: float
    energy_j: float | None
    reason: str = ""
    """Why there are no joules, where the meter should have read some."""


@attrs.frozen
class MeterFacts:
    """What the manifest says of a meter."""

    source: str
    period_s: float | None
    facts: Mapping[str, Any]
    in_visits: bool
    """Whether it is used in visits, not in windows."""


class Meter(Protocol):
    """What measuring asks of a meter."""

    @property
    def source(self) -> str:
        """The `energy_source` of the rows: one of `dibench.schema.ENERGY_SOURCES`, or `external:SENSOR`."""

    @property
    def has_variance(self) -> bool:
        """Whether two windows may read differently: true of a sensor, false of a calculation."""

    @property
    def period_s(self) -> float | None:
        """The sensor's update period, detected on this machine; None where there is none."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the manifest records: domains, constants and their source."""

    def window(self, run: Callable[[], float], counts: Mapping[str, int], launches: int) -> Reading:
        """Run one window and read its energy.

        Args:
            run: does all launches of the window and returns their seconds.
            counts: what one launch does (`macs_executed`, `weight_reads`, ...), all instances together.
            launches: how many launches `run` does.
        """
