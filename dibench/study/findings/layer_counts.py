"""How many layers a table has, and where each one stayed out of a fit: counted once, told everywhere."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from dibench.numbers import count


@attrs.frozen
class LayerCounts:
    """Distinct layers by their dimensions, the batch included; where rows are whole networks, those.

    >>> LayerCounts(12, {"failed": 2}, 10).text()
    '10 of the 12 layers in the table; left out: 2 failed'
    >>> LayerCounts(10, {}, 10).text("network")
    'all 10 networks in the table'
    """

    in_table: int
    left_out: Mapping[str, int]
    """Rule → layers of which it took the last row, in the order in which the rules apply."""
    used: int
    """In the fit, one row of each."""

    def text(self, noun: str = "layer") -> str:
        """Of how many, and why the others are not among them."""
        if not self.left_out:
            return f"all {count(self.in_table, noun)} in the table"
        why = ", ".join(f"{count(layers)} {rule}" for rule, layers in self.left_out.items())
        return f"{count(self.used)} of the {count(self.in_table, noun)} in the table; left out: {why}"
