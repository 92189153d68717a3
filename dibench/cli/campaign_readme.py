"""The README beside what a campaign measured: how and when, on what, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dibench.cli.campaign_view import NOT_MEASURED, remarks, standings

if TYPE_CHECKING:
    from dibench.campaign.plan import Campaign
    from dibench.cli.campaign_checks import Checks
    from dibench.cli.campaign_steps import Card
    from dibench.sweep.run import Summary

_FILES = """\
`sweep.csv` has a row for each case (columns: `dibench/schema.py`), `visits.jsonl` what each visit
found, `manifest.json` device, driver, versions and command lines, `selftest.json` what was checked
before, `calibration.json` what the sensor resolves. `fit.json` and `report.html` are of this run
and those it resumed; `python -m dibench fit` and `report` make them again from the tables.
"""


def write_readme(
    out: Path,
    found: Campaign,
    summary: Summary,
    rows: Sequence[Mapping[str, str]],
    card: Card,
    checks: Checks,
    again: str,
) -> None:
    """Of one run's directory."""
    from dibench.files import replace_file

    measured = summary.energy_source not in NOT_MEASURED
    what = "Measured on a GPU" if measured else NOT_MEASURED[summary.energy_source]
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        f"# {card.name}",
        "",
        f"{what}.",
        "",
        f"By `python -m dibench campaign`, ended {now} ({summary.ended}),",
        f"on {card.uuid}, driver {card.driver}, energy source {summary.energy_source}.",
        f"{summary.measured} cases by the last command.",
        "",
        *stage_table(found, rows),
        "",
        *(f"- Not here: {line}" for line in remarks(found, checks)),
        "",
        _FILES,
        "To go on:",
        "",
        f"    {again}",
        "",
    ]
    replace_file(out / "README.md", "\n".join(lines).encode())


def stage_table(found: Campaign, rows: Sequence[Mapping[str, str]]) -> list[str]:
    """What is there and what is missing, as lines of Markdown."""
    lines = [
        "| stage | cases | measured | converged | visits missing | answers |",
        "|---|---|---|---|---|---|",
    ]
    for one in standings(found, rows):
        numbers = (len(one.stage.cases), one.done, one.ok, one.visits_left)
        lines.append(f"| {one.stage.name} | {' | '.join(map(str, numbers))} | {one.stage.answers} |")
    return lines
