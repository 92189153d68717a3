"""Whether noise is what there is to tell: most rows were disturbed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dibench.numbers import percent
from dibench.study.findings import disturbed

if TYPE_CHECKING:
    from dibench.study.findings.ladder import Fit

MOST = 0.5
"""From this share of rows on, noise is the answer."""
REMEDY = (
    "measure again on a quiet machine, with a longer `--time-budget`, or on fewer cores (`OMP_NUM_THREADS`)"
)


def share_disturbed(fit: Fit) -> float:
    """Of the rows that a fit could have used, those that others disturbed: flagged, or too wide to count."""
    return disturbed.share(fit.rows_used, fit.rows_flagged, fit.excluded)


def share_flagged(statuses: Mapping[str, int]) -> float:
    """Of the rows that have results, by status, those that are flagged.

    >>> share_flagged({"ok": 1, "flagged": 3, "failed": 5})
    0.75
    """
    flagged = statuses.get("flagged", 0)
    return flagged / max(1, flagged + statuses.get("ok", 0))


def in_a_sentence(statuses: Mapping[str, int]) -> str:
    """What a sweep says where most of its rows are flagged; else empty."""
    share = share_flagged(statuses)
    if share <= MOST:
        return ""
    return (
        f"Noisy: {percent(share)} of the measured rows are flagged, most often because other work disturbed "
        f"them, so a fit may find no answer here; {REMEDY}."
    )
