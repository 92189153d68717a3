"""What measuring asks of a meter that is read at the edges of windows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs

from dibench.errors import UserError
from dibench.schema import broken_rule


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
    gain_accuracy_pct: float | None = None
    """How far its gain may be off, as declared; None where nobody declares it."""


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


def gain_accuracy_pct(meter: object) -> float | None:
    """How far a meter's gain may be off, in percent, as it declares; None where it does not.

    A sensor errs twice: each reading for itself, which repeats show, and all by one factor, its gain, which
    nothing here can show. So a meter may have `gain_accuracy_pct`, from its data sheet or its last
    calibration; it is taken for the half-width of a 95% interval.
    """
    declared: float | None = getattr(meter, "gain_accuracy_pct", None)
    return declared


def check_own(meter: Any, name: str) -> None:
    """Refuse a meter from elsewhere before it measures anything, if its rows could not be read afterwards.

    Args:
        meter: what the callable returned.
        name: `module:callable`, for messages.

    Raises:
        UserError: it lacks what a meter has, or states what no table may hold; the message names the field.
    """
    for field in ("source", "has_variance", "period_s", "facts", "window"):
        if not hasattr(meter, field):
            raise UserError(
                field, "must be there, as docs/extending.md shows", type(meter).__name__, where=name
            )
    source, period_s, accuracy = meter.source, meter.period_s, gain_accuracy_pct(meter)
    rules = {
        "source": broken_rule("energy_source", source) if isinstance(source, str) else "must be text",
        "period_s": ""
        if period_s is None or _is_number(period_s, 0, math.inf)
        else "must be seconds, or None",
        "gain_accuracy_pct": ""
        if accuracy is None or _is_number(accuracy, 0, 100)
        else "must be a percentage from 0 to below 100, or None",
        "facts": "" if _is_json(meter.facts) else "must be a mapping that JSON can hold",
        "window": "" if callable(meter.window) else "must be a method",
    }
    for field, rule in rules.items():
        if rule:
            raise UserError(field, rule, getattr(meter, field), where=name)


def _is_number(value: object, least: float, below: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value < below


def _is_json(facts: object) -> bool:
    try:
        json.dumps(facts, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return isinstance(facts, Mapping)
