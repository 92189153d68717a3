"""How many of a table's rows other work disturbed, by what a fit says of its rows."""

from __future__ import annotations

from collections.abc import Mapping

_TOO_WIDE = "too wide"


def too_wide(excluded: Mapping[str, int]) -> int:
    """What a fit leaves out because intervals are too wide, of all rows or layers it leaves out by reason.

    >>> too_wide({"sentinel": 7, "too wide: interval of time_s beyond ±20%": 117})
    117
    """
    return sum(rows for reason, rows in excluded.items() if reason.startswith(_TOO_WIDE))


def share(used: int, flagged: int, excluded: Mapping[str, int]) -> float:
    """Of the rows that a fit could have used, those that others disturbed: flagged, or too wide to count.

    >>> share(15, 1, {"too wide: interval of time_s beyond ±20%": 5})
    0.3
    """
    wide = too_wide(excluded)
    return (flagged + wide) / max(1, used + wide)
