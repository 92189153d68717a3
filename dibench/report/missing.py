"""What the page could show and these rows do not allow, each with the command that brings it."""

from __future__ import annotations

from collections.abc import Iterable

from dibench.report.parts import Section, Study

_FIGURES = {
    "figure-twins-": ("Exact twins", "python -m dibench sweep twins --out DIR"),
    "figure-lattice": ("The reuse lattice", "python -m dibench sweep lattice --out DIR"),
    "figure-ranking": (
        "The ranking of whole networks: all their layers",
        "python -m dibench sweep networks --out DIR, run to its end",
    ),
    "figure-held-out": (
        "Predicted against measured networks of unseen families",
        "python -m dibench sweep networks --out DIR, run to its end",
    ),
    "figure-generality-": (
        "Distributions over subsets: layers of several networks",
        "python -m dibench sweep networks --out DIR",
    ),
}


def missing_section(sections: Iterable[Section], study: Study) -> list[Section]:
    """One line a figure that is not among those of the sections; nothing where all are."""
    idents = [panel.ident for section in sections for panel in section.panels]
    lines = [
        f"{what}: {command}."
        for start, (what, command) in _FIGURES.items()
        if not any(ident.startswith(start) for ident in idents)
    ]
    if not (study.fit or {}).get("evidence"):
        lines.insert(
            0, "Measured energy: python -m dibench doctor says what a machine can measure, and what it lacks."
        )
    if study.cards is None:
        lines.append("Another card beside this one: the same sweep there, both tables in one.")
    if not lines:
        return []
    return [Section("missing", "Missing", "What is missing here, and what brings it?", [], [], lines)]
