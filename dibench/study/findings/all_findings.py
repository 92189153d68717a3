"""Everything that one table says: the fit and the questions beside it; of several cards, all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from dibench.study.findings.cards import CardsCompared, OneModel
from dibench.study.findings.choices import Choices
from dibench.study.findings.claims import Claim
from dibench.study.findings.generality import Generality
from dibench.study.findings.ladder import Fit
from dibench.study.findings.lattice import Lattices
from dibench.study.findings.networks import NoNetworks, WholeNetworks
from dibench.study.findings.peer import Peers
from dibench.study.findings.plain import HIDDEN, INLINE, Result
from dibench.study.findings.twins import Twins

if TYPE_CHECKING:
    import pandas as pd


@attrs.frozen(eq=False)
class Findings(Result):
    """One table: `to_json()` holds the fit's own keys and one more for each further question."""

    fit: Fit = attrs.field(metadata=INLINE)
    twins: Twins | None
    """None without such rows, like `lattice` and `peer`."""
    lattice: Lattices | None
    networks: WholeNetworks | NoNetworks
    peer: Peers | None
    claims: tuple[Claim, ...]
    choices: Choices | None
    """The verdict under other choices of rows, response and terms; None where there are none."""
    generality: Generality | None = attrs.field(default=None, metadata=HIDDEN)
    """Where it was asked for, and can be studied; `generality --json` writes it, `fit --json` does not."""


@attrs.frozen(eq=False)
class CardFindings:
    """One card: its rows, and what they say; `why_not` where they cannot be fitted."""

    device: str
    device_uuid: str
    label: str
    """The model, and the UUID where there is one."""
    why_not: str
    fit: Findings | None
    rows: pd.DataFrame = attrs.field(repr=False, metadata=HIDDEN)


@attrs.frozen(eq=False)
class Several(Result):
    """Several cards: as one where they are of one model, each by itself, and compared."""

    joined: Findings | None = attrs.field(metadata=INLINE)
    """Of all cards as one; None where they are not joined, or cannot be fitted."""
    cards: tuple[CardFindings, ...]
    compared: CardsCompared = attrs.field(metadata=INLINE)
    one_model: OneModel | None = attrs.field(metadata=INLINE)
    """What was done to join them; None where they are not."""
