"""How far a measurement of a layer, or of a sum of layers, may lie from what a fit predicts.

Two things are uncertain: the coefficients, which all layers share, and how far each layer lies from the
curve. Of the latter, what only layers of one shape have in common averages out over a network; what all
layers of a network have in common, or those of its family, does not (`maths.components` tells them apart).
Student's t gets the degrees of freedom with which the fit knows the variance of just this sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dibench.study.findings.fitted_model import WHOLE_NETWORKS
from dibench.study.maths.components import variance_of_sum
from dibench.study.maths.inference import student_quantile, student_quantiles

if TYPE_CHECKING:
    from dibench.study.findings.fitted_model import Predictor

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


def layer_intervals(
    mean: FloatArray, slope: FloatArray, predictor: Predictor
) -> tuple[FloatArray, FloatArray]:
    """95% intervals of single layers: their means (n,) and the gradients of these (n, k)."""
    errors = predictor.errors
    of_coefficients = np.einsum("ij,jk,ik->i", slope, errors.of_coefficients, slope)
    shares = mean[:, None] ** 2 + np.einsum("ni,mij,nj->nm", slope, errors.spreads, slope)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = of_coefficients / mean**2 + np.expm1(predictor.unseen_log**2)
        degrees = variance_of_sum(errors, shares)[1]
        width = student_quantiles(degrees) * np.sqrt(np.log1p(spread))
        centre = mean * np.exp(-(predictor.residual_log**2) / 2)
        return centre * np.exp(-width), centre * np.exp(width)


def sum_interval(
    shape: IntArray, amount: FloatArray, slope: FloatArray, predictor: Predictor
) -> tuple[float, float]:
    """95% interval of the sum of layers that cost `amount` (n,), with gradient `slope` (k,): lognormal.

    `shape` (n,) is equal for layers of one shape.
    """
    mean = float(amount.sum())
    spread = sum_variance(shape, amount, slope, predictor) / mean**2
    width = student_quantile(sum_degrees(shape, amount, slope, predictor)) * np.sqrt(np.log1p(spread))
    scatter = _of_errors(shape, amount, predictor, predictor.residual_log**2) / mean**2
    centre = mean / np.sqrt(1 + scatter)
    return float(centre * np.exp(-width)), float(centre * np.exp(width))


def sum_variance(shape: IntArray, amount: FloatArray, slope: FloatArray, predictor: Predictor) -> float:
    """Variance of a measured sum about its prediction; amounts may have either sign."""
    of_coefficients = float(slope @ predictor.errors.of_coefficients @ slope)
    return of_coefficients + _of_errors(shape, amount, predictor, predictor.unseen_log**2)


def sum_degrees(shape: IntArray, amount: FloatArray, slope: FloatArray, predictor: Predictor) -> float:
    """Degrees of freedom of `sum_variance`."""
    errors = predictor.errors
    wide = np.isin(errors.names, WHOLE_NETWORKS)
    shares = np.where(wide, float(amount.sum()) ** 2, _by_shape(shape, amount))
    of_coefficients = np.einsum("i,mij,j->m", slope, errors.spreads, slope)
    return float(variance_of_sum(errors, shares + of_coefficients)[1])


def _of_errors(shape: IntArray, amount: FloatArray, predictor: Predictor, log_variance: float) -> float:
    """Variance by how far layers lie from the curve: Σ a·b·(exp c − 1), c the covariance of their logs."""
    variances = predictor.errors.variances
    wide = np.isin(predictor.errors.names, WHOLE_NETWORKS)
    common = float(variances[wide].sum() / variances.sum()) if variances.any() else 0.0
    alike, apart = float(np.expm1(log_variance)), float(np.expm1(common * log_variance))
    return apart * float(amount.sum()) ** 2 + (alike - apart) * _by_shape(shape, amount)


def _by_shape(shape: IntArray, amount: FloatArray) -> float:
    """Σ over shapes of (sum of the amounts of that shape)²."""
    _, member = np.unique(shape, return_inverse=True)
    together = np.bincount(member, amount)
    return float(together @ together)
