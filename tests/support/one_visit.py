"""A case measured at one visit in windows."""

from __future__ import annotations

from typing import Any

from dibench.measure.measurement import Measurement, measurement
from dibench.measure.settings import Settings
from dibench.measure.windows import visit_in_windows


def measure_case(prepared: Any, meter: Any, settings: Settings, *clock: Any, **others: Any) -> Measurement:
    """What one visit says; arguments as `visit_in_windows` takes them."""
    return measurement([visit_in_windows(prepared, meter, settings, *clock, **others)], settings)
