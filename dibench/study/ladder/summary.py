"""A fit as plain values: numbers, text, lists and mappings, complete and without NaN."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dibench.study.findings.plain import PICO, plain
from dibench.study.ladder import held_out
from dibench.study.ladder.alpha import UNKNOWN
from dibench.study.ladder.models import FORMULAS
from dibench.study.ladder.predictors import predictors_of
from dibench.study.ladder.rungs import Coefficient, NoRung, Rung
from dibench.study.ladder.verdict import MARGIN
from dibench.study.maths.inference import LEVEL, UNDECIDABLE
from dibench.study.maths.scores import scores
from dibench.words import interval

if TYPE_CHECKING:
    from dibench.study.ladder.alpha import Alpha, ClusterTest
    from dibench.study.ladder.fit import Comparison, Fit
    from dibench.study.maths.inference import Test

FIGURES = ("n", "r2", "mape", "pearson", "spearman", "rmse_log")

METHOD = {
    "estimator": "least squares on the log of the response (Levenberg and Marquardt)",
    "test": "restricted wild cluster bootstrap-t by layer and by network; by network alone where it has ten "
    "effective clusters, else the larger p value decides",
    "baseline": "the interval of the idle power that was subtracted is part of alpha's",
    "interval_weighted": "inversion of the test, not clipped to [0, 1]",
    "interval_disjoint": "profile likelihood on [0, 1], widened for clustered errors",
    "intervals_of_coefficients": "cluster-robust standard errors and Student's t",
    "figures": "on the predicted response; r2 is of its log, mape a fraction, held_out by fold",
    "margin": list(MARGIN),
    "level": LEVEL,
}


def as_json(fit: Fit) -> dict[str, Any]:
    """See `Fit.to_json`."""
    selection, comparison = fit.selection, fit.comparison
    determined = comparison.verdict.determined
    figures: dict[str, Any] = plain(
        {
            "rows": selection.rows,
            "rows_used": len(selection.frame),
            "rows_flagged": int((selection.frame["status"] == "flagged").sum()),
            "excluded": selection.excluded,
            "setting": selection.setting,
            "variants": selection.variants,
            "response": selection.response,
            "response_kind": selection.kind,
            "response_measured": selection.measured,
            "energy_source": list(selection.sources),
            "evidence": selection.evidence,
            "basis": basis(fit),
            "verdict": comparison.verdict.decision,
            "verdict_text": verdict_text(fit),
            "reasons": [reason.text for reason in comparison.verdict.reasons],
            "reliable": comparison.verdict.reliable,
            "determined": determined,
            "alpha": {
                "weighted": _alpha(comparison.alpha, determined),
                "disjoint": _alpha(fit.disjoint, determined),
            },
            "test_ai_vs_di": _test(fit, comparison),
            "test_weights_vs_inputs": _by_clustering(fit.split, determined),
            "models": {
                **{name: _model(fit, rung) for name, rung in fit.rungs.items()},
                "effective": _effective(fit),
            },
            "by_operator": {op: _operator(fit, op) for op in fit.by_operator},
            "sensitivity": {
                name: {"alpha": _alpha(alpha, determined), "p_value": _told(test, determined).p_value}
                for name, (alpha, test) in fit.sensitivity.items()
            },
            "calibration": predictors_of(fit),
            "held_out": held_out.as_json(held_out.hold_out(fit.data, fit.rungs, fit.unseen)),
            "folds": {"by": fit.folds.by, "names": [fold.name for fold in fit.folds.folds]},
            "method": METHOD,
            "pipeline_check": None if fit.pipeline_check is None else as_json(fit.pipeline_check),
        }
    )
    return figures


def as_text(fit: Fit) -> str:
    """See `Fit.summary`."""
    lines = [basis(fit), verdict_text(fit), ""]
    lines.append(f"{'model':<12} {'k':>2} {'R2':>6} {'MAPE':>7} {'held out':>9}")
    for name, rung in fit.rungs.items():
        if isinstance(rung, NoRung):
            lines.append(f"{name:<12} not fitted: {rung.reason}")
            continue
        inside = _in_and_out(fit, rung, np.ones(len(fit.data), dtype=bool))
        outside = inside["held_out"]["mape"]
        shown = "" if outside is None or not math.isfinite(outside) else f"{100 * outside:.1f}%"
        lines.append(f"{name:<12} {rung.k:>2} {inside['r2']:>6.3f} {100 * inside['mape']:>6.1f}% {shown:>9}")
    if fit.comparison.verdict.reliable and fit.comparison.alpha.value is not None:
        alpha = attrs.asdict(fit.comparison.alpha)
        lines.append(f"\nalpha (weighted DI) {interval(alpha)}, {len(fit.data)} rows")
    else:
        lines.append(f"\nalpha (weighted DI) is not to be relied on, {len(fit.data)} rows")
    return "\n".join(lines)


_TIME_ONLY = "Measured time: these rows have no measured energy, so nothing here is evidence about energy."


def basis(fit: Fit) -> str:
    """One sentence: what the response is and what it therefore says."""
    selection = fit.selection
    source = ", ".join(selection.sources)
    if selection.evidence:
        return f"Measured energy ({selection.response}, {source})."
    if selection.kind == "time" and fit.pipeline_check is not None:
        modelled = ", ".join(fit.pipeline_check.selection.sources)
        return f"{_TIME_ONLY} Their {modelled} energy is fitted apart, as a pipeline check."
    if selection.kind == "time":
        return _TIME_ONLY
    kind = "Simulated" if selection.sources == ("simulated",) else "Modelled"
    return (
        f"PIPELINE CHECK. {kind} energy ({source}): it shows that the program works, "
        "and says nothing about any device."
    )


def verdict_text(fit: Fit) -> str:
    """The verdict in plain words, with what it is about."""
    about = _about(fit)
    matters = "the data type matters: a weight and an activation do not cost the same"
    if not fit.split.decisive.p_value < 1 - LEVEL:
        # The data type matters where weights and inputs differ; else it may be that only outputs do.
        p = fit.split.decisive.p_value
        matters = "weights and activations differ, but weights and inputs cannot be told apart " + (
            f"(p = {p:.2f}): outputs differ" if math.isfinite(p) else "(no test): outputs may be what differs"
        )
    answer = {
        "DI": f"DI. For {about} {matters}, and DI predicts layers it has not seen better than AI.",
        "AI": f"AI. For {about} a weight and an activation cost the same within the margin, so AI is enough.",
        "undecided": f"Undecided. For {about} these rows cannot tell AI from DI.",
    }[fit.verdict]
    if not fit.selection.measured:
        answer = f"No evidence, a check of the pipeline only. It answers: {answer}"
    return f"{answer} Why: {'; '.join(reason.text for reason in fit.comparison.verdict.reasons)}."


def _about(fit: Fit) -> str:
    selection = fit.selection
    if selection.kind == "time":
        return "measured time (not energy)"
    if selection.evidence:
        return "measured energy"
    return "simulated energy" if selection.sources == ("simulated",) else "modelled energy"


def _alpha(alpha: Alpha, determined: bool) -> dict[str, Any]:
    """Without numbers where the rows do not determine them: none that could pass for an answer."""
    alpha = alpha if determined else UNKNOWN
    return {
        "value": alpha.value,
        "ci_low": alpha.ci_low,
        "ci_high": alpha.ci_high,
        "unbounded": alpha.unbounded,
    }


def _told(test: Test, determined: bool) -> Test:
    return test if determined else UNDECIDABLE


def _test(fit: Fit, comparison: Comparison) -> dict[str, Any]:
    determined = comparison.verdict.determined

    def one(name: str, test: Test) -> dict[str, Any]:
        test = _told(test, determined)
        clusters = {c.name: c for c in fit.clusterings}[name]
        return {
            "statistic": test.statistic,
            "p_value": test.p_value,
            "clusters": clusters.size,
            "effective_clusters": comparison.effective[name],
        }

    decisive = _told(comparison.test, determined)
    return {
        "statistic": decisive.statistic,
        "p_value": decisive.p_value,
        "decided_by": list(comparison.tests.deciding),
        "by": {name: one(name, test) for name, test in comparison.tests.by.items()},
        "draws": len(fit.clusterings[0].weights),
        "condition": comparison.condition,
        "held_out_rmse_log": {"ai": comparison.held_out_ai, "di_weighted": comparison.held_out_di},
    }


def _by_clustering(test: ClusterTest, determined: bool) -> dict[str, Any]:
    decisive = _told(test.decisive, determined)
    told = {name: _told(one, determined) for name, one in test.by.items()}
    by = {name: {"statistic": one.statistic, "p_value": one.p_value} for name, one in told.items()}
    return {
        "statistic": decisive.statistic,
        "p_value": decisive.p_value,
        "decided_by": list(test.deciding),
        "by": by,
    }


def _model(fit: Fit, rung: Rung | NoRung) -> dict[str, Any]:
    """A model's figures; all None with a reason where it was not fitted."""
    everywhere = np.ones(len(fit.data), dtype=bool)
    unit = _unit(fit)
    if isinstance(rung, NoRung):
        return _not_fitted(rung)
    return {**_in_and_out(fit, rung, everywhere), **_rung(rung, unit)}


