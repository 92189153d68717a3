"""Ticks of axes: round values, three at least, each with a label that says its value."""

from __future__ import annotations

import math
from itertools import chain, count

from dibench.numbers import common_scale, minus, power_of_ten, short, tick

_FEWEST = 3
_MOST_ROUND = 6
"""Of a logarithmic axis, whose labels are wider."""

_MANTISSAS = ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3))

Tick = tuple[float, str]


def log_ticks(low: float, high: float, *, prefixes: bool = False) -> list[Tick]:
    """Ticks of a logarithmic axis between two positive ends that are 1% apart or more.

    Args:
        low: lower end.
        high: upper end.
        prefixes: write `3G` and `500M`, for what is counted in such units.

    >>> [label for _, label in log_ticks(0.9, 30)], [label for _, label in log_ticks(0.97, 1.06)]
    (['1', '2', '5', '10', '20'], ['0.975', '1.000', '1.025', '1.050'])
    """
    decades = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = chain(((mantissas, 1) for mantissas in _MANTISSAS), (((1,), step) for step in count(1)))
    for mantissas, step in every:
        exponents = range(decades[0] // step * step, decades[1] + 1, step)
        values = [float(f"{mantissa}e{exponent}") for exponent in exponents for mantissa in mantissas]
        values = [value for value in values if low <= value <= high]
        if len(values) <= _MOST_ROUND:
            break
    if len(values) < _FEWEST:
        return even_ticks(low, high, prefixes=prefixes)
    return [(value, short(value) if prefixes else tick(value)) for value in values]


def even_ticks(low: float, high: float, *, prefixes: bool = False) -> list[Tick]:
    """Ticks at equal distances, whose labels have one unit and as many digits as tell them apart.

    >>> even_ticks(-0.1, 1.1)
    [(0.0, '0.0'), (0.5, '0.5'), (1.0, '1.0')]
    >>> [label for _, label in even_ticks(1_304_000, 1_307_000)]
    ['1.304·10⁶', '1.305·10⁶', '1.306·10⁶', '1.307·10⁶']
    """
    exponent = math.floor(math.log10(high - low))
    steps = (float(f"{factor}e{exponent - down}") for down in count() for factor in (5, 2.5, 2, 1))
    step, numbers = next((step, own) for step in steps if len(own := _multiples(step, low, high)) >= _FEWEST)
    values = [number * step for number in numbers]
    scale, unit = _unit(max(map(abs, values)), prefixes)
    decimals = next(digits for digits in count() if _is_written(step / scale, digits))
    return [(value, f"{minus(f'{value / scale:.{decimals}f}')}{unit}") for value in values]


def _multiples(step: float, low: float, high: float) -> range:
    """Of which numbers the multiples lie between low and high."""
    return range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)


def _unit(largest: float, prefixes: bool) -> tuple[float, str]:
    """What labels are multiples of, and how that is written."""
    if prefixes:
        return common_scale([largest])
    if 1e-3 <= largest < 1e4:
        return 1.0, ""
    if 1e4 <= largest < 1e6:
        return 1e3, "k"
    exponent = math.floor(math.log10(largest))
    return float(f"1e{exponent}"), f"·{power_of_ten(exponent)}"


def _is_written(step: float, decimals: int) -> bool:
    return math.isclose(round(step, decimals), step, rel_tol=1e-6)
