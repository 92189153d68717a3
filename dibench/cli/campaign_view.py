"""What a campaign shows: stages beforehand, at the end what is there, what is missing, and how to go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import typer

from dibench.cli.output import console
from dibench.show.numbers import duration_text, time_text
from dibench.sweep.duration import VISIT_S

if TYPE_CHECKING:
    from rich.table import Table

    from dibench.cli.campaign_checks import Checks
    from dibench.cli.campaign_steps import Card
    from dibench.plan.campaign import Campaign
    from dibench.plan.stages import Stage
    from dibench.schema import Row
    from dibench.sweep.earlier import Earlier
    from dibench.sweep.run import Summary

_BEFORE_S, _CLOSING_S = 100.0, 25.0
NOT_MEASURED = {
    "simulated": "SIMULATED: a replayed GPU, test data and no evidence",
    "model": "NOT MEASURED: no sensor could be read; modelled energy is no evidence",
    "none": "NOT MEASURED: time only",
}
"""What is said of energy sources that are no sensors."""


@attrs.frozen
class Standing:
    """Where a stage stands: its cases, those with a row, those whose row is `ok`, visits that are left."""

    stage: Stage
    done: int
    ok: int
    visits_left: int


def say(line: str) -> None:
    """One plain line."""
    typer.echo(line)


def standings(stages: Sequence[Stage], rows: Sequence[Row]) -> list[Standing]:
    """Of every stage, by the rows of all runs."""
    from dibench.sweep.earlier import has_result

    best: dict[str, str] = {}
    for row in rows:
        if has_result(row) and best.get(row.case_id) != "ok":
            best[row.case_id] = row.status
    result = []
    for stage in stages:
        there = [best[case.case_id] for case in stage.cases if case.case_id in best]
        left = sum(case.visits for case in stage.cases if case.case_id not in best)
        result.append(Standing(stage, len(there), there.count("ok"), left))
    return result


def show_stages(found: Campaign, earlier: Earlier, budget_s: float) -> None:
    """What --dry-run shows: stages, cases, minutes, questions; how far one run comes."""
    from dibench.plan.ordering import in_visits

    out = console()
    cases = found.plan.cases
    steps = in_visits([case.visits for case in cases], found.plan.seed)
    first = steps[: max(0, int((budget_s - _BEFORE_S - _CLOSING_S) / VISIT_S))]
    made = Counter(index for index, _ in first)
    finished = {cases[index].case_id for index, number in made.items() if number >= cases[index].visits}
    table = _table("stage", "cases", "measured", "visits left", "minutes", "this run", "answers")
    for one in standings(found.stages, earlier.rows):
        in_run = sum(case.case_id in finished for case in one.stage.cases)
        minutes = one.visits_left * VISIT_S / 60
        table.add_row(
            one.stage.name,
            *(str(n) for n in (len(one.stage.cases), one.done, one.visits_left, round(minutes), in_run)),
            one.stage.answers,
        )
    out.print(table)
    runs = len(steps) * VISIT_S / max(1.0, budget_s - _BEFORE_S - _CLOSING_S)
    out.print(
        f"{len(cases):,} cases are left, {len(steps):,} visits of about {VISIT_S:g} s: "
        f"{duration_text(len(steps) * VISIT_S)}, {runs:.0f} runs of {time_text(budget_s)}. "
        f"A first run checks for up to {time_text(_BEFORE_S)} and finishes about {len(finished)} cases.",
        soft_wrap=True,
    )


def show_begin(card: Card, earlier: Earlier, left_out: Mapping[str, str]) -> None:
    """The card; what is resumed, what was left out of it; which stages this machine cannot measure."""
    say(f"{card.name}, {card.uuid or 'no UUID'}, driver {card.driver or 'not told'}")
    if earlier.tables:
        cards = earlier.cards()
        say(f"earlier   {len(earlier.rows)} rows of {len(earlier.tables)} runs on {len(cards)} cards")
        for variant, number in earlier.stale.items():
            say(f"earlier   {number} rows of {variant} are left out, measured again: its source has changed")
        if cards and card.uuid not in cards:
            say("earlier   another card of the model: anchors and sentinels first; its gain is fitted")
    for stage, why in left_out.items():
        say(f"left out  stage {stage}: {why}")


def show_end(found: Campaign, summary: Summary, rows: Sequence[Row], checks: Checks) -> None:
    """The closing summary."""
    table = _table("stage", "cases", "measured", "ok", "visits left")
    for one in standings(found.stages, rows):
        table.add_row(
            one.stage.name, *(str(n) for n in (len(one.stage.cases), one.done, one.ok, one.visits_left))
        )
    console().print(table)
    statuses = ", ".join(f"{count} {status}" for status, count in summary.statuses.items())
    say(f"this run  {summary.measured} cases ({statuses or 'none'}): {summary.ended}")
    cards = len({row.device_uuid for row in rows})
    say(f"together  {len(rows)} rows of {cards} card{'s' * (cards != 1)}, sentinels included")
    say(f"energy    {NOT_MEASURED.get(summary.energy_source, 'measured, ' + summary.energy_source)}")
    for line in remarks(found, checks):
        say(f"left out  {line}")


def remarks(found: Campaign, checks: Checks) -> list[str]:
    """What was not measured or not checked, and why."""
    lines = [f"stage {stage}: {why}" for stage, why in found.left_out.items()]
    lines += [f"kernel {name}: {why}" for name, why in checks.wrong.items()]
    if checks.unchecked:
        lines.append(f"selftest of {', '.join(checks.unchecked)}: no time; they are measured unchecked")
    if checks.not_calibrated:
        lines.append(f"calibration: {checks.not_calibrated}")
    return lines


def show_next(found: Campaign, rows: Sequence[Row], again: str, visit_s: float = VISIT_S) -> None:
    """How long the rest takes, and the command for it."""
    left = sum(one.visits_left for one in standings(found.stages, rows))
    if not left:
        say("Every case of the campaign is measured.")
        return
    say(f"\n{left} visits are missing: {duration_text(left * visit_s)} at {visit_s:.1f} s. To go on:")
    say(f"  {again}")


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        left = column in ("stage", "answers")
        table.add_column(
            column, justify="left" if left else "right", overflow="fold", no_wrap=column == "stage"
        )
    return table
