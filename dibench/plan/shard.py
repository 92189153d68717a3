"""A part of a plan, for one of several machines that run without knowing of each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from dibench.errors import UserError


@attrs.frozen
class Shard:
    """One part of a plan that several machines share: the `index`-th of `of`, from 1."""

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """A shard as a user types it.

        >>> Shard.parse("3/16")
        Shard(index=3, of=16)

        Raises:
            UserError: it is none.
        """
        index, slash, of = text.partition("/")
        if slash and all(part.isascii() and part.isdigit() and len(part) < 7 for part in (index, of)):
            found = cls(int(index), int(of))
            if 1 <= found.index <= found.of:
                return found
        raise UserError("--shard", "must be such as 3/16, the third of sixteen parts", text)

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    def deal(self, in_order: Sequence[Any]) -> list[Any]:
        """This shard's part, dealt like cards, so that every shard begins with the most informative cases.

        >>> Shard(2, 3).deal("abcdefg")
        ['b', 'e']
        """
        return list(in_order[self.index - 1 :: self.of])

    def position(self, own: int) -> int:
        """Position in the whole plan of this shard's `own`-th case, both from 1; no two shards share one.

        >>> [Shard(2, 3).position(own) for own in (1, 2)]
        [2, 5]
        """
        return (own - 1) * self.of + self.index


WHOLE = Shard(1, 1)
"""The whole plan as one part."""
