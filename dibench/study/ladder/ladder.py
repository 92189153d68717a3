"""From a sweep's table to the ladder: every rung, α, the test of AI against DI, and a verdict, as arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench import intensity
from dibench.errors import UserError
from dibench.study.findings.adequacy import Adequacy, Followed
from dibench.study.findings.collinear import Collinear
from dibench.study.findings.estimate import UNKNOWN_ALPHA, Alpha, AlphaByFamily
from dibench.study.findings.guards import Guard
from dibench.study.ladder.adequacy import adequacy, followed, residuals_of
from dibench.study.ladder.alpha import (
    ClusterTest,
    DisjointAlpha,
    WeightedAlpha,
    weights_and_inputs,
    with_baseline,
)
from dibench.study.ladder.beside import CAPACITY, OCCUPANCY, TIME, not_told, suited, terms_beside
from dibench.study.ladder.collinear import collinear
from dibench.study.ladder.folds import Folds, families_of, make_folds
from dibench.study.ladder.guards import Doubtful, doubtful_rows, guards_of
from dibench.study.ladder.models import FULL, MODELS, Data, Terms, data_of
from dibench.study.ladder.rungs import NoRung, Rung, fit_rung
from dibench.study.ladder.unseen import FoldFits, Unseen, predict_families, predict_held_out
from dibench.study.ladder.verdict import Grounds, Verdict, decide, withhold
from dibench.study.maths.inference import DRAWS, Clustering, Test, clustering
from dibench.study.maths.labels import labelled
from dibench.study.maths.scores import aicc
from dibench.study.table import rows as row_rules
from dibench.study.table.catalogue import Catalogue, catalogue_of
from dibench.study.table.columns import is_network, numbers
from dibench.study.table.network_rows import only_networks

if TYPE_CHECKING:
    import pandas as pd

SEED = 20_200_806
"""Default seed of the bootstrap: the day on which the abstract was submitted."""

SENSITIVITIES = {
    "without_launch": Terms(launch=False),
    "one_e0": Terms(e0_per_operator=False),
    "without_launch_and_one_e0": Terms(launch=False, e0_per_operator=False),
}
"""Fits of the same response with fewer terms."""
GROSS_SENSITIVITIES = {"gross": FULL, "gross_with_power": Terms(launch=False, power=True)}
"""Fits of gross energy, where the response is energy above a baseline: with all terms, which gives the α of
total energy, and with constant power times time in place of e_launch."""


@attrs.frozen
class AiAgainstDi:
    """AI against weighted DI on some rows."""

    alpha: Alpha
    alpha_by_family: AlphaByFamily
    tests: ClusterTest
    effective: dict[str, float]
    condition: float
    held_out_ai: float | None
    held_out_di: float | None
    verdict: Verdict
    adequacy: Adequacy
    collinear: Collinear

    @property
    def test(self) -> Test:
        """The test of AI inside DI that counts."""
        return self.tests.decisive


@attrs.frozen
class Beside:
    """α and the test of AI inside DI with further terms, and the lack of fit with them."""

    terms: Terms
    alpha: Alpha
    test: Test
    adequacy: Adequacy


@attrs.frozen
class Effective:
    """The model `effective`, on the rows of all kernels that count their accesses."""

    data: Data
    rung: Rung | NoRung


@attrs.frozen(eq=False)
class Ladder:
    """Every rung fitted to the rows of one table, as arrays: the working object of the study."""

    selection: row_rules.Selection
    data: Data
    terms: Terms
    """Beside which AI and DI are compared."""
    catalogue: Catalogue
    """The networks of the table."""
    folds: Folds
    clusterings: tuple[Clustering, ...]
    rungs: dict[str, Rung | NoRung]
    comparison: AiAgainstDi
    disjoint: Alpha
    split: ClusterTest
    """Test of e_w = e_x with e_y free: do weights and inputs differ, whatever outputs cost?"""
    effective: Effective
    by_operator: dict[str, AiAgainstDi]
    sensitivity: dict[str, tuple[Alpha, Test]]
    unseen: dict[str, Unseen]
    """Each architecture family as predicted without its rows and the shapes they share."""
    beside: dict[str, Beside]
    """AI inside DI with each of the terms of `ladder.beside`, by name."""
    check: Ladder | None
    """The ladder of modelled energy, where time was fitted because no energy was measured."""
    guards: tuple[Guard, ...]
    """What may pass for evidence in these rows; `comparison`'s verdict already heeds it."""

    @property
    def fitted(self) -> dict[str, Rung]:
        """The rungs that these rows can be fitted with."""
        return {name: rung for name, rung in self.rungs.items() if isinstance(rung, Rung)}


