"""Subsets of fixed networks spread as combinatorics has it; only unseen families are evidence."""

from __future__ import annotations

import itertools
import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import Run, refused
from scipy import stats
from study_frames import distinct_layers, energy_of, some_layers, table

from dibench.study.findings.generality import Generality
from dibench.study.ladder.models import data_of
from dibench.study.questions.generality import generality
from dibench.study.questions.subset_fits import refitted_alpha, step_statistics
from dibench.study.questions.subsets import (
    correlations_over,
    curve,
    describe,
    draw,
    fisher,
    influence_curve,
    made_up_spread,
)


def complete(*, alpha: float, seed: int = 0, noise: float = 0.1) -> pd.DataFrame:
    layers = distinct_layers()
    return table(layers, energy_of(layers, alpha=alpha, noise=noise, seed=seed))


@cache
def studied(alpha: float, seed: int = 0) -> Generality:
    return generality(
        complete(alpha=alpha, seed=seed), subsets=400, sizes=[6, 12, 20], layer_sizes=[50, 200], seed=seed
    )


def test_subsets_are_drawn_without_replacement_and_alike() -> None:
    """Every one of the 20 subsets of 3 of 6 as often, by chi-squared."""
    members = np.concatenate(list(draw(6, 3, 20_000, np.random.default_rng(3))))
    assert members.shape == (20_000, 3)
    names = {subset: number for number, subset in enumerate(itertools.combinations(range(6), 3))}
    how_often = np.bincount([names[tuple(sorted(row))] for row in members.tolist()], minlength=20)
    assert stats.chisquare(how_often).pvalue > 0.001


def test_correlations_from_sums_are_numpys() -> None:
    rng = np.random.default_rng(4)
    y, x = rng.standard_normal(30) * 1e-3 + 50, rng.standard_normal((2, 30)) * 1e-3 - 20
    members = next(draw(30, 9, 50, rng))
    found = correlations_over(members, y, x)
    for number, subset in enumerate(members):
        for predictor in range(2):
            expected = np.corrcoef(x[predictor, subset], y[subset])[0, 1]
            assert found[predictor, number] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("k", [8, 12, 20])
def test_resampling_random_points_gives_the_curve_by_construction(k: int) -> None:
    """No network, no energy, nothing to find: the spread is the combinatorial one all the same."""
    made_up = made_up_spread(25, k, 0.8, 8000, np.random.default_rng(k))
    assert made_up.median == pytest.approx(curve(25, k), rel=0.12)
    assert made_up.low < curve(25, k) < made_up.high


def test_the_curve_of_a_mean_is_exact() -> None:
    """√((n−k)/(n−1)) is the finite population's: over all subsets of 4 of 9, to the last digit."""
    values = np.random.default_rng(1).standard_normal(9)
    means = [np.mean(subset) for subset in itertools.combinations(values, 4)]
    assert np.std(means) == pytest.approx(values.std() * curve(9, 4) * math.sqrt((4 - 3) / 4))


def test_the_members_own_influence_predicts_their_spread_where_the_normal_one_fails() -> None:
    """Errors that grow with x make z spread far more than bivariate normal points would."""
    rng = np.random.default_rng(8)
    x = rng.standard_normal(200)
    y = 0.7 * x + x * rng.standard_normal(200)
    z = fisher(np.concatenate([correlations_over(m, y, x[None])[0] for m in draw(200, 100, 4000, rng)]))
    assert float(z.std()) == pytest.approx(influence_curve(y, x, 100), rel=0.08)
    assert abs(float(z.std()) / curve(200, 100) - 1) > 0.15


def test_description_is_scipys() -> None:
    values = np.random.default_rng(6).gamma(4.0, size=3000)
    found = describe(values)
    assert found is not None
    assert found.skew == pytest.approx(stats.skew(values))
    assert found.excess_kurtosis == pytest.approx(stats.kurtosis(values))
    assert found.shapiro_p == pytest.approx(stats.shapiro(values).pvalue)
    assert sum(found.counts) == 3000
    assert len(found.edges) == len(found.counts) + 1
    assert describe(np.ones(100)) is None


def test_one_step_of_all_rows_is_the_fit_and_of_subsets_is_near_their_refit() -> None:
    data = data_of(complete(alpha=0.3, seed=2), "energy_j")
    step = step_statistics("di_weighted", data)
    assert step is not None
    everything = np.ones((1, len(data)))
    assert np.allclose(step.one_step(everything)[0][0], step.parameters, rtol=1e-6)
    rng = np.random.default_rng(0)
    members = (rng.random((25, len(data))) < 0.4).astype(float)
    stepped, exact = step.alpha(step.one_step(members)[0]), refitted_alpha(data, members)
    assert np.abs(stepped - exact).max() < 0.01
    assert exact.std() > 0.01  # subsets do differ, by much more than the step is off


