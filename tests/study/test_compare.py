"""`compare`: what got worse is found, noise is not, and the exit status tells a script which."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import Run, refused
from study_frames import some_layers, table

from dibench.errors import UserError
from dibench.study.use.compare import compare

CASES = 60
NOISE = 0.004


@cache
def rows(number: int, repeats: int) -> pd.DataFrame:
    layers = some_layers(number, 1) * repeats
    exact = [1e-12 * one.macs + 1e-6 for one in layers]
    return table(layers, 50 * np.array(exact), windows=64, sentinel=int(repeats > 1), variant="fast")


def sweep(seed: int, change: Any = 1.0, *, state: float = 1.0, source: str = "rapl") -> pd.DataFrame:
    """Made-up rows: the truth of every case times `change`, window noise, and 0.2% between stays."""
    random = np.random.default_rng(seed)
    frame, sentinels = rows(CASES, 1).copy(), rows(1, 8).copy()
    sentinels["case_id"] = [f"s{at}" for at in range(8)]
    for own, factor in ((frame, change), (sentinels, 1.0)):
        for column, interval in (("time_s", "time_ci_s"), ("energy_j", "energy_ci_j")):
            stays, noise = 0.002 * random.standard_normal((2, len(own)))
            own[column] *= factor * state * np.exp(stays + NOISE / 0.002 * noise)
            own[interval] = 1.96 * NOISE * own[column]
    return pd.concat([frame, sentinels], ignore_index=True).assign(energy_source=source)


def one_worse(number: int, by: float) -> Any:
    return np.where(np.arange(CASES) < number, by, 1.0)


@pytest.mark.slow
def test_equal_sweeps_are_flagged_no_more_often_than_the_level_says() -> None:
    """At margin 0 and of the same truth: some case is flagged in at most 5% of comparisons."""
    false = 0
    for seed in range(60):
        found = compare(sweep(2 * seed), sweep(2 * seed + 1), margin=0.0)
        false += bool(found.quantities[0].having("worse"))
    assert false <= 8, "of 60; P(more than 8) = 0.3% at 5%"


def test_at_the_default_margin_a_machine_that_is_one_percent_slower_is_no_news() -> None:
    found = compare(sweep(1), sweep(2, state=1.01))
    assert not found.worse
    assert [quantity.verdict for quantity in found.quantities] == ["same", "same"]
    assert found.quantities[0].ratio == pytest.approx(1.01, abs=0.003)


def test_three_slow_cases_of_sixty_are_named_and_only_they() -> None:
    found = compare(sweep(1), sweep(2, one_worse(3, 1.1)))
    time, energy = found.quantities
    assert found.worse and time.verdict == "same"
    worse = {case.case_id for case in time.having("worse")}
    assert worse == {f"{at:016x}" for at in range(3)} == {case.case_id for case in energy.having("worse")}
    one = time.having("worse")[0]
    assert one.low is not None and one.high is not None
    assert one.low < 1.1 < one.high and one.high - one.low < 0.06


def test_a_change_of_all_is_found_with_an_interval_that_holds_it() -> None:
    for change, verdict in ((1.05, "worse"), (0.9, "better")):
        time = compare(sweep(1), sweep(2, change)).quantities[0]
        assert time.verdict == verdict
        assert time.low is not None and time.high is not None and time.low < change < time.high
        assert time.p_wilcoxon is not None and time.p_wilcoxon < 1e-6


@pytest.mark.slow
def test_the_interval_over_cases_covers() -> None:
    inside = 0
    for seed in range(60):
        time = compare(sweep(2 * seed), sweep(2 * seed + 1, 1.02)).quantities[0]
        assert time.low is not None and time.high is not None
        inside += time.low <= 1.02 <= time.high
    assert inside >= 51, "of 60 95% intervals; P(fewer than 51) = 0.1%"


def test_what_differs_between_stays_widens_every_interval() -> None:
    wide = compare(sweep(1), sweep(2)).quantities[0]
    assert 0.0005 < wide.between < 0.006, "0.2% was put in"
    alone = [frame[frame["sentinel"] == 0] for frame in (sweep(1), sweep(2))]
    narrow = compare(*alone).quantities[0]
    assert narrow.between == 0
    first = [quantity.cases[0] for quantity in (wide, narrow)]
    assert (first[0].high or 0) - (first[0].low or 0) > (first[1].high or 0) - (first[1].low or 0)


def test_energy_of_other_sensors_or_of_no_sensor_is_not_compared() -> None:
    for source, words in (("model", "not measured in both"), ("none", "none in B"), ("zeus", "two kinds")):
        found = compare(sweep(1), sweep(2, 2.0, source=source))
        assert [quantity.column for quantity in found.quantities] == ["time_s"]
        assert words in found.not_compared["energy"]


def test_a_case_that_fails_now_is_worse_and_one_that_is_missing_is_counted() -> None:
    b = sweep(2)
    b["reason"] = ""
    b.loc[4, ["status", "reason"]] = "failed", "worker died"
    b, name = b.drop(index=[7, 8]), str(b["name"][4])
    found = compare(sweep(1), b)
    assert found.worse and found.only_a == 3
    assert found.newly_failed == (f"{4:016x} {name} fast: worker died",)


def test_tables_without_a_common_case_are_matched_by_layer_and_its_fastest_row() -> None:
    b = sweep(2, 1.5)
    slower = b.assign(time_s=b["time_s"] * 3, energy_j=b["energy_j"] * 3)
    b = pd.concat([slower, b], ignore_index=True)
    b["case_id"] = [f"other{at}" for at in range(len(b))]
    found = compare(sweep(1), b)
    assert found.matched_by == "layer"
    assert found.quantities[0].ratio == pytest.approx(1.5, rel=0.01)


def test_rows_without_a_layer_are_matched_by_case_only() -> None:
    a, b = sweep(1), sweep(2)
    for frame in (a, b):
        frame.loc[:1, "op"] = "anchor"
    assert len(compare(a, b).quantities[0].cases) == CASES
    b["case_id"] = [f"other{at}" for at in range(len(b))]
    assert len(compare(a, b).quantities[0].cases) == CASES - 2


def test_nothing_in_common_is_refused() -> None:
    a = sweep(1)
    with pytest.raises(UserError, match="a case or a layer in common"):
        compare(a, a[a["sentinel"] == 0].assign(case_id="x", dtype="fp16"))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    found = tmp_path / "a", tmp_path / "same.csv", tmp_path / "worse.csv"
    found[0].mkdir()
    sweep(1).to_csv(found[0] / "sweep.csv", index=False)
    sweep(2).to_csv(found[1], index=False)
    sweep(3, one_worse(3, 1.2)).to_csv(found[2], index=False)
    return found


def test_the_answer_leads_and_the_status_says_it_to_scripts(run: Run, files: tuple[Path, ...]) -> None:
    a, same, worse = files
    status, out, err = run("compare", a, same)
    assert (status, err) == (0, "")
    assert out.startswith("B takes as much time as A, within 3%: ")
    status, out, err = run("compare", a, worse)
    assert (status, err) == (1, "")
    assert "singly, 3 worse, 0 better beyond noise" in out.splitlines()[0]
    assert len(out.splitlines()) <= 24, "one screen"
    assert run("compare", a, worse, "--fail-above", "30%")[0] == 0


def test_json_holds_every_case(run: Run, files: tuple[Path, ...]) -> None:
    status, out, _ = run("compare", files[0], files[2], "--json")
    figures = json.loads(out)
    assert status == 1 and figures["worse"] is True
    time = figures["quantities"][0]
    assert time["column"] == "time_s" and len(time["cases"]) == CASES
    assert sum(case["verdict"] == "worse" for case in time["cases"]) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("A", "absent"), "absent: no such file"),
        (("A", "B", "--fail-above", "much"), "--fail-above: must be a percentage"),
        (("A", "B", "--fail-above=-3%"), "--fail-above: must be a percentage"),
        (("A", "empty"), "empty/sweep.csv: no such file"),
        (("A",), "Missing argument"),
    ],
)
def test_usage_is_status_2_and_one_line(
    run: Run, files: tuple[Path, ...], tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    known = {"A": files[0], "B": files[1], "absent": tmp_path / "absent", "empty": tmp_path / "empty"}
    assert words in refused(run, "compare", *(known.get(argument, argument) for argument in arguments))
