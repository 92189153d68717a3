"""The verdict: each rule, on findings made for it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from dibench.study.findings.adequacy import Adequacy, Followed
from dibench.study.findings.estimate import AlphaByFamily, Estimate
from dibench.study.ladder.verdict import Grounds, decide

ONE = AlphaByFamily(None, None, None, True, "family", 1, 1.0)
FAMILIES = AlphaByFamily(0.25, 0.19, 0.31, False, "family", 9, 6.2)
CLEAR = Grounds(
    rows=120,
    coefficients=8,
    alpha=0.25,
    ci_low=0.2,
    ci_high=0.3,
    alpha_by_family=FAMILIES,
    condition=9.0,
    only_fc_at_one_batch=False,
    held_out_ai=0.20,
    held_out_di=0.15,
)


def families(low: float | None, high: float | None) -> AlphaByFamily:
    return attrs.evolve(FAMILIES, ci_low=low, ci_high=high, unbounded=low is None)


def verdict(**changes: Any) -> tuple[str, str]:
    changes = {"alpha_by_family": families(changes.get("ci_low", 0.2), changes.get("ci_high", 0.3))} | changes
    found = decide(attrs.evolve(CLEAR, **changes))
    return found.decision, "; ".join(reason.text for reason in found.reasons)


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.3), (0.7, 0.8), (-3.0, 0.4499), (0.5501, 4.0)])
def test_di_where_alpha_lies_outside_the_margin_and_predicts_better(low: float, high: float) -> None:
    decision, why = verdict(alpha=(low + high) / 2, ci_low=low, ci_high=high)
    assert decision == "DI"
    assert "outside the margin" in why and "0.150 with DI, 0.200 with AI" in why


def test_undecided_where_alpha_lies_outside_but_predicts_no_better() -> None:
    for error in (0.20, 0.25):
        decision, why = verdict(held_out_di=error)
        assert decision == "undecided"
        assert why.startswith("DI does not predict better")
    assert verdict(held_out_di=None, held_out_ai=None)[0] == "undecided"


@pytest.mark.parametrize(("low", "high"), [(0.45, 0.55), (0.47, 0.49), (0.52, 0.54)])
def test_ai_where_alpha_lies_inside_the_margin(low: float, high: float) -> None:
    decision, why = verdict(alpha=(low + high) / 2, ci_low=low, ci_high=high)
    assert decision == "AI"
    assert "inside the margin" in why


@pytest.mark.parametrize(("low", "high"), [(0.44, 0.54), (0.2, 0.46), (0.3, 0.7), (0.54, 0.9)])
def test_undecided_across_the_margin(low: float, high: float) -> None:
    decision, why = verdict(alpha=(low + high) / 2, ci_low=low, ci_high=high)
    assert decision == "undecided"
    assert "neither inside nor outside" in why


@pytest.mark.parametrize(
    ("low", "high", "by_family"),
    [(0.2, 0.3, (0.1, 0.46)), (0.2, 0.3, (-0.3, 0.9)), (0.47, 0.53, (0.44, 0.54)), (0.6, 0.7, (0.52, 0.8))],
)
def test_undecided_where_only_one_of_both_intervals_says_so(
    low: float, high: float, by_family: tuple[float, float]
) -> None:
    decision, why = verdict(ci_low=low, ci_high=high, alpha_by_family=families(*by_family))
    assert decision == "undecided"
    assert "if rows of one family err together it is" in why and "9 families (6.2 effective)" in why


def test_few_clusters_do_not_stand_in_the_way_of_strong_evidence() -> None:
    """Two families that agree so well that their t test still tells α from ½."""
    few = AlphaByFamily(0.25, 0.2, 0.3, False, "family", 2, 1.9)
    assert verdict(alpha_by_family=few)[0] == "DI"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"alpha_by_family": families(None, None)}, "too few of 9 families (6.2 effective)"),
        (
            {"alpha_by_family": ONE},
            "all rows are of one family",
        ),
        ({"condition": 30.1}, "condition number 30, over 30"),
        ({"condition": float("inf")}, "condition number without bound"),
        ({"condition": float("nan")}, "condition number without bound"),
        ({"ci_low": None}, "the interval of α is unbounded"),
        ({"ci_high": None}, "the interval of α is unbounded"),
        ({"alpha": None, "ci_low": None, "ci_high": None}, "α is not determined"),
        ({"only_fc_at_one_batch": True}, "single batch size"),
        ({"rows": 23}, "too few rows: 23, and 8 coefficients need 24"),
    ],
)
def test_undecided_where_the_data_cannot_tell(changes: dict[str, Any], why: str) -> None:
    """Each alone overturns findings that would otherwise say DI."""
    found = decide(attrs.evolve(CLEAR, **changes))
    assert found.decision == "undecided"
    assert not found.reliable
    assert [why in reason.text for reason in found.reasons] == [True]


@pytest.mark.parametrize(
    ("changes", "determined"),
    [
        ({"condition": 31.0}, False),
        ({"rows": 5}, False),
        ({"ci_low": None, "ci_high": None}, False),
        ({"ci_low": None}, True),
        ({"alpha_by_family": families(None, None)}, True),
    ],
)
def test_what_rows_do_not_determine_is_told_from_what_is_not_sure(
    changes: dict[str, Any], determined: bool
) -> None:
    assert decide(attrs.evolve(CLEAR, **changes)).determined is determined


def test_the_limits_themselves_are_enough() -> None:
    assert verdict(condition=30.0, rows=24)[0] == "DI"


def test_every_obstacle_is_named() -> None:
    decision, why = verdict(rows=5, condition=1e9, ci_low=None, alpha_by_family=ONE)
    assert decision == "undecided"
    assert why.count(";") == 3


def test_di_must_hold_beside_each_term_of_the_hardware() -> None:
    beside = {"occupancy": Estimate(0.24, 0.2, 0.3), "capacity": Estimate(0.3, 0.2, 0.44)}
    assert verdict(beside=beside)[0] == "DI"
    decision, why = verdict(beside={**beside, "both": Estimate(0.4, 0.3, 0.46)})
    assert decision == "undecided" and why.startswith("beside both α = 0.40 (0.30 to 0.46)")
    assert verdict(beside={"capacity": Estimate(0.2, None, 0.3)})[0] == "undecided"
    assert verdict(alpha=0.5, ci_low=0.49, ci_high=0.51, beside=beside)[0] == "AI"


def test_lack_of_fit_decides_before_any_verdict() -> None:
    missed = Adequacy(False, 0.17, 0.171, 0.02, 0.03, 1e-9, follows=(Followed("footprint", 0.4, 1e-5),))
    for alpha, low, high in ((0.25, 0.2, 0.3), (0.5, 0.49, 0.51), (0.5, 0.2, 0.8)):
        decision, why = verdict(alpha=alpha, ci_low=low, ci_high=high, adequacy=missed)
        assert decision == "not adequate"
        assert why.startswith("the model misses by 17% where the rows are good to 2.0%")
        assert "residuals follow footprint (40%)" in why
    assert verdict(adequacy=attrs.evolve(missed, adequate=True))[0] == "DI"
    assert verdict(adequacy=attrs.evolve(missed, adequate=None))[0] == "DI"
    decision, why = verdict(adequacy=missed, condition=99.0)
    assert decision == "not adequate" and "condition number" in why
