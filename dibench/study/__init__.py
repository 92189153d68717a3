"""The study: what the rows of a sweep say about energy, time, AI and DI. Where to look:

- The ladder, `fit(frame)`: `rows` and `fastest` choose rows and response, `models` makes design matrices,
  `estimate` and `minimise` fit them, `folds` and `unseen` hold families out, `ladder` fits every rung,
  `alpha` and `inference` estimate, test and bound α, `verdict` decides, `summary` writes it as plain values.
- Beside it: `twins` (pairs found by `twin_pairs`), `lattice` (held against `lattice_checks`),
  `whole_networks` (layers summed by `network_sums`), `generality` over families and subsets, `devices` and
  `one_model` for several cards, `peer` for a library. `whole` puts all together, `claims` sums up.
- What a fit is used for: `predictors` hands over what predicts; `predict`, `explain`, `measured` use it.
- Two sweeps side by side: `compare`.
"""

from dibench.study.findings.cards import OneModel
from dibench.study.findings.ladder import Fit
from dibench.study.ladder.fit import fit
from dibench.study.questions.devices import cards_in, rows_of
from dibench.study.questions.one_model import one_model

__all__ = ["Fit", "OneModel", "cards_in", "fit", "one_model", "rows_of"]
