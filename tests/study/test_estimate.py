"""The minimiser against certified regressions, the figures against SciPy and by hand."""

from __future__ import annotations

import nist_strd
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from study_frames import E0_PJ, LAUNCH_PJ, disjoint_energy, distinct_layers, energy_of, some_layers, table

from dibench.study.ladder.alpha import GRID, profile_disjoint
from dibench.study.ladder.models import data_of, design
from dibench.study.maths import scores
from dibench.study.maths.bias_reduced import bias_reduced
from dibench.study.maths.estimate import condition_number, fit_log
from dibench.study.maths.inference import classical_errors, clustering
from dibench.study.maths.minimise import LOOSE, TIGHT, minimise, whole

FAR_AWAY = ("BoxBOD", "Eckerle4", "MGH10", "MGH17")
"""Higher-difficulty sets whose first start lies in another valley, as it does for other descents."""


@pytest.mark.parametrize(
    ("name", "start"),
    [(name, start) for name in nist_strd.MODELS for start in (0, 1) if start or name not in FAR_AWAY],
)
def test_nist_certified_values_to_nine_digits(name: str, start: int) -> None:
    """Parameters, their standard deviations and the sum of squares, of all 27 nonlinear data sets."""
    nist = nist_strd.load(name)
    found = minimise(whole(nist.residuals, nist.jacobian), [nist.starts[start]])
    np.testing.assert_allclose(found.parameters, nist.parameters, rtol=1e-9)
    if name == "Lanczos1":  # exact to 13 digits: its sum, 1.4e-25, is below what doubles can add up
        assert found.rss < 1e-24
        return
    np.testing.assert_allclose(found.rss, nist.rss, rtol=1e-9)
    errors = classical_errors(nist.jacobian(found.parameters), nist.residuals(found.parameters))
    np.testing.assert_allclose(errors, nist.deviations, rtol=1e-9)


@pytest.mark.parametrize("nist", nist_strd.load_linear(), ids=lambda nist: nist.name)
def test_nist_linear_sets_to_nine_digits_or_as_many_as_the_numbers_hold(nist: nist_strd.Linear) -> None:
    """The eleven linear data sets, which are one step of the minimiser.

    Nine digits of each coefficient or of its standard deviation, whichever is larger: those of Wampler4 and
    Wampler5 are 1 ± 10⁵ and 1 ± 10⁷. Filip's powers of x up to the tenth have condition number 5·10⁹ with
    columns at unit length: solved in exact arithmetic, powers rounded to doubles are 2.5·10⁻⁸ off already.
    """
    digits = 1e-7 if nist.name == "Filip" else 1e-9
    found = minimise(
        whole(lambda b: nist.columns @ b - nist.y, lambda b: nist.columns),
        [np.zeros(len(nist.parameters))],
    )
    size = np.maximum(np.abs(nist.parameters), nist.deviations)
    assert (np.abs(found.parameters - nist.parameters) <= digits * size).all()
    errors = classical_errors(nist.columns, nist.columns @ found.parameters - nist.y)
    if nist.rss == 0:
        assert found.rss < 1e-18 * (nist.y @ nist.y)
        assert (errors < 1e-9 * nist.parameters).all()
        return
    np.testing.assert_allclose(found.rss, nist.rss, rtol=digits)
    np.testing.assert_allclose(errors, nist.deviations, rtol=digits)


def test_a_start_outside_the_domain_is_passed_over() -> None:
    target = np.array([1.0, 2.0])
    found = minimise(
        whole(lambda b: np.log(b) - np.log(target), lambda b: np.diag(1 / b)),
        [np.array([-1.0, 1.0]), np.array([3.0, 3.0])],
    )
    np.testing.assert_allclose(found.parameters, target, rtol=1e-9)
    with pytest.raises(ValueError, match="no start"):
        minimise(whole(np.log, lambda b: np.diag(1 / b)), [np.array([-1.0])])


def test_exact_data_give_back_every_coefficient() -> None:
    layers = distinct_layers()
    assert len(layers) == 572
    data = data_of(table(layers, energy_of(layers, alpha=0.3)), "energy_j")
    at = design("di_weighted", data)
    expected = {"e_w": 60 * 0.3, "e_a": 60 * 0.7, "e_launch": LAUNCH_PJ}
    for name, value in zip(at.names, fit_log(at.columns, data.y).parameters * 1e12, strict=True):
        assert value == pytest.approx(expected.get(name, E0_PJ), rel=1e-6), name


def test_noisy_data_give_back_coefficients_within_their_errors() -> None:
    layers = distinct_layers()
    data = data_of(table(layers, energy_of(layers, alpha=0.3, noise=0.1, seed=3)), "energy_j")
    at = design("di_weighted", data)
    fit = fit_log(at.columns, data.y)
    found = bias_reduced(fit.jacobian, fit.residuals, clustering("layer", data.layer, draws=9, seed=0))
    assert found is not None
    errors = np.sqrt(np.diagonal(found.covariance))
    truth = np.array([*[E0_PJ] * 5, 60 * 0.3, 60 * 0.7, LAUNCH_PJ]) * 1e-12
    assert (np.abs(fit.parameters - truth) < 3.5 * errors).all()
    assert np.std(fit.residuals) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("alpha", [0.1, 0.6])
