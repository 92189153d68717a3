"""`merge A B … --out C`: join the sweeps of several machines."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def merge(
    parts: Annotated[
        list[Path], typer.Argument(metavar="DIR…", help="Directories of the sweeps, such as one per shard.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The directory to be made.")],
) -> None:
    """Join sweeps of one plan, such as its shards, into one table and manifest.

    Parts that overlap or contradict each other are refused: another plan, order, kernel source, setting or
    kind of sensor, the same case twice, rows that their own manifest does not know. Devices may differ; the
    output says so.

    [bold]python -m dibench sweep networks --shard 1/2 --out part1[/bold]   (on one machine)

    [bold]python -m dibench sweep networks --shard 2/2 --out part2[/bold]   (on another)

    [bold]python -m dibench merge part1 part2 --out networks[/bold]
    """
    from dibench.numbers import count
    from dibench.sweep.merge import merge as join

    merged = join(parts, out)
    by_status = ", ".join(f"{count(number)} {status}" for status, number in merged.statuses.items())
    say = typer.echo
    visits = len(merged.visits)
    made = f", and the {count(visits, 'visit')} they are made of," if visits else ""
    say(f"{count(len(merged.rows), 'row')} of {len(merged.parts)} sweeps ({by_status}){made} in {out}")
    devices = ", ".join(f"{number} × {name}" for name, number in merged.devices.items())
    mixed = sum(merged.devices.values()) > 1
    say(
        f"devices   {devices}"
        + ("; fit joins cards of one model, else choose with --device" if mixed else "")
    )
    if merged.missing_shards:
        say(f"missing   shards {', '.join(merged.missing_shards)}")
    for part in merged.parts:
        if part.left > 0:
            say(f"left      {part.left} cases of {part.folder}: run its command again, then merge again")
    say(f"\nNext: python -m dibench fit {shlex.quote(str(out / 'sweep.csv'))}")
