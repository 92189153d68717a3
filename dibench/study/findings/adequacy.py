"""Whether a model describes its rows: how far it misses them beyond what they are good to by themselves."""

from __future__ import annotations

import attrs


@attrs.frozen
class Followed:
    """A property of layers that residuals follow."""

    name: str
    share: float
    """Of the residuals' variance, what lies between eighths of the rows by this property, or its kinds."""
    p_value: float
    """Kruskal and Wallis, after Holm over the properties."""


@attrs.frozen
class Adequacy:
    """Lack of fit of the most general description by shape, `di_split`; root mean squares of log errors."""

    adequate: bool | None
    """None where nothing tells how good the rows are."""
    miss: float | None
    """What residuals have beyond the rows' own errors; zero where these explain all."""
    residual: float | None
    rows_error: float | None
    """Standard deviation of a row by its interval and by repeats of cases."""
    margin: float
    """The miss that is tolerated."""
    p_value: float | None
    """Of a miss no larger than the margin."""
    beside: str = ""
    """Terms beside which AI and DI are compared, as without them the model misses: `occupancy`, `capacity` or
    both; empty without."""
    plain_miss: float | None = None
    """The miss without these terms."""
    follows: tuple[Followed, ...] = ()
    """What residuals follow, most first, where the model misses without further terms."""
