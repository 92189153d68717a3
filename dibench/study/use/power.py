"""From how far off ½ a plan can tell α, computed from its layers alone.

Assumed: weighted DI is true, with the costs below, and rows err independently. The verdict asks whether the
interval of α by family of networks lies beyond an end of the margin; the bootstrap's is hardly ever wider. At
that end the t statistic is noncentral, by the distance of α in standard errors, with the degrees of freedom
of `bias_reduced`. The power is the chance that it exceeds Student's quantile times how much the jackknife
overstates independent errors; `benchmarks.study_power` holds it against simulated studies. Rows count as the
study counts them: each layer once, by its fastest kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dibench.layer import Layer
from dibench.study.findings.ladder import MARGIN
from dibench.study.findings.power import Power, Reach
from dibench.study.ladder.collinear import LARGEST_CONDITION
from dibench.study.ladder.folds import families_of
from dibench.study.ladder.models import Data, data_of, design
from dibench.study.ladder.verdict import ROWS_PER_COEFFICIENT
from dibench.study.maths.bias_reduced import bias_reduced
from dibench.study.maths.estimate import condition_number
from dibench.study.maths.inference import Clustering, student_quantile

FloatArray = NDArray[np.float64]

RATIO, LAUNCH = 20.0, 3e5
"""(e_w + e_a)/e₀, and e_launch/e₀ in multiply-adds."""

ERRORS = (0.02, 0.1)
CHANCE = 0.8
LAYERS = (50, 100, 200, 400, 800, 1600)
MOST_LAYERS = 20_000
"""Of a longer plan only the first so many are looked at: more change nothing that is shown."""

PRECISION = 0.005
QUANTILES = 200


def power(layers: Sequence[Layer]) -> Power:
    """Of a plan, from its layers in measuring order, each shape and batch once."""
    data = layers_only(layers[:MOST_LAYERS])
    steps = [number for number in LAYERS if number < len(data)] + [len(data)]
    reaches = [_reach(data.only(slice(0, number)), error) for number in steps for error in ERRORS]
    return Power(tuple(reaches), CHANCE, RATIO, LAUNCH)


def layers_only(layers: Sequence[Layer]) -> Data:
    """What the models see of layers that nobody measured: every response is one joule."""
    frame = pd.DataFrame([layer.dims for layer in layers])
    frame["name"] = [layer.name for layer in layers]
    frame["op"] = [layer.op for layer in layers]
    frame["energy_j"] = 1.0
    return data_of(frame, "energy_j")


def truth(data: Data, alpha: float) -> FloatArray:
    """Coefficients of `di_weighted` with that α, e₀ = 1."""
    costs = {"e_w": RATIO * alpha, "e_a": RATIO * (1 - alpha), "e_launch": LAUNCH}
    return np.array([costs.get(name, 1.0) for name in design("di_weighted", data).names])


def chance(data: Data, families: Clustering, alpha: float, error: float) -> float:
    """Of the interval by family to lie beyond the margin's end that is nearer to α."""
    full, theta = design("di_weighted", data), truth(data, alpha)
    jacobian = full.columns / (full.columns @ theta)[:, None]
    enough = len(data) >= ROWS_PER_COEFFICIENT * len(theta)
    if not enough or not condition_number(jacobian) <= LARGEST_CONDITION:
        return 0.0
    errors = bias_reduced(jacobian, np.zeros(len(data)), families, jackknife=True)
    if errors is None:
        return 0.0
    end = MARGIN[0] if alpha < 0.5 else MARGIN[1]
    direction = np.zeros(len(theta))
    direction[full.names.index("e_w")], direction[full.names.index("e_a")] = 1 - end, -end
    degrees = errors.degrees(direction)
    if np.isnan(errors.error(direction)) or not degrees > 0:
        return 0.0
    true = float(np.linalg.norm(errors.inverse.T @ direction))
    distance = abs(float(direction @ theta)) / (error * true)
    return _exceeds(student_quantile(degrees) * errors.expected(direction) / true, distance, degrees)


def _exceeds(critical: float, distance: float, degrees: float) -> float:
    """P(t > critical) of a noncentral t: of (distance + z)/s, s² = χ²/degrees, averaged over s.

    >>> round(_exceeds(2.0, 2.0, 1e6), 3), round(_exceeds(12.706, 0.0, 1), 3)
    (0.5, 0.025)
    """
    from scipy.special import gammaincinv, ndtr

    at = (np.arange(QUANTILES) + 0.5) / QUANTILES
    s = np.sqrt(2 * gammaincinv(degrees / 2, at) / degrees)
    return float(ndtr(distance - critical * s).mean())


def _reach(data: Data, error: float) -> Reach:
    families = families_of(data)

    def found(alpha: float) -> bool:
        return chance(data, families, alpha, error) >= CHANCE

    def nearest(end: float, far: float) -> float | None:
        """The α nearest to the margin's end that is found."""
        if not found(far):
            return None
        near = end
        while abs(far - near) > PRECISION:
            middle = (near + far) / 2
            near, far = (near, middle) if found(middle) else (middle, far)
        return far

    return Reach(len(data), error, nearest(MARGIN[0], 0.0), nearest(MARGIN[1], 1.0))
