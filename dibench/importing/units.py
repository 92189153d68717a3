"""Units of other people's columns, as exact factors of ours: seconds, joules, watts, megahertz, counts."""

from __future__ import annotations

import re
from difflib import get_close_matches
from fractions import Fraction

import attrs

from dibench.errors import UserError
from dibench.schema import KINDS


@attrs.frozen
class Unit:
    """So many J^joules·s^seconds."""

    factor: Fraction = Fraction(1)
    joules: int = 0
    seconds: int = 0

    @property
    def is_count(self) -> bool:
        """Whether it is a mere number."""
        return self.joules == self.seconds == 0


def _units(joules: int, seconds: int, **factors: str) -> dict[str, Unit]:
    return {name: Unit(Fraction(factor), joules, seconds) for name, factor in factors.items()}


UNITS: dict[str, Unit] = {
    **_units(0, 1, s="1", ms="1e-3", us="1e-6", µs="1e-6", ns="1e-9", min="60", h="3600"),
    **_units(1, 0, J="1", mJ="1e-3", uJ="1e-6", µJ="1e-6", nJ="1e-9", pJ="1e-12", kJ="1e3", MJ="1e6"),
    **_units(1, 0, Wh="3600", mWh="3.6", kWh="3.6e6"),
    **_units(1, -1, W="1", mW="1e-3", uW="1e-6", µW="1e-6", kW="1e3", MW="1e6"),
    **_units(0, -1, Hz="1", kHz="1e3", MHz="1e6", GHz="1e9"),
    **_units(0, 0, k="1e3", M="1e6", G="1e9", T="1e12"),
}
"""By their names; Python reads µ (the micro sign) and μ (the letter) as one name, and so does `unit`."""

_IN_NAMES = {
    "s": "s", "sec": "s", "secs": "s", "seconds": "s", "msec": "ms", "usec": "us", "ms": "ms", "us": "us",
    "μs": "us", "ns": "ns", "j": "J", "joule": "J", "joules": "J", "mj": "mJ", "uj": "uJ", "μj": "uJ",
    "nj": "nJ",
    "wh": "Wh", "kwh": "kWh", "w": "W", "watt": "W", "watts": "W", "mw": "mW", "hz": "Hz", "khz": "kHz",
    "mhz": "MHz", "ghz": "GHz",
}  # fmt: skip
"""Units in columns' names, which are often in small letters; `_min` is rather a minimum."""


def unit(text: str) -> Unit:
    """The unit of that name.

    Raises:
        UserError: there is none; the message names those that are.

    >>> unit("kWh").factor, unit("MHz").seconds
    (Fraction(3600000, 1), -1)
    """
    name = text.strip().replace("µ", "μ")
    if name not in UNITS:
        close = get_close_matches(name, UNITS, n=1, cutoff=0.3)
        rule = f"must be one of {' '.join(known for known in UNITS if known.isascii())}"
        raise UserError("unit", rule + (f", perhaps {close[0]}" if close else ""), text)
    return UNITS[name]


def unit_in_name(column: str) -> str:
    """The unit at the end of a column's name, or one of two letters and more within it; empty where none is.

    >>> [unit_in_name(name) for name in ("latency_ms", "lat_ms_median", "Energy (mJ)", "t_min")]
    ['ms', 'ms', 'mJ', '']
    """
    parts = [part for part in re.split(r"[^A-Za-z0-9μ]+", column.replace("µ", "μ")) if part]
    for part in [*parts[-1:], *(part for part in reversed(parts) if len(part) > 1)]:
        if part in UNITS and part not in ("min", "h") and not UNITS[part].is_count:
            return part
        if part.lower() in _IN_NAMES:
            return _IN_NAMES[part.lower()]
    return ""


def unit_of(column: str) -> Unit:
    """The unit of a column of the contract, which its name says.

    >>> unit_of("time_s").seconds, unit_of("sm_clock_mhz").factor, unit_of("S").is_count
    (1, Fraction(1000000, 1), True)
    """
    name = unit_in_name(column) if KINDS.get(column) == "float" else ""
    return UNITS[name] if name else Unit()
