"""Rows and fits for notebooks and scripts. `import dibench` offers both names and loads them on first use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dibench import study
from dibench.table import read_csv, table_of

if TYPE_CHECKING:
    import pandas as pd


def load(*tables: str | Path) -> pd.DataFrame:
    """The rows of one or more tables of the CSV contract, checked, as one frame.

    Args:
        tables: `sweep.csv` files, directories of sweeps, or files that any other tool wrote.

    Raises:
        dibench.errors.UserError: a file is missing or breaks the contract; the message says where.
    """
    import pandas as pd

    frames = [read_csv(table_of(table)) for table in tables]
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]


def fit(frame: pd.DataFrame, **options: Any) -> study.Fit:
    """Fit MACs, time, AI and DI to a frame of `load` and weigh AI against DI; see `dibench.study.fit`.

    The result has `.verdict`, `.alpha.value`, `.summary()` (text), `.to_frame()` (rows with predictions),
    `.to_json()` (every figure) and `.plot()` (a Matplotlib figure).

    Raises:
        dibench.errors.UserError: no row can be fitted, or several devices need a choice.
    """
    return study.fit(frame, **options)