def fit_ladder(
    frame: pd.DataFrame,
    *,
    draws: int = DRAWS,
    seed: int = SEED,
    networks: bool | None = None,
    **chosen: Unpack[row_rules.Choice],
) -> Ladder:
    """Fit every rung of the ladder to a table; arguments and errors are those of `fit`."""
    whole = only_networks(frame) if networks is None else networks
    selection = row_rules.select(frame, **chosen, networks=whole)
    every = row_rules.select(frame, **chosen, networks=whole, every_kernel=True)
    catalogue = catalogue_of(frame, whole=whole)
    check = None
    if selection.kind == "time":
        check = _modelled_energy(frame, catalogue, whole, chosen, draws, seed)
    found = _fit_ladder(selection, every, catalogue, draws, seed, check)
    with_capped = partial(row_rules.select, frame, **chosen, networks=whole, at_cap=True)
    return _guarded(found, doubtful_rows(selection, found.data, with_capped), draws, seed)


def _guarded(found: Ladder, doubtful: Sequence[Doubtful], draws: int, seed: int) -> Ladder:
    """The ladder with what may pass for evidence in its rows, and with verdicts that heed it."""

    def other(data: Data) -> AiAgainstDi | None:
        if not len(data):
            return None
        folds = make_folds(data, seed, found.catalogue)
        return compare(data, make_clusterings(data, draws, seed), folds, terms=found.terms)

    rung = found.rungs.get(f"di_{found.comparison.adequacy.beside}", found.rungs["di_weighted"])
    others = {one: other(one.others) for one in doubtful}
    guards = guards_of(found.selection, found.data, found.comparison, rung, others)

    def heeded(own: AiAgainstDi) -> AiAgainstDi:
        return attrs.evolve(own, verdict=withhold(own.verdict, guards))

    return attrs.evolve(
        found,
        comparison=heeded(found.comparison),
        by_operator={op: heeded(own) for op, own in found.by_operator.items()},
        guards=guards,
    )


def _modelled_energy(
    frame: pd.DataFrame, catalogue: Catalogue, whole: bool, chosen: row_rules.Choice, draws: int, seed: int
) -> Ladder | None:
    energies = [column for column in row_rules.ENERGY_COLUMNS if column in frame]
    usable = frame["energy_source"].isin(["model", "simulated"]) & (frame[energies] > 0).any(axis=1)
    if not usable.any():
        return None
    try:
        one, every = (
            row_rules.select(frame, **chosen, networks=whole, modelled=True, every_kernel=every)
            for every in (False, True)
        )
    except UserError:  # the rows with energy are among the excluded
        return None
    return _fit_ladder(one, every, catalogue, draws, seed, None)


def _fit_ladder(
    selection: row_rules.Selection,
    every: row_rules.Selection,
    catalogue: Catalogue,
    draws: int,
    seed: int,
    check: Ladder | None,
) -> Ladder:
    data = data_of(selection.frame, selection.response, selection.repeats)
    clusterings = make_clusterings(data, draws, seed)
    folds = make_folds(data, seed, catalogue)
    rungs = {name: _rung(name, selection, data, clusterings, folds) for name in MODELS}
    further = terms_beside(data)
    if selection.kind == "time":
        further.pop(TIME, None)
    for name in (OCCUPANCY, CAPACITY):
        rungs[f"di_{name}"] = _beside(name, further, data, clusterings, folds)
    terms, judged = suited(data, further)
    judged = attrs.evolve(judged, follows=_follows(data, selection.frame, judged))
    plain = rungs if terms == FULL else None
    beside = {
        name: Beside(own, *_alternative(own, data, clusterings), adequacy(data, own))
        for name, own in further.items()
    }
    beyond = {name: one.alpha for name, one in beside.items() if name != TIME}
    comparison = compare(data, clusterings, folds, plain, terms, judged, beyond)
    operators = [op for op in intensity.OPERATORS if (data.op == op).any()]
    by_operator = {}
    for op in operators:
        own = data.only(data.op == op)
        own_folds = make_folds(own, seed, catalogue)
        by_operator[op] = compare(own, make_clusterings(own, draws, seed), own_folds)
    fitted = {name: rung for name, rung in rungs.items() if isinstance(rung, Rung)}
    known = FoldFits(
        folds,
        {name: rung.learned for name, rung in fitted.items()},
        {name: rung.parameters for name, rung in fitted.items()},
    )
    return Ladder(
        selection=selection,
        data=data,
        terms=terms,
        catalogue=catalogue,
        folds=folds,
        clusterings=clusterings,
        rungs=rungs,
        comparison=comparison,
        disjoint=_disjoint(data, clusterings, rungs["di_disjoint"]),
        split=weights_and_inputs(data, clusterings, terms),
        effective=_effective(every, catalogue, draws, seed),
        by_operator=by_operator,
        sensitivity={
            **{name: _alternative(terms, data, clusterings) for name, terms in SENSITIVITIES.items()},
            **_of_gross_energy(selection, clusterings),
        },
        unseen=predict_families(data, catalogue, known),
        beside=beside,
        check=check,
        guards=(),
    )


