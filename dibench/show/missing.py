"""Figures for which these rows do not suffice, each with the command that brings it."""

from __future__ import annotations

from collections.abc import Sequence

from dibench.show.blocks import Note, Section
from dibench.show.studies import Study

_FIGURES = {
    "twins": ("Exact twins", "`python -m dibench sweep twins --out DIR`"),
    "lattice": ("The reuse lattice", "`python -m dibench sweep lattice --out DIR`"),
    "ranking": (
        "The ranking of whole networks: all their layers",
        "`python -m dibench sweep networks --out DIR`, run to its end",
    ),
    "held-out": (
        "Predicted against measured networks of unseen families",
        "`python -m dibench sweep networks --out DIR`, run to its end",
    ),
    "generality": (
        "Distributions over subsets: layers of several networks",
        "`python -m dibench sweep networks --out DIR`",
    ),
}
"""By the beginning of a figure's name: what it shows, and the command that brings it."""


def sections(names: Sequence[str], studies: Sequence[Study]) -> list[Section]:
    """One line for each kind of figure that is not among these names; none where all are there."""
    lines = [
        f"{what}: {command}."
        for start, (what, command) in _FIGURES.items()
        if not any(name.startswith(start) for name in names)
    ]
    if studies[0].fit is None or not studies[0].fit.evidence:
        doctor = "`python -m dibench doctor` says what a machine can measure, and what it lacks"
        lines.insert(0, f"Measured energy: {doctor}.")
    if len(studies) == 1:
        lines.append("Another card beside this one: the same sweep there, both tables in one.")
    if not lines:
        return []
    question = "What is missing here, and what brings it?"
    return [Section("missing", "Missing", question, list(map(Note, lines)))]
