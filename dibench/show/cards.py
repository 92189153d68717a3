"""Several cards: what they say together, the gain of each over the first, and how their α differ."""

from __future__ import annotations

from dibench.show.blocks import Section
from dibench.show.parts import Json, section_of
from dibench.words import gain_text, gains_text, interval


def sections(together: Json | None) -> list[Section]:
    """In words, as the figure of α shows the rest; none of one card.

    Args:
        together: `whole.Several.figures`.
    """
    if together is None:
        return []
    shown = "Claims, α, twins, lattice and networks stand here of each card"
    if "gains" in together:
        lines = [f"{shown}, and first of all cards as one, as the rest of this page. {gains_text(together)}"]
    else:
        lines = [f"{shown}; the rest of this page is about the card with most rows, never pooled silently."]
    joint = together["joint"]
    if joint:
        gains = ", ".join(map(gain_text, joint["cards"], joint["gains"]))
        lines.append(f"Fitted together with a gain per card: {gains}.")
    else:
        lines.append(f"Not fitted together: {together['why_not_joint'] or 'the rows do not tell'}.")
    for card in together["cards"]:
        if card["why_not"]:
            lines.append(f"{card['label']} could not be fitted: {card['why_not']}.")
    for one in together["differences"]:
        lines.append(f"α of {one['first']} less that of {one['second']}: {interval(one['alpha'])}.")
    return [section_of("cards", "Cards", "Do all cards say the same?", lines)]
