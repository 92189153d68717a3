"""The α that `layers` and `networks` show DI with: of `--alpha` or of `--fit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.models.intensities import Alphas


def chosen_alphas(alpha: float | None, fit: Path | None) -> Alphas | None:
    """One α for both forms of DI, or the two that a fit found; None where neither option is given.

    Raises:
        UserError: both are given, or it is no α that weighs anything.
    """
    from dibench.models.intensities import Alphas

    if alpha is not None and fit is not None:
        raise UserError("--alpha", "must not stand with --fit, which brings its own")
    if fit is not None:
        from dibench.study.use.fitted_model import open_alphas

        return open_alphas(fit)
    if alpha is None:
        return None
    if not 0 <= alpha <= 1:
        raise UserError("--alpha", "must be from 0 to 1", alpha)
    return Alphas(weighted=alpha, disjoint=alpha)
