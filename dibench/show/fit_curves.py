"""What the page draws of a fit: its α, its coefficients, and the curve of cost against intensity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dibench import intensity

if TYPE_CHECKING:
    from dibench.study.findings.estimate import Alpha
    from dibench.study.findings.ladder import Fit

Array = Any


def alpha(fit: Fit, model: str) -> Alpha:
    """α of `di_weighted` or `di_disjoint`."""
    return fit.alpha.weighted if model == "di_weighted" else fit.alpha.disjoint


def coefficients(fit: Fit, model: str) -> dict[str, float]:
    """Coefficient by name in picoseconds or picojoules per event; empty where the model was not fitted."""
    return {name: one.value for name, one in fit.models[model].coefficients.items() if one.value is not None}


def intensity_of(rows: Any, fit: Fit | None, model: str) -> Array | None:
    """AI or DI at the fitted α for each row (`macs weights activations`); None where α is not known."""
    m, w, a = rows["macs"], rows["weights"], rows["activations"]
    if model == "ai":
        return intensity.arithmetic_intensity(m, w, a)
    fitted = None if fit is None else alpha(fit, model).value
    if fitted is None:
        return None
    form = intensity.di_weighted if model == "di_weighted" else intensity.di_disjoint
    values = np.asarray(form(m, w, a, fitted), dtype=float)
    # An α fitted outside [0, 1] gives some layers no intensity at all.
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def per_mac(fit: Fit, model: str, op: str, values: Array) -> Array | None:
    """Fitted cost per MAC in ps or pJ of an operator at these intensities, without the cost of the launch.

    AI: e₀ + e/AI. Weighted DI: e₀ + (e_w + e_a)/(2·DI). Disjoint DI: e₀ + k/DI.
    """
    known = coefficients(fit, model)
    base = known.get(f"e0[{op}]", known.get("e0"))
    slope = {
        "ai": known.get("e"),
        "di_weighted": (known["e_w"] + known["e_a"]) / 2 if {"e_w", "e_a"} <= known.keys() else None,
        "di_disjoint": known.get("k"),
    }[model]
    return None if base is None or slope is None else base + slope / np.asarray(values, dtype=float)
