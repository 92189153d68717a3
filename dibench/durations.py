"""Times as people write them."""

from __future__ import annotations

import re

from dibench.errors import UserError

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


def duration_s(option: str, text: str) -> float:
    """Seconds of 90, 90s, 9m, 1h30m.

    Raises:
        UserError: it is no such time.

    >>> duration_s("--time-budget", "1h30m"), duration_s("--time-budget", "90")
    (5400.0, 90.0)
    """
    match = _DURATION.fullmatch(text.strip().lower())
    parts = [float(part) if part else 0.0 for part in match.groups()] if match else [0.0]
    seconds = sum(part * unit for part, unit in zip(parts, (3600.0, 60.0, 1.0), strict=False))
    if not 0.0 < seconds < 1e8:
        raise UserError(option, "must be a time such as 90s, 9m or 1h30m", text)
    return seconds
