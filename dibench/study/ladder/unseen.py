"""What fits predict for rows they have not seen: fold by fold, and family by family.

A family's fold drops every row whose shape occurs in any of the family's networks, at every batch and under
any name; α of both forms of DI is fitted again in each fold. A network is then predicted by the fold of its
own family, whatever network its layers are named after.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.study.ladder.alpha import COARSE_GRID, profile_disjoint
from dibench.study.ladder.folds import Folds
from dibench.study.ladder.models import FULL, Data, Design, Terms, design, per_di_disjoint
from dibench.study.ladder.verdict import ROWS_PER_COEFFICIENT
from dibench.study.maths.estimate import fit_log
from dibench.study.maths.labels import distinct
from dibench.study.table.catalogue import Catalogue, the_25

FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]

COMPARED = ("macs", "ai", "di_weighted", "di_disjoint")
"""Models that need only a layer's shape."""

FEWEST_FAMILY_LAYERS = 5
"""Different layers that a family needs to count: an error on fewer is about these layers, not the family."""

WITHOUT_TRACE = 1e-11
"""Relative change of the sum of squares at which a fold's fit stops: the start does not matter then."""


@attrs.frozen(eq=False)
class Learned:
    """A model fitted to some of the rows, coefficients ≥ 0."""

    model: str
    terms: Terms
    design_alpha: float
    """α of the design, which `di_disjoint` needs."""
    parameters: FloatArray
    """(k,)"""
    known: Mask
    """(k,): columns that are not zero in every fitted row, as that of an operator the fold took away is."""
    alpha: float
    """Of either form of DI; not a number for other models, and where the rows say nothing about reuse."""

    def predict(self, data: Data, rows: Mask, at: Design | None = None) -> FloatArray:
        """The response of those rows (n,); not a number elsewhere, and where a coefficient is not known.

        `at` is the model's design on all rows, if it is at hand; not for `di_disjoint`.
        """
        if at is None or self.model == "di_disjoint":
            at = design(self.model, data, self.design_alpha, self.terms)
        predicted = np.full(len(rows), np.nan)
        value = at.columns[rows] @ self.parameters
        learnable = (at.columns[np.ix_(rows, ~self.known)] == 0).all(axis=1)
        predicted[rows] = np.where(learnable & (value > 0), value, np.nan)
        return predicted


def learn(
    model: str,
    data: Data,
    train: Mask,
    terms: Terms = FULL,
    *,
    at: Design | None = None,
    near: FloatArray | None = None,
) -> Learned | None:
    """Fit a model to some rows; None if they are too few for its coefficients.

    Args:
        model: of `models.MODELS`.
        data, train: all rows, and which to learn from.
        terms: the common terms.
        at: the model's design on all rows, if it is at hand; not for `di_disjoint`, whose α is fitted too.
        near: coefficients (k,) to start at, of a fit to all rows.
    """
    if train.sum() < 2:
        return None
    disjoint = (
        profile_disjoint(data.only(train), COARSE_GRID, terms=terms)[0] if model == "di_disjoint" else 0.5
    )
    if at is None or model == "di_disjoint":
        at = design(model, data, disjoint, terms)
    known = train @ (at.columns != 0)
    if train.sum() <= max(known.sum(), 1):
        return None
    parameters = np.zeros(len(known))
    parameters[known] = fit_log(
        at.columns if known.all() else at.columns[:, known],
        data.y,
        rows=train,
        nonnegative=True,
        near=None if near is None else near[known],
        tolerance=WITHOUT_TRACE,
    ).parameters
    return Learned(model, terms, disjoint, parameters, known, _alpha(model, at.names, parameters, disjoint))


def _alpha(model: str, names: tuple[str, ...], parameters: FloatArray, disjoint: float) -> float:
    value = dict(zip(names, parameters.tolist(), strict=True))
    if model == "di_weighted" and value["e_w"] + value["e_a"] > 0:
        return float(value["e_w"] / (value["e_w"] + value["e_a"]))
    return disjoint if model == "di_disjoint" and value["k"] > 0 else math.nan


