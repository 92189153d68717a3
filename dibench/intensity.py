"""Counts, reuse and intensity of layers, as pure functions on numbers and NumPy arrays.

Every function takes integers or integer arrays of one shape and returns the same kind. Counts are
elements, MACs are multiply-adds; taps on padding count, as in every published counter. These are compulsory
counts: what the shape alone demands, every element once.

Source of both DI forms: Jha and Mittal, "Modeling Data Reuse in Deep Neural Networks by Taking
Data-Types into Cognizance", arXiv 2008.02565. Its abstract does not print the formula, so both readings
stand here side by side.
"""

from __future__ import annotations

from typing import Any

# Numbers and arrays alike: NumPy's broadcasting gives both from one body.
Numeric = Any

OPERATORS = ("standard", "depthwise", "pointwise", "grouped", "fc")


# Wide because the product has eight factors, each a dimension with a name.
def macs(
    N: Numeric, K: Numeric, P: Numeric, Q: Numeric, C: Numeric, groups: Numeric, R: Numeric, S: Numeric
) -> Numeric:
    """Multiply-adds M = N·K·P·Q·(C/groups)·R·S.

    >>> macs(N=1, K=64, P=56, Q=56, C=64, groups=1, R=3, S=3)
    115605504
    """
    return N * K * P * Q * (C // groups) * R * S


def weights(K: Numeric, C: Numeric, groups: Numeric, R: Numeric, S: Numeric) -> Numeric:
    """Weight elements W = K·(C/groups)·R·S; a bias is not counted.

    >>> weights(K=64, C=64, groups=1, R=3, S=3)
    36864
    """
    return K * (C // groups) * R * S


def inputs(N: Numeric, C: Numeric, H: Numeric, W: Numeric) -> Numeric:
    """Input elements X = N·C·H·W, before padding."""
    return N * C * H * W


def outputs(N: Numeric, K: Numeric, P: Numeric, Q: Numeric) -> Numeric:
    """Output elements Y = N·K·P·Q."""
    return N * K * P * Q


def reuse(macs: Numeric, elements: Numeric) -> Numeric:
    """Multiply-adds per element: M/W, M/X or M/Y.

    >>> reuse(115605504, 36864)
    3136.0
    """
    return macs / elements


def arithmetic_intensity(macs: Numeric, weights: Numeric, activations: Numeric) -> Numeric:
    """AI = M / (W + A) in MAC per element, A = X + Y.

    >>> arithmetic_intensity(800, 60, 40)
    8.0
    """
    return macs / (weights + activations)


def di_weighted(macs: Numeric, weights: Numeric, activations: Numeric, alpha: Numeric) -> Numeric:
    """DI, weighted form: M / (2·(α·W + (1−α)·A)); α = ½ gives AI exactly.

    Harmonic: the data type with the worst reuse dominates.

    >>> di_weighted(800, 60, 40, alpha=0.5) == arithmetic_intensity(800, 60, 40)
    True
    """
    return macs / (2 * (alpha * weights + (1 - alpha) * activations))


def di_disjoint(macs: Numeric, weights: Numeric, activations: Numeric, alpha: Numeric) -> Numeric:
    """DI, disjoint form: α·M/W + (1−α)·M/A.

    Arithmetic: the data type with the best reuse dominates.

    >>> di_disjoint(800, 80, 40, alpha=0.25)
    17.5
    """
    return alpha * (macs / weights) + (1 - alpha) * (macs / activations)
