"""Plain characters in place of those that a terminal's encoding lacks, such as `+-` for ± in ASCII.

The replacement is an error handler of Python's codecs, so a stream can have it, and text can be prepared with
it before a table is laid out. What an encoding has stays: Latin-1 keeps ± and ×.
"""

from __future__ import annotations

import codecs
import re
import unicodedata

HANDLER = "dibench.plain"
"""The name under which `open` and `encode` know the handler; `register` makes it known."""

_PLAIN = {
    "±": "+-", "×": "x", "÷": "/", "·": "*", "−": "-", "–": "-", "—": "-", "…": "...", "’": "'", "′": "'",
    "→": "->", "←": "<-", "≥": ">=", "≤": "<=", "≠": "!=", "≈": "~", "√": "sqrt ", "½": "1/2", "∂": "d",
    "∈": " in ", "∝": " ~ ", "∞": "inf", "°": " deg ", "µ": "u", "μ": "u", "█": "#", "▇": "#", "▆": "#",
    "▅": "=", "▄": "=", "▃": "-", "▂": "-", "▁": "_", "░": ".", "•": "*", "✓": "yes", "“": '"', "”": '"',
}  # fmt: skip
_STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿᵀ"
_EXPONENT = re.compile(f"[{_RAISED}]+")


def visible(text: str) -> str:
    """The text with a question mark for each character that would steer a terminal, not show on it.

    Names of layers, devices and files are other people's: an escape sequence in one could rename the window,
    fill the clipboard or hide what follows; marks of direction turn text round.

    >>> visible("conv\\x1b[2J\\u202e α ± 3"), visible("two\\n\\tlines")
    ('conv?[2J? α ± 3', 'two\\n\\tlines')
    """
    return _STEERS.sub("?", text)


def plain(text: str, encoding: str) -> str:
    """The text as a stream of this encoding will show it.

    >>> plain("α = 0.5 ± 0.1, 3 µs, 10⁻¹² J, Größe", "ascii")
    'alpha = 0.5 +- 0.1, 3 us, 10^-12 J, Grosse'
    >>> plain("α ± 0.1", "latin-1")
    'alpha ± 0.1'
    """
    register()
    return text.encode(encoding, HANDLER).decode(encoding)


def register() -> None:
    """Make the handler known to Python."""
    codecs.register_error(HANDLER, _replace)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    raised = _EXPONENT.sub(lambda match: "^" + unicodedata.normalize("NFKC", match[0]), lacking)
    return "".join(ch if ch.isascii() else _letter(ch) for ch in raised), error.end


def _letter(character: str) -> str:
    """ASCII for one character; a question mark where nothing stands for it."""
    if character in _PLAIN:
        return _PLAIN[character]
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", unicodedata.name(character, ""))
    if greek:
        return greek[2].lower() if greek[1] == "SMALL" else greek[2].capitalize()
    if unicodedata.combining(character):
        return ""
    if character == "ß":
        return "ss"
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"
