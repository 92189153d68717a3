"""What a plan can tell of α before anything is measured."""

from __future__ import annotations

import attrs


@attrs.frozen
class Reach:
    """Of so many layers: from how far off ½ the verdict finds α."""

    layers: int
    """The first so many of the plan."""
    error: float
    """Standard deviation of a row, as a share of its energy."""
    below: float | None
    """An α of this or less is found; None if none is."""
    above: float | None
    """An α of this or more is found; None if none is."""


@attrs.frozen
class Power:
    """How far a plan reaches by layers measured and by their errors, and what that assumes."""

    reaches: tuple[Reach, ...]
    """By layers, and by errors of each."""
    chance: float
    """Share of studies in which α is found."""
    ratio: float
    """(e_w + e_a) / e₀."""
    launch: float
    """e_launch / e₀, in multiply-adds."""
