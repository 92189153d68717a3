"""Counts, bytes, reuse and intensity of layers, as pure functions on numbers and NumPy arrays.

Every function takes numbers or arrays of one shape and returns the same kind. Counts are elements, MACs are
multiply-adds; taps on padding count, as in every published counter. These are compulsory counts: what the
shape alone demands, every element once.

Counts are exact: Python integers for numbers, whatever kind of integer came in; for arrays int64, whatever
their own type, or float64 where a count does not fit into 63 bits. Dividing by zero gives infinity, 0/0 gives
NaN, for numbers and arrays alike.

Source of both DI forms: Jha and Mittal, "Modeling Data Reuse in Deep Neural Networks by Taking
Data-Types into Cognizance", arXiv 2008.02565. Its abstract does not print the formula, so both readings
stand here side by side.
"""

from __future__ import annotations

import math
from typing import Any

from dibench.errors import UserError

# Numbers and arrays alike: NumPy's broadcasting gives both from one body.
Numeric = Any

OPERATORS = ("standard", "depthwise", "pointwise", "grouped", "fc")

ELEMENT_BYTES = {"fp64": 8, "fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "int8": 1}
"""Bytes of an element in memory, by data type: tf32 is a float of which a product leaves bits out."""


_MOST_IN_INT64 = 2.0**63 * (1 - 2.0**-50)  # a product in float64 may be a few roundings off


def _is_array(value: Numeric) -> bool:
    return getattr(value, "ndim", 0) > 0


def _as(kind: str, value: Numeric) -> Numeric:
    """An array as one of another type; a NumPy number as Python's, which cannot overflow."""
    if _is_array(value):
        return value.astype(kind)
    return value.item() if hasattr(value, "item") else value


def _product(*factors: Numeric) -> Numeric:
    """The product of numbers as Python has it, of arrays exact where it fits into int64."""
    if all(type(factor) is int for factor in factors):  # of a layer: a plan of a million cases has 25 million
        return math.prod(factors)
    arrays = [factor for factor in factors if _is_array(factor)]
    if not arrays:
        return math.prod(_as("int64", factor) for factor in factors)
    about = math.prod(_as("float64", factor) for factor in factors)
    whole = all(factor.dtype.kind in "iu" for factor in arrays)
    if whole and (not about.size or abs(about).max() < _MOST_IN_INT64):
        return math.prod(_as("int64", factor) for factor in factors)
    return about


def _channels_of_a_group(C: Numeric, groups: Numeric) -> Numeric:
    if (groups == 0).any() if _is_array(groups) else groups == 0:
        raise UserError("groups", "must be at least 1", 0)
    return C // groups


def _float(value: Numeric) -> Numeric:
    """Sums of counts as floats cannot overflow."""
    return value.astype("float64") if _is_array(value) else float(value)


def _ratio(above: Numeric, below: Numeric) -> Numeric:
    if _is_array(above) or _is_array(below):
        import numpy as np

        with np.errstate(divide="ignore", invalid="ignore"):
            return above / below
    if below:
        return above / below
    return math.copysign(math.inf, above) if above else math.nan


def _share(alpha: Numeric, reuse_of_type: Numeric) -> Numeric:
    """A data type without weight in the sum counts nothing, however large its reuse."""
    return 0.0 if not _is_array(alpha) and alpha == 0 else alpha * reuse_of_type


# Wide because the product has eight factors, each a dimension with a name.
def macs(
    N: Numeric, K: Numeric, P: Numeric, Q: Numeric, C: Numeric, groups: Numeric, R: Numeric, S: Numeric
) -> Numeric:
    """Multiply-adds M = N·K·P·Q·(C/groups)·R·S.

    >>> macs(N=1, K=64, P=56, Q=56, C=64, groups=1, R=3, S=3)
    115605504
    """
    return _product(N, K, P, Q, _channels_of_a_group(C, groups), R, S)


def weights(K: Numeric, C: Numeric, groups: Numeric, R: Numeric, S: Numeric) -> Numeric:
    """Weight elements W = K·(C/groups)·R·S; a bias is not counted.

    >>> weights(K=64, C=64, groups=1, R=3, S=3)
    36864
    """
    return _product(K, _channels_of_a_group(C, groups), R, S)


def inputs(N: Numeric, C: Numeric, H: Numeric, W: Numeric) -> Numeric:
    """Input elements X = N·C·H·W, before padding."""
    return _product(N, C, H, W)


def outputs(N: Numeric, K: Numeric, P: Numeric, Q: Numeric) -> Numeric:
    """Output elements Y = N·K·P·Q."""
    return _product(N, K, P, Q)


def operand_bytes(elements: Numeric, dtype: str) -> Numeric:
    """Bytes of so many elements. A layer has one data type: inputs, weights and outputs alike.

    >>> operand_bytes(100, "tf32"), operand_bytes(100, "bf16")
    (400, 200)

    Raises:
        KeyError: a data type that is not in ELEMENT_BYTES.
    """
    return _product(elements, ELEMENT_BYTES[dtype])


def reuse(macs: Numeric, elements: Numeric) -> Numeric:
    """Multiply-adds per element: M/W, M/X or M/Y.

    >>> reuse(115605504, 36864)
    3136.0
    """
    return _ratio(_float(macs), _float(elements))


def arithmetic_intensity(macs: Numeric, weights: Numeric, activations: Numeric) -> Numeric:
    """AI = M / (W + A) in MAC per element, A = X + Y.

    >>> arithmetic_intensity(800, 60, 40)
    8.0
    """
    return _ratio(_float(macs), _float(weights) + _float(activations))


def di_weighted(macs: Numeric, weights: Numeric, activations: Numeric, alpha: Numeric) -> Numeric:
    """DI, weighted form: M / (2·(α·W + (1−α)·A)); α = ½ gives AI exactly.

    Harmonic: the data type with the worst reuse dominates.

    >>> di_weighted(800, 60, 40, alpha=0.5) == arithmetic_intensity(800, 60, 40)
    True
    """
    return _ratio(_float(macs), 2 * (alpha * _float(weights) + (1 - alpha) * _float(activations)))


def di_disjoint(macs: Numeric, weights: Numeric, activations: Numeric, alpha: Numeric) -> Numeric:
    """DI, disjoint form: α·M/W + (1−α)·M/A.

    Arithmetic: the data type with the best reuse dominates.

    >>> di_disjoint(800, 80, 40, alpha=0.25)
    17.5
    """
    of_weights, of_activations = reuse(macs, weights), reuse(macs, activations)
    return _share(alpha, of_weights) + _share(1 - alpha, of_activations)
