"""What a visit in windows found: windows as they were read, in the order they were taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from dibench.measure.pace import Paces

MOST_WAITING = 0.01
"""Of a window's time: half of the default target."""


@attrs.frozen
class Window:
    """A metered batch of launches, as it was read."""

    launches: int
    time_s: float
    """Of all its launches, by the device's clock."""
    energy_j: float | None
    waited_s: float
    """Seconds of it that threads of this process were kept from running, by others or by the hypervisor."""
    reason: str = ""
    """Why there are no joules, where the meter should have read some."""
    paces_s: Paces = ()
    """The machine's paces before and after it; empty where they were not asked for."""

    @property
    def disturbed(self) -> bool:
        """Whether other processes had the cores for too much of it."""
        return self.waited_s > MOST_WAITING * self.time_s


@attrs.frozen
class WindowVisit:
    """What one visit to a case found: windows in the order they were taken."""

    windows: tuple[Window, ...]
    varies: bool
    """Whether two windows may read different joules: true of a sensor, false of a calculation."""
    lost: bool = False
    """Whether it ended early in a spell, of others that had the cores or of a pace far from the usual one."""

    @property
    def launches(self) -> int:
        """Of all windows."""
        return sum(window.launches for window in self.windows)

    def to_json(self) -> dict[str, Any]:
        """Plain values: the windows as columns, which are a third as long as a list of objects."""
        names = [field.name for field in attrs.fields(Window)]
        columns = {name: [getattr(window, name) for window in self.windows] for name in names}
        return {"windows": columns, "varies": self.varies, "lost": self.lost}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> WindowVisit:
        """The visit that `to_json` wrote."""
        names = {field.name for field in attrs.fields(Window)}
        columns = {name: cells for name, cells in found["windows"].items() if name in names}  # older: others
        if "paces_s" in columns:
            columns["paces_s"] = [tuple(paces_s) for paces_s in columns["paces_s"]]
        rows = zip(*columns.values(), strict=True)
        windows = tuple(Window(**dict(zip(columns, row, strict=True))) for row in rows)
        return cls(windows, found["varies"], found.get("lost", False))
