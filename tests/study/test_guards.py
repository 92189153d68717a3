"""False evidence is held back and true evidence is not: simulated studies of known truth, and each rule."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
import pandas as pd
import pytest
from campaign_frames import campaign
from study_frames import distinct_layers, energy_of, some_layers, table

from benchmarks import study_guards as guards
from dibench.show.blocks import Cell, Table
from dibench.show.verdict import section
from dibench.study import Fit, fit
from dibench.study.findings.claims import UNDECIDED
from dibench.study.findings.guards import Guard
from dibench.study.ladder.guards import MOST_PER_BYTE_J, EnergyCosts, implausible_cost, time_alone
from dibench.study.ladder.models import Data, data_of
from dibench.study.ladder.rungs import FittedTerm
from dibench.study.ladder.verdict import Reason, Verdict, withhold
from dibench.study.questions.claims import claims
from dibench.study.questions.whole_networks import networks_of

DRAWS = 99
FALSE = [one for one in guards.SCENARIOS if one.false]
TRUE = [one for one in guards.SCENARIOS if not one.false]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", FALSE, ids=str)
def test_what_is_false_is_held_back_by_its_guard(scenario: guards.Scenario) -> None:
    """Without the guard each of these studies says that the data type matters."""
    told = guards.run(scenario, 0)
    assert (told.before, told.after) == ("DI", "undecided") and scenario.guard in told.fired


@pytest.mark.slow
@pytest.mark.parametrize("scenario", TRUE, ids=str)
def test_what_is_true_is_not_held_back_although_the_same_rows_are_in_doubt(scenario: guards.Scenario) -> None:
    told = guards.run(scenario, 0)
    assert (told.before, told.after, told.fired) == ("DI", "DI", ())


def test_no_guard_finds_anything_in_an_adequate_campaign() -> None:
    """Power varies, costs are plausible, no row is capped: nothing is in doubt, and DI stands."""
    found = fit(campaign(every=3), draws=DRAWS)
    assert (found.guards, found.verdict, found.adequacy.adequate) == ((), "DI", True)


def rows(power: Any, error: Any = 0.01, number: int = 200, seed: int = 0) -> Data:
    """Rows of that power (n,), which are good to `error`."""
    layers = distinct_layers()[:number]
    energy = energy_of(layers, alpha=0.2)
    power = np.broadcast_to(np.asarray(power, dtype=float), number)
    off = np.exp(np.nan_to_num(error) * np.random.default_rng(seed).standard_normal(number))
    half = 1.96 * error * energy
    return data_of(table(layers, energy, energy_ci_j=half, time_s=energy / (power * off)), "energy_j")


def spread(by: float, number: int = 200, seed: int = 1) -> Any:
    return 76.0 * np.exp(by * np.random.default_rng(seed).standard_normal(number))


@pytest.mark.parametrize("error", [0.002, 0.02, 0.05])
def test_the_same_power_in_all_rows_is_time_alone(error: float) -> None:
    found = time_alone(rows(spread(0.008), error))
    assert found is not None and found.withholds and found.rows == 200
    assert found.text.startswith(("power is 75.", "power is 76.")) and found.text.endswith("is of time")


@pytest.mark.parametrize("error", [0.002, 0.02, 0.05, 0.5])
def test_power_that_varies_by_a_tenth_is_not(error: float) -> None:
    assert time_alone(rows(spread(0.1), error)) is None


def test_few_readings_that_a_sensor_lost_do_not_hide_constant_power() -> None:
    """RAPL read by codecarbon told 34 W, and 1,244 W, where all others are 76.0 ± 0.6 W."""
    power = spread(0.008)
    power[[3, 50, 120]] = 34.8, 1244.0, 1.0
    assert time_alone(rows(power)) is not None
    power[::5] = 34.8
    assert time_alone(rows(power)) is None


def test_rows_of_unknown_error_count_as_exact() -> None:
    unknown = np.full(200, np.nan)
    assert time_alone(rows(spread(0.01), unknown)) is not None
    assert time_alone(rows(spread(0.03), unknown)) is None


def test_power_is_not_judged_of_few_rows_nor_without_times() -> None:
    assert time_alone(rows(76.0, number=10)) is None and time_alone(rows(76.0, number=12)) is not None
    data = rows(76.0)
    assert time_alone(attrs.evolve(data, time=np.where(np.arange(200) == 7, np.nan, data.time))) is None


def test_at_the_margin_one_study_in_twenty_does_not_pass_for_constant_power() -> None:
    assert guards.passes(0.02, 0.01, 400, 400) == pytest.approx(0.95, abs=0.03)
    assert guards.passes(0.01, 0.01, 400, 100) == 1.0
    assert guards.passes(0.03, 0.01, 400, 100) == 0.0


def priced(e_w: float | None, e_a: float, dtype: str) -> EnergyCosts:
    """These costs, in pJ."""
    costs = {"e_w": e_w, "e_a": e_a, "e_launch": 1e12}
    terms = [
        FittedTerm(name, "", *[None if cost is None else cost * 1e-12 * by for by in (1.0, 0.5, 2.0)])
        for name, cost in costs.items()
    ]
    return EnergyCosts(terms, dtype)


@pytest.mark.parametrize(
    ("e_w", "e_a", "dtype", "beyond"),
    [
        (1299.0, 20.0, "fp32", ""),
        (1301.0, 20.0, "fp32", "e_w"),
        (651.0, 20.0, "fp16", "e_w"),
        (649.0, 651.0, "bf16", "e_a"),
        (4480.0, 3000.0, "tf32", "e_w and e_a"),
        (-4480.0, 20.0, "fp32", ""),
        (None, 20.0, "fp32", ""),
        (1e6, 1e6, "fp13", ""),
    ],
)
def test_a_cost_beyond_the_costliest_memory_stands_for_something_else(
    e_w: float | None, e_a: float, dtype: str, beyond: str
) -> None:
    """2.6 nJ for 64 bits: 1.3 nJ for fp32, 0.65 nJ for fp16; of a width that is not known nothing is said."""
    assert pytest.approx(1.3e-9) == 4 * MOST_PER_BYTE_J
    found = implausible_cost(priced(e_w, e_a, dtype), 4)
    assert (found is None) == (not beyond)
    if found is not None:
        assert found.withholds and found.brief == f"no memory costs {beyond}"
        assert all(f"{name} = " in found.text for name in beyond.split(" and "))


def test_without_a_fit_there_is_no_cost() -> None:
    assert implausible_cost(EnergyCosts((), "fp32"), 4) is None


def test_a_guard_withholds_ai_and_di_alone_and_every_one_of_them_is_a_reason() -> None:
    one, two = (Guard(name, True, f"but {name}", "", f"because {name}", 9) for name in ("one", "two"))
    idle = Guard("three", False, "", "", "", 9)
    why = (Reason("outside the margin", "α lies outside"),)
    for decision in ("AI", "DI"):
        held = withhold(Verdict(decision, why), [one, idle, two])
        assert (held.decision, held.reliable, held.determined) == ("undecided", False, True)
        assert [reason.text for reason in held.reasons] == ["because one", "because two", "α lies outside"]
        assert held.withheld is not None and held.withheld.because == ("but one", "but two")
        assert withhold(Verdict(decision, why), [idle]) == Verdict(decision, why)
    for decision in ("undecided", "not adequate"):
        assert withhold(Verdict(decision, why), [one, two]) == Verdict(decision, why)


def doubts(found: Fit) -> list[Any]:
    """The rows of the table of what is in doubt, beside the verdict."""
    (shown,) = (block for block in section(found).blocks if isinstance(block, Table))
    assert [column.name for column in shown.columns if not column.page_only] == ["in doubt", "found"]
    return list(shown.rows)


def test_where_joules_are_time_headline_claims_operators_and_json_say_so() -> None:
    frame = table(distinct_layers(), energy := energy_of(distinct_layers(), alpha=0.1), time_s=energy / 76.0)
    found = fit(frame.assign(energy_ci_j=0.01 * energy), draws=DRAWS)
    assert (found.verdict, found.conclusion, found.reliable) == ("undecided", "undecided", False)
    assert found.answer == (
        "Undecided. For time, which is all that these joules tell, the fit says DI, "
        "but these joules are time."
    )
    assert found.reasons[0].startswith("power is 76.0 W in all rows to within 0.0%")
    assert {own.verdict for own in found.by_operator.values()} <= {"undecided", "not adequate"}
    told = claims(found, networks_of(frame))
    assert {claim.answer for claim in told} == {UNDECIDED}
    assert all("76.0 W in all rows" in claim.why for claim in told)
    (guard,) = found.to_json()["guards"]
    assert (guard["name"], guard["withholds"], guard["rows"]) == ("time alone", True, 572)
    assert doubts(found)[0][:2] == ["time alone", Cell("76.0 W in all rows to within 0.0%", "warn")]


def test_rows_in_doubt_are_told_with_and_without_where_the_verdict_is_open_anyway() -> None:
    """At a noise of 30% nothing can be decided; the rows at the cap are told all the same."""
    layers = some_layers(80, 5)
    energy = energy_of(layers, alpha=0.4, noise=0.3, seed=2)
    power = np.where(np.arange(80) < 50, 164.5, 100.0)
    frame = table(layers, energy, power_w=power, power_limit_w=165.0, time_s=energy / power)
    found = fit(frame, draws=DRAWS)
    (guard,) = (one for one in found.guards if one.name == "power cap")
    assert found.verdict == "undecided" and found.rows_used == 80 and not guard.withholds
    assert guard.rows == 50 and guard.other is not None and guard.other.rows == 30
    ((name, figure, text),) = doubts(found)
    assert name == "power cap" and isinstance(figure, Cell) and figure.tone == ""
    assert figure.text.startswith("50 rows: α ") and "(undecided) without them" in figure.text
    assert str(text).startswith("50 rows are at the power cap, where energy is the cap times time: α ")


def test_capped_rows_that_a_fit_leaves_out_are_asked_about_too() -> None:
    """With them α is another, so the verdict does not stand; where they say the same, it does."""
    layers = distinct_layers()[::3]
    energy, other = (energy_of(layers, alpha=alpha, noise=0.02) for alpha in (0.1, 0.97))
    at_cap = np.arange(len(layers)) % 5 < 2
    events = np.where(at_cap, "sw_power_cap", "")
    found = fit(table(layers, np.where(at_cap, other, energy), clock_events=events), draws=DRAWS)
    (guard,) = found.guards
    assert found.excluded == {"at the power cap": int(at_cap.sum())}
    assert (
        found.verdict == "undecided" and guard.withholds and guard.brief == "not with rows at the power cap"
    )
    assert guard.other is not None and guard.other.rows == len(layers)
    alike = fit(table(layers, energy, clock_events=events), draws=DRAWS)
    assert alike.verdict == "DI" and [one.withholds for one in alike.guards] == [False]


def test_if_all_rows_are_in_doubt_none_is_left_to_say_so() -> None:
    layers = distinct_layers()[::5]
    frame = table(layers, energy_of(layers, alpha=0.1, noise=0.02), caveats="warm_operands")
    found = fit(frame, draws=DRAWS)
    (guard,) = found.guards
    assert found.verdict == "undecided" and guard.other is None and "no row left without" in guard.text
    sized = fit(frame.assign(cache_bytes=pd.array([1000] * len(frame), dtype="Int64")), draws=DRAWS)
    assert sized.verdict == "DI" and sized.guards == (), "no layer fits in a kilobyte"


@pytest.mark.parametrize(("alpha", "verdict"), [(0.1, "undecided"), (0.9, "DI")])
def test_a_repeated_module_holds_back_only_what_warm_weights_can_make(alpha: float, verdict: str) -> None:
    layers = distinct_layers()[::5]
    frame = table(layers, energy_of(layers, alpha=alpha, noise=0.02), caveats="repeated_module")
    found = fit(frame, draws=DRAWS)
    (guard,) = found.guards
    assert (found.verdict, guard.withholds) == (verdict, verdict == "undecided")
    assert math.isclose(guard.rows, len(layers))


def test_time_has_no_joules_to_doubt() -> None:
    frame = table(distinct_layers()[::6], energy_of(distinct_layers()[::6], alpha=0.1, noise=0.02))
    found = fit(frame.assign(energy_source="none", energy_j=np.nan), draws=DRAWS)
    assert found.response_kind == "time" and found.guards == ()