def test_disjoint_alpha_is_profiled_exactly(alpha: float) -> None:
    layers = some_layers(150, 1)
    data = data_of(table(layers, disjoint_energy(layers, alpha=alpha, noise=0.0, seed=0)), "energy_j")
    value, fit = profile_disjoint(data, GRID)
    assert value == pytest.approx(alpha, abs=1e-4)
    assert fit.rss < 1e-6


def test_a_coefficient_below_zero_is_held_at_zero_only_where_asked() -> None:
    columns = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0], [1.0, 4.0]])
    y = columns @ [10.0, -1.5]
    np.testing.assert_allclose(fit_log(columns, y).parameters, [10.0, -1.5], rtol=1e-8)
    held = fit_log(columns, y, nonnegative=True).parameters
    assert held[1] == 0.0
    # Without the second column the best constant is the geometric mean.
    assert held[0] == pytest.approx(np.exp(np.log(y).mean()), rel=1e-6)


@given(scale=st.floats(1e-12, 1e12), unit=st.floats(1e-12, 1e12))
def test_units_do_not_matter(scale: float, unit: float) -> None:
    rng = np.random.default_rng(0)
    columns = rng.uniform(1, 2, size=(30, 2)) * [1.0, 1e6]
    y = columns @ [2.0, 3e-6] * np.exp(0.1 * rng.standard_normal(30))
    plain = fit_log(columns, y).parameters
    scaled = fit_log(columns * unit, y * scale).parameters
    np.testing.assert_allclose(scaled * unit / scale, plain, rtol=1e-6)


def test_a_column_of_both_signs_is_fitted_from_a_start_inside_the_domain() -> None:
    """As α·W + (1−α)·A is for α far outside [0, 1]. Least squares of relative errors would begin at a θ
    that predicts less than nothing for the second row."""
    columns = np.column_stack([np.ones(6), [7.0, -15.0, 72.0, 5.0, 30.0, 12.0]])
    y = np.array([37.0, 29.0, 15.0, 2.0, 9.0, 16.0])
    tight, loose = (fit_log(columns, y, tolerance=tolerance) for tolerance in (TIGHT, LOOSE))
    assert (columns @ tight.parameters > 0).all()
    np.testing.assert_allclose(loose.parameters, tight.parameters, rtol=1e-2)
    # At the minimum the residuals are orthogonal to every column of the Jacobian.
    sizes = np.linalg.norm(tight.jacobian, axis=0) * np.linalg.norm(tight.residuals)
    np.testing.assert_allclose(tight.jacobian.T @ tight.residuals / sizes, 0.0, atol=1e-6)


def test_condition_number_of_collinear_columns_is_infinite_or_huge() -> None:
    column = np.arange(1.0, 6.0)
    assert condition_number(np.column_stack([column, 2 * column])) > 1e8
    assert condition_number(np.column_stack([column, 0 * column])) == np.inf
    # Two unit columns at an angle of cosine c have condition √((1 + c) / (1 − c)).
    assert condition_number(np.array([[1.0, 0.6], [0.0, 0.8]])) == pytest.approx(2.0)


positive = st.floats(1e-3, 1e3)
pairs = st.lists(st.tuples(positive, positive), min_size=3, max_size=30)


@given(pairs)
def test_correlations_equal_scipy(rows: list[tuple[float, float]]) -> None:
    y, predicted = np.array(rows).T
    if np.ptp(y) < 1e-6 or np.ptp(predicted) < 1e-6:
        return
    assert scores.pearson(y, predicted) == pytest.approx(scipy.stats.pearsonr(y, predicted)[0], abs=1e-9)
    expected = scipy.stats.spearmanr(y, predicted).statistic
    assert scores.spearman(y, predicted) == pytest.approx(expected, abs=1e-9)
    np.testing.assert_array_equal(scores.ranks(y), scipy.stats.rankdata(y))


def test_figures_of_an_example_by_hand() -> None:
    """y = 1, 2, 4 predicted as 2, 2, 2. In powers of two, log y = 0, 1, 2 and log ŷ = 1, 1, 1."""
    y, predicted = np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 2.0])
    assert scores.r2_log(y, predicted) == pytest.approx(0.0)  # errors 1, 0, 1 around a total of 2
    assert scores.mape(y, predicted) == pytest.approx((1.0 + 0.0 + 0.5) / 3)
    assert scores.rmse_log(y, predicted) == pytest.approx(np.log(2) * np.sqrt(2 / 3))
    assert np.isnan(scores.pearson(y, predicted))  # a constant correlates with nothing
    # n = 10, k = 2, so p = 3: 10·log(5/10) + 6 + 24/6.
    assert scores.aicc(5.0, 10, 2) == pytest.approx(10 * np.log(0.5) + 10)
    assert np.isnan(scores.aicc(5.0, 4, 2))


def test_a_low_mape_can_hide_a_low_correlation() -> None:
    """Both figures are needed: within 3% everywhere, and yet the order is lost."""
    y = np.array([1.00, 1.01, 1.02, 1.03])
    scored = scores.Target(y).scores(y[::-1].copy())
    assert scored.mape is not None and scored.mape < 0.03
    assert scored.pearson == pytest.approx(-1.0)
    assert scored.spearman == pytest.approx(-1.0)
