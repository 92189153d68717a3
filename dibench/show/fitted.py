"""What the page draws of a fit: its α, its coefficients, and the curve of cost against intensity.

The fit is the dictionary of `study.Fit.to_json()`; coefficients are named and counted as in `study.models`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dibench import intensity
from dibench.show.numbers import is_number
from dibench.show.parts import Json

if TYPE_CHECKING:
    import pandas as pd

Array = Any

HELD_OUT, IN_SAMPLE = "held_out", "predicted"
_FORM = {"di_weighted": "weighted", "di_disjoint": "disjoint"}


def alpha(fit: Json, form: str) -> Mapping[str, Any]:
    """`value`, `ci_low`, `ci_high` of one form (`weighted` or `disjoint`); empty where the fit has none."""
    found = (fit.get("alpha") or {}).get(form)
    return found if isinstance(found, Mapping) and is_number(found.get("value")) else {}


def coefficients(fit: Json, model: str) -> dict[str, float]:
    """Coefficient by name in picoseconds or picojoules per event; empty where the model was not fitted."""
    entries = ((fit.get("models") or {}).get(model) or {}).get("coefficients") or {}
    return {name: float(entry["value"]) for name, entry in entries.items() if is_number(entry.get("value"))}


def intensity_of(rows: Any, fit: Json, model: str) -> Array | None:
    """AI or DI at the fitted α for each row (`macs weights activations`); None where α is not known."""
    m, w, a = rows["macs"], rows["weights"], rows["activations"]
    if model == "ai":
        return intensity.arithmetic_intensity(m, w, a)
    fitted = alpha(fit, _FORM[model])
    if not fitted:
        return None
    form = intensity.di_weighted if model == "di_weighted" else intensity.di_disjoint
    values = np.asarray(form(m, w, a, fitted["value"]), dtype=float)
    # An α fitted outside [0, 1] gives some layers no intensity at all.
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def per_mac(fit: Json, model: str, op: str, values: Array) -> Array | None:
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


def prediction(rows: pd.DataFrame, model: str) -> str | None:
    """The column of predictions to show: held out where half of the rows have one, else in sample."""
    for kind, least in ((HELD_OUT, 0.5), (IN_SAMPLE, 0.0)):
        name = f"{kind}_{model}"
        if name in rows and float((rows[name] > 0).mean()) > least:
            return name
    return None
