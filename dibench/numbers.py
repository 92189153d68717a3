"""Numbers for people: digits, prefixes and units, percent, ratios, intervals; a dash for what is not known.

Each kind of number is written by one function, on screen, page and in messages.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from dibench.layer import Layer

_PREFIXES = (
    (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""),
    (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"), (1e-18, "a"),
)  # fmt: skip
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

UNKNOWN = "–"
UNDETERMINED = "not determined"


class Bounded(Protocol):
    """A value with the ends of its 95% interval; None for what the rows do not tell."""

    @property
    def value(self) -> float | None:
        """The estimate."""

    @property
    def ci_low(self) -> float | None:
        """Lower end."""

    @property
    def ci_high(self) -> float | None:
        """Upper end."""


class Spanned(Protocol):
    """A value with the ends of its interval, all of them known."""

    @property
    def value(self) -> float:
        """The estimate."""

    @property
    def low(self) -> float:
        """Lower end."""

    @property
    def high(self) -> float:
        """Upper end."""


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
        return minus(text.rstrip("0").rstrip(".") if "." in text else text)
    mantissa = minus(f"{value / 10.0**exponent:.{digits - 1}f}".rstrip("0").rstrip("."))
    return f"{mantissa} · {power_of_ten(exponent)}"


def minus(text: str) -> str:
    """Digits with a minus sign in place of the hyphen."""
    return text.replace("-", "−")


def power_of_ten(exponent: int) -> str:
    """A power of ten.

    >>> power_of_ten(-5)
    '10⁻⁵'
    """
    return f"10{str(exponent).translate(_SUPERSCRIPTS)}"


def _fixed(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else minus(text)


def short(value: Any, unit: str = "") -> str:
    """A value in three digits with the prefix that leaves one to three of them before the point.

    >>> short(2.31e-3, "s"), short(6.47e-14, "s"), short(115605504), short(37), short(0, "s"), short(None)
    ('2.31 ms', '64.7 fs', '116M', '37', '0 s', '–')
    """
    if not is_number(value):
        return UNKNOWN
    for scale, prefix in _PREFIXES:
        if abs(value) >= scale * 0.9995:
            scaled = value / scale
            size = abs(scaled)
            whole = size >= 99.95 or (not unit and float(scaled).is_integer())
            text = minus(f"{scaled:.{0 if whole else 1 if size >= 9.995 else 2}f}")
            return f"{text} {prefix}{unit}" if unit else f"{text}{prefix}"
    return f"{plain(value)} {unit}".rstrip()


def number(value: float | None, spec: str = ".3g") -> str:
    """A number in that format.

    >>> number(0.12345), number(-0.021, ".3f"), number(None)
    ('0.123', '−0.021', '–')
    """
    return UNKNOWN if value is None else re.sub("^-", "−", format(value, spec))


def from_to(low: str, high: str) -> str:
    """Two ends that are written already; one of them where both are written alike.

    >>> from_to("0.998", "1.004"), from_to("1.00", "1.00")
    ('0.998 to 1.004', '1.00')
    """
    return low if low == high else f"{low} to {high}"


def span(low: float, high: float, digits: int = 3) -> str:
    """From the least to the most, with decimals that tell them apart; one number where they are alike.

    >>> span(0.9972, 0.9974), span(0.998, 1.0099), span(0.01, 640), span(8.1, 8.1)
    ('0.9972 to 0.9974', '1.00 to 1.01', '0.01 to 640', '8.1')
    """
    if low == high or not 0 < low < high < 10 * low or not 1e-4 <= high < 1e7:
        return from_to(plain(low, digits), plain(high, digits))
    decimals = max(0, digits - 1 - math.floor(math.log10(high)), -math.floor(math.log10(high - low)))
    return from_to(*(_fixed(end, min(decimals, 9)) for end in (low, high)))


def bracketed(
    value: float | None, low: float | None, high: float | None, write: Callable[[Any], str] | None = None
) -> str:
    """A value with its interval in brackets; the value alone where an end is missing or the ends look alike.

    Without `write`, all three have the digits that the interval leaves: half of its width in one digit,
    or in two where that begins with 1 or 2.

    >>> bracketed(1.0823, 1.05, 1.1, lambda value: number(value, ".3f")), bracketed(0.25, 0.2, None)
    ('1.082 (1.050 to 1.100)', '0.25')
    >>> bracketed(61.24, 58.0, 64.41), bracketed(2.974, 2.88, 3.0601), bracketed(3309, -793, 7412)
    ('61 (58 to 64)', '2.97 (2.88 to 3.06)', '3000 (−1000 to 7000)')
    """
    if low is None or high is None:
        return (write or plain)(value)
    told = [write(one) for one in (value, low, high)] if write else _together(value, low, high)
    return told[0] if told[1] == told[2] else f"{told[0]} ({told[1]} to {told[2]})"


def _together(value: float | None, low: float, high: float) -> list[str]:
    half, largest = (high - low) / 2, max(map(abs, (low, high)))
    if value is None or not half > 0 or not 1e-4 <= largest < 1e7 or half < 1e-6 * largest:
        return [plain(value), plain(low), plain(high)]
    exponent = math.floor(math.log10(half))
    digits = -exponent + (half < 3 * 10.0**exponent)  # below zero: tens, hundreds
    return [_fixed(round(one, digits), max(0, digits)) for one in (value, low, high)]


def with_ends(estimate: Bounded) -> str:
    """A value with its 95% interval as `bracketed` writes them; the value alone where it has no interval.

    >>> from dibench.study.findings.estimate import Estimate
    >>> with_ends(Estimate(61.24, 58.0, 64.41)), with_ends(Estimate(0.25, None, None))
    ('61 (58 to 64)', '0.25')
    """
    return bracketed(estimate.value, estimate.ci_low, estimate.ci_high)


def interval(estimate: Bounded) -> str:
    """A value with its 95% interval; words, and no value, where it is not bounded on both sides.

    If one end is missing, the estimate itself could be anything beyond the other.

    >>> from dibench.study.findings.estimate import Estimate
    >>> interval(Estimate(0.314, 0.27, 0.36))
    '0.31 (0.27 to 0.36)'
    >>> interval(Estimate(0.314, 0.2, None)), interval(Estimate(0.314, None, None))
    ('above 0.20', 'not determined')
    >>> interval(Estimate(-0.5, -0.5, -0.499))
    '−0.500 (−0.500 to −0.499)'
    >>> interval(Estimate(5e-7, 0.0, 1.7e-4)), interval(Estimate(0.5, 0.5, 0.5))
    ('0 (0 to 0.0002)', '0.5 (within 0.00001)')
    """
    value, low, high = estimate.value, estimate.ci_low, estimate.ci_high
    if value is None or low is None is high:
        return UNDETERMINED
    if low is None:
        assert high is not None
        return f"below {_fixed(high, 2)}"
    if high is None:
        return f"above {_fixed(low, 2)}"
    width = high - low
    if width < 1e-5:
        return f"{plain(value, 5)} (within 0.00001)"
    digits = max(2, -math.floor(math.log10(width)))  # tell ends apart
    return bracketed(value, low, high, lambda end: _fixed(end, digits) if round(end, digits) else "0")


def common_scale(values: Iterable[Any]) -> tuple[float, str]:
    """The prefix that suits the largest of some values: its size and letter.

    >>> common_scale([14.8e-6, 2e-9, None])
    (1e-06, 'µ')
    """
    largest = max((abs(value) for value in values if is_number(value)), default=0.0)
    return next(((scale, prefix) for scale, prefix in _PREFIXES if largest >= scale * 0.9995), (1.0, ""))


def percent(value: Any, decimals: int | None = None) -> str:
    """A fraction as percent: in two digits, or with so many decimals.

    >>> percent(0.1234), percent(1.5), percent(0.05), percent(0.0021), percent(-0.021, 1), percent(0.03, 0)
    ('12%', '150%', '5.0%', '0.21%', '−2.1%', '3%')
    """
    if not is_number(value):
        return UNKNOWN
    if decimals is None:
        size = abs(value)
        return f"{number(100 * value, '.0f' if size >= 0.0995 else '.1f' if size >= 0.00995 else '.2g')}%"
    return f"{_fixed(100 * value, decimals)}%"


def uncertainty(fraction: Any) -> str:
    """A relative half-width of an interval: with one decimal, from 100% on without.

    >>> uncertainty(0.004), uncertainty(0.121), uncertainty(1.947), uncertainty(None)
    ('0.4%', '12.1%', '195%', '–')
    """
    return percent(fraction, 1 if is_number(fraction) and fraction < 0.9995 else 0)


def share_text(part: float, whole: float, decimals: int | None = None) -> str:
    """A part of a whole as percent: 100% only where it is all, 0% only where it is nothing.

    >>> share_text(28, 100), share_text(100, 100, 1), share_text(99_999, 100_000), share_text(1, 10**6, 1)
    ('28%', '100%', 'over 99%', 'under 0.1%')
    """
    if part == 0 or math.isclose(part, whole, rel_tol=1e-12):  # a sum in another order is still all
        return "100%" if part else "0%"
    step = 10 ** -(decimals or 0)
    if 100 * part / whole > 100 - step:
        return f"over {number(100 - step, f'.{decimals or 0}f')}%"
    if 100 * part / whole < step and decimals is not None:
        return f"under {number(step, f'.{decimals}f')}%"
    return percent(part / whole, decimals)


def percent_apart(difference: Any) -> str:
    """A difference of two shares or relative errors, with its sign.

    >>> percent_apart(0.139), percent_apart(-0.021), percent_apart(-0.0001), percent_apart(None)
    ('+13.9%', '−2.1%', '0.0%', '–')
    """
    text = percent(difference, 1)
    return f"+{text}" if is_number(difference) and difference > 0 and text != "0.0%" else text


def times(ratio: Any, decimals: int = 2) -> str:
    """How many times as much.

    >>> times(1.0834), times(1.0834, 3), times(None)
    ('1.08×', '1.083×', '–')
    """
    return f"{_fixed(ratio, decimals)}×" if is_number(ratio) else UNKNOWN


def count(value: Any, noun: str = "", plural: str = "") -> str:
    """A whole number with commas between thousands, and its noun.

    >>> count(5000, "row"), count(1, "row"), count(2, "family", "families")
    ('5,000 rows', '1 row', '2 families')
    """
    if not is_number(value):
        return UNKNOWN
    digits = f"{int(value):,}"
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


def p_text(value: Any) -> str:
    """The same with its sign.

    >>> p_text(0.0001), p_text(0.31), p_text(None)
    ('p < 0.001', 'p = 0.31', 'p not determined')
    """
    said = p_value(value)
    return f"p {said}" if said.startswith("<") else f"p = {said}" if is_number(value) else f"p {UNDETERMINED}"


def time_text(seconds: float) -> str:
    """Seconds as a clock shows them.

    >>> time_text(0.31), time_text(59.6), time_text(3725)
    ('0.3 s', '1m 00s', '1h 02m')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def duration_text(seconds: float) -> str:
    """A rough duration, such as an estimate.

    >>> duration_text(42.1), duration_text(200), duration_text(7300), duration_text(400000)
    ('42 s', '3.3 min', '2.0 h', '4.6 days')
    """
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def shape_text(layer: Layer) -> str:
    """A layer in the words of a paper: input → output, filter, and what is not the default.

    >>> from dibench.layer import Layer
    >>> shape_text(Layer(N=1, C=64, H=56, W=56, K=128, R=3, S=3, stride_h=2, stride_w=2, pad_h=1, pad_w=1))
    '64×56×56 → 128×28×28  3×3 /2'
    """
    batch = f"{layer.N}×" if layer.N > 1 else ""
    if layer.op == "fc":
        return f"{batch}{layer.C} → {batch}{layer.K}"
    ends = [f"{batch}{layer.C}×{layer.H}×{layer.W}", f"{batch}{layer.K}×{layer.P}×{layer.Q}"]
    text = f"{' → '.join(ends[::-1] if layer.transposed else ends)}  {layer.R}×{layer.S}"
    for word, (down, across) in {
        "/": (layer.stride_h, layer.stride_w),
        "dil ": (layer.dil_h, layer.dil_w),
    }.items():
        if (down, across) != (1, 1):
            text += f" {word}{down}" if down == across else f" {word}{down},{across}"
    return text + (f" g{layer.groups}" if layer.groups > 1 else "") + " transposed" * layer.transposed


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
    power = power_of_ten(exponent)
    return power if mantissa == 1 else f"{mantissa}·{power}"


def with_interval(estimate: Spanned, unit: str) -> str:
    """A value with its interval, in one unit.

    >>> from types import SimpleNamespace as Cost
    >>> with_interval(Cost(value=2e-3, low=-1.5e-3, high=2.5e-3), "J")
    '2.00 mJ (−1.50 to 2.50)'
    >>> with_interval(Cost(value=6e-6, low=-508e-6, high=520e-6), "J")
    '6.0 µJ (−508.0 to 520.0)'
    >>> with_interval(Cost(value=0, low=0, high=0), "s")
    '0 s'
    """
    if not estimate.value:
        return f"0 {unit}"
    scale, prefix = common_scale([estimate.value])
    ends = (estimate.value, estimate.low, estimate.high)
    most = max(map(abs, ends)) / scale
    digits = 2 if most < 9.995 else 1 if most < 99.95 or abs(estimate.value) < 9.95 * scale else 0
    value, low, high = (minus(f"{end / scale:.{digits}f}") for end in ends)
    return f"{value} {prefix}{unit} ({low} to {high})"
