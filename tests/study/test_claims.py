"""The paper's claims from rows of known truth: true DI, true AI, rows that cannot tell, no energy."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
from study_frames import distinct_layers, energy_of, some_layers, table

from dibench.layer import Layer
from dibench.study import fit
from dibench.study.findings.claims import CONFIRMED, NOT_TESTABLE, REFUTED, UNDECIDED, Claim
from dibench.study.ladder.verdict import conclusion, sentence
from dibench.study.questions.claims import claims
from dibench.study.questions.whole_networks import networks_of


def answers(frame: Any, draws: int = 299) -> dict[str, Claim]:
    return {claim.name: claim for claim in claims(fit(frame, draws=draws), networks_of(frame))}


def all_layers(alpha: float, noise: float = 0.05, **cells: Any) -> Any:
    layers = distinct_layers()
    return table(layers, energy_of(layers, alpha=alpha, noise=noise, seed=3), **cells)


def test_where_di_is_true_the_claims_are_confirmed_with_their_numbers() -> None:
    found = answers(all_layers(0.2))
    assert found["data types"].answer == CONFIRMED
    assert "0.2" in found["data types"].number and "572 rows" in found["data types"].number
    assert found["operators"].answer in (CONFIRMED, UNDECIDED)
    assert found["generality"].answer == CONFIRMED and "families" in found["generality"].number
    assert found["whole networks"].answer in (CONFIRMED, UNDECIDED)
    assert all(claim.check == "" and claim.why for claim in found.values())


def test_headline_and_claims_never_contradict_each_other() -> None:
    """Every decision, every p of weights against inputs, on a fit whose operators all speak for DI."""
    frame = all_layers(0.2)
    one = fit(frame, draws=99)
    networks = networks_of(frame)
    for decision in ("DI", "AI", "undecided", "not adequate"):
        for p in (0.0001, 0.049, 0.05, 0.9, math.nan):
            word = conclusion(decision, p)
            headline = sentence(word, "measured energy", p)
            found = attrs.evolve(one, verdict=decision, conclusion=word, answer=headline)
            missed = attrs.evolve(one.adequacy, beside="capacity", plain_miss=0.17)
            told = claims(attrs.evolve(found, adequacy=missed), networks)
            assert {claim.answer for claim in told if claim.name != "data types"} == {UNDECIDED}
            assert "beside capacity" in sentence(word, "measured energy", p, missed)
            said = {claim.name: claim for claim in claims(found, networks)}
            of_types = said["data types"]
            assert (of_types.answer == CONFIRMED) == ("the data type matters" in headline), (decision, p)
            assert (of_types.answer == REFUTED) == headline.startswith("AI."), (decision, p)
            assert ("outputs that differ" in of_types.why) == ("only outputs differ" in headline)
            assert decision == "DI" or said["operators"].answer != CONFIRMED
            if decision == "AI":
                assert CONFIRMED not in {claim.answer for claim in said.values()}
            if decision == "not adequate":
                assert headline.startswith("Not adequate.")
                assert {claim.answer for claim in said.values()} == {UNDECIDED}


@pytest.mark.slow
def test_where_ai_is_true_no_claim_is_confirmed() -> None:
    found = answers(all_layers(0.5, noise=0.01))
    assert found["data types"].answer == REFUTED
    assert all(claim.answer != CONFIRMED for claim in found.values()), found


@pytest.mark.slow
def test_one_operator_that_contradicts_the_others_refutes_that_di_suits_all() -> None:
    layers = distinct_layers()
    usual, other = (energy_of(layers, alpha=alpha, noise=0.02, seed=3) for alpha in (0.2, 0.8))
    odd = [layer.op == "pointwise" for layer in layers]
    energy = [b if other_way else a for a, b, other_way in zip(usual, other, odd, strict=True)]
    unnamed = table(layers, energy, name="")  # each layer on its own: more independent clusters
    found = answers(unnamed)["operators"]
    assert found.answer == REFUTED and "alone says α" in found.why


@pytest.mark.slow
@pytest.mark.parametrize("source", ["simulated", "none"])
def test_without_measured_joules_nothing_is_confirmed_or_refuted(source: str) -> None:
    found = answers(all_layers(0.2, energy_source=source), draws=99)
    for claim in found.values():
        assert claim.answer == NOT_TESTABLE and claim.number == ""
        assert "was measured here" in claim.why and "the same rule on" in claim.check


def test_rows_that_cannot_tell_show_no_number_of_alpha() -> None:
    layers = [Layer.fc(1, 64 * i, 128, f"net/fc{i}") for i in range(1, 41)]
    found = answers(table(layers, energy_of(layers, alpha=0.9, noise=0.1)), draws=99)
    assert {claim.answer for claim in found.values()} == {UNDECIDED}
    assert found["data types"].number == "" and "α =" not in found["data types"].why
    few = answers(table(some_layers(12, 1), energy_of(some_layers(12, 1), alpha=0.9)), draws=99)
    assert few["data types"].answer == UNDECIDED and few["data types"].number == ""
    assert few["generality"].number == "", "what twelve rows leave for a fold carries no fit"
