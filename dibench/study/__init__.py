"""The study: what the rows of a sweep say about energy, time, AI and DI.

`fit(frame)` is the way in. Inside, in the order of the data's way: `rows` chooses rows and response,
`models` makes design matrices, `estimate` fits them, `folds` holds families out, `ladder` fits every rung,
`alpha` and `inference` estimate, test and bound α, `verdict` decides, `summary` writes it as plain values.
"""

from dibench.study.devices import Cards, cards_in, fit_cards
from dibench.study.fit import Fit, fit

__all__ = ["Cards", "Fit", "cards_in", "fit", "fit_cards"]
