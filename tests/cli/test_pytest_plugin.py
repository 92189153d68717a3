"""The pytest plugin in a project of its own: joules in extra_info, limits, comparison, and no sensor."""

from __future__ import annotations

import argparse
import copy
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dibench.energy_benchmark import EnergyBenchmark
from dibench.pytest_plugin import Threshold

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
METER = '''
"""A meter replayed: every call needs JOULES, by turns 1% more and 1% less."""
import itertools, os
from dibench.meters import Reading

class Replayed:
    source, has_variance, period_s, facts = "simulated", True, None, {}
    errors = itertools.cycle((1.01, 0.99))

    def window(self, run, counts, launches):
        seconds = run()
        return Reading(seconds, launches * float(os.environ["JOULES"]) * next(self.errors))

class Silent(Replayed):
    def window(self, run, counts, launches):
        return Reading(run(), None)
'''
TESTS = """
import pytest

def work():
    return sum(range(200))

def test_plain(energy_benchmark):
    energy_benchmark.group = "sums"
    assert energy_benchmark(work) == 19900

@pytest.mark.energy_limit(energy_j=0.5)
def test_limited(energy_benchmark):
    energy_benchmark.pedantic(work, rounds=3, iterations=10)

@pytest.mark.energy_limit(time_s=1e-9)
def test_slow(energy_benchmark):
    energy_benchmark(work)
"""
WITH_SET_UP = """
import itertools
from dibench.meters import Reading

calls = 0
SORTED = []

def call(values):
    global calls
    calls += 1
    values.sort()

class Counting:
    'A meter of 0.4 J for each call and 0.1 J for all that goes with it, by turns 1% more and 1% less.'
    source, has_variance, period_s, facts = "simulated", True, None, {}
    errors = itertools.cycle((1.01, 0.99))

    def window(self, run, counts, launches):
        before = calls
        seconds = run()
        return Reading(seconds, (0.4 * (calls - before) + 0.1 * launches) * next(self.errors))

class SetUpOnly(Counting):
    def window(self, run, counts, launches):
        return Reading(run(), 0.1 * launches * next(self.errors))

def test_sort(energy_benchmark):
    given = lambda: (([3, 1, 2],), {})
    energy_benchmark.pedantic(call, setup=given, teardown=SORTED.append, rounds=5)
    assert energy_benchmark.stats.stats.rounds == 5
    assert SORTED and all(values == sorted(values) for values in SORTED[:5])
"""
PLUGINS = ("-p", "pytest_benchmark.plugin", "-p", "dibench.pytest_plugin")
QUICK = ("--energy-time=0.1", "--benchmark-max-time=0.01", *PLUGINS)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    pytester.makepyfile(my_meter=METER, test_work=TESTS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(pytester.path)]))
    monkeypatch.setenv("JOULES", "0.4")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # what else is installed takes most of a start
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # with it, pytest-benchmark measures nothing
    return pytester


def run(project: pytest.Pytester, *arguments: str, meter: str = "my_meter:Replayed") -> pytest.RunResult:
    return project.runpytest_subprocess(*QUICK, f"--energy-meter={meter}", *arguments)


def saved(project: pytest.Pytester) -> dict[str, dict[str, Any]]:
    found = json.loads((project.path / "out.json").read_text())
    return {one["name"]: one["extra_info"] for one in found["benchmarks"]}


