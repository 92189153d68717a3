"""What the options `--alpha` and `--fit` mean to the verbs that show DI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.models.intensities import Alphas


def chosen_alphas(alpha: float | None, fit: Path | None) -> Alphas | None:
    """One α for both forms of DI, or what a fit found for each; None where neither is asked for.

    Raises:
        UserError: both are given, or it is no α that weighs anything.
    """
    from dibench.models.intensities import Alphas

    if alpha is not None and fit is not None:
        raise UserError("--alpha", "must not stand with --fit, which brings its own")
    if fit is not None:
        return Alphas(weighted=_fitted(fit, "weighted"), disjoint=_fitted(fit, "disjoint"))
    if alpha is None:
        return None
    if not 0 <= alpha <= 1:
        raise UserError("--alpha", "must be from 0 to 1", alpha)
    return Alphas(weighted=alpha, disjoint=alpha)


def _fitted(path: Path, form: str) -> float:
    """The α of one form in what `fit --json` wrote."""
    from dibench.files import read_json_object

    figures = read_json_object(path)
    if figures is None:
        raise UserError("", "no such file", where=path)
    try:
        value = figures["alpha"][form]["value"]
    except (KeyError, TypeError):
        raise UserError("alpha", "must be there, as `fit --json` writes it", where=path) from None
    if value is None:
        raise UserError(
            f"alpha {form}", "was not determined by this fit; choose one with --alpha", where=path
        )
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise UserError(f"alpha {form}", "must be from 0 to 1 to weigh anything", value, where=path)
    return float(value)
