"""`compare`: what got worse is found, noise is not, and the exit status tells a script which."""

from __future__ import annotations

import json
import math
import re
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import Run, refused
from study_frames import some_layers, table

from benchmarks import compare_truth
from dibench.errors import UserError
from dibench.numbers import shape_text
from dibench.study.findings.comparison import RESOLVED
from dibench.study.use.compare import compare
from dibench.study.use.compare_noise import SHIFT_FLOOR
from dibench.study.use.paces import at_paces_of
from dibench.table import read_csv

CASES = 60
NOISE = 0.004


@cache
def rows(number: int, repeats: int) -> pd.DataFrame:
    layers = some_layers(number, 1) * repeats
    exact = [1e-12 * one.macs + 1e-6 for one in layers]
    return table(layers, 50 * np.array(exact), windows=64, sentinel=int(repeats > 1), variant="fast")


def sweep(
    seed: int,
    change: Any = 1.0,
    *,
    state: float = 1.0,
    source: str = "rapl",
    cases: int = CASES,
    visits: float = 0.002,
) -> pd.DataFrame:
    """Made-up rows: the truth of every case times `change`, window noise, and what differs between visits."""
    random = np.random.default_rng(seed)
    frame, sentinels = rows(cases, 1).copy(), rows(1, 8).copy()
    sentinels["case_id"] = [f"s{at}" for at in range(8)]
    for own, factor in ((frame, change), (sentinels, 1.0)):
        for column, interval in (("time_s", "time_ci_s"), ("energy_j", "energy_ci_j")):
            stays, noise = random.standard_normal((2, len(own)))
            own[column] *= factor * state * np.exp(visits * stays + NOISE * noise)
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
    assert found.verdict == "not worse"
    assert [quantity.verdict for quantity in found.quantities] == ["same", "same"]
    assert found.quantities[0].ratio == pytest.approx(1.01, abs=0.003)


def test_three_slow_cases_of_sixty_are_named_and_only_they() -> None:
    found = compare(sweep(1), sweep(2, one_worse(3, 1.1)))
    time, energy = found.quantities
    assert found.verdict == "worse" and time.verdict == "same"
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


@pytest.mark.parametrize("sentinels", [True, False])
def test_what_differs_between_visits_is_seen_in_the_pairs_and_widens_every_interval(sentinels: bool) -> None:
    found = []
    for visits in (0.0, 0.02):
        pair = [sweep(seed, visits=visits) for seed in (1, 2)]
        pair = pair if sentinels else [frame[frame["sentinel"] == 0] for frame in pair]
        found.append(compare(*pair).quantities[0])
    narrow, wide = found
    assert narrow.between < 0.005 and 0.012 < wide.between < 0.03, "2% was put in"
    widths = [(one.cases[0].high or 0) - (one.cases[0].low or 0) for one in found]
    assert widths[1] > 3 * widths[0]


def test_one_disturbed_sentinel_decides_nothing() -> None:
    """A neighbour holds a core during one sentinel of sixteen: the cases are as clear as before."""
    a, b = sweep(1), sweep(2)
    b.loc[b.index[-1], "time_s"] *= 1.6
    assert compare(a, b).quantities[0].between < 0.005
    assert compare(a, b).verdict == "not worse"