def _effective(fit: Fit) -> dict[str, Any]:
    """As the other models, but on the rows of all kernels: its AICc is not comparable with theirs."""
    rung, y = fit.effective.rung, fit.effective.data.y
    if isinstance(rung, NoRung):
        return _not_fitted(rung)
    known = np.isfinite(rung.held_out)
    outside = {"held_out": scores(y[known], rung.held_out[known])}
    return {**scores(y, rung.predicted), **outside, **_rung(rung, _unit(fit)), "aicc": None}


def _unit(fit: Fit) -> str:
    return "ps" if fit.selection.kind == "time" else "pJ"


def _not_fitted(rung: NoRung) -> dict[str, Any]:
    nothing = dict.fromkeys(FIGURES)
    return {
        **nothing,
        "k": None,
        "aicc": None,
        "held_out": dict(nothing),
        "condition": None,
        "coefficients": {},
        "below_zero": [],
        "formula": FORMULAS[rung.name],
        "reason": rung.reason,
    }


def _rung(rung: Rung, unit: str) -> dict[str, Any]:
    return {
        "k": rung.k,
        "aicc": rung.aicc,
        "condition": rung.condition,
        "coefficients": {c.name: _coefficient(c, unit) for c in rung.coefficients},
        "below_zero": list(rung.below_zero),
        "formula": FORMULAS[rung.name],
        "reason": None,
    }


