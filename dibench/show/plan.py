"""A plan as `sweep --dry-run` shows it: cases, expected time, what it can tell of α, what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dibench.intensity import OPERATORS
from dibench.numbers import UNKNOWN, count, duration_text, number, percent, shape_text
from dibench.show.blocks import Block, Headline, Sentence, Table, columns
from dibench.study.findings.plain import plain as values

if TYPE_CHECKING:
    from dibench.plan import Case, Plan
    from dibench.study.findings.power import Power, Reach
    from dibench.sweep.duration import Expected

_KINDS = ("fast", "output", "weight", "input", "none")
_FIRST = 12
_REASONS = 10


def plan_blocks(
    plan: Plan, kinds: Mapping[str, str], expected: Expected | None, power: Power | None = None
) -> Iterator[Block]:
    """What a plan is, case counts, expected time, what it can tell, what was left out, and the first cases.

    Args:
        plan: of layers or of whole networks.
        kinds: of each kernel variant `fast` or its stationarity.
        expected: how long layers will take; nothing is said of networks.
        power: what layers can tell of α.
    """
    yield Headline(f"{plan.name}: {plan.description}" if plan.description else plan.name)
    if any(case.network for case in plan.cases):
        for case in plan.cases:
            n, c, h, w = case.layer.shape[:4]
            yield Sentence(f"  {case.case_id}  {case.network}  batch {n}, images {c}×{h}×{w}")
        return
    yield Sentence(f"{_summary(plan)}; {_time(expected)}" if expected else _summary(plan))
    yield from (Sentence(f"{line}.", "warn") for line in plan.partial)
    yield _by_operator(plan, kinds)
    if power is not None:
        yield Sentence(_reach(power))
        yield _power(power)
    if plan.dropped:
        yield _dropped(plan)
    yield _first_cases(plan)


def plain(plan: Plan, expected: Expected | None, power: Power | None) -> dict[str, Any]:
    """The same for programs, with every case."""
    told: dict[str, Any] = values(
        {
            "plan": plan.name,
            "description": plan.description,
            "backend": plan.backend,
            "seed": plan.seed,
            "shard": plan.shard,
            "expected": expected,
            "partial": list(plan.partial),
            "dropped": dict(plan.dropped),
            "power": power,
            "cases": [_plain_case(case) for case in plan.cases],
        }
    )
    return told


def _plain_case(case: Case) -> dict[str, Any]:
    return {
        "case_id": case.case_id,
        "order": case.order,
        "sentinel": case.sentinel,
        "network": case.network,
        "layer": None if case.anchor else case.layer,
        "variant": case.variant,
        "knobs": dict(case.knobs) | ({} if case.sms == "all" else {"sms": case.sms}),
        "visits": case.visits,
    }


def _summary(plan: Plan) -> str:
    sentinels = sum(case.sentinel for case in plan.cases)
    shapes = len({case.layer.shape for case in plan.cases if not (case.sentinel or case.anchor)})
    anchors = sum(case.anchor for case in plan.cases)
    besides = f"{sentinels} of them sentinels" + (f", {anchors} anchors" if anchors else "")
    part = f"shard {plan.shard}: " if plan.shard else ""
    return (
        f"{part}{count(len(plan.cases), 'case')} for {plan.backend} ({besides}) on "
        f"{count(shapes, 'distinct layer')}, order seed {plan.seed}"
    )


def _time(expected: Expected) -> str:
    about = f"about {duration_text(expected.seconds)}"
    if expected.cores:
        return f"{about} on {expected.cores} core{'s' * (expected.cores > 1)}"
    if not expected.visits:
        return f"{about} on the GPU"
    metered = f"{about} on a metered GPU, in {count(expected.visits, 'visit')}"
    return f"{metered} (its time alone, --meter none: {duration_text(expected.unmetered_s)})"


def _by_operator(plan: Plan, kinds: Mapping[str, str]) -> Table:
    counts = Counter(
        (case.layer.op, kinds[case.variant]) for case in plan.cases if not (case.sentinel or case.anchor)
    )
    shown = [kind for kind in _KINDS if any(counts[op, kind] for op in OPERATORS)]
    rows = [
        [op, *(count(counts[op, kind]) if counts[op, kind] else UNKNOWN for kind in shown)]
        for op in OPERATORS
        if any(counts[op, kind] for kind in shown)
    ]
    return Table("cases", columns("operator", *shown), rows)


def _reach(power: Power) -> str:
    """What the whole plan can tell, where rows err little."""
    longest = power.reaches[-1].layers
    whole = min((one for one in power.reaches if one.layers == longest), key=lambda one: one.error)
    if whole.below is None and whole.above is None:
        return f"This plan cannot tell α from ½, even with errors of {percent(whole.error, 0)} a layer."
    return (
        f"This plan can tell α from ½ if it is {_ends(whole)}: in {percent(power.chance, 0)} of studies, "
        f"with errors of {percent(whole.error, 0)} a layer (one standard deviation)."
    )


def _ends(one: Reach) -> str:
    """Where α is found: `outside 0.43 to 0.57`, `below 0.3`, or nowhere."""
    low, high = number(one.below, ".2f"), number(one.above, ".2f")
    if one.below is None:
        return UNKNOWN if one.above is None else f"above {high}"
    return f"below {low}" if one.above is None else f"outside {low} to {high}"


def _power(power: Power) -> Table:
    errors = sorted({one.error for one in power.reaches})
    of = {(one.layers, one.error): _ends(one) for one in power.reaches}
    rows = [
        [count(layers), *(of[layers, error] for error in errors)]
        for layers in sorted({one.layers for one in power.reaches})
    ]
    return Table(
        "α that is told from ½, by layers measured",
        columns("layers", *(f"errors of {percent(error, 0)}" for error in errors)),
        rows,
        f"Assumed: weighted DI is true, layers err independently, a weight and an activation cost together "
        f"as much as {count(power.ratio)} multiply-adds, a launch as {count(power.launch)}.",
    )


def _dropped(plan: Plan) -> Table:
    reasons = list(plan.dropped.items())
    rows = [[count(number), reason] for reason, number in reasons[:_REASONS]]
    if len(reasons) > _REASONS:
        rows.append([count(sum(n for _, n in reasons[_REASONS:])), f"{len(reasons) - _REASONS} more reasons"])
    names = columns(
        "count", "variant: field: rule", text=["variant: field: rule"], wraps=["variant: field: rule"]
    )
    return Table("combinations that do not fit, left out", names, rows)


def _first_cases(plan: Plan) -> Table:
    rows = [
        [
            str(case.order),
            f"{case.case_id}{' sentinel' * case.sentinel}",
            case.op,
            "" if case.anchor else shape_text(case.layer),
            case.variant,
            _knobs(case),
        ]
        for case in plan.cases[:_FIRST]
    ]
    names = ("order", "case", "operator", "layer", "variant", "knobs")
    return Table(
        f"first of {count(len(plan.cases))}",
        columns(*names, text=names, wraps=["knobs"], ranks={"case": 2, "operator": 1}),
        rows,
    )


def _knobs(case: Case) -> str:
    knobs = case.knobs | ({} if case.sms == "all" else {"sms": case.sms})
    return " ".join(f"{knob}={value}" for knob, value in knobs.items())
