"""Fits for notebooks and scripts; `dibench.fit` is the function here, loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from dibench import study
from dibench.show import fit as shown
from dibench.show import predicted_vs_measured, terminal
from dibench.study.questions.described import residuals

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@attrs.frozen(eq=False, repr=False)
class NotebookFit(study.Fit):
    """A fit with its words and its figure."""

    def summary(self) -> str:
        """Verdict, the ladder and α as text."""
        return terminal.text(shown.summary(self))

    def plot(self) -> Figure:
        """What AI and DI predict, held out where the fit could hold out, against what was measured."""
        return predicted_vs_measured.figure_of(self, residuals(self.to_frame(), self.response))


def fit(frame: pd.DataFrame, **options: Any) -> NotebookFit:
    """Fit MACs, time, AI and DI to a frame of `load` and weigh AI against DI; see `dibench.study.fit`.

    The result has `.verdict`, `.alpha.value`, `.summary()` (text), `.to_frame()` (rows with predictions),
    `.to_json()` (every figure) and `.plot()` (a Matplotlib figure).

    Raises:
        dibench.errors.UserError: no row can be fitted, or several devices need a choice.
    """
    return NotebookFit(**attrs.asdict(study.fit(frame, **options), recurse=False))