def _follows(data: Data, frame: pd.DataFrame, judged: Adequacy) -> tuple[Followed, ...]:
    """What residuals without further terms follow; not looked for where the model misses by little."""
    if judged.adequate is not False and not judged.beside:
        return ()
    properties: dict[str, NDArray[Any]] = {"footprint": data.weights + data.activations}
    if not is_network(frame).any():
        sizes = {name: numbers(frame, name) for name in ("C", "R", "S", "P", "Q", "groups")}
        properties |= {
            "operator": data.op,
            "map size": sizes["P"] * sizes["Q"],
            "reduction depth": sizes["C"] / sizes["groups"] * sizes["R"] * sizes["S"],
            "groups": sizes["groups"],
        }
    if np.isfinite(data.blocks).all():
        properties["waves"] = data.blocks
    return followed(residuals_of(data, FULL)[0], properties)


_UNCOUNTED = NoRung("effective", "the table counts no accesses")


def _effective(every: row_rules.Selection, catalogue: Catalogue, draws: int, seed: int) -> Effective:
    """`effective` describes every kernel, so it is fitted to the rows of all."""
    if "weight_reads" not in every.frame:
        return Effective(data_of(every.frame.iloc[:0], every.response), _UNCOUNTED)
    data = data_of(every.frame, every.response)
    counted = np.asarray(np.isfinite(data.accesses).all(axis=1))
    if not counted.any():
        return Effective(data, _UNCOUNTED)
    data = data.only(counted)
    folds = make_folds(data, seed, catalogue)
    rung = fit_rung("effective", data, make_clusterings(data, draws, seed), folds)
    return Effective(data, rung)


def _of_gross_energy(
    selection: row_rules.Selection, clusterings: Sequence[Clustering]
) -> dict[str, tuple[Alpha, Test]]:
    gross = data_of(selection.frame, "energy_j") if "energy_j" in selection.frame else None
    if selection.response not in ("energy_above_active_idle_j", "energy_above_idle_j") or gross is None:
        return {}
    if not ((gross.y > 0).all() and (gross.time > 0).all()):
        return {}
    return {name: _alternative(terms, gross, clusterings) for name, terms in GROSS_SENSITIVITIES.items()}


def _rung(
    name: str,
    selection: row_rules.Selection,
    data: Data,
    clusterings: Sequence[Clustering],
    folds: Folds,
) -> Rung | NoRung:
    if name == "time" and selection.kind == "time":
        return NoRung(name, "time is what is explained here")
    return fit_rung(name, data, clusterings, folds)


def _beside(
    name: str, further: Mapping[str, Terms], data: Data, clusterings: Sequence[Clustering], folds: Folds
) -> Rung | NoRung:
    """`di_weighted` with a further term, whose size counts as a coefficient."""
    if name not in further:
        return NoRung(f"di_{name}", not_told(name, data))
    found = fit_rung("di_weighted", data, clusterings, folds, further[name])
    if isinstance(found, NoRung):
        return attrs.evolve(found, name=f"di_{name}")
    k = found.k + 1
    return attrs.evolve(found, name=f"di_{name}", k=k, aicc=aicc(found.rss, len(data), k))


def _disjoint(data: Data, clusterings: Sequence[Clustering], rung: Rung | NoRung) -> Alpha:
    return DisjointAlpha(data, clusterings).estimate() if isinstance(rung, Rung) else UNKNOWN_ALPHA


