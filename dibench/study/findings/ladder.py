"""What a fit of the ladder found: every model, α, the test of AI inside DI, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.numbers import interval, number, percent
from dibench.study.findings.adequacy import Adequacy
from dibench.study.findings.collinear import Collinear
from dibench.study.findings.estimate import Alpha, AlphaByFamily, ClusteredTest, ClusterOutcome, Estimate
from dibench.study.findings.fitted_model import Predictors
from dibench.study.findings.guards import Guard
from dibench.study.findings.held_out import HeldOut
from dibench.study.findings.layer_counts import LayerCounts
from dibench.study.findings.plain import HIDDEN, INLINE, Result, key

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]

MARGIN = (0.45, 0.55)
"""Around ½: an interval of α inside it says AI, one outside it DI."""

DATA_TYPE_MATTERS, OUTPUTS_DIFFER = "data type matters", "outputs differ"
ALIKE, UNDECIDED, NOT_ADEQUATE = "alike", "undecided", "not adequate"
"""What a verdict says of data types: headlines and claims read this one word."""


@attrs.frozen
class Scores:
    """How well predictions fit a response; None where they are too few, or a figure is not defined."""

    n: int | None
    """Rows predicted."""
    r2: float | None
    """Of the log of the response."""
    mape: float | None
    """A fraction."""
    pearson: float | None
    spearman: float | None
    rmse_log: float | None


NO_SCORES = Scores(None, None, None, None, None, None)


@attrs.frozen
class Scored:
    """A model's predictions of some rows."""

    scores: Scores = attrs.field(metadata=INLINE)
    """In sample."""
    held_out: Scores
    """By fold, on the rows that every fitted model predicts."""


@attrs.frozen
class Coefficient(Estimate):
    """A coefficient in its unit."""

    unit: str


@attrs.frozen(repr=False)
class ModelFit(Scored):
    """One rung of the ladder."""

    k: int | None
    """Number of coefficients, α of the disjoint form included."""
    aicc: float | None
    condition: float | None
    coefficients: Mapping[str, Coefficient]
    below_zero: tuple[str, ...]
    """Coefficients that the free fit puts below zero; predictions hold them at zero."""
    formula: str
    reason: str | None
    """Why it was not fitted; None where it was."""

    def __repr__(self) -> str:
        if self.reason is not None:
            return f"ModelFit(not fitted: {self.reason})"
        in_sample, out = (percent(one.mape, 1) for one in (self.scores, self.held_out))
        return (
            f"ModelFit({self.formula}; R² {number(self.scores.r2, '.3f')}, MAPE {in_sample}, held out {out})"
        )


@attrs.frozen
class WeightedOnly:
    """α of weighted DI."""

    weighted: Alpha

    @property
    def value(self) -> float | None:
        """Of weighted DI; None where the rows do not determine it."""
        return self.weighted.value

    @property
    def ci_low(self) -> float | None:
        """Lower end of the 95% interval of weighted DI's α."""
        return self.weighted.ci_low

    @property
    def ci_high(self) -> float | None:
        """Upper end of the 95% interval of weighted DI's α."""
        return self.weighted.ci_high


@attrs.frozen
class Alphas(WeightedOnly):
    """α of both forms of DI; `value`, `ci_low` and `ci_high` are those of the weighted form."""

    disjoint: Alpha


@attrs.frozen
class AiAgainstDi(ClusteredTest):
    """Test of AI inside weighted DI."""

    by: Mapping[str, ClusterOutcome]
    draws: int
    condition: float | None
    """Condition number of the Jacobian of `di_weighted`, columns at unit length."""
    held_out_rmse_log: Mapping[str, float | None]
    """`ai` and `di_weighted`: on held-out rows, each cluster with one vote."""


@attrs.frozen
class Sensitivity:
    """α under other terms, or of another energy: not evidence."""

    alpha: Alpha
    p_value: float | None


@attrs.frozen
class Beside:
    """α with a further term beside AI and DI: `occupancy`, `capacity`, both, or constant power (`time`)."""

    alpha: Alpha
    p_value: float | None
    """Of AI inside DI with it."""
    miss: float | None
    """As of `Adequacy`, with the term."""
    adequate: bool | None
    blocks_of_a_wave: float | None
    cache_bytes: float | None
    """The size that fits best; in elements where the data type's width is not known."""


@attrs.frozen
class Operator:
    """The pooled models on an operator's rows, and what those rows say alone."""

    n: int
    models: Mapping[str, Scored]
    alpha: WeightedOnly
    alpha_by_family: AlphaByFamily
    p_value: float | None
    condition: float | None
    effective_clusters: Mapping[str, float]
    verdict: str
    reliable: bool
    brief: str
    """The first reason in three words."""
    reasons: tuple[str, ...]
    adequacy: Adequacy


@attrs.frozen
class FoldRows:
    """What one fold held out, predicted, and left to learn from."""

    name: str
    """Of the family, or of a tenth of the layers."""
    rows: int
    """Held out and predicted."""
    rows_dropped: int
    """Not learned from either, as they share a shape with the family."""
    rows_left: int


