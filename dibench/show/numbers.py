"""Numbers as the page prints them: three digits, a prefix, a unit, and a dash for what is not known."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

_PREFIXES = (
    (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""),
    (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"),
)  # fmt: skip
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

UNKNOWN = "–"


def is_number(value: Any) -> bool:
    """True for a finite number, False for None, NaN, infinity and text."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def plain(value: Any, digits: int = 3) -> str:
    """So many significant digits without exponent where that can be read.

    >>> plain(0.98765), plain(12345.6), plain(0), plain(None), plain(2.5e-9), plain(-40)
    ('0.988', '12346', '0', '–', '2.5 · 10⁻⁹', '−40')
    """
    if not is_number(value):
        return UNKNOWN
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if -4 <= exponent < 7:
        decimals = max(0, digits - 1 - exponent)
        text = f"{value:.{decimals}f}"
        return _minus(text.rstrip("0").rstrip(".") if "." in text else text)
    mantissa = _minus(f"{value / 10.0**exponent:.{digits - 1}f}".rstrip("0").rstrip("."))
    return f"{mantissa} · 10{str(exponent).translate(_SUPERSCRIPTS)}"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def scaled(value: Any, unit: str = "", digits: int = 3) -> str:
    """A value with the prefix that leaves one to three digits before the point.

    >>> scaled(2.31e-3, "s"), scaled(9.6e10, "MAC/s"), scaled(0, "s"), scaled(float("nan"), "s")
    ('2.31 ms', '96 GMAC/s', '0 s', '–')
    """
    if not is_number(value):
        return UNKNOWN
    for scale, prefix in _PREFIXES:
        if abs(value) >= scale * 0.9995:
            return f"{plain(value / scale, digits)} {prefix}{unit}".rstrip()
    return f"{plain(value, digits)} {unit}".rstrip()


def common_scale(values: Iterable[Any]) -> tuple[float, str]:
    """The prefix that suits the largest of some values: its size and letter.

    >>> common_scale([14.8e-6, 2e-9, None])
    (1e-06, 'µ')
    """
    largest = max((abs(value) for value in values if is_number(value)), default=0.0)
    return next(((scale, prefix) for scale, prefix in _PREFIXES if largest >= scale * 0.9995), _PREFIXES[-1])


def share(value: Any) -> str:
    """A fraction as percent.

    >>> share(0.1234), share(1.5), share(0.004)
    ('12%', '150%', '0.4%')
    """
    if not is_number(value):
        return UNKNOWN
    return f"{100 * value:.0f}%" if abs(value) >= 0.0995 else f"{100 * value:.1f}%"


def count(value: Any, noun: str = "", plural: str = "") -> str:
    """A whole number with thin spaces between thousands, and its noun.

    >>> count(5000, "row"), count(1, "row"), count(2, "family", "families")
    ('5\u202f000 rows', '1 row', '2 families')
    """
    if not is_number(value):
        return UNKNOWN
    digits = f"{int(value):,}".replace(",", "\u202f")
    if not noun:
        return digits
    return f"{digits} {noun if int(value) == 1 else plural or noun + 's'}"


def p_value(value: Any) -> str:
    """A p value as journals print it.

    >>> p_value(0.0001), p_value(0.0421), p_value(0.31)
    ('< 0.001', '0.042', '0.31')
    """
    if not is_number(value):
        return UNKNOWN
    if value < 0.001:
        return "< 0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def tick(value: float) -> str:
    """The label of a tick on a logarithmic axis: plain up to 100 000, a power of ten beyond.

    >>> tick(0.01), tick(5), tick(20000), tick(1e7), tick(2e-5)
    ('0.01', '5', '20k', '10⁷', '2·10⁻⁵')
    """
    exponent = math.floor(math.log10(value) + 1e-9)
    if -3 <= exponent < 3:
        return f"{value:.{max(0, -exponent)}f}"
    if 3 <= exponent < 6:
        return f"{value / 1000:.0f}k"
    mantissa = round(value / 10.0**exponent)
    power = f"10{str(exponent).translate(_SUPERSCRIPTS)}"
    return power if mantissa == 1 else f"{mantissa}·{power}"