@pytest.mark.slow
def test_joules_of_a_call_and_both_limits(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(project, "--benchmark-json=out.json", "--energy-time=0.5")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*energy_limit: * s a call, at most 1e-09 s*"])
    result.stdout.fnmatch_lines(["sums: test_plain  0.*J, * W  simulated*"])
    info = saved(project)["test_plain"]
    assert info["energy_source"] == "simulated"
    assert info["energy_j"] == pytest.approx(0.4, rel=0.02)
    assert 0 < info["energy_ci_j"] < 0.02 and info["energy_calls"] >= info["energy_windows"] >= 4
    monkeypatch.setenv("JOULES", "0.6")
    result = run(project, "-k", "limited")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*energy_limit: 0.* J a call (simulated), at most 0.5 J*"])


@pytest.mark.slow
def test_set_up_and_tear_down_are_not_the_calls(project: pytest.Pytester) -> None:
    project.makepyfile(test_sort=WITH_SET_UP)
    # Two windows apart are no interval: on a busy machine a second holds few.
    options = ("--benchmark-json=out.json", "--energy-time=2", "-k", "sort")
    result = run(project, *options, meter="test_sort:Counting")
    result.assert_outcomes(passed=1)
    info = saved(project)["test_sort"]
    assert info["energy_j"] == pytest.approx(0.4, rel=0.03)
    assert 0 < info["energy_ci_j"] < 0.02
    assert "power_w" not in info, "nothing drew the difference of two powers"
    result = run(project, *options, meter="test_sort:SetUpOnly")
    result.assert_outcomes(passed=1)
    info = saved(project)["test_sort"]
    assert "energy_j" not in info
    assert "set-up and tear-down take nearly all" in info["energy_reason"]


def test_all_else_is_as_pytest_benchmark_has_it() -> None:
    benchmark = SimpleNamespace(name="test_a", group=None, extra_info={}, disabled=False, stats=None)
    fixture = EnergyBenchmark(benchmark, lambda: None, {})  # type: ignore[arg-type, return-value]
    fixture.group = "sums"
    fixture.extra_info = {"size": 3}
    assert (benchmark.group, benchmark.extra_info) == ("sums", {"size": 3})
    assert (fixture.group, fixture.name, fixture.disabled, fixture.stats) == ("sums", "test_a", False, None)
    with pytest.raises(AttributeError):
        fixture.cprofile  # noqa: B018
    with pytest.raises(ValueError, match=r"energy_benchmark\.weave: .* benchmark\.weave times it"):
        fixture.weave(sum)
    copy.copy(fixture)


@pytest.mark.slow
def test_a_limit_within_the_noise_is_kept(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULES", "0.5001")  # the interval is wider than 0.02%
    run(project, "-k", "limited", "--energy-time=1").assert_outcomes(passed=1)


@pytest.mark.slow
def test_no_sensor_is_never_a_zero_and_a_limit_is_not_silently_kept(project: pytest.Pytester) -> None:
    for meter in ("none", "my_meter:Silent"):
        result = run(project, "--benchmark-json=out.json", "-rs", "-k", "not slow", meter=meter)
        result.assert_outcomes(passed=1, skipped=1)
        result.stdout.fnmatch_lines(["*energy_limit: not checked, energy_source=none*"])
        result.stdout.fnmatch_lines(["2 benchmarks without energy: energy_source=none*"])
        for info in saved(project).values():
            assert info["energy_source"] == "none" and "energy_j" not in info


@pytest.mark.slow
def test_more_joules_than_in_the_saved_run_fail(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(project, "--benchmark-autosave", "-k", "plain").ret == 0
    compare = ("--benchmark-compare", "--energy-compare-fail=mean:5%", "-k", "plain")
    assert run(project, *compare).ret == 0
    monkeypatch.setenv("JOULES", "0.44")
    result = run(project, *compare)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["energy has regressed: test_plain: 0.4* J a call, was 0.* J: +*allowed mean:5%"]
    )
    result = run(project, *compare, meter="none")
    assert result.ret == 1, "a check that checks nothing is no check"
    result.stdout.fnmatch_lines(["--energy-compare-fail=mean:5% checked nothing: no joules to compare"])
    result.stdout.fnmatch_lines(["energy not compared: test_plain: energy_source was simulated, is none"])
    assert "regressed" not in result.stdout.str()
    monkeypatch.setenv("JOULES", "0.3")
    assert run(project, *compare).ret == 0, "less is no regression"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--energy-compare-fail=mean:5%",), "*--energy-compare-fail needs --benchmark-compare*"),
        (("--energy-time=never",), "*must be seconds from 0 to 3600*"),
        (("--energy-meter=model",), "*--energy-meter: must be a sensor, auto or none*"),
        (
            ("--energy-meter=nvml_power",),
            "*--energy-meter: does not meter the device of --energy-device cpu*",
        ),
    ],
)
def test_mistakes_are_usage_errors_in_one_line(
    project: pytest.Pytester, arguments: tuple[str, ...], words: str
) -> None:
    result = run(project, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    found = result.stdout.str() + result.stderr.str()
    pytest.LineMatcher(found.splitlines()).fnmatch_lines([words])
    assert "Traceback" not in found
    assert " passed" not in found and " failed" not in found, "refused before the first test"


def test_a_marker_that_limits_nothing_is_refused(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_work="import pytest\n"
        "@pytest.mark.energy_limit(joules=1)\ndef test_a(energy_benchmark): pass\n"
        "@pytest.mark.energy_limit(energy_j=-1)\ndef test_b(energy_benchmark): pass\n"
    )
    result = run(project)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*must name energy_j=, time_s= or both*"])
    result.stdout.fnmatch_lines(["*energy_j must be a number above 0 (got -1)*"])


def test_disabled_benchmarks_meter_nothing(project: pytest.Pytester) -> None:
    run(project, "--benchmark-disable", meter="absent:meter").assert_outcomes(passed=3)


@pytest.mark.parametrize("text", ["median:5%", "mean:", "mean:-1%", "mean:1e999", "5%", "mean:²%"])
def test_what_is_no_threshold_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must be such as mean:5%"):
        Threshold.parse(text)


def test_a_threshold_in_joules_or_percent() -> None:
    now, before = {"energy_j": 1.1, "energy_ci_j": 0.01}, {"energy_j": 1.0, "energy_ci_j": 0.01}
    assert Threshold.parse("mean:5%").exceeded(now, before)
    assert Threshold.parse("mean:0.05").exceeded(now, before)
    assert not Threshold.parse("mean:10%").exceeded(now, before)
    assert not Threshold.parse("mean:0.09").exceeded(now, before), "0.1 J is 0.086 J beyond the noise"
