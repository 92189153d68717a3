"""`fit`: from a sweep's table to the ladder, α, the test of AI against DI, and a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench.study.ladder.findings import findings_of
from dibench.study.ladder.ladder import SEED, fit_ladder
from dibench.study.maths.inference import DRAWS

if TYPE_CHECKING:
    import pandas as pd

    from dibench.study.findings.ladder import Fit


def fit(
    frame: pd.DataFrame,
    *,
    device: str | None = None,
    backend: str | None = None,
    dtype: str | None = None,
    networks: bool | None = None,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Fit:
    """Fit the ladder to a table of the CSV contract and weigh AI against DI.

    Args:
        frame: the table, as `table.read_csv` gives it; several tables may be concatenated.
        device, backend, dtype: use only these rows; needed for `device` where there are several.
        networks: fit the rows of whole networks, never together with those of layers; by default only where
            the table measured no layer.
        draws: bootstrap draws of each test.
        seed: of the draws and of folds by layer.

    Raises:
        UserError: no row can be fitted; the message says why.
    """
    ladder = fit_ladder(
        frame, device=device, backend=backend, dtype=dtype, networks=networks, draws=draws, seed=seed
    )
    return findings_of(ladder)
