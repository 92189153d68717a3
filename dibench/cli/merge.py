"""`merge A B … --out C`: join the sweeps of several machines."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from dibench.cli.options import Json, check_json
from dibench.cli.output import answer, say


def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(metavar="DIR…", help="The sweeps, such as one per shard: directories or tables."),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The directory to be made; an earlier merge of these is made anew."),
    ],
    json_file: Json = None,
) -> None:
    """Join sweeps of one plan, such as its shards, into one table and manifest.

    Parts that overlap or contradict each other are refused: another plan, order, kernel source, setting or
    kind of sensor, the same case twice, rows that their own manifest does not know. Devices may differ; the
    output says so.

    [bold]python -m dibench sweep networks --shard 1/2 --out part1[/bold]   (on one machine)

    [bold]python -m dibench sweep networks --shard 2/2 --out part2[/bold]   (on another)

    [bold]python -m dibench merge part1 part2 --out networks[/bold]
    """
    from dibench.cli.output import console
    from dibench.show.sweeps import merged, plain_merged
    from dibench.show.terminal import show
    from dibench.sweep.merge import merge as join

    check_json(json_file)
    joined = join(parts, out)

    def tell() -> None:
        show(console(), [merged(joined, out)])
        say(f"\nNext: python -m dibench fit {shlex.quote(str(out / 'sweep.csv'))}")

    answer(json_file, lambda: plain_merged(joined, out), tell)
