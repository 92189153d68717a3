"""`datasets [NAME [PATH]]`: measurements that others published, listed, described, and read into a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dibench.cli.options import Json, check_json
from dibench.cli.output import answer, say
from dibench.errors import UserError


def datasets(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A source of the list, or module:SOURCE of your own."),
    ] = None,
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="PATH", help="Your clone of its repository, or the folder in it that has the files."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="The directory to be made.")
    ] = None,
    json_file: Json = None,
) -> None:
    """Read joules and seconds that others measured into a table that fit and report take.

    Without NAME it lists the sources, with NAME alone it tells all of one: what was measured, on what, with
    which sensor, how to get it, what it can and cannot answer. dibench carries no data: you clone it.

    [bold]python -m dibench datasets gpu-layers ml-operator-profiling --out gpu[/bold]

    [bold]python -m dibench fit gpu --device "NVIDIA A30"[/bold]
    """
    from dibench.cli.output import console
    from dibench.datasets import find, sources
    from dibench.datasets.reading import read, write
    from dibench.show import datasets as told
    from dibench.show.terminal import show

    check_json(json_file)
    if name is None:
        known = list(sources().values())
        answer(
            json_file, lambda: [*map(told.plain_source, known)], lambda: show(console(), told.listed(known))
        )
        return
    source = find(name)
    if path is None:
        if out is not None:
            raise UserError("PATH", f"must be given: your clone of {source.url}")
        answer(json_file, lambda: told.plain_source(source), lambda: show(console(), told.described(source)))
        return
    if out is None:
        raise UserError("--out", "must be given: the directory that the table is written to")
    found = read(source, path)
    write(found, out, ["python", "-m", "dibench", *sys.argv[1:]])
    next_steps = told.next_steps(found, out)

    def tell() -> None:
        show(console(), list(told.read(found)))
        say("\nNext: " + "\n      ".join(next_steps))

    answer(json_file, lambda: told.plain_reading(found, out), tell)