def predict_held_out(
    model: str, data: Data, folds: Folds, terms: Terms = FULL, near: FloatArray | None = None
) -> tuple[FloatArray, dict[str, Learned | None]]:
    """Each row's response as predicted without its fold, and the fits; arguments as of `learn`."""
    predicted, fits = np.full(len(data), np.nan), {}
    at = design(model, data, terms=terms)
    for fold in folds.folds:
        fits[fold.name] = learned = learn(model, data, fold.train, terms, at=at, near=near)
        if learned is not None:
            predicted[fold.test] = learned.predict(data, fold.test, at)[fold.test]
    return predicted, fits


@attrs.frozen(eq=False)
class FoldFits:
    """The fits that folds made already, and where those of all rows lie."""

    folds: Folds
    learned: Mapping[str, Mapping[str, Learned | None]]
    """By model and name of the fold."""
    near: Mapping[str, FloatArray]
    """By model, coefficients (k,) of a fit to all rows."""

    def without(self, family: str, left: Mask, model: str) -> Learned | None:
        """The fit without a family, if a fold held out just those rows."""
        for fold in self.folds.folds:
            if fold.name == family and np.array_equal(fold.train, left):
                return self.learned.get(model, {}).get(family)
        return None


@attrs.frozen(eq=False)
class Unseen:
    """A family as predicted from the rows that share no shape with it."""

    family: str
    rows: Mask
    """(n,): its rows."""
    left: Mask
    """(n,): the rows that the models are fitted to."""
    layers: int
    """Different layers among its rows."""
    enough: bool
    """Whether the rows left are at least `rows_needed`; what fewer say of the family is noise."""
    alpha: dict[str, float]
    """`di_weighted`, `di_disjoint`; not a number where the rows left say nothing about reuse."""
    predicted: dict[str, FloatArray]
    """By model of `COMPARED`, the response of its rows (n,); not a number where it cannot be predicted."""

    @property
    def counts(self) -> bool:
        """Whether it says something of AI and DI: it has enough layers and leaves enough rows."""
        return self.enough and self.layers >= FEWEST_FAMILY_LAYERS

    def elements(self, data: Data) -> dict[str, FloatArray]:
        """M / index, by index, of some rows: W + A, 2·(α·W + (1−α)·A), and M / DI of the disjoint form."""
        weighted, disjoint = self.alpha["di_weighted"], self.alpha["di_disjoint"]
        nothing = np.full(len(data), np.nan)
        return {
            "ai": data.weights + data.activations,
            "di_weighted": 2 * (weighted * data.weights + (1 - weighted) * data.activations),
            "di_disjoint": nothing if math.isnan(disjoint) else per_di_disjoint(data, disjoint),
        }


def rows_needed(data: Data) -> int:
    """Rows that the largest model needs."""
    return ROWS_PER_COEFFICIENT * len(design("di_weighted", data).names)


def predict_families(
    data: Data, catalogue: Catalogue | None = None, known: FoldFits | None = None
) -> dict[str, Unseen]:
    """Each family that has rows, predicted by fits to the rows that share no shape with it.

    Args:
        data: all rows.
        catalogue: of the networks in their table; by default the 25.
        known: what was fitted to the same rows already.
    """
    found = {}
    catalogue = catalogue or the_25()
    shapes, shape = distinct(data.layer)
    owners, owner = distinct(data.network)
    near = {} if known is None else known.near
    needed = rows_needed(data)
    designs = {model: design(model, data) for model in COMPARED if model != "di_disjoint"}
    for family, members in catalogue.families.items():
        rows = np.isin(shapes, catalogue.shapes_in(family))[shape]
        if not rows.any():
            continue
        left = ~rows & ~np.isin(owners, members)[owner]
        learned = {
            model: (known and known.without(family, left, model))
            or learn(model, data, left, at=designs.get(model), near=near.get(model))
            for model in COMPARED
        }
        alpha = {
            model: math.nan if (one := learned[model]) is None else one.alpha
            for model in ("di_weighted", "di_disjoint")
        }
        predicted = {
            model: np.full(len(data), np.nan) if one is None else one.predict(data, rows, designs.get(model))
            for model, one in learned.items()
        }
        enough = int(left.sum()) >= needed
        layers = len(np.unique(shape[rows]))
        found[family] = Unseen(family, rows, left, layers, enough, alpha, predicted)
    return found
