"""What a sweep did, and what a merge of sweeps joined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from dibench.numbers import count, percent, time_text
from dibench.show import noise
from dibench.show.blocks import Headline, Table, facts
from dibench.show.sources import source_meaning
from dibench.study.findings.plain import plain as values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dibench.sweep.parts import Joined
    from dibench.sweep.run import Summary


def in_a_line(found: Summary, plan: str, out: Path) -> str:
    """`smoke: 23 of 23 cases (22 ok, 1 flagged) in /tmp/smoke, energy by rapl`."""
    rows = sum(found.statuses.values())
    energy = "no joules" if found.energy_source == "none" else f"energy by {found.energy_source}"
    if found.energy_source in ("model", "simulated"):
        energy = f"{found.energy_source} energy, no evidence"
    of_all = f"{rows} of {rows + found.left} cases ({by_status(found.statuses) or 'none yet'})"
    stopped = "" if found.ended == "complete" else f", ended by {found.ended}"
    return f"{plan}: {of_all} in {out}, {energy}{stopped}"


def plain(found: Summary, plan: str, out: Path, partial: Sequence[str]) -> dict[str, Any]:
    """The same for programs.

    Args:
        found: how the sweep ended.
        plan: its name.
        out: its directory.
        partial: of each network that layers do not cover whole, how much they do.
    """
    told: dict[str, Any] = values(
        {"path": str(out), "plan": plan, **attrs.asdict(found), "partial": list(partial)}
    )
    return told


def plain_merged(found: Joined, out: Path) -> dict[str, Any]:
    """What was joined, for programs."""
    return {
        "path": str(out),
        "rows": len(found.rows),
        "statuses": dict(found.statuses),
        "visits": found.visits,
        "devices": dict(found.devices),
        "missing_shards": list(found.missing_shards),
        "parts": [
            {"path": str(part.folder), "rows": len(part.rows), "left": part.left} for part in found.parts
        ],
    }


def ended(found: Summary, table: Path, manifest: Path) -> Table:
    """How many cases the table has now, what was measured, and where it lies.

    Args:
        found: how the sweep ended.
        table, manifest: their paths.
    """
    rows = sum(found.statuses.values())
    lines = [("energy", source_meaning(found.energy_source))]
    if found.inside is not None:
        lines.append(("time", f"{percent(found.inside)} in windows and the settling they need"))
    if found.revisited:
        good = f"{count(found.came_good)} of them came good"
        lines.append(("revisited", f"{count(found.revisited, 'case')} measured again, {good}"))
    if found.target:
        lines.append(
            ("ok", f"known to ±{100 * found.target:g}% or better, chosen from the noise at the start")
        )
    for ratio in found.counter_over_power:
        said = f"the energy counter shows {percent(ratio)} of what power does, at all visits alike"
        lines.append(
            ("gain", f"{said}: one of them is off, and a row is flagged only where it strays from that")
        )
    lines += [("table", str(table)), ("manifest", str(manifest))]
    if found.kept_as:
        lines.append(("earlier", str(table.with_name(found.kept_as))))
    if found.statuses.get("failed"):
        lines.append(("failed", "the table has the reasons; --retry-failed measures them again"))
    return facts(
        f"{rows} of {rows + found.left} cases in the table ({by_status(found.statuses) or 'none yet'}); "
        f"{found.measured} of them measured now, in {time_text(found.elapsed_s)}",
        *lines,
    )


def noisy(found: Summary) -> list[Headline]:
    """Where most rows are flagged, a banner that says so, what follows and what to do."""
    said = noise.in_a_sentence(found.statuses)
    return [Headline(said, "warn")] if said else []


def merged(found: Joined, out: Path) -> Table:
    """What was joined, on which devices, and what is missing.

    Args:
        found: the parts together.
        out: the directory that was made.
    """
    made = f", and the {count(found.visits, 'visit')} they are made of," if found.visits else ""
    devices = ", ".join(f"{number} × {name}" for name, number in found.devices.items())
    if sum(found.devices.values()) > 1:
        devices += "; fit joins cards of one model, else choose with --device"
    lines = [("devices", devices)]
    if found.missing_shards:
        lines.append(("missing", f"shards {', '.join(found.missing_shards)}"))
    lines += [
        ("left", f"{count(part.left, 'case')} of {part.folder}: run its command again, then merge again")
        for part in found.parts
        if part.left > 0
    ]
    rows = f"{count(len(found.rows), 'row')} of {len(found.parts)} sweeps"
    return facts(f"{rows} ({by_status(found.statuses)}){made} in {out}", *lines)


def by_status(statuses: Mapping[str, int]) -> str:
    """`5 ok, 1 failed`."""
    return ", ".join(f"{count(number)} {status}" for status, number in statuses.items())
