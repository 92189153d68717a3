"""The terminal that the verbs print on."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

T = TypeVar("T")

STANDARD_OUTPUT = Path("-")
"""What `--json -` gives."""

PARTIAL = 4
"""Exit status under `--strict` where a sum is not over all multiply-adds of a model."""

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from rich.console import Console

    from dibench.models import Model
    from dibench.models.model import MacShare


def console(*, stderr: bool = False) -> Console:
    """The terminal; where output is redirected, text of 140 columns."""
    import sys

    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            """Do not fail, as rich would, if the reader of our output has gone (`| head`)."""
            try:
                super().on_broken_pipe()
            except SystemExit:
                raise SystemExit(0) from None

    stream = sys.stderr if stderr else sys.stdout
    return Terminal(stderr=stderr, highlight=False, soft_wrap=False, width=None if stream.isatty() else 140)


def say(line: str, *, err: bool = False) -> None:
    """Print a line; what would steer the terminal, as names of others may, is shown as question marks."""
    import typer

    from dibench.show.characters import visible

    typer.echo(visible(line), err=err)


def data_output() -> TextIO:
    """Standard output for data that programs read: UTF-8 whatever the terminal's encoding is."""
    import io
    import sys

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="strict")
    return sys.stdout


def answer(to: Path | None, figures: Callable[[], Any], tables: Callable[[], None]) -> None:
    """Tell what was found, as `--json` says.

    Args:
        to: None: tables alone; `-`: JSON in their place; else a file of JSON beside them.
        figures: what JSON has, lists of many as iterators (`dibench.files.json_pieces`).
        tables: prints them.
    """
    from dibench.files import json_pieces, write_json

    if to == STANDARD_OUTPUT:
        data_output().writelines(chain(json_pieces(figures()), "\n"))
        return
    if to is not None:
        write_json(to, figures())
    tables()
    if to is not None:
        say(f"\nEvery figure: {to}")


def answer_each(
    to: Path | None, found: Sequence[T], figures: Callable[[T], Any], tables: Callable[[T], None]
) -> None:
    """Tell of several batch sizes, one after the other; JSON is a list of what it is for a single one.

    Args:
        to: as of `answer`.
        found: one for each batch size.
        figures: what JSON has of one.
        tables: prints those of one.
    """

    def tell() -> None:
        for number, one in enumerate(found):
            if number:
                print()
            tables(one)

    def all_figures() -> Any:
        told = map(figures, found)
        return next(told) if len(found) == 1 else told

    answer(to, all_figures, tell)


def tell_not_covered(models: Iterable[Model]) -> None:
    """Say, beside a table for programs, which part of a model it has no rows for."""
    for model in models:
        if model.not_covered:
            say(f"dibench: {model.name}: the table {model.coverage}", err=True)


def exit_if_partial(found: Iterable[tuple[str, MacShare]]) -> None:
    """End with status `PARTIAL` and a line on each model whose sums leave some of it out.

    Args:
        found: names of models, and what their sums hold.
    """
    import typer

    partial = {name: covered.text for name, covered in found if covered.partial}
    for name, share in partial.items():
        say(f"dibench: --strict: {name} is partial, {share}", err=True)
    if partial:
        raise typer.Exit(PARTIAL)
