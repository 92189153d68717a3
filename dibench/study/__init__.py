"""The study: what the rows of a sweep say about energy, time, AI and DI.

`fit(frame)` is the way in. Inside, in the order of the data's way: `rows` chooses rows and response,
`models` makes design matrices, `estimate` fits them, `folds` holds families out, `ladder` fits every rung,
`alpha` and `inference` estimate, test and bound α, `verdict` decides, `summary` writes it as plain values.
"""

from dibench.study.devices import Cards, cards_in, fit_cards, rows_of
from dibench.study.fit import Fit, fit
from dibench.study.one_model import OneModel, one_model

__all__ = ["Cards", "Fit", "OneModel", "cards_in", "fit", "fit_cards", "one_model", "rows_of"]