def make_clusterings(data: Data, draws: int, seed: int) -> tuple[Clustering, ...]:
    """Clusters by layer and, if any row names one, by network; rows without a network cluster by layer."""
    found = [clustering("layer", data.layer, draws=draws, seed=seed)]
    if (data.network != "").any():
        labels = np.where(data.network != "", data.network, labelled(data.layer, "layer {}".format))
        found.append(clustering("network", labels, draws=draws, seed=seed))
    return tuple(found)


def compare(
    data: Data,
    clusterings: Sequence[Clustering],
    folds: Folds,
    rungs: Mapping[str, Rung | NoRung] | None = None,
    terms: Terms = FULL,
    judged: Adequacy | None = None,
    beyond: Mapping[str, Alpha] | None = None,
) -> AiAgainstDi:
    """Estimate α, test AI inside DI, predict held-out rows with both, and decide.

    Args:
        data, clusterings, folds: of the rows.
        rungs: fitted to the same rows, folds and terms already: saves predicting held-out rows again.
        terms: beside which AI and DI are compared.
        judged: the lack of fit with these terms, where it is known.
        beyond: α with each further term of the hardware: DI must hold beside them, where they tell α.
    """
    judged = adequacy(data, terms) if judged is None else judged
    problem = WeightedAlpha(data, clusterings, terms)
    alpha = with_baseline(problem.estimate(), data, terms)
    alpha_by_family = with_baseline(problem.by_family(folds.by_family or families_of(data)), data, terms)
    tested = problem.test(0.5)
    enough = len(data) > len(problem.full.names)
    ai, di = held_out_errors(data, clusterings[-1], folds, rungs or {}, terms) if enough else (None, None)
    alike = collinear(problem.full.names, problem.fit.jacobian, problem.condition, data)
    grounds = attrs.evolve(
        grounds_of(problem, alpha, alpha_by_family, judged),
        held_out_ai=ai,
        held_out_di=di,
        beside={name: one for name, one in (beyond or {}).items() if one.value is not None},
        collinear=alike,
    )
    return AiAgainstDi(
        alpha=alpha,
        alpha_by_family=alpha_by_family,
        tests=tested,
        effective=problem.effective_clusters(),
        condition=problem.condition,
        held_out_ai=ai,
        held_out_di=di,
        verdict=decide(grounds),
        adequacy=judged,
        collinear=alike,
    )


def grounds_of(
    problem: WeightedAlpha, alpha: Alpha, alpha_by_family: AlphaByFamily, judged: Adequacy
) -> Grounds:
    """What the rule decides on, without held-out errors, further terms, and which terms are alike."""
    data = problem.data
    return Grounds(
        rows=len(data),
        coefficients=len(problem.full.names),
        alpha=alpha.value,
        ci_low=alpha.ci_low,
        ci_high=alpha.ci_high,
        alpha_by_family=alpha_by_family,
        condition=problem.condition,
        only_fc_at_one_batch=bool((data.op == "fc").all() and len(np.unique(data.batch)) == 1),
        held_out_ai=None,
        held_out_di=None,
        adequacy=judged,
    )


def held_out_errors(
    data: Data, clusters: Clustering, folds: Folds, rungs: Mapping[str, Rung | NoRung], terms: Terms = FULL
) -> tuple[float | None, float | None]:
    """Root mean square log errors of AI and DI on the rows that both predict; each cluster counts once."""

    def predictions(model: str) -> Any:
        rung = rungs.get(model)
        return rung.held_out if isinstance(rung, Rung) else predict_held_out(model, data, folds, terms)[0]

    ai, di = predictions("ai"), predictions("di_weighted")
    both = np.isfinite(ai) & np.isfinite(di)
    if not both.any():
        return None, None

    def error(predicted: Any) -> float:
        square = np.log(predicted[both] / data.y[both]) ** 2
        member = clusters.member[both]
        votes = np.bincount(member, square) / np.maximum(np.bincount(member), 1)
        return math.sqrt(float(votes[np.unique(member)].mean()))

    return error(ai), error(di)


def _alternative(terms: Terms, data: Data, clusterings: Sequence[Clustering]) -> tuple[Alpha, Test]:
    problem = WeightedAlpha(data, clusterings, terms)
    return problem.estimate(), problem.test(0.5).decisive
