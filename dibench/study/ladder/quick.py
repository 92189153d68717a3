"""The verdict's rule at a fifth of the time, to ask many choices of rows: with fewer draws.

Held-out errors, and α beside terms of the hardware, are found only where the rule asks for them: where both
intervals of α lie outside the margin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from dibench.study.findings.estimate import Alpha, AlphaByFamily
from dibench.study.findings.ladder import MARGIN
from dibench.study.ladder.adequacy import adequacy
from dibench.study.ladder.alpha import WeightedAlpha, with_baseline
from dibench.study.ladder.beside import suited
from dibench.study.ladder.folds import families_of, make_folds
from dibench.study.ladder.ladder import SEED, grounds_of, held_out_errors, make_clusterings
from dibench.study.ladder.models import Data, Terms
from dibench.study.ladder.rungs import FittedTerm
from dibench.study.ladder.verdict import Verdict, decide, outside
from dibench.study.maths.inference import Clustering
from dibench.study.table.catalogue import Catalogue

DRAWS = 399
PRECISION = 1e-2
"""Of the ends of α's interval, as a share of the step that crosses them: finer than p from so few draws."""


@attrs.frozen
class Quick:
    """α of weighted DI on some rows, and the verdict."""

    alpha: Alpha
    alpha_by_family: AlphaByFamily
    costs: tuple[FittedTerm, ...]
    """e_w and e_a, without intervals."""
    verdict: Verdict


def quick_verdict(
    data: Data, catalogue: Catalogue, further: Mapping[str, Terms], terms: Terms | None = None
) -> Quick:
    """Weigh AI against DI.

    Args:
        data: the rows.
        catalogue: of the networks in their table.
        further: terms of the hardware by name, without `TIME`, beside which DI must hold; AI and DI are
            compared beside the fewest of them with which the model does not miss.
        terms: compare AI and DI beside these, whatever they miss.
    """
    if terms is None:
        terms, judged = suited(data, further)
    else:
        further, judged = {}, adequacy(data, terms)
    clusterings, folds = make_clusterings(data, DRAWS, SEED), make_folds(data, SEED, catalogue)
    problem = WeightedAlpha(data, clusterings, terms)
    alpha = with_baseline(problem.estimate(PRECISION), data, terms)
    alpha_by_family = with_baseline(problem.by_family(folds.by_family or families_of(data)), data, terms)
    grounds = grounds_of(problem, alpha, alpha_by_family, judged)
    if outside(alpha) and outside(alpha_by_family):
        ai, di = held_out_errors(data, clusterings[-1], folds, {}, terms)
        beside = _contrary(data, clusterings, further)
        grounds = attrs.evolve(grounds, held_out_ai=ai, held_out_di=di, beside=beside)
    fitted = zip(problem.full.names, problem.full.per, problem.fit.parameters.tolist(), strict=True)
    costs = [
        FittedTerm(name, per, value, None, None) for name, per, value in fitted if name in ("e_w", "e_a")
    ]
    return Quick(alpha, alpha_by_family, tuple(costs), decide(grounds))


def _contrary(
    data: Data, clusterings: Sequence[Clustering], further: Mapping[str, Terms]
) -> dict[str, Alpha]:
    """α beside the first term with which it does not lie outside the margin; nothing where there is none."""
    for name, terms in further.items():
        problem = WeightedAlpha(data, clusterings, terms)
        if not problem.lies_outside(MARGIN) and (alpha := problem.estimate(PRECISION)).value is not None:
            return {name: alpha}
    return {}
