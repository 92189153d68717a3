"""Anybody's table as one of the CSV contract: its columns by other names, its units, what is derived.

`mapping` is what a user says, `sources` its formulas in `units`; `columns` says what fills each column,
`derived` what follows, and `convert` makes the table.
"""

from __future__ import annotations

from dibench.importing.convert import Imported, convert
from dibench.importing.mapping import Mapping

__all__ = ["Imported", "Mapping", "convert"]
