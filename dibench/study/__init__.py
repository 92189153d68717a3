"""The study: what the rows of a sweep say about energy, time, AI and DI.

- `table` chooses rows, response and the fastest kernels.
- `maths` estimates, tests and scores; nothing there knows a layer.
- `ladder` fits every model: `models` (design matrices), `folds` and `unseen` (families held out), `alpha`
  (estimate, test, interval), `verdict`. `Ladder` is the working object; `findings_of` makes its findings.
- `questions` asks what stands beside the fit: twins, the reuse lattice, whole networks, generality, several
  cards, a library, other choices of rows. `all_questions` asks them all of one table, `claims` sums up, and
  `described` is what the report shows beside them.
- `use` applies a fit: predict, explain, redesign. It also compares two sweeps.
- `findings` holds the types of all answers.
"""

from dibench.study.findings.cards import OneModel
from dibench.study.findings.ladder import Fit
from dibench.study.ladder.fit import fit
from dibench.study.questions.devices import cards_in, rows_of
from dibench.study.questions.one_model import one_model

__all__ = ["Fit", "OneModel", "cards_in", "fit", "one_model", "rows_of"]
