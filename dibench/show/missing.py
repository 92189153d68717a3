"""Figures for which these rows do not suffice, each with the command that brings it."""

from __future__ import annotations

from collections.abc import Sequence

from dibench.show.blocks import Note, Section
from dibench.show.studies import Study

ABSENT = {
    "twins": (
        "No exact twins in these rows. `python -m dibench sweep twins --out DIR` measures eight pairs of "
        "each operator that has them."
    ),
    "lattice": (
        "No reuse lattice in these rows: one layer under eight boxes or more, with counted accesses. "
        "`python -m dibench sweep lattice --out DIR` measures it."
    ),
    "ranking": (
        "No ranking of whole networks, which needs all their layers: `python -m dibench sweep networks --out "
        "DIR`, run to its end."
    ),
    "held-out": (
        "No prediction of networks of unseen families: `python -m dibench sweep networks --out DIR`, run to "
        "its end."
    ),
    "generality": (
        "No distributions over subsets, which need layers of several networks: `python -m dibench sweep "
        "networks --out DIR`."
    ),
}
"""By the beginning of a figure's name: what is not there, and the command that brings it."""


def sections(names: Sequence[str], studies: Sequence[Study]) -> list[Section]:
    """One line for each kind of figure that is not among these names; none where all are there."""
    lines = [absent for start, absent in ABSENT.items() if not any(name.startswith(start) for name in names)]
    if studies[0].fit is None or not studies[0].fit.evidence:
        doctor = "`python -m dibench doctor` says what a machine can measure, and what it lacks"
        lines.insert(0, f"Measured energy: {doctor}.")
    if len(studies) == 1:
        lines.append("Another card beside this one: the same sweep there, both tables in one.")
    if not lines:
        return []
    question = "What is missing here, and what brings it?"
    return [Section("missing", "Missing", question, list(map(Note, lines)))]
