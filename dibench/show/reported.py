"""What `report` says on the terminal of the page that it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dibench.show import cards, fit_in_brief
from dibench.show.blocks import Block, Headline, Sentence
from dibench.show.sources import noise_banner

if TYPE_CHECKING:
    from dibench.show.studies import Contents


def plain(contents: Contents) -> dict[str, Any]:
    """What `fit --json` writes of the same table; `why_not` where nothing could be fitted."""
    first = contents.studies[0]
    found = contents.several or first.found
    return {"why_not": first.why_not} if found is None else found.to_json()


def brief(contents: Contents, source: str) -> list[Block]:
    """The answer of the page, how sure it is and what to do next.

    Args:
        contents: of the page.
        source: the table as `report` was given it, for commands to copy.
    """
    first, several = contents.studies[0], contents.several
    if several is not None and several.joined is None:
        return cards.brief(several, source)[:3]
    if first.found is not None:
        return [*fit_in_brief.blocks(first.found, source)[:3]]
    noisy = noise_banner(contents.studies)
    said: list[Block] = [Headline(f"No answer, as nothing can be fitted: {first.why_not}", "warn")]
    return [*said, Sentence(f"{noisy.title}. {noisy.text}", "warn")] if noisy else said
