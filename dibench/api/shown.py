"""What every result can do at a prompt and in a notebook: a short `repr`, text, HTML, a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from dibench.api.words import hints_in_python
from dibench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure as MatplotlibFigure

    from dibench.show.blocks import Block, Figure, Section

R = TypeVar("R")


class Shown:
    """Joins findings, which are data only, with their words: mix it into their class."""

    __slots__ = ()

    def _line(self) -> str:
        """The answer in one line, or two."""
        raise NotImplementedError

    def _blocks(self) -> Sequence[Block | Section]:
        """What the terminal and the page show of it."""
        raise NotImplementedError

    def _everything(self) -> Sequence[Block | Section]:
        """What is behind it too, where it is shown in brief."""
        return self._blocks()

    def __repr__(self) -> str:
        return self._line()

    def full(self) -> Told:
        """Everything that it says, with a line for each term."""
        return Told(self._everything())

    def summary(self) -> str:
        """The answer as text, with its tables: what the command line prints."""
        from dibench.show import terminal

        return hints_in_python(terminal.text(self._blocks()))

    def _repr_html_(self) -> str:
        from dibench.show import html

        return hints_in_python(html.fragment(self._blocks()))


@attrs.frozen(eq=False, repr=False)
class Told(Shown):
    """Blocks with a line for each term: a text at a prompt, HTML in a notebook."""

    told: Sequence[Block | Section]

    def full(self) -> Told:
        """Itself."""
        return self

    def _line(self) -> str:
        return self.summary()

    def _blocks(self) -> Sequence[Block | Section]:
        from dibench.show.terms import explained

        return explained(self.told)


class Drawn(Shown):
    """A result with figures."""

    __slots__ = ()

    def _figures(self) -> Sequence[Figure]:
        """Each with its name; the first says most."""
        raise NotImplementedError

    def plot(self, name: str = "") -> MatplotlibFigure:
        """A figure, which a notebook shows by itself.

        Args:
            name: which of them, or how its name begins; without one, that which says most.

        Raises:
            dibench.errors.UserError: there is none of that name; the message has the names.
        """
        from dibench.show.svg import painted

        figures = self._figures()
        for figure in figures:
            if figure.name.startswith(name) and (drawn := figure.draw()) is not None:
                return painted(drawn.figure)
        raise UserError("name", f"must be one of {', '.join(one.name for one in figures)}", name)


def shown_as(kind: type[R], found: Any) -> R:
    """Findings as the class that adds their words: the same fields."""
    return kind(**attrs.asdict(found, recurse=False))
