"""The README beside what a campaign measured: how and when, on what, and what is missing."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dibench.cli.campaign_view import NOT_MEASURED, remarks, standings
from dibench.show.numbers import duration_text

if TYPE_CHECKING:
    from dibench.cli.campaign_checks import Checks
    from dibench.cli.campaign_steps import Card
    from dibench.plan.campaign import Campaign
    from dibench.plan.stages import Stage
    from dibench.schema import Row
    from dibench.sweep.dataset import Dataset
    from dibench.sweep.run import Summary

_FILES = (
    "`sweep.csv` has a row for each case (columns: `dibench/schema.py`), `visits.jsonl` what each "
    "visit found, `manifest.json` device, driver, versions and command lines, `selftest.json` what "
    "was checked before, `calibration.json` what the sensor resolves."
)
_GAIN = (
    "No interval here contains the gain of the power sensor, which published comparisons found off by"
    " 5 to 13%: the same factor in all rows of a card."
)


def write_readme(
    out: Path,
    found: Campaign,
    summary: Summary,
    rows: Sequence[Row],
    card: Card,
    checks: Checks,
    again: str,
) -> None:
    """Of one run's directory."""
    measured = summary.energy_source not in NOT_MEASURED
    what = "Measured on a GPU" if measured else NOT_MEASURED[summary.energy_source]
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    how = (
        f"By `python -m dibench campaign`, ended {now} ({summary.ended}), on {card.uuid}, driver "
        f"{card.driver}, energy source {summary.energy_source}. {summary.measured} cases by the last "
        "command."
    )
    made = (
        "`fit.json` and `report.html` are of this run and those it resumed; `python -m dibench fit` "
        "and `report` make them again from the tables."
    )
    parts = [
        f"# {card.name}",
        f"{what}.",
        _wrapped(how),
        _stage_table(found.stages, rows),
        "\n".join(f"- Not here: {line}" for line in remarks(found, checks)),
        _wrapped(f"{_FILES} {made}"),
        f"To go on:\n\n    {again}",
    ]
    _write(out, parts)


def write_dataset_readme(out: Path, found: Dataset, runs: Sequence[Path], name: str) -> None:
    """Of a dataset: its runs, what it says, what is missing.

    Args:
        out: where all of it lies but this file.
        found: what was joined.
        runs: as the command named them.
        name: of the directory that it will be.
    """
    from dibench.files import read_json_object
    from dibench.plan.stages import load_stages

    stages = load_stages(arch=found.arch).stages
    analyses = (
        "`counters.csv`, where there is one, is what the hardware counted. `fit.json` and "
        "`report.html` are made of the table by `python -m dibench fit sweep.csv --backend cuda "
        "--json fit.json` and `python -m dibench report .`; `fit sweep.csv --twins`, `--lattice` and "
        "`generality sweep.csv` say more."
    )
    command = shlex.join(["python", "-m", "dibench", "publish", *map(str, runs)])
    parts = [
        f"# {found.device}",
        _wrapped(f"Measured on {_cards(found)}, by {_sensor(found.manifests[-1])}. {_GAIN}"),
        _run_table(found),
        "## What it says",
        *_answers(read_json_object(out / "fit.json") or {}),
        "## What is there, and what is missing",
        _stage_table(stages, found.rows),
        *_missing(out, sum(one.visits_left for one in standings(stages, found.rows)), name),
        "## Files",
        _wrapped(f"{_FILES} {analyses}"),
        f"Made by `{command}`: do not edit the tables.",
    ]
    _write(out, parts)


def _write(out: Path, parts: Sequence[str]) -> None:
    from dibench.files import replace_file

    replace_file(out / "README.md", ("\n\n".join(filter(None, parts)) + "\n").encode())


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _stage_table(stages: Sequence[Stage], rows: Sequence[Row]) -> str:
    """What is there and what is missing."""
    lines = [
        "| stage | cases | measured | converged | visits missing | answers |",
        "|---|---|---|---|---|---|",
    ]
    for one in standings(stages, rows):
        numbers = (len(one.stage.cases), one.done, one.ok, one.visits_left)
        lines.append(f"| {one.stage.name} | {' | '.join(map(str, numbers))} | {one.stage.answers} |")
    return "\n".join(lines)


def _cards(found: Dataset) -> str:
    uuids = dict.fromkeys(row.device_uuid for row in found.rows)
    return f"{len(uuids)} card{'s' * (len(uuids) > 1)} ({', '.join(uuids)})"


def _sensor(manifest: Mapping[str, Any]) -> str:
    """What read the joules, how often, and what the card draws without work."""
    facts = manifest["meter"]["facts"]
    powers = (("idle", "idle_power_w"), ("active idle", "active_idle_power_w"), ("limit", "power_limit_w"))
    drawn = ", ".join(f"{what} {facts[name]:.0f} W" for what, name in powers if facts.get(name))
    period_s = manifest["meter"].get("period_s")
    often = f", which moves every {1e3 * period_s:.0f} ms" if period_s else ""
    source = f"{facts.get('estimator', 'power sensor')} (`{manifest['energy_source']}`)"
    return f"the GPU's own {source}{often}" + (f"; {drawn}" if drawn else "")


def _run_table(found: Dataset) -> str:
    """Every start of the program."""
    lines = [
        "| run (UTC) | until | card | driver | rows | ended | source revision |",
        "|---|---|---|---|---|---|---|",
    ]
    for session in found.sessions:
        card, revision = ", ".join(session["device_uuids"]), str(session.get("source_revision") or "")[:12]
        told = [session.get(name) for name in ("started_at", "ended_at", "driver", "rows")]
        cells = [*told[:2], card, *told[2:], session.get("ended") or "killed", revision]
        lines.append("| " + " | ".join("" if cell is None else str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _answers(figures: Mapping[str, Any]) -> list[str]:
    """The fit's verdict and its answers to the claims; several cards that cannot be joined have none."""
    if "verdict_text" not in figures:
        return ["The cards cannot be taken for one: `fit.json` says what each of them says."]
    claims = (
        f"- **{one['name']}: {one['answer']}.** {one['number'] or one['why']}" for one in figures["claims"]
    )
    return [_wrapped(f"{figures['basis']} {figures['verdict_text']}"), "\n".join(claims)]


def _missing(out: Path, left: int, name: str) -> list[str]:
    from dibench.cli.campaign_steps import visit_s
    from dibench.sweep.dataset import COUNTERS

    parts = []
    if left:
        long = duration_text(left * visit_s(out))
        again = f"campaign --time-budget 9m --out results/local/campaign/1 --resume results/{name}"
        parts = [
            f"{left} visits are missing, {long} of GPU time. To go on, on any card of this model:",
            f"    python -m dibench {again}",
        ]
    if not (out / COUNTERS).exists():
        counters = "python -m dibench counters lattice --out RUN/counters.csv"
        parts.append(f"No hardware counters are here: `{counters}` reads them, before publishing.")
    return parts
