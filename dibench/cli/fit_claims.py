"""What `fit` shows of the paper's claims: one line each; the report says them in full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench.cli.output import escape

if TYPE_CHECKING:
    from rich.console import Console

_STYLE = {"confirmed": "green", "refuted": "red", "undecided": "yellow", "not testable": "dim"}


def show(out: Console, found: list[dict[str, str]]) -> None:
    """Each claim's name, its answer, and the number or the reason that says so."""
    for one in found:
        because = escape(one["number"] or one["check"] or one["why"])
        line = f" {one['name']:<15} [{_STYLE[one['answer']]}]{one['answer']:<12}[/] {because}"
        out.print(line, no_wrap=True, overflow="ellipsis")