def _coefficient(c: Coefficient, unit: str) -> dict[str, Any]:
    value, low, high = (None if v is None else v * PICO for v in (c.value, c.ci_low, c.ci_high))
    if c.name == "power":
        return {"value": c.value, "ci_low": c.ci_low, "ci_high": c.ci_high, "unit": "W"}
    return {"value": value, "ci_low": low, "ci_high": high, "unit": f"{unit}/{c.per}"}


def _in_and_out(fit: Fit, rung: Rung, rows: Any) -> dict[str, Any]:
    """Figures of some rows in sample, and held out on the rows that every fitted model predicts."""
    y = fit.data.y
    held_out = rows & _predicted_by_all(fit)
    return {
        **scores(y[rows], rung.predicted[rows]),
        "held_out": scores(y[held_out], rung.held_out[held_out]),
    }


def _predicted_by_all(fit: Fit) -> Any:
    fitted = [rung for rung in fit.rungs.values() if isinstance(rung, Rung)]
    return np.logical_and.reduce(
        [np.ones(len(fit.data), dtype=bool), *(np.isfinite(r.held_out) for r in fitted)]
    )


def _operator(fit: Fit, op: str) -> dict[str, Any]:
    """The pooled models on an operator's rows, and what those rows say on their own."""
    own = fit.by_operator[op]
    rows = fit.data.op == op
    fitted = {name: rung for name, rung in fit.rungs.items() if isinstance(rung, Rung)}
    return {
        "n": int(rows.sum()),
        "models": {name: _in_and_out(fit, rung, rows) for name, rung in fitted.items()},
        "alpha": {"weighted": _alpha(own.alpha, own.verdict.determined)},
        "p_value": _told(own.test, own.verdict.determined).p_value,
        "condition": own.condition,
        "effective_clusters": own.effective,
        "verdict": own.verdict.decision,
        "reliable": own.verdict.reliable,
        "brief": own.verdict.reasons[0].brief,
        "reasons": [reason.text for reason in own.verdict.reasons],
    }