@attrs.frozen
class FoldNames:
    """What the folds hold out: `family` where every row has one, else `layer` or `family and layer`."""

    by: str
    names: tuple[str, ...]
    dropped: tuple[FoldRows, ...]
    families: tuple[str, ...]
    """Of all rows, also where they are too few to be held out."""
    rows_without: int
    """Rows of no family."""
    without: tuple[str, ...]
    """Their names, or sizes where they have no name; each once."""

    @property
    def text(self) -> str:
        """What figures `held out` mean."""
        if self.by == "family":
            return "whole families, with every shape they share"
        if self.by == "layer":
            n = len(self.families)
            return (
                f"layers, as the rows are of {n} {'family' if n == 1 else 'families'} only" if n else "layers"
            )
        return f"whole families, with every shape they share; {self.rows_without} rows of no family, by layer"


@attrs.frozen(eq=False, repr=False)
class Fit(Result):
    """A fit of the ladder. Fields are the keys of `to_json()`; `to_frame()` gives rows and predictions."""

    rows: int
    """Rows of the tables before any exclusion."""
    rows_used: int
    rows_flagged: int
    rows_are: str
    """`layers` or `networks`: the two are never in one fit."""
    layers: LayerCounts
    """Distinct layers (or networks) of the tables, of the fit, and what left the others out: the one count
    that screen, page and JSON tell."""
    notes: tuple[str, ...]
    """Of networks: which counts their rows do not say, and what was done about it."""
    excluded: Mapping[str, int]
    """Reason → number of rows, in the order in which the rules apply."""
    setting: Mapping[str, str]
    """What all rows used have in common: device, backend, dtype…"""
    variants: Mapping[str, str]
    """The kernel variant of each operator; empty text where the table names none."""
    response: str
    """The column that is explained."""
    response_kind: str
    """`energy` or `time`."""
    response_measured: bool
    """Whether the response comes from a sensor or a clock, not from a model or a simulated device."""
    energy_source: tuple[str, ...]
    """Values of `energy_source` in the rows used."""
    gain_accuracy: float | None
    """How far the sensor's gain may be off, as declared and not as dibench measured, a fraction: part of the
    intervals of coefficients, not of α's. None where nobody declares it, or joules are not measured."""
    evidence: bool
    """Whether this is evidence about energy: only measured joules are."""
    basis: str
    """One sentence: what the response is, and what it therefore says."""
    verdict: str
    """`AI`, `DI`, `undecided` or `not adequate`."""
    conclusion: str
    """What that says: one of the five words above."""
    answer: str
    """The verdict in a sentence."""
    verdict_text: str
    """The answer, and why."""
    reasons: tuple[str, ...]
    brief: str = attrs.field(metadata=HIDDEN)
    """The first reason in three words."""
    reliable: bool
    """False where the rows cannot carry an answer, whatever α is."""
    determined: bool
    """False where the rows do not determine α: it has no value then."""
    adequacy: Adequacy
    """Lack of fit, which is decided before the verdict."""
    guards: tuple[Guard, ...]
    """What may pass for evidence in these rows and is none."""
    beside: Mapping[str, Beside]
    """α with each further term that the rows can be fitted with."""
    collinear: Collinear
    """Which coefficients the rows cannot tell apart."""
    alpha: Alphas
    alpha_by_family: AlphaByFamily
    """α of weighted DI with an interval that allows for any errors which rows of one family share."""
    test_ai_vs_di: AiAgainstDi
    test_weights_vs_inputs: ClusteredTest
    """Of e_w = e_x with e_y free: whether weights and inputs differ, whatever outputs do."""
    models: Mapping[str, ModelFit]
    """In the ladder's order; `effective` is fitted to the rows of all kernels."""
    by_operator: Mapping[str, Operator]
    sensitivity: Mapping[str, Sensitivity]
    predictors: Predictors = attrs.field(metadata=key("calibration"))
    """What `predict` and `explain` need. JSON keeps the key that users' scripts read: `calibration`."""
    held_out: HeldOut
    folds: FoldNames
    method: Mapping[str, Any]
    pipeline_check: Fit | None
    """The same on modelled energy, where time was fitted because no energy was measured."""
    used: pd.DataFrame = attrs.field(repr=False, metadata=HIDDEN)
    """The rows of the fit."""
    predictions: Mapping[str, FloatArray] = attrs.field(repr=False, metadata=HIDDEN)
    """`predicted_MODEL` and `held_out_MODEL`, (n,) in the response's unit."""

    def __repr__(self) -> str:
        return f"Fit({self.verdict}, α {interval(self.alpha)}, {self.rows_used} rows of {self.response})"

    def to_frame(self) -> pd.DataFrame:
        """The rows used, with `predicted_MODEL` and `held_out_MODEL` in the response's unit."""
        frame = self.used.copy()
        for name, values in self.predictions.items():
            frame[name] = values
        return frame