def disturbed(kind: str, seed: int) -> pd.DataFrame:
    """A sweep of the program of `sweep`, beside something that the rows' intervals do not show."""
    random = np.random.default_rng([seed, 5])
    unseen = np.where(random.permutation(CASES) < 6, random.uniform(1.02, 1.4, CASES), 1.0)
    burst = np.where(random.random(CASES) < 0.2, random.uniform(1.1, 2, CASES), 1.0)
    spell = np.where((np.arange(CASES) - random.integers(CASES)) % CASES < CASES // 3, 1.08, 1.0)
    change = {"unseen": unseen, "flagged": burst, "a spell": spell, "shift": 1.0}.get(kind, 1.0)
    shift = math.exp({"shift": 0.015, "loaded": 0.5}.get(kind, 0.0) * random.standard_normal())
    frame = sweep(seed, change, state=shift, visits=0.5 if kind == "loaded" else 0.002)
    if kind == "flagged":
        frame.loc[: CASES - 1, "status"] = np.where(burst > 1, "flagged", "ok")
    return frame


@pytest.mark.slow
@pytest.mark.parametrize("margin", [None, 0.05])
@pytest.mark.parametrize("kind", ["unseen", "flagged", "a spell", "shift", "loaded"])
def test_disturbed_sweeps_of_one_program_are_not_called_worse(kind: str, margin: float | None) -> None:
    """At most 1% of 90 ordered comparisons have a false alarm, of single cases or of all."""
    sweeps = [disturbed(kind, seed).drop(columns="energy_j") for seed in range(10)]
    found = [compare(a, b, margin=margin).verdict for a, b in permutations(sweeps, 2)]
    assert found.count("worse") == 0
    if kind in ("flagged", "shift"):
        assert found.count("too noisy") <= 45, "noise that can be told apart does not stop an answer"


def six_sweeps() -> list[pd.DataFrame]:
    """One program beside load that takes a core for a while: narrow intervals, every row flagged."""
    random = np.random.default_rng(3)
    found = []
    for seed in range(6):
        spells = np.repeat(np.exp(random.uniform(0, 0.4, 6)), CASES // 6)
        frame = sweep(seed, spells * np.exp(0.03 * random.standard_normal(CASES)), source="none")
        found.append(
            frame.assign(status="flagged", reason="other processes had the cores in 32 of 32 windows")
        )
    return found


@pytest.mark.slow
def test_flagged_sweeps_of_one_program_are_too_noisy_to_tell(run: Run, tmp_path: Path) -> None:
    for at, frame in enumerate(six_sweeps()):
        frame.to_csv(tmp_path / f"{at}.csv", index=False)
    for one, other in permutations(range(6), 2):
        status, out, err = run(
            "compare", tmp_path / f"{one}.csv", tmp_path / f"{other}.csv", "--fail-above", "5%"
        )
        assert (status, err) == (3, "")
        assert out.startswith("Too noisy to tell: ") and "100% of the pairs have a flagged row" in out


def test_a_table_beside_itself_does_not_differ_however_noisy(run: Run, tmp_path: Path) -> None:
    a, copied, other = (tmp_path / f"{name}.csv" for name in ("a", "copied", "other"))
    noisy = sweep(1, visits=0.6).assign(status="flagged", reason="the machine was busy")
    noisy.to_csv(a, index=False)
    noisy.iloc[::-1].to_csv(copied, index=False)
    once_more = noisy.assign(time_s=noisy["time_s"].where(noisy.index != 0, 1.5 * noisy["time_s"]))
    once_more.to_csv(other, index=False)
    assert run("compare", a, other)[0] == 3, "one other number: it is another measurement"
    for same, option in ((a, ()), (copied, ()), (a, ("--full",))):
        status, out, err = run("compare", a, same, *option)
        assert (status, err) == (0, "")
        assert out.startswith("A and B are one measurement, so nothing differs: every number of 60 cases")
        assert "Too noisy" not in out and "Next: measure again" in out
    figures = json.loads(run("compare", a, copied, "--json")[1])
    assert (figures["verdict"], figures["one_measurement"]) == ("not worse", True)
    assert compare(noisy, noisy).quantities[0].too_noisy == ""


def test_a_margin_below_the_noise_is_too_noisy_and_one_above_it_is_answered() -> None:
    a, b = sweep(1, visits=0.02), sweep(2, visits=0.02)
    told = [compare(a, b, margin=margin) for margin in (0.005, 0.03, 0.1)]
    assert [one.verdict for one in told] == ["too noisy", "too noisy", "not worse"]
    assert told[0].quantities[0].too_noisy == "all", "the interval of all cases holds 0.5%"
    single = told[1].quantities[0]
    assert single.too_noisy == "single" and (single.detectable or 0) > RESOLVED * 0.03


def test_what_is_clearly_worse_is_worse_though_the_margin_is_below_the_noise() -> None:
    a, b = sweep(1, visits=0.02), sweep(2, 1.5, visits=0.02)
    assert compare(a, b, margin=0.001).verdict == "worse"


def test_a_flagged_case_alone_is_never_worse_and_never_fine() -> None:
    """One flagged row: nothing says how far apart such rows are by noise."""
    b = sweep(2, one_worse(1, 1.3))
    assert compare(sweep(1), b).verdict == "worse"
    b.loc[0, "status"] = "flagged"
    found = compare(sweep(1), b)
    assert found.verdict == "too noisy"
    assert [case.verdict for case in found.quantities[0].cases[:2]] == ["undecided", ""]


def quiet(seed: int, change: Any = 1.0) -> pd.DataFrame:
    """200 cases with 0.5% noise, of which the rows' intervals show 0.4%."""
    return sweep(seed, change, cases=200, visits=0.003, source="none")


def slower(number: int, by: float) -> Any:
    return np.where(np.arange(200) < number, 1 + by, 1.0)


def power(change: float, margin: float | None) -> float:
    """How often one of ten cases of 200 is named, of 20 comparisons of quiet sweeps."""
    found = 0
    for seed in range(20):
        b = quiet(2 * seed + 1, slower(10, change))
        time = compare(quiet(2 * seed), b, margin=margin).quantities[0]
        named = {case.case_id for case in time.having("worse")}
        assert named <= {f"{at:016x}" for at in range(10)}
        found += len(named)
    return found / 200


@pytest.mark.slow
def test_ten_slow_cases_of_two_hundred_are_named() -> None:
    """5% slower is seen by default and beyond 1%, hardly beyond 3%; 8% slower is seen beyond 3%."""
    assert power(0.05, None) > 0.75
    assert power(0.05, 0.01) > 0.7
    assert power(0.05, 0.03) < 0.2
    assert power(0.08, 0.03) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("margin", [None, 0.03])
def test_what_a_comparison_says_it_can_see_it_sees_in_four_of_five(margin: float | None) -> None:
    """Two cases of 200, or all, slower by what the same sweeps without a change said."""
    random, named, all_together = np.random.default_rng(8), 0, 0
    for seed in range(25):
        a = quiet(2 * seed)
        said = compare(a, quiet(2 * seed + 1), margin=margin).quantities[0]
        assert said.detectable is not None and said.detectable_of_all is not None
        b = quiet(2 * seed + 1, slower(2, said.detectable))
        named += len(compare(a, b, margin=margin).quantities[0].having("worse"))
        state = SHIFT_FLOOR * random.standard_normal()  # moves all cases of a sweep alike
        b = quiet(2 * seed + 1, 1 + said.detectable_of_all + state)
        all_together += compare(a, b, margin=margin).quantities[0].verdict == "worse"
    assert 0.68 <= named / 50 <= 0.92 and 0.64 <= all_together / 25 <= 0.96


@pytest.mark.parametrize(
    ("visits", "least", "most"), [(0.0, 0.006, 0.008), (0.003, 0.007, 0.01), (0.05, 0.03, 0.03)]
)
def test_the_margin_of_a_case_follows_the_noise_where_none_is_given(
    visits: float, least: float, most: float
) -> None:
    pair = [sweep(seed, visits=visits, source="none") for seed in (1, 2)]
    by_default, told = (compare(*pair, margin=margin).quantities[0] for margin in (None, 0.03))
    assert least <= by_default.margin_of_case <= most
    assert by_default.margin == told.margin == told.margin_of_case == 0.03
    assert by_default.detectable_of_all == told.detectable_of_all
    assert (by_default.detectable or 0) <= (told.detectable or 0)


def test_without_noise_the_margin_of_a_case_is_half_a_percent() -> None:
    exact = rows(CASES, 1).assign(energy_source="none")
    assert compare(exact, exact).quantities[0].margin_of_case == 0.005


def test_a_shift_of_all_that_is_accepted_is_no_change_of_a_case() -> None:
    """3% slower altogether, 3% accepted: no case stands out, however small the margin of one."""
    for seed in range(4):
        found = compare(quiet(2 * seed), quiet(2 * seed + 1, 1.03))
        assert found.quantities[0].having("worse") == () and found.verdict != "worse"


@pytest.mark.slow
def test_the_campaign_counts_false_alarms_and_what_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m benchmarks.compare_truth --from DIR` on four quiet sweeps, one of them 20% slower."""
    for at in range(4):
        (tmp_path / f"{at:03}").mkdir()
        sweep(at, 1.2 if at == 3 else 1.0, source="none").to_csv(tmp_path / f"{at:03}/sweep.csv", index=False)
    sweeps = [read_csv(path) for path in sorted(tmp_path.glob("*/sweep.csv"))]
    assert compare_truth.verdicts(sweeps, 0.05) == {"worse": 3, "not worse": 9}
    assert len(set(compare_truth.joined(sweeps[:2])["case_id"])) == 2 * len(set(sweeps[0]["case_id"]))
    some = compare_truth.power(sweeps[:2], change=0.2, margin=0.05, trials=3)
    assert (some.named, some.wrongly, some.verdicts) == (1.0, 0.0, {"worse": 3})
    monkeypatch.setattr("sys.argv", ["compare_truth", "--from", str(tmp_path)])
    monkeypatch.setattr(compare_truth, "TRIALS", 2)
    compare_truth.main()
    out = capsys.readouterr().out
    assert "4 sweeps, 272 rows: 0% flagged" in out
    assert "          5%         25.0%       0.0%      75.0%" in out
    assert "  by default         25.0%       0.0%      75.0%" in out


def test_a_layer_without_a_name_is_told_by_its_shape(run: Run, tmp_path: Path) -> None:
    a, b = sweep(1), sweep(2, one_worse(1, 1.3))
    b.loc[5, ["status", "reason"]] = "failed", "worker died"
    for name, frame in (("a", a), ("b", b)):
        frame.assign(name=None).to_csv(tmp_path / f"{name}.csv", index=False)
    status, out, _ = run("compare", tmp_path / "a.csv", tmp_path / "b.csv")
    slow, failed = (shape_text(some_layers(CASES, 1)[at]) for at in (0, 5))
    assert status == 1
    assert slow.split()[0] in out and f"{5:016x} {failed} fast: worker died" in out
    assert f"{0:016x}" not in out


def test_energy_of_other_sensors_or_of_no_sensor_is_not_compared() -> None:
    for source, words in (
        ("model", "no sensor measured the joules of B (model)"),
        ("none", "no sensor measured the joules of B (none)"),
        ("zeus", "two kinds of sensor"),
    ):
        found = compare(sweep(1), sweep(2, 2.0, source=source))
        assert [quantity.column for quantity in found.quantities] == ["time_s"]
        assert words in found.not_compared["energy"]


def test_a_case_that_fails_now_is_worse_and_one_that_is_missing_is_counted() -> None:
    b = sweep(2)
    b["reason"] = ""
    b.loc[4, ["status", "reason"]] = "failed", "worker died"
    b, name = b.drop(index=[7, 8]), str(b["name"][4])
    found = compare(sweep(1), b)
    assert found.verdict == "worse" and found.only_a == 3
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
    says = r"How sure: can see changes of 3\.\d% and more in a typical case's time, and of 4\.\d% and more"
    assert re.search(says, " ".join(out.split()))
    status, out, err = run("compare", a, worse)
    assert (status, err) == (1, "")
    assert re.search(r"singly, 3 worse, 0 better beyond noise and 0\.\d%", " ".join(out.split()))
    assert len(out.splitlines()) <= 16 and "\nNext: measure B once more" in out
    opening = " ".join(out[: out.index("\n\n")].split())
    assert len(re.findall(r"\.(?= [A-Z]|$)", opening)) == 3, "answer, how sure, what next"
    basis = "Rows of A without partner: 0, of B: 0."
    assert basis not in out and basis in " ".join(run("compare", a, worse, "--full")[1].split())
    assert run("compare", a, worse, "--fail-above", "30%")[0] == 0


def test_json_holds_every_case(run: Run, files: tuple[Path, ...]) -> None:
    status, out, _ = run("compare", files[0], files[2], "--json")
    figures = json.loads(out)
    assert status == 1 and figures["verdict"] == "worse"
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


KERNELS = {"gemm": (0.7, 0.1), "stencil": (0.3, 0.4), "no_reuse": (0.05, 0.8)}
"""Shares by which kernels follow the two paces of a shared machine."""


def swept_at(
    paces: tuple[float, float], seed: int, change: Any = 1.0, *, cases: float = 0.05, device: str = "cpu"
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A sweep of `CASES` at these paces, seconds of both probes, and its manifest.

    Cases of one kernel differ by `cases` in their shares, the same in every sweep. Repeats tell a kernel's
    own to 0.05, and the probes are off by 1% in each start of the program.
    """
    names = np.resize([*KERNELS], CASES + 8)
    shares = np.random.default_rng(7).normal([KERNELS[name] for name in names], cases)
    frame = sweep(seed, change, source="none", visits=0.005).assign(variant=names)
    frame[["time_s", "time_ci_s"]] *= np.exp(shares @ np.log(paces))[:, None]
    random = np.random.default_rng([seed, 9])
    usual_s = list(paces * np.exp(0.01 * random.standard_normal(2)))
    follows = {
        name: {
            "usual_s": usual_s,
            "shares": list(random.normal(own, 0.05)),
            "share_sds": [math.hypot(0.05, cases)] * 2,
            "known_sds": [0.05] * 2,
        }
        for name, own in KERNELS.items()
    }
    return frame, {"device": {"name": device}, "windows": {"usual_pace_s": usual_s, "pace": follows}}


def hours(number: int, most: float) -> list[tuple[pd.DataFrame, dict[str, Any]]]:
    """Sweeps of one program in hours in which both paces lie up to so far, a logarithm, from the middle."""
    random = np.random.default_rng(11)
    paces = np.exp(random.uniform(-most, most, (number, 2)))
    return [swept_at((one, other), seed) for seed, (one, other) in enumerate(paces.tolist())]


@pytest.mark.slow
def test_one_program_in_other_hours_of_a_shared_machine_is_not_worse() -> None:
    """No false alarm of 90 ordered comparisons, where without the paces a fifth are; and intervals hold."""
    blind, told, inside, inside_all = [], [], [], []
    for (a, of_a), (b, of_b) in permutations(hours(10, 0.15), 2):
        blind.append(compare(a, b).verdict)
        found = compare(a, b, manifests=(of_a, of_b))
        told.append(found.verdict)
        time = found.quantities[0]
        inside += [(one.low or 0) <= 1 <= (one.high or 0) for one in time.cases]
        inside_all.append((time.low or 0) <= 1 <= (time.high or 0))
    assert blind.count("worse") >= 15
    assert told.count("worse") == 0
    assert np.mean(inside) >= 0.95 and np.mean(inside_all) >= 0.93


@pytest.mark.slow
def test_at_one_pace_a_slow_case_is_seen_again() -> None:
    """Six cases of sixty are twice as slow, at paces 20% apart: all are named, and only they."""
    slow = np.where(np.arange(CASES) < 6, 2.0, 1.0)
    (a, of_a), (b, of_b) = swept_at((1.0, 1.0), 1), swept_at((1.2, 0.9), 2, slow)
    found = compare(a, b, manifests=(of_a, of_b))
    named = {case.case_id for case in found.quantities[0].having("worse")}
    assert found.verdict == "worse" and named == {f"{at:016x}" for at in range(6)}


def paced(usual_s: tuple[float, float], share_sd: float = 0.05, device: str = "cpu") -> dict[str, Any]:
    """A manifest of a machine of these usual paces; one kernel follows the first, one the second."""
    kernels = {"gemm": [1.0, 0.0], "no_reuse": [0.0, 0.5]}
    own = {
        kernel: {"usual_s": list(usual_s), "shares": shares, "share_sds": [share_sd] * 2}
        for kernel, shares in kernels.items()
    }
    return {"device": {"name": device}, "windows": {"pace": own}}


def test_times_are_stated_at_the_pace_of_the_first_sweep_and_that_is_said(
    run: Run, files: tuple[Path, ...]
) -> None:
    before, *others = files
    after = before.with_name("after")
    after.mkdir()
    others[0].rename(after / "sweep.csv")
    for path, usual_s in ((before, (1.0, 1.0)), (after, (1.2, 1.44))):
        (path / "manifest.json").write_text(json.dumps(paced(usual_s)), encoding="utf-8")
        frame = pd.read_csv(path / "sweep.csv").assign(variant="gemm")
        frame.to_csv(path / "sweep.csv", index=False)
    out = run("compare", before, after)[1]
    told = "in after a typical case took 1.20 (1.13 to 1.27) times as long as in before for that alone"
    assert told.replace("after", "B").replace("before", "A") in " ".join(out.split())
    assert "times of B are stated at the pace of A" in " ".join(out.split())
    figures = json.loads(run("compare", before, after, "--json")[1])
    assert figures["pace_apart"]["ratio"] == pytest.approx(1.2)
    time = figures["quantities"][0]
    assert time["ratio"] == pytest.approx(1 / 1.2, rel=0.01), "the same times, at a pace 20% slower"
    assert time["low"] < 1 / 1.2 < time["high"] and time["high"] / time["low"] > 1.05, "shares are not exact"


def test_what_is_not_known_of_the_paces_is_in_the_intervals() -> None:
    frame = pd.DataFrame({"variant": ["gemm", "no_reuse"], "time_s": 1.0, "time_ci_s": 0.01})
    widths = []
    for share_sd in (0.05, 0.6):
        stated, apart = at_paces_of(paced((1.0, 1.0)), paced((1.2, 1.44), share_sd), frame)
        assert stated["time_s"].to_numpy() == pytest.approx([1 / 1.2, 1 / 1.2])
        assert apart is not None and apart.common_sd > 0.01
        widths.append((stated["time_ci_s"] / stated["time_s"]).to_numpy())
    assert (widths[0] > 0.04).all() and (widths[1] > 0.35).all(), (
        "2.31 times the spread of both sweeps' shares"
    )


def test_a_kernel_of_which_no_sweep_tells_follows_as_kernels_do_and_is_wide() -> None:
    frame = pd.DataFrame({"variant": ["new"], "time_s": [1.0], "time_ci_s": [0.01]})
    one_pace = {"device": {"name": "cpu"}, "windows": {"usual_pace_s": [1.0, 1.0], "pace": {}}}
    slower = {"device": {"name": "cpu"}, "windows": {"usual_pace_s": [1.3, 1.0], "pace": {}}}
    stated, apart = at_paces_of(one_pace, slower, frame)
    assert apart is not None and stated["time_s"][0] == pytest.approx(1.3**-0.4)
    assert stated["time_ci_s"][0] > 0.15


def test_where_nothing_tells_of_paces_times_stay_as_they_are() -> None:
    frame, here = sweep(1).assign(variant="gemm"), paced((1.0, 1.0))
    older = {"device": {"name": "cpu"}, "windows": {"pace": {"gemm": {"usual_s": 1.0, "share": 0.8}}}}
    one_pace = {"device": {"name": "cpu"}, "windows": {"usual_pace_s": [1.0, 1.0], "pace": {}}}
    hardly = {"device": {"name": "cpu"}, "windows": {"usual_pace_s": [1.04, 0.97], "pace": {}}}
    pairs = [(here, older), (here, None), (None, here), (here, paced((1.2, 1.4), device="another"))]
    for of_a, of_b in [*pairs, (one_pace, hardly)]:
        stated, apart = at_paces_of(of_a, of_b, frame)
        assert stated is frame and apart is None
