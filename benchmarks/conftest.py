"""What benchmarks share: the allocator's settings, options, and the table of ratios at the end."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable

import pytest

from benchmarks.side_by_side import RATIOS, Ratio
from dibench.backends.torch import keep_freed_memory

keep_freed_memory()

_BEGAN = time.monotonic()

pytest_plugins = ["dibench.pytest_plugin"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--layers",
        type=int,
        default=10,
        metavar="N",
        help="distinct layers per operator, spread evenly over their MACs; 0: all (default: 10)",
    )
    parser.addoption(
        "--seconds",
        type=float,
        default=0.3,
        metavar="S",
        help="time per layer and thread count (default: 0.3)",
    )
    parser.addoption(
        "--by-layer",
        type=int,
        default=2,
        metavar="N",
        help="layers per operator under which all variants are compared (default: 2)",
    )
    parser.addoption(
        "--alpha",
        type=float,
        default=0.4,
        metavar="A",
        help="alpha of the DI shown (default: 0.4, what README's rows gave for time on a CPU)",
    )
    parser.addoption(
        "--op", action="append", default=[], metavar="OP", help="only this operator; may be repeated"
    )
    parser.addoption(
        "--begin-within",
        type=float,
        default=math.inf,
        metavar="S",
        help="seconds after which no further case begins: those that did are saved (default: no end)",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if time.monotonic() - _BEGAN > item.config.getoption("--begin-within"):
        pytest.skip("the time is used up")


def _geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not RATIOS:
        return
    groups: defaultdict[tuple[str, str, int], list[Ratio]] = defaultdict(list)
    for ratio in RATIOS:
        groups[ratio.op, ratio.variant, ratio.threads].append(ratio)
    say = terminalreporter.write_line
    say("")
    say("PyTorch's time over ours, geometric mean over layers (above 1: ours is faster)")
    say("| operator | variant | threads | layers | fastest round | median round | least | most |")
    say("|---|---|---:|---:|---:|---:|---:|---:|")
    for (op, variant, threads), rows in sorted(groups.items()):
        best = [row.fastest for row in rows]
        figures = (
            _geometric_mean(best),
            _geometric_mean(row.median for row in rows),
            min(best),
            max(best),
        )
        say(f"| {op} | `{variant}` | {threads} | {len(rows)} | {' | '.join(f'{f:.2f}' for f in figures)} |")
    say("\nSlowest beside PyTorch:")
    for row in sorted(RATIOS, key=lambda row: row.fastest)[:10]:
        say(f"  {row.fastest:.2f}  {row.threads} thread(s)  {row.layer}")
