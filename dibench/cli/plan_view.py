"""What `sweep --dry-run` shows: a plan's cases by operator and stationarity, its time, what it left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dibench import kernels
from dibench.cli.output import console
from dibench.intensity import OPERATORS
from dibench.kernels import STATIONARITIES, Variant, library
from dibench.show.numbers import duration_text, shape_text
from dibench.sweep.duration import expected_s, visits_s

if TYPE_CHECKING:
    from rich.table import Table

    from dibench.measure.settings import Settings
    from dibench.plan import Case, Plan

_FIRST = 12
_NOT_IN_VISITS = ("model", "none", "zeus")
_GPU_RATE = 1e12  # multiply-adds a second, as the reuse kernels of a large GPU reach at least
_REASONS = 10


def show_plan(plan: Plan, settings: Settings, meter: str = "auto") -> None:
    """Print a plan: what it is, counts, expected time, reasons for what was left out, the first cases."""
    from rich.text import Text

    out = console()
    out.print(Text(f"{plan.name}: {plan.description}" if plan.description else plan.name, style="bold"))
    if any(case.network for case in plan.cases):
        for case in plan.cases:
            n, c, h, w = case.layer.shape[:4]
            out.print(Text(f"  {case.case_id}  {case.network}  batch {n}, images {c}×{h}×{w}"))
        return
    registry = kernels.registry(plan.backend)
    out.print(_summary(plan, registry, _time(plan, settings, registry, meter)))
    out.print(_by_operator(plan, registry))
    if plan.dropped:
        out.print(_dropped(plan))
    out.print(_first_cases(plan))


def _summary(plan: Plan, registry: Mapping[str, Variant], time: str) -> str:
    sentinels = sum(case.sentinel for case in plan.cases)
    shapes = len({case.layer.shape for case in plan.cases if not (case.sentinel or case.anchor)})
    anchors = sum(case.anchor for case in plan.cases)
    besides = f"{sentinels} of them sentinels" + (f", {anchors} anchors" if anchors else "")
    part = f"shard {plan.shard}: " if plan.shard else ""
    return (
        f"{part}{len(plan.cases):,} cases for {plan.backend} ({besides}) on {shapes:,} "
        f"distinct layers, order seed {plan.seed}; {time}"
    )


def _time(plan: Plan, settings: Settings, registry: Mapping[str, Variant], meter: str) -> str:
    threads = len(os.sched_getaffinity(0))
    if plan.backend == "cpu" or library.ONEDNN.name in registry:
        seconds = expected_s(plan.cases, registry, settings, threads=threads)
        return f"about {duration_text(seconds)} on {threads} core{'s' * (threads > 1)}"
    # A GPU is so much faster than a core that overhead and windows make up the time.
    rates = dict.fromkeys(registry, _GPU_RATE / threads)
    unmetered = duration_text(expected_s(plan.cases, registry, settings, threads=threads, rates=rates))
    if meter in _NOT_IN_VISITS:
        return f"about {unmetered} on the GPU"
    visits = sum(case.visits for case in plan.cases)
    return (
        f"about {duration_text(visits_s(plan.cases))} on a metered GPU, in {visits:,} visits "
        f"(its time alone, --meter none: {unmetered})"
    )


def _by_operator(plan: Plan, registry: Mapping[str, Variant]) -> Table:
    counts: Counter[tuple[str, str]] = Counter()
    for case in plan.cases:
        if not (case.sentinel or case.anchor):
            variant = registry[case.variant]
            counts[case.layer.op, "fast" if variant.fast else variant.stationarity] += 1
    columns = [kind for kind in ("fast", *STATIONARITIES) if any(counts[op, kind] for op in OPERATORS)]
    table = _table("cases", "operator", *columns, right=columns)
    for op in OPERATORS:
        if any(counts[op, kind] for kind in columns):
            table.add_row(op, *(f"{counts[op, kind]:,}" if counts[op, kind] else "–" for kind in columns))
    return table


def _dropped(plan: Plan) -> Table:
    table = _table("combinations that do not fit, left out", "count", "variant: field: rule", right=["count"])
    reasons = list(plan.dropped.items())
    for reason, count in reasons[:_REASONS]:
        table.add_row(f"{count:,}", reason)
    if len(reasons) > _REASONS:
        table.add_row(f"{sum(n for _, n in reasons[_REASONS:]):,}", f"{len(reasons) - _REASONS} more reasons")
    return table


def _first_cases(plan: Plan) -> Table:
    table = _table(f"first of {len(plan.cases):,}", "order", "case", "operator", "layer", "variant", "knobs")
    for case in plan.cases[:_FIRST]:
        case_id = f"{case.case_id}{' sentinel' * case.sentinel}"
        table.add_row(
            str(case.order),
            case_id,
            case.op,
            "" if case.anchor else shape_text(case.layer),
            case.variant,
            _knobs(case),
        )
    return table


def _knobs(case: Case) -> str:
    knobs = case.knobs | ({} if case.sms == "all" else {"sms": case.sms})
    return " ".join(f"{knob}={value}" for knob, value in knobs.items())


def _table(title: str, *columns: str, right: list[str] | None = None) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="right" if column in (right or []) else "left", overflow="fold")
    return table
