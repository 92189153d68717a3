"""What two networks cost by the fit, split by term; `predict` and `explain` do it for any network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench.show import cost_bars
from dibench.show.blocks import Section, Sentence

if TYPE_CHECKING:
    from dibench.study.findings.prediction import NetworkCosts


def sections(found: NetworkCosts | None) -> list[Section]:
    """Each network by operator and term, then all side by side; none without costs."""
    if found is None:
        return []
    predicted, kind = found.predictions, "time" if found.origin.is_time else "energy"
    drawn = [
        cost_bars.operator_bars(one, terms, kind, page_name=_name(one.network))
        for one, terms in zip(predicted, found.terms, strict=True)
    ]
    drawn.append(cost_bars.side_by_side(predicted, kind, page_name=_name("compared")))
    lead = (
        f"Predicted by weighted DI as fitted here. {found.origin.basis} "
        "`python -m dibench predict` and `explain` do it for any network."
    )
    question = "What is a network's cost made of?"
    return [Section("costs", "Costs", question, [Sentence(lead), *drawn])]


def _name(what: str) -> str:
    return f"cost-{what}".replace("_", "-")
