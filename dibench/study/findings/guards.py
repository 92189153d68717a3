"""What may pass for evidence and is none: what of it a fit's rows show, which may withhold the verdict."""

from __future__ import annotations

import attrs

from dibench.study.findings.estimate import Alpha


@attrs.frozen
class OtherRows:
    """The same fit without rows in doubt, or with them where it leaves them out."""

    rows: int
    alpha: Alpha
    verdict: str
    """`AI`, `DI`, `undecided` or `not adequate`."""


@attrs.frozen
class Guard:
    """One thing in doubt."""

    name: str
    """`time alone`, `power cap`, `launch-bound`, `warm operands`, `repeated module` or `implausible cost`."""
    withholds: bool
    """Whether a verdict of AI or DI does not stand because of it."""
    brief: str
    """In a few words that follow "but"."""
    figure: str
    """The numbers behind it."""
    text: str
    """In a sentence, with the numbers."""
    rows: int
    """Rows in doubt."""
    other: OtherRows | None = None
    """What the fit says with another choice of rows; None where rows are not the question."""
