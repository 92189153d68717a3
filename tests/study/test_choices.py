"""The verdict under other choices: which are asked, of which rows, and what is found where truth is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from itertools import chain, combinations

import attrs
import numpy as np
import pandas as pd
import pytest
from study_frames import distinct_layers, energy_of, measured, some_layers, table

from dibench import networks
from dibench.study.findings.choices import Choices
from dibench.study.ladder.folds import families_of, make_folds
from dibench.study.ladder.ladder import compare, fit_ladder, make_clusterings
from dibench.study.ladder.models import data_of
from dibench.study.ladder.quick import quick_verdict
from dibench.study.questions.choices import choices
from dibench.study.table.catalogue import the_25

DRAWS = 99
OPERATORS = {"without standard", "without depthwise", "without pointwise", "without grouped"}
TIME, CONVOLUTIONS = "time in place of energy", "convolutions only"
AT_CAP, LAUNCH_BOUND = "without rows at the power cap", "without launch-bound rows"


def asked(frame: pd.DataFrame, dtype: str | None = None) -> Choices:
    found = choices(frame, fit_ladder(frame, draws=DRAWS, dtype=dtype), dtype=dtype)
    assert found is not None
    return found


def two_modes() -> pd.DataFrame:
    """90 layers in two data types; of each, 54 rows at the cap of 60 W and 30 calls below 100 µs."""
    layers = some_layers(90, 4)
    energy = energy_of(layers, alpha=0.3, noise=0.02)
    number = np.arange(90)
    power = np.where(number < 54, 60.0, 40.0)
    time = np.where(number % 3 == 0, 5e-5, 2e-4)
    modes = [
        table(
            layers,
            energy,
            dtype=dtype,
            time_s=time,
            power_w=power,
            power_limit_w=60.0,
            caveats="framework_calls",
        )
        for dtype in ("fp32", "tf32")
    ]
    modes[1]["case_id"] = [f"{number:016x}" for number in range(500, 590)]
    return pd.concat([*modes[:1], modes[1].iloc[:89]], ignore_index=True)


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "verdict"), [(0.2, "DI"), (0.5, "AI")])
def test_a_truth_that_holds_everywhere_is_said_under_every_choice(alpha: float, verdict: str) -> None:
    frame = measured(150, alpha=alpha, noise=0.003)
    power = 50 * np.exp(0.03 * np.random.default_rng(1).standard_normal(150))
    found = asked(frame.assign(time_s=frame["energy_j"] / power))
    assert {said for said, often in found.answers.items() if often} == {verdict}
    assert found.most == verdict
    assert sum(found.answers.values()) == len(found.choices) == len({one.changes for one in found.choices})
    values = [one.alpha.value for one in found.choices]
    assert values == sorted(values, key=lambda value: value or 0.0)
    assert all(value == pytest.approx(alpha, abs=0.03) for value in values)


@pytest.mark.parametrize("family", ["densenet", pytest.param("inception", marks=pytest.mark.slow)])
def test_one_family_that_drives_the_verdict_is_the_dissenter(family: str) -> None:
    """AI is true in all families but one, so leaving that one out is the only choice that can say so."""
    layers = some_layers(160, 5)
    own = np.array([networks.family(one.name.partition("/")[0]) == family for one in layers])
    energy = np.where(own, *(energy_of(layers, alpha=alpha, noise=0.02) for alpha in (0.8, 0.5)))
    found = asked(table(layers, energy))
    assert found.answers == {"undecided": len(found.choices) - 1, "AI": 1, "DI": 0}
    (dissenter,) = found.of("AI")
    assert dissenter.changes == (f"without {family}",)
    assert found.common("AI") == dissenter.changes and found.only("AI")


@pytest.mark.slow
def test_a_choice_is_guarded_as_the_fit_is() -> None:
    """At constant power, time says DI and joules are time."""
    frame = measured(120, alpha=0.2, noise=0.005)
    found = asked(frame.assign(time_s=frame["energy_j"] / 50))
    assert {one.response for one in found.of("DI")} == {"time_s"}
    assert found.common("DI") == (TIME,) and found.only("DI")
    assert {one.brief for one in found.of("undecided")} == {"these joules are time"}


@pytest.mark.slow
def test_rows_data_type_and_response_are_combined_and_the_rest_is_asked_once() -> None:
    frame = two_modes()
    found = asked(frame)
    fc = (frame["op"] == "fc").to_numpy()
    number = np.arange(len(frame)) % 90
    tf32 = (frame["dtype"] == "tf32").to_numpy()
    rows = {"tf32": tf32, CONVOLUTIONS: ~fc, AT_CAP: number >= 54, LAUNCH_BOUND: number % 3 != 0}
    combined = {*rows, TIME}

    def kept(changes: Collection[str]) -> tuple[bool, bytes]:
        """Of time or energy, and which rows."""
        own = [rows[one] for one in changes if one in rows and one != "tf32"]
        return TIME in changes, bytes(np.logical_and.reduce([tf32 == ("tf32" in changes), *own]))

    asked_for = {kept(some) for n in range(6) for some in combinations(combined, n)}
    crossed = [one for one in found.choices if set(one.changes) <= combined]
    too_few = [name.split(", ") for name in found.too_few]
    assert sorted(map(kept, [*(one.changes for one in crossed), *too_few])) == sorted(asked_for)
    for one in crossed:
        assert one.rows == kept(one.changes)[1].count(1), one.name
        assert one.response == ("time_s" if TIME in one.changes else "energy_j")
    often = Counter(chain.from_iterable(one.changes for one in found.choices))
    assert set(often) >= OPERATORS
    assert {how_often for change, how_often in often.items() if change not in combined} == {1}


@pytest.mark.slow
def test_nothing_is_asked_twice_or_against_the_users_choice() -> None:
    found = asked(two_modes().query("op != 'fc'").reset_index(drop=True), dtype="tf32")
    assert not {"fp32", CONVOLUTIONS} & set(found.changes)
    assert {TIME, AT_CAP, LAUNCH_BOUND} <= set(found.changes)


@pytest.mark.slow
def test_rows_that_the_fit_leaves_out_and_other_energies_are_choices() -> None:
    frame = measured(60, noise=0.02).assign(clock_events=["sw_power_cap"] * 10 + ["none"] * 50)
    found = asked(frame.assign(energy_above_idle_j=frame["energy_j"] * 0.7))
    made = {one.changes: one for one in found.choices}
    assert (made[()].rows, made[("with rows at the power cap",)].rows) == (50, 60)
    assert (made[()].response, made[("gross energy",)].response) == ("energy_above_idle_j", "energy_j")
    assert made[("gross energy",)].alpha.value == pytest.approx(made[()].alpha.value)
    assert ("beside capacity",) in made and not {AT_CAP, LAUNCH_BOUND} & set(found.changes)


def test_choices_that_leave_too_few_rows_are_listed_and_not_judged() -> None:
    layers = [one for one in some_layers(200, 1) if one.op == "fc"][:2]
    layers += [one for one in some_layers(200, 1) if one.op == "standard"][:12]
    layers += [one for one in some_layers(200, 1) if one.op == "pointwise"][:40]
    found = asked(table(layers, energy_of(layers, alpha=0.2, noise=0.02)))
    assert found.too_few == ("without pointwise",)
    assert "without standard" in found.changes


def test_where_rows_do_not_determine_alpha_there_is_no_number() -> None:
    """Activations in proportion to multiply-adds: every α fits alike."""
    layers = some_layers(60, 2)
    found = asked(table(layers, 1e-12 * np.array([one.macs for one in layers]) + 1e-9))
    undetermined = [one for one in found.choices if one.alpha.value is None]
    assert undetermined
    for one in undetermined:
        assert (one.alpha.ci_low, one.alpha.ci_high, one.alpha_by_family.value) == (None, None, None)
        assert one.verdict in ("undecided", "not adequate")
    bounded = [one.bounded for one in found.choices]
    assert bounded == sorted(bounded, reverse=True), "those without a mark stand last"


def test_a_table_without_other_choices_has_no_curve() -> None:
    layers = [one.renamed("") for one in distinct_layers() if one.op == "pointwise"][:60]
    frame = table(layers, energy_of(layers, alpha=0.2, noise=0.02)).drop(columns="time_s")
    ladder = fit_ladder(frame, draws=DRAWS)
    assert choices(frame, attrs.evolve(ladder, beside={})) is None


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.8])
def test_few_draws_say_what_many_say(alpha: float) -> None:
    frame = measured(200, alpha=alpha, noise=0.03, network_noise=0.03)
    data = data_of(frame, "energy_j")
    long = compare(data, make_clusterings(data, 3999, 1), make_folds(data))
    quick = quick_verdict(data, the_25(), {})
    assert quick.verdict.decision == long.verdict.decision
    assert quick.alpha.value == long.alpha.value
    assert quick.alpha_by_family == long.alpha_by_family
    ends = [(one.ci_low, one.ci_high) for one in (quick.alpha, long.alpha)]
    assert ends[0] == pytest.approx(ends[1], abs=0.03)
    assert families_of(data).size > 3
