"""Our own minimiser beside SciPy's, on real layer shapes: it is there for speed and must change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import least_squares
from study_frames import energy_of, some_layers, table

from dibench.study.ladder.models import data_of, design
from dibench.study.maths.estimate import fit_log


def by_scipy(columns: Any, y: Any, *, low: float) -> Any:
    """Shares of the response, by SciPy's trust region, from the truth of a layer that costs all alike."""
    relative = columns / y[:, None]
    scale = relative.mean(axis=0)
    relative = relative / scale

    def residual(at: Any) -> Any:
        return np.log(np.maximum(relative @ at, 1e-300))

    def jacobian(at: Any) -> Any:
        return relative / np.maximum(relative @ at, 1e-300)[:, None]

    found = least_squares(
        residual,
        np.full(columns.shape[1], 1.0 / columns.shape[1]),
        jacobian,
        bounds=(low, np.inf),
        ftol=1e-15,
        xtol=1e-15,
        gtol=1e-15,
        max_nfev=2000,
    )
    return found.x, 2 * found.cost, scale


@pytest.mark.parametrize("model", ["macs", "ai", "di_weighted"])
@pytest.mark.parametrize("seed", range(4))
def test_free_fits_equal_scipy(model: str, seed: int) -> None:
    layers = some_layers(150, seed)
    data = data_of(table(layers, energy_of(layers, alpha=0.3, noise=0.2, seed=seed)), "energy_j")
    columns = design(model, data).columns
    ours = fit_log(columns, data.y)
    shares, rss, scale = by_scipy(columns, data.y, low=-np.inf)
    np.testing.assert_allclose(ours.rss, rss, rtol=1e-9)
    np.testing.assert_allclose(ours.parameters * scale, shares, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("seed", range(6))
def test_fits_held_at_zero_are_at_least_as_good_as_scipy_and_meet_the_conditions(seed: int) -> None:
    """Truth with a launch below nothing: the bound binds. Karush, Kuhn and Tucker's conditions decide."""
    layers = [one for one in some_layers(250, seed) if one.macs > 2e6]
    energy = energy_of(layers, alpha=0.02, launch=-1e6, noise=0.2, seed=seed)
    data = data_of(table(layers, energy), "energy_j")
    columns = design("di_weighted", data).columns
    ours = fit_log(columns, data.y, nonnegative=True)
    shares, rss, scale = by_scipy(columns, data.y, low=0.0)
    assert ours.rss <= rss * (1 + 1e-7)
    np.testing.assert_allclose(ours.parameters * scale, shares, rtol=1e-3, atol=1e-4)
    slope = -ours.residuals @ ours.jacobian
    slope = slope / np.linalg.norm(ours.jacobian, axis=0) / np.linalg.norm(ours.residuals)
    held = ours.parameters == 0
    assert held.any()
    assert (slope[held] >= -1e-6).all()
    np.testing.assert_allclose(slope[~held], 0.0, atol=1e-5)
