"""Generality: would another choice of networks, or of layers, have said the same?

Two answers of different weight. *Evidence*: the errors of AI and of DI on each architecture family, from fits
that have not seen it; paired by family, with an interval over families. *Description*: how correlation, α and
error spread over subsets of the networks and layers at hand, beside the spread that combinatorics gives to
any fixed set (`subsets`). Subsets can show that a figure depends on a few networks. They cannot show that it
holds for networks outside the set, and a bell shape over them shows nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from dibench.errors import UserError
from dibench.numbers import bracketed, percent, percent_apart
from dibench.study.findings.generality import MEMBERS, Generality, Population, nearest_half
from dibench.study.findings.networks import Evidence
from dibench.study.ladder.unseen import FEWEST_FAMILY_LAYERS
from dibench.study.questions.families import evidence_of, family_differences
from dibench.study.questions.subset_fits import fits_of
from dibench.study.questions.subset_study import Members, layers_of, networks_of, study
from dibench.study.questions.subsets import FEWEST
from dibench.study.questions.whole_networks import SEED, fleet_of
from dibench.study.table.rows import Choice

if TYPE_CHECKING:
    import pandas as pd

    from dibench.study.ladder.ladder import Ladder

SUBSETS = 10_000
NETWORK_SIZES = (5, 8, 12, 16, 20)
LAYER_SIZES = (10, 20, 50, 100, 200, 400)
STABLE = 0.95
"""Share of the subsets that must agree before anything is called stable across them."""

METHOD = {
    "evidence": "per family: root mean square log error of fits without the family and every shape in it, "
    "AI minus DI; Student's interval over families, exact sign-flip p. Families share some shapes. A network "
    "outside the 25 is of the family that its name's first word says; a family counts with "
    f"{FEWEST_FAMILY_LAYERS} different layers.",
    "subsets": "without replacement from a fixed set; correlations of logarithms from sums",
    "curve": "sqrt((n - k) / (n - 1)) / sqrt(k - 3) in Fisher's z: what combinatorics alone gives",
    "influence_curve": "the same with the influence of these members in place of normal ones",
    "made_up": "the same resampling of sets of n random normal points with the same correlation",
    "normality": "skew, kurtosis, Shapiro-Wilk (first 5,000 subsets) and Q-Q describe; they are no evidence",
    "alpha_and_error": "one Gauss-Newton step from the fit to all rows, by each subset's sums; "
    "one_step_error is its median distance from full refits of some subsets",
}

FORMS = {"di_weighted": "weighted DI", "di_disjoint": "disjoint DI"}


# Wide because each parameter is a choice of its own that most callers leave alone.
def generality(
    frame: pd.DataFrame,
    *,
    batch: int | None = None,
    subsets: int = SUBSETS,
    sizes: Sequence[int] | None = None,
    layer_sizes: Sequence[int] | None = None,
    half_only: bool = False,
    seed: int = SEED,
    ladder: Ladder | None = None,
    **chosen: Unpack[Choice],
) -> Generality:
    """Study a table of the CSV contract.

    Args:
        frame: the table.
        batch: as of `fleet_of`.
        subsets: drawn of each size.
        sizes: networks in a subset; by default those of 5, 8, 12, 16, 20 that are fewer than there are.
        layer_sizes: distinct layers in a subset; by default those of 10, 20, 50, 100, 200, 400.
        half_only: of the usual sizes only the one nearest to half of the set, which the words are about.
        seed: of all draws.
        ladder: as of `fleet_of`.
        chosen: `device`, `backend`, `dtype`, as of `rows.select`.

    Raises:
        UserError: no row can be used, a size is impossible, or nothing can be studied.
    """
    fleet = fleet_of(frame, batch=batch, ladder=ladder, **chosen)
    selection, data = fleet.selection, fleet.data
    fits = fits_of(data)
    rng = np.random.default_rng(seed)
    populations, not_studied = {}, {}
    for members, wanted, usual in (
        (networks_of(fleet), sizes, NETWORK_SIZES),
        (layers_of(fleet), layer_sizes, LAYER_SIZES),
    ):
        ks = _sizes(members, wanted, usual, half_only=half_only)
        if ks:
            populations[members.unit] = study(members, fits, ks, subsets, rng)
        else:
            not_studied[members.unit] = f"{len(members)} of them can be used, too few for subsets"
    families = family_differences(data, fleet.unseen)
    if not populations and not families:
        raise UserError("rows", "must hold layers of several networks to study generality")
    evidence = evidence_of(families)
    return Generality(
        response=selection.response,
        response_kind=selection.kind,
        response_measured=selection.measured,
        evidence_of_energy=selection.evidence,
        batch=fleet.batch,
        rows=len(data),
        seed=seed,
        subsets=subsets,
        alpha=fits.alpha(),
        words=tuple(_words(evidence.values(), populations)),
        families=families,
        evidence=evidence,
        populations=populations,
        not_studied=not_studied,
        networks_left_out=fleet.left_out,
        method=METHOD,
    )


def _sizes(
    members: Members, wanted: Sequence[int] | None, usual: Sequence[int], *, half_only: bool
) -> list[int]:
    """Of the subsets that are drawn; none where the members are too few."""
    n = len(members)
    for k in wanted or ():
        if not FEWEST <= k < n:
            few = f"cannot be chosen: subsets need more than {FEWEST} {members.unit}, these rows hold {n}"
            rule = few if n <= FEWEST else f"must be from {FEWEST} to {n - 1}, there are {n}"
            raise UserError(f"size of subsets of {members.unit}", rule, k)
    sizes = sorted(set(wanted)) if wanted else [k for k in usual if k < n]
    if n <= FEWEST or not sizes:
        return []
    return [nearest_half(sizes, n)] if half_only and not wanted else sizes


def _words(evidence: Iterable[Evidence], populations: Mapping[str, Population]) -> list[str]:
    """What can be said, evidence first, and no more than the figures show."""
    said = [_evidence(one) for one in evidence]
    for unit, population in populations.items():
        said += [_stability(unit, population, form) for form in FORMS if form in population.r]
    return said


def _evidence(one: Evidence) -> str:
    form = FORMS[one.model]
    if one.ci_low is None or one.ci_high is None:
        return f"AI against {form}: undecided, {one.families} families are too few for an interval."
    mean = bracketed(one.mean, one.ci_low, one.ci_high, percent_apart)
    interval = f"AI's error less DI's is {mean}, {one.families} families"
    answer = {
        "DI": f"On families it has not seen, {form} errs less than AI",
        "AI": f"On families it has not seen, AI errs less than {form}",
        "undecided": f"Families do not tell AI from {form}",
    }[one.decision]
    return f"{answer}: {interval}."


def _stability(unit: str, population: Population, form: str) -> str:
    """At the size nearest to half of the set: do the subsets agree on the order of AI and DI?"""
    size = population.half
    if form not in size.di_above_ai:
        return f"{FORMS[form]}: not compared over subsets of these {MEMBERS[unit]}."
    share = size.di_above_ai[form]
    whole = "above" if population.r[form] > population.r["ai"] else "below"
    agree = share if whole == "above" else 1 - share
    stable = "stable" if agree >= STABLE else "not stable"
    return (
        f"{FORMS[form][0].upper()}{FORMS[form][1:]} correlates {whole} AI in {percent(agree, 0)} of the "
        f"subsets of {size.k} of {population.n} {MEMBERS[unit]}: {stable} across subsets of these {unit}."
    )