def test_when_di_is_true_unseen_families_say_so() -> None:
    found = studied(0.9)
    weighted = found.evidence["di_weighted"]
    assert weighted.decision == "DI"
    assert weighted.families == 10
    assert weighted.sign_flip_p is not None
    assert weighted.sign_flip_p < 0.01
    assert found.alpha == pytest.approx(0.9, abs=0.03)


@pytest.mark.slow
def test_when_ai_is_true_no_seed_finds_di() -> None:
    decisions = [studied(0.5, seed).evidence["di_weighted"].decision for seed in range(4)]
    assert "DI" not in decisions


def test_evidence_is_paired_by_family() -> None:
    found = studied(0.9)
    differences = [one.errors["ai"] - one.errors["di_weighted"] for one in found.families]
    expected = stats.ttest_1samp(differences, 0.0)
    low, high = expected.confidence_interval(0.95)
    weighted = found.evidence["di_weighted"]
    assert (weighted.ci_low, weighted.ci_high) == pytest.approx((low, high))
    flips = [
        abs(np.dot(signs, differences)) >= abs(sum(differences)) * (1 - 1e-9)
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    assert weighted.sign_flip_p == pytest.approx(np.mean(flips))


def test_words_claim_stability_across_these_networks_and_never_more() -> None:
    said = " ".join(" ".join(studied(alpha).to_json()["words"]) for alpha in (0.5, 0.9))
    assert "stable across subsets of these networks" in said
    for too_much in ("general", "central limit", "normal", "all networks", "any network", "proves"):
        assert too_much not in said.lower()


def test_json_holds_what_figures_are_drawn_from() -> None:
    figures = json.loads(json.dumps(studied(0.9).to_json(), allow_nan=False))
    assert set(figures["populations"]) == {"networks", "layers"}
    population = figures["populations"]["networks"]
    assert population["n"] == len(population["names"]) == 25
    size = population["sizes"][0]["spreads"]["di_weighted"]
    assert len(size["z"]["normal_quantiles"]) == len(size["z"]["quantiles"]) == 99
    assert {"curve", "influence_curve", "made_up"} < set(size)
    assert len(figures["families"]) == 10


@pytest.mark.slow
def test_the_same_seed_gives_the_same_study() -> None:
    frame = complete(alpha=0.5)
    one, two, other = (
        generality(frame, subsets=100, sizes=[8], layer_sizes=[20], seed=seed).to_json() for seed in (1, 1, 2)
    )
    assert one == two
    assert one["populations"] != other["populations"]


def test_the_verb_shows_evidence_first_and_writes_everything(run: Run, tmp_path: Path) -> None:
    path, target = tmp_path / "sweep.csv", tmp_path / "g.json"
    complete(alpha=0.9).to_csv(path, index=False)
    sizes = ("--subsets", 100, "--sizes", "8,12", "--layer-sizes", "50")
    status, out, err = run("generality", path, *sizes, "--full", "--json", target)
    assert (status, err) == (0, "")
    assert out.splitlines()[1].startswith("On families it has not seen, weighted DI errs less than AI")
    assert out.index("Evidence:") < out.index("Subsets of k of 25 networks")
    found = json.loads(target.read_text())["populations"]["networks"]["sizes"]
    assert [size["k"] for size in found] == [8, 12]


def test_few_layers_study_layers_only_and_say_why(run: Run, tmp_path: Path) -> None:
    layers = some_layers(80, 1)
    path = tmp_path / "sweep.csv"
    frame = table(layers, energy_of(layers, alpha=0.5, noise=0.1), energy_source="none")
    frame.to_csv(path, index=False)
    status, brief, _ = run("generality", path, "--subsets", 100)
    assert status == 0 and "Measured time" in brief and len(brief.splitlines()) <= 24
    status, out, _ = run("generality", path, "--subsets", 100, "--full")
    assert status == 0
    assert "Measured time" in out
    assert "Subsets of networks: not drawn, " in out
    assert "Subsets of k of 80 layers" in out
    wanted = refused(run, "generality", path, "--sizes", 9)
    assert "cannot be chosen: subsets need more than 4 networks, these rows hold" in wanted


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--subsets", "5"), "--subsets: must be from 100 to 1000000 (got 5)"),
        (("--sizes", "5,x"), "--sizes: must be whole numbers with commas between"),
        (("--sizes", "25"), "must be from 4 to 24, there are 25 (got 25)"),
        (("--layer-sizes", "3"), "must be from 4 to 571, there are 572 (got 3)"),
        (("--batch", "7"), "batch: must be one of 1 (got 7)"),
        (("--seed", "-1"), "--seed: must be 0 or more (got -1)"),
        (("--json", "/no/such/g.json"), "--json: must lie in a directory that exists"),
    ],
)
def test_bad_options_are_named(run: Run, tmp_path: Path, options: tuple[str, str], words: str) -> None:
    path = tmp_path / "sweep.csv"
    complete(alpha=0.5).to_csv(path, index=False)
    assert words in refused(run, "generality", path, *options)
