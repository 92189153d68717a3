"""Answers at several batch sizes, together one result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from dibench.api.shown import Shown
from dibench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from dibench.show.blocks import Block, Section


class Result(Protocol):
    """What every answer can do."""

    def to_frame(self) -> pd.DataFrame:
        """Its rows."""

    def to_json(self) -> Any:
        """Its figures."""

    def _blocks(self) -> Sequence[Block | Section]:
        """What is shown."""

    def _everything(self) -> Sequence[Block | Section]:
        """What is behind it too."""


R = TypeVar("R", bound=Result)

Batch: TypeAlias = "int | Sequence[int] | None"
"""One batch size, several, or what the model itself says."""


class AtBatches(dict[int, R], Shown):
    """By batch size, one result each: `found[8]`; text, HTML, JSON and frame are of all of them."""

    __repr__ = Shown.__repr__

    def to_frame(self) -> pd.DataFrame:
        """The rows of all, and in the column `batch` the size."""
        import pandas as pd

        frames = {size: one.to_frame() for size, one in self.items()}
        return pd.concat(frames, names=["batch"]).reset_index(level=0).reset_index(drop=True)

    def to_json(self) -> list[Any]:
        """What each says, in the order of the sizes."""
        return [one.to_json() for one in self.values()]

    def _line(self) -> str:
        return "\n".join(map(repr, self.values()))

    def _blocks(self) -> Sequence[Block | Section]:
        return [block for one in self.values() for block in one._blocks()]

    def _everything(self) -> Sequence[Block | Section]:
        return [block for one in self.values() for block in one._everything()]


def sizes_of(batch: Batch) -> list[int | None]:
    """The sizes, each once; only None where the model says.

    Raises:
        UserError: there is none.

    >>> sizes_of(8), sizes_of([1, 8, 1]), sizes_of(None)
    ([8], [1, 8], [None])
    """
    if batch is None or isinstance(batch, int):
        return [batch]
    if isinstance(batch, str):
        raise UserError("batch", "must be a number, or a list of them such as [1, 8]", batch)
    if not batch:
        raise UserError("batch", "must be at least one size")
    return list(dict.fromkeys(batch))


def at_batches(batch: Batch, answer: Callable[[int | None], R]) -> R | AtBatches[R]:
    """The answer at one batch size as it is, at several by size."""
    if batch is None or isinstance(batch, int):
        return answer(batch)
    return AtBatches({size: answer(size) for size in sizes_of(batch) if size is not None})
