"""Energy in pytest-benchmark: the fixture `energy_benchmark`, its limits, and comparison with an earlier run.

Any project with dibench and pytest-benchmark installed has it:

    @pytest.mark.energy_limit(energy_j=0.5, time_s=0.02)   # per call; one of them is enough
    def test_transform(energy_benchmark):
        energy_benchmark(transform, data)

    pytest --energy-meter auto --benchmark-autosave
    pytest --benchmark-compare --energy-compare-fail mean:5%

`energy_benchmark` first runs pytest-benchmark's `benchmark` for the time. Then it runs windows of the same
call under a meter of dibench and puts joules per call into `extra_info`: `energy_source`, and from a sensor
`energy_j`, `energy_ci_j` (half-width of the 95% interval), `power_w`, `energy_windows`, `energy_calls`, and
`energy_reason` where the number is flagged. Without a sensor `energy_source` is `none` and there is no
`energy_j`: never a zero. A limit on energy that cannot be checked skips its test and says so.

Everything else is as with `benchmark`: `group`, `name`, `stats`, `extra_info`, `pedantic` with its `setup`.

A limit or comparison fails when the difference exceeds the intervals as well. Code that runs on a GPU needs
`--energy-device cuda` and a call that waits for the GPU.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from dibench.energy_benchmark import EnergyBenchmark

if TYPE_CHECKING:
    from dibench.measure.instrument import Instrument

_LIMITS = ("energy_j", "time_s")


@attrs.frozen
class Threshold:
    """How much more energy a call may take than in the earlier run."""

    text: str
    relative: float
    joules: float

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Parse `mean:5%`, or `mean:0.001` in joules: the syntax of pytest-benchmark's thresholds of time."""
        match = re.fullmatch(r"mean:(\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(%?)", text, re.ASCII)
        if match is None or not math.isfinite(float(match[1])):
            raise argparse.ArgumentTypeError(f"must be such as mean:5% or mean:0.001 (joules), not {text!r}")
        value = float(match[1])
        return cls(text, value / 100, 0.0) if match[2] else cls(text, 0.0, value)

    def exceeded(self, now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
        """By how much the energy rose, in one phrase; empty if within threshold and both intervals."""
        rise = now["energy_j"] - before["energy_j"]
        noise = math.hypot(now.get("energy_ci_j") or 0.0, before.get("energy_ci_j") or 0.0)
        if rise - noise <= max(self.relative * before["energy_j"], self.joules):
            return ""
        percent = 100 * rise / before["energy_j"]
        return (
            f"{now['energy_j']:.4g} J a call, was {before['energy_j']:.4g} J: {percent:+.1f}%, "
            f"noise ±{100 * noise / before['energy_j']:.1f}%, allowed {self.text}"
        )


@pytest.fixture
def energy_benchmark(benchmark: Any, request: pytest.FixtureRequest) -> EnergyBenchmark:
    """pytest-benchmark's `benchmark` that also meters joules: see `dibench.pytest_plugin`."""
    session: _Session = request.config.stash[_SESSION]
    return EnergyBenchmark(benchmark, session.instrument, _limits_of(request.node))


def _limits_of(node: pytest.Item) -> dict[str, float]:
    marker = node.get_closest_marker("energy_limit")
    if marker is None:
        return {}
    if marker.args or not marker.kwargs or set(marker.kwargs) - set(_LIMITS):
        raise ValueError("energy_limit: must name energy_j=, time_s= or both, of one call")
    for name, value in marker.kwargs.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ValueError(f"energy_limit: {name} must be a number above 0 (got {value!r})")
    return dict(marker.kwargs)


class _Session:
    """The meter of a test run, opened once, and the results of comparisons."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self._instrument: Instrument | None = None
        self.why_not = ""
        self.unchecked = ""
        self.regressions: list[str] = []
        self.not_compared: list[str] = []

    def meters(self, items: Sequence[pytest.Item]) -> bool:
        """Whether one of these tests will meter something."""
        own = self._of_pytest_benchmark
        asked_for = any("energy_benchmark" in getattr(item, "fixturenames", ()) for item in items)
        return asked_for and own is not None and not (own.disabled or own.skip)

    def instrument(self) -> Instrument:
        if self._instrument is None:
            from dibench.errors import UserError
            from dibench.measure.instrument import open_sensor
            from dibench.measure.settings import Settings

            option = self.config.getoption
            settings = Settings(case_budget_s=option("energy_time"))
            try:
                self._instrument, self.why_not = open_sensor(
                    option("energy_device"), option("energy_meter"), settings
                )
            except UserError as error:
                pytest.exit(f"dibench: {_in_our_options(str(error))}", returncode=pytest.ExitCode.USAGE_ERROR)
        return self._instrument

    @property
    def benchmarks(self) -> list[Any]:
        """The benchmarks of this run that used `energy_benchmark`."""
        own = self._of_pytest_benchmark
        return [one for one in own.benchmarks if "energy_source" in one.extra_info] if own else []

    @property
    def _of_pytest_benchmark(self) -> Any:
        """The session of pytest-benchmark, None if it is not loaded; there is no public way to get it."""
        return getattr(self.config, "_benchmarksession", None)

    def compare(self, threshold: Threshold) -> None:
        """Record every benchmark that takes more energy than in the saved runs."""
        saved = self._of_pytest_benchmark.compared_mapping or {}
        compared = 0
        for one in self.benchmarks:
            for earlier in saved.values():
                before = earlier.get(one.fullname, {}).get("extra_info", {})
                both = [info.get("energy_source", "none") for info in (before, one.extra_info)]
                if any("energy_j" not in info for info in (before, one.extra_info)) or both[0] != both[1]:
                    self.not_compared.append(f"{one.name}: energy_source was {both[0]}, is {both[1]}")
                    continue
                compared += 1
                if said := threshold.exceeded(one.extra_info, before):
                    self.regressions.append(f"{one.name}: {said}")
        if not compared:
            self.unchecked = f"--energy-compare-fail={threshold.text} checked nothing: no joules to compare"


def _in_our_options(message: str) -> str:
    """A message of the command line, with the plugin's options in it.

    >>> _in_our_options("--meter: does not meter the device of backend cpu (got 'nvml_counter')")
    "--energy-meter: does not meter the device of --energy-device cpu (got 'nvml_counter')"
    """
    for theirs, ours in (("--meter", "--energy-meter"), ("of backend", "of --energy-device")):
        message = message.replace(theirs, ours)
    return message


_SESSION = pytest.StashKey[_Session]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, in a group of their own."""
    group = parser.getgroup("energy", "energy of benchmarks (dibench)")
    group.addoption(
        "--energy-meter",
        default="auto",
        metavar="METER",
        help="What reads joules: auto (a sensor that works, else none), rapl, nvml_counter, nvml_power, "
        "zeus, none, or module:callable for a meter of your own. Default: auto.",
    )
    group.addoption(
        "--energy-device",
        default="cpu",
        choices=("cpu", "cuda"),
        help="Whose sensor: of the machine's packages, or of the GPU that CUDA launches on. Default: cpu.",
    )
    group.addoption(
        "--energy-time",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="Metered time of each benchmark, at most. Default: 1.",
    )
    group.addoption(
        "--energy-compare-fail",
        type=Threshold.parse,
        metavar="EXPR",
        help="With --benchmark-compare: fail if a benchmark's joules rise by more than EXPR and the noise "
        "(mean:5%% or mean:0.001 for joules), or if there is nothing to compare.",
    )


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"must be seconds from 0 to 3600, not {text!r}")
    return value


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; refuse a threshold without a comparison."""
    config.addinivalue_line(
        "markers",
        "energy_limit(energy_j, time_s): fail if one call of energy_benchmark takes more.",
    )
    config.stash[_SESSION] = _Session(config)
    if config.getoption("energy_compare_fail") and not config.getoption("benchmark_compare", None):
        raise pytest.UsageError("--energy-compare-fail needs --benchmark-compare of pytest-benchmark")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Open the meter before the first test: a meter that refuses is told at once."""
    own = session.config.stash[_SESSION]
    if not session.config.option.collectonly and own.meters(session.items):
        own.instrument()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Compare with the saved runs; a regression is exit status 1."""
    own = session.config.stash[_SESSION]
    threshold = session.config.getoption("energy_compare_fail")
    if threshold is None or not own.benchmarks:
        return
    own.compare(threshold)
    if (own.regressions or own.unchecked) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the joules of each benchmark or why there are none, and what got worse."""
    own = terminalreporter.config.stash[_SESSION]
    if not own.benchmarks:
        return
    terminalreporter.section("energy per call", sep="-")
    say = terminalreporter.write_line
    unmetered = 0
    for one in sorted(own.benchmarks, key=lambda one: (one.group or "", one.name)):
        info = one.extra_info
        if "energy_j" not in info:
            unmetered += 1
            continue
        interval = f" ± {info['energy_ci_j']:.2g}" if info.get("energy_ci_j") is not None else ""
        power = f", {info['power_w']:.3g} W" if info.get("power_w") is not None else ""
        reason = f"  ({info['energy_reason']})" if info.get("energy_reason") else ""
        group = f"{one.group}: " if one.group else ""
        say(f"{group}{one.name}  {info['energy_j']:.4g}{interval} J{power}  {info['energy_source']}{reason}")
    if unmetered:
        say(f"{unmetered} benchmarks without energy: energy_source=none ({own.why_not or 'see extra_info'})")
    for line in own.not_compared:
        say(f"energy not compared: {line}")
    if own.unchecked:
        say(own.unchecked, red=True)
    for line in own.regressions:
        say(f"energy has regressed: {line}", red=True)
