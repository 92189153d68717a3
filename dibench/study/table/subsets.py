"""Rows that may stand for something else than their layer: clocks held down, at a power cap, launch-bound.

Each is a mask (n,) over the rows of a table or of a selection, so that the study can be asked with and
without them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dibench.intensity import ELEMENT_BYTES
from dibench.schema import FRAMEWORK_CALLS, REPEATED_MODULE, WARM_OPERANDS
from dibench.study.table.columns import counts, numbers, texts

if TYPE_CHECKING:
    import pandas as pd

Mask = NDArray[np.bool_]

HARMLESS_CLOCK_EVENTS = frozenset(
    {"none", "gpu_idle", "applications_clocks_setting", "display_clock_setting"}
)
"""Clock events that do not mean the clock was throttled under load."""

POWER_CAP = "sw_power_cap"
"""The clock event of a card that keeps its power under its limit."""

AT_THE_CAP = 0.98
"""Share of the power limit from which a mean power counts as capped: a card regulates to just below it."""

LAUNCH_BOUND_S = 100e-6
"""Seconds of a framework's call below which the call itself, not its layer, takes much of the time."""


def throttled(frame: pd.DataFrame) -> Mask:
    """Rows whose clock was held down by something else than the power cap, such as heat."""
    return _any_event(frame, lambda word: word not in HARMLESS_CLOCK_EVENTS and word != POWER_CAP)


def capped(frame: pd.DataFrame) -> Mask:
    """Rows measured at the power cap: energy is then the cap times time, and the clock follows the layer.

    By the clock event, or where mean power is at least `AT_THE_CAP` of the column `power_limit_w`; mean power
    is `power_w`, or gross energy over time.
    """
    power, time = numbers(frame, "power_w"), numbers(frame, "time_s")
    drawn = numbers(frame, "energy_j") / np.where(time > 0, time, np.nan)
    power = np.where(np.isfinite(power), power, drawn)
    at_limit = power >= AT_THE_CAP * numbers(frame, "power_limit_w")
    return np.asarray(at_limit | _any_event(frame, lambda word: word == POWER_CAP))


def launch_bound(frame: pd.DataFrame) -> Mask:
    """Rows of a framework's calls (`caveats`) that took less than `LAUNCH_BOUND_S`."""
    return has_caveat(frame, FRAMEWORK_CALLS) & (numbers(frame, "time_s") < LAUNCH_BOUND_S)


def warm_operands(frame: pd.DataFrame) -> Mask:
    """Rows whose launches read the same operands (`caveats`) from a cache that may hold them all.

    The column `cache_bytes` says how much it holds; where it is empty, any layer may fit.
    """
    count = counts(frame)
    width = np.array([ELEMENT_BYTES.get(dtype, 1) for dtype in texts(frame, "dtype").tolist()])
    size = width * (count["weights"] + count["inputs"] + count["outputs"])
    return has_caveat(frame, WARM_OPERANDS) & ~(size > numbers(frame, "cache_bytes"))


def repeated_module(frame: pd.DataFrame) -> Mask:
    """Rows whose launches were all of one module (`caveats`): its weights may have stayed in the cache."""
    return has_caveat(frame, REPEATED_MODULE)


def has_caveat(frame: pd.DataFrame, caveat: str) -> Mask:
    """Rows whose column `caveats` has a word."""
    return _each(texts(frame, "caveats"), lambda cell: caveat in _words(cell))


def _any_event(frame: pd.DataFrame, meant: Callable[[str], bool]) -> Mask:
    return _each(texts(frame, "clock_events"), lambda cell: any(map(meant, _words(cell))))


def _words(cell: str) -> list[str]:
    return cell.replace(";", " ").lower().split()


def _each(cells: NDArray[np.object_], holds: Callable[[str], bool]) -> Mask:
    """Equal cells are looked at once."""
    known = {cell: holds(cell) for cell in dict.fromkeys(cells)}
    return np.fromiter(map(known.__getitem__, cells), dtype=bool, count=len(cells))
