"""From the fitted ladder to its findings: computed here, once, and only read afterwards."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dibench.intensity import ELEMENT_BYTES
from dibench.study.findings import ladder
from dibench.study.findings.estimate import (
    ClusteredTest,
    ClusterOutcome,
    Outcome,
)
from dibench.study.findings.ladder import MARGIN, NO_SCORES, ModelFit, Scored
from dibench.study.findings.plain import PICO
from dibench.study.ladder.guards import TIME_ALONE
from dibench.study.ladder.held_out import errors_of, hold_out
from dibench.study.ladder.models import FORMULAS
from dibench.study.ladder.predictors import predictors_of
from dibench.study.ladder.rungs import FittedTerm, NoRung, Rung
from dibench.study.ladder.verdict import conclusion, sentence
from dibench.study.maths.inference import LEVEL, UNDECIDABLE
from dibench.study.maths.scores import Target
from dibench.study.table.columns import texts
from dibench.study.table.gain import with_gain

if TYPE_CHECKING:
    from dibench.study.ladder.alpha import ClusterTest
    from dibench.study.ladder.ladder import AiAgainstDi, Beside, Ladder
    from dibench.study.maths.inference import Test

METHOD = {
    "estimator": "least squares on the log of the response (Levenberg and Marquardt)",
    "test": "restricted wild cluster bootstrap-t by layer and by network; by network alone where it has ten "
    "effective clusters, else the larger p value decides",
    "alpha_by_family": "inversion of the t test by the jackknife over families (CV3) with Bell and "
    "McCaffrey's degrees of freedom; the verdict holds by this interval, too",
    "baseline": "the interval of the idle power that was subtracted is part of alpha's",
    "lack_of_fit": "residuals of di_split beyond the rows' errors, against a tolerated miss, chi-square",
    "interval_weighted": "inversion of the test, not clipped to [0, 1]",
    "interval_disjoint": "profile likelihood on [0, 1], widened for clustered errors",
    "intervals_of_coefficients": "the wider of CR2 with Bell and McCaffrey's degrees of freedom, by the "
    "clusterings that decide, and of variance components of layer, network and family",
    "figures": "on the predicted response; r2 is of its log, mape a fraction, held_out by fold",
    "margin": list(MARGIN),
    "level": LEVEL,
}


def findings_of(found: Ladder) -> ladder.Fit:
    """The findings of a ladder. If its rows do not determine α, they hold no number for it."""
    selection, comparison, verdict = found.selection, found.comparison, found.comparison.verdict
    determined, answer = verdict.determined, _answer(found)
    check = None if found.check is None else findings_of(found.check)
    return ladder.Fit(
        rows=selection.rows,
        rows_used=len(selection.frame),
        rows_flagged=int((selection.frame["status"] == "flagged").sum()),
        rows_are="networks" if selection.networks else "layers",
        layers=selection.layers,
        notes=selection.notes,
        excluded=selection.excluded,
        setting=selection.setting,
        variants=selection.variants,
        response=selection.response,
        response_kind=selection.kind,
        response_measured=selection.measured,
        energy_source=selection.sources,
        gain_accuracy=selection.gain_accuracy,
        evidence=selection.evidence,
        basis=_basis(found),
        verdict=verdict.decision,
        conclusion=_conclusion(found),
        answer=answer,
        verdict_text=f"{answer} Why: {'; '.join(reason.text for reason in verdict.reasons)}.",
        reasons=tuple(reason.text for reason in verdict.reasons),
        brief=verdict.reasons[0].brief,
        reliable=verdict.reliable,
        determined=determined,
        adequacy=comparison.adequacy,
        guards=found.guards,
        beside={name: _beside(found, one, determined) for name, one in found.beside.items()},
        collinear=comparison.collinear,
        alpha=ladder.Alphas(comparison.alpha.known(determined), found.disjoint.known(determined)),
        alpha_by_family=comparison.alpha_by_family.known(determined),
        test_ai_vs_di=_ai_against_di(found),
        test_weights_vs_inputs=_clustered(found.split, determined),
        models={**_models(found), "effective": _effective(found)},
        by_operator={op: _operator(found, op, own) for op, own in found.by_operator.items()},
        sensitivity={
            name: ladder.Sensitivity(alpha.known(determined), _outcome(test, determined).p_value)
            for name, (alpha, test) in found.sensitivity.items()
        },
        predictors=predictors_of(found),
        held_out=errors_of(hold_out(found.data, found.rungs, found.unseen, found.catalogue)),
        folds=_folds(found),
        method=METHOD,
        pipeline_check=check,
        used=selection.frame,
        predictions={
            f"{how}_{name}": values
            for name, rung in found.fitted.items()
            for how, values in (("predicted", rung.predicted), ("held_out", rung.held_out))
        },
    )


def _folds(found: Ladder) -> ladder.FoldNames:
    folds, layer = found.folds, found.data.layer
    without = np.zeros(len(layer), dtype=bool) if folds.without is None else folds.without
    names = texts(found.selection.frame, "name")[without].tolist()
    told = (name or shape for name, shape in zip(names, layer[without].tolist(), strict=True))
    return ladder.FoldNames(
        by=folds.by,
        names=tuple(fold.name for fold in folds.folds),
        dropped=tuple(
            ladder.FoldRows(
                name=fold.name,
                rows=int(fold.test.sum()),
                rows_dropped=int((~fold.test & ~fold.train).sum()),
                rows_left=int(fold.train.sum()),
            )
            for fold in folds.folds
        ),
        families=folds.families,
        rows_without=int(without.sum()),
        without=tuple(dict.fromkeys(told)),
    )


_TIME_ONLY = "Measured time: these rows have no measured energy, so nothing here is evidence about energy."


def _basis(found: Ladder) -> str:
    """One sentence: what the response is and what it therefore says."""
    selection = found.selection
    source = ", ".join(selection.sources)
    if selection.evidence:
        what = " of whole networks, with all that runs between their layers" if selection.networks else ""
        return f"Measured energy{what} ({selection.response}, {source}){_gain(selection.gain_accuracy)}."
    if selection.kind == "time" and found.check is not None:
        modelled = ", ".join(found.check.selection.sources)
        return f"{_TIME_ONLY} Their {modelled} energy is fitted apart, as a pipeline check."
    if selection.kind == "time":
        return _TIME_ONLY
    kind = "Simulated energy" if selection.sources == ("simulated",) else f"Modelled energy ({source})"
    return f"PIPELINE CHECK. {kind}: it shows that the program works, and says nothing about any device."


def _gain(accuracy: float | None) -> str:
    if accuracy is None:
        return ", accuracy of its gain not declared"
    declared = f"gain ±{100 * accuracy:g}% (declared, not measured by dibench)"
    return f", {declared} included in intervals of joules"


def _answer(found: Ladder) -> str:
    """The verdict in plain words."""
    p = found.split.decisive.p_value
    comparison = found.comparison
    withheld = comparison.verdict.withheld
    answer = sentence(_conclusion(found), _about(found), p, comparison.adequacy, withheld)
    if found.selection.measured:
        return answer
    return f"No evidence, a check of the pipeline only. It answers: {answer}"


def _conclusion(found: Ladder) -> str:
    return conclusion(found.comparison.verdict.decision, found.split.decisive.p_value)


def _about(found: Ladder) -> str:
    selection = found.selection
    if selection.kind == "time":
        return "measured time (not energy)"
    if selection.evidence:
        time_alone = any(guard.name == TIME_ALONE for guard in found.guards)
        return "time, which is all that these joules tell," if time_alone else "measured energy"
    return "simulated energy" if selection.sources == ("simulated",) else "modelled energy"


def _beside(found: Ladder, one: Beside, determined: bool) -> ladder.Beside:
    terms = one.terms
    size = terms.cache
    if size is not None and (width := ELEMENT_BYTES.get(found.selection.setting.get("dtype", ""))):
        size *= width
    return ladder.Beside(
        alpha=one.alpha.known(determined),
        p_value=_outcome(one.test, determined).p_value,
        miss=one.adequacy.miss,
        adequate=one.adequacy.adequate,
        blocks_of_a_wave=terms.wave,
        cache_bytes=size,
    )


def _outcome(test: Test, determined: bool) -> Outcome:
    told = test if determined else UNDECIDABLE
    return Outcome(_known(told.statistic), _known(told.p_value))


def _ai_against_di(found: Ladder) -> ladder.AiAgainstDi:
    comparison = found.comparison
    determined = comparison.verdict.determined
    sizes = {clusters.name: clusters.size for clusters in found.clusterings}
    by = {name: _outcome(test, determined) for name, test in comparison.tests.by.items()}
    decisive = _outcome(comparison.test, determined)
    return ladder.AiAgainstDi(
        statistic=decisive.statistic,
        p_value=decisive.p_value,
        decided_by=comparison.tests.deciding,
        by={
            name: ClusterOutcome(one.statistic, one.p_value, sizes[name], comparison.effective[name])
            for name, one in by.items()
        },
        draws=len(found.clusterings[0].weights),
        condition=_known(comparison.condition),
        held_out_rmse_log={"ai": comparison.held_out_ai, "di_weighted": comparison.held_out_di},
    )


def _clustered(test: ClusterTest, determined: bool) -> ClusteredTest:
    decisive = _outcome(test.decisive, determined)
    by = {name: _outcome(one, determined) for name, one in test.by.items()}
    return ClusteredTest(decisive.statistic, decisive.p_value, test.deciding, by)


def _models(found: Ladder) -> dict[str, ModelFit]:
    scored = _scored(found, np.ones(len(found.data), dtype=bool))
    return {
        name: _not_fitted(rung) if isinstance(rung, NoRung) else _fitted(found, rung, scored[name], rung.aicc)
        for name, rung in found.rungs.items()
    }


def _effective(found: Ladder) -> ModelFit:
    """As the other models, but on the rows of all kernels: its AICc is not comparable with theirs."""
    rung, y = found.effective.rung, found.effective.data.y
    if isinstance(rung, NoRung):
        return _not_fitted(rung)
    known = np.isfinite(rung.held_out)
    scored = Scored(Target(y).scores(rung.predicted), Target(y[known]).scores(rung.held_out[known]))
    return _fitted(found, rung, scored, math.nan)


def _not_fitted(rung: NoRung) -> ModelFit:
    return ModelFit(
        scores=NO_SCORES,
        held_out=NO_SCORES,
        k=None,
        aicc=None,
        condition=None,
        coefficients={},
        below_zero=(),
        formula=FORMULAS[rung.name],
        reason=rung.reason,
    )


def _fitted(found: Ladder, rung: Rung, scored: Scored, aicc: float) -> ModelFit:
    unit = "ps" if found.selection.kind == "time" else "pJ"
    return ModelFit(
        scores=scored.scores,
        held_out=scored.held_out,
        k=rung.k,
        aicc=_known(aicc),
        condition=_known(rung.condition),
        coefficients={
            one.name: _coefficient(one, unit, found.selection.gain_accuracy) for one in rung.coefficients
        },
        below_zero=rung.below_zero,
        formula=FORMULAS[rung.name],
        reason=None,
    )


def _coefficient(one: FittedTerm, unit: str, gain_accuracy: float | None) -> ladder.Coefficient:
    ends = with_gain(one.value, one.ci_low, one.ci_high, gain_accuracy)
    if one.name == "power":
        return ladder.Coefficient(one.value, *ends, "W")
    value, low, high = (None if v is None else v * PICO for v in (one.value, *ends))
    return ladder.Coefficient(value, low, high, f"{unit}/{one.per}")


def _scored(found: Ladder, rows: NDArray[np.bool_]) -> dict[str, Scored]:
    """Every model on some rows: in sample, and held out on the rows that all models predict."""
    y, fitted = found.data.y, found.fitted
    held_out = np.logical_and.reduce([rows, *(np.isfinite(one.held_out) for one in fitted.values())])
    inside, outside = Target(y[rows]), Target(y[held_out])
    return {
        name: Scored(inside.scores(rung.predicted[rows]), outside.scores(rung.held_out[held_out]))
        for name, rung in fitted.items()
    }


def _operator(found: Ladder, op: str, own: AiAgainstDi) -> ladder.Operator:
    """The pooled models judged on an operator's rows, and what those rows say on their own."""
    rows, verdict = found.data.op == op, own.verdict
    return ladder.Operator(
        n=int(rows.sum()),
        models=_scored(found, rows),
        alpha=ladder.WeightedOnly(own.alpha.known(verdict.determined)),
        alpha_by_family=own.alpha_by_family.known(verdict.determined),
        p_value=_outcome(own.test, verdict.determined).p_value,
        condition=_known(own.condition),
        effective_clusters=own.effective,
        verdict=verdict.decision,
        reliable=verdict.reliable,
        brief=verdict.reasons[0].brief,
        reasons=tuple(reason.text for reason in verdict.reasons),
        adequacy=own.adequacy,
    )


def _known(value: float) -> float | None:
    """None for what is not a finite number."""
    return float(value) if math.isfinite(value) else None
