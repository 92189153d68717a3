"""How long the next case of a sweep will take."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dibench.measure.settings import Settings
    from dibench.plan import Case


class Expected:
    """How long the next case will take, learned from those before it: rather too long than too short."""

    def __init__(self, settings: Settings, *, in_visits: bool = False) -> None:
        visit = settings.visit
        first = visit.settle_s + visit.visit_s if in_visits else settings.case_budget_s
        self._walls = deque([first], maxlen=20)
        self._s_per_mac: dict[tuple[str, str], float] = {}

    def learn(self, case: Case, wall_s: float, time_s: float | None) -> None:
        """Take a case into account that took so long, a launch of it `time_s` where that is known."""
        self._walls.append(wall_s)
        if time_s:
            key, rate = (case.layer.op, case.variant), time_s / case.layer.macs
            self._s_per_mac[key] = max(rate, self._s_per_mac.get(key, 0.0))

    def seconds(self, case: Case) -> float:
        """The longest of the last twenty cases, or a warm-up and a window of one launch each."""
        rate = self._s_per_mac.get((case.layer.op, case.variant), 0.0)
        return max(*self._walls, 2 * rate * case.layer.macs * case.instances, 0.0)
