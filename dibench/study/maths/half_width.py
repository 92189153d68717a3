"""How wide the 95% interval of a coefficient, or of a sum of coefficients, is.

The wider of two counts. One trusts no size of errors, only that clusters err apart (`bias_reduced`, by the
clusterings that decide a test of the same sum). The other takes errors to be of one size in all rows, and
learns from all networks what the few that a coefficient rests on may have in common (`components`). Each
covers less than 95% where what it trusts does not hold; docs/study.md has the figures.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.study.maths.bias_reduced import BiasReduced, bias_reduced
from dibench.study.maths.components import components, variance_of_sum
from dibench.study.maths.inference import Clustering, Linearised, deciding, student_quantiles

FloatArray = NDArray[np.float64]


def half_widths(
    jacobian: FloatArray,
    residuals: FloatArray,
    clusterings: Sequence[Clustering],
    groups: Sequence[Clustering] = (),
) -> FloatArray:
    """Of each coefficient (k,), by both counts; not a number where the rows do not tell.

    Args:
        jacobian: J (n, k) at the fit.
        residuals: (n,).
        clusterings: that tests use.
        groups: what rows may have in common beyond these, coarsest last.
    """
    robust = Robust(jacobian, residuals, clusterings)
    by_clusters = np.array([robust.half_width(unit) for unit in np.eye(jacobian.shape[1])])
    parts = components(jacobian, residuals, [*clusterings, *groups])
    if parts is None:
        return by_clusters
    variance, degrees = variance_of_sum(parts, np.diagonal(parts.spreads, axis1=1, axis2=2).T)
    return np.asarray(np.fmax(by_clusters, np.sqrt(variance) * student_quantiles(degrees)))


@attrs.frozen(eq=False)
class Robust:
    """The errors of sums of coefficients by the clusterings that decide a test of the same sum."""

    jacobian: FloatArray
    """J (n, k) at the fit."""
    residuals: FloatArray
    clusterings: Sequence[Clustering]

    def half_width(self, direction: FloatArray) -> float:
        """Of Σ direction·coefficients, the widest; not a number where no clustering tells."""
        return _largest(one.half_width(direction) for one in self._deciding(direction))

    def p_value(self, direction: FloatArray, value: float) -> float:
        """Two-sided, of the hypothesis that a sum estimated as `value` is zero; the largest."""
        return _largest(one.p_value(direction, value) for one in self._deciding(direction))

    def _deciding(self, direction: FloatArray) -> list[BiasReduced]:
        decide = deciding(Linearised(self.jacobian, self.residuals, direction), self.clusterings)
        return [found for one in decide if (found := self._reduced[one.name]) is not None]

    @functools.cached_property
    def _reduced(self) -> dict[str, BiasReduced | None]:
        return {one.name: bias_reduced(self.jacobian, self.residuals, one) for one in self.clusterings}


def _largest(values: Iterable[float]) -> float:
    return max((one for one in values if math.isfinite(one)), default=math.nan)
