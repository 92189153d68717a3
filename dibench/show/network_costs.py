"""What two networks cost by the fit, split by term; `predict` and `explain` do it for any network."""

from __future__ import annotations

from dibench import models
from dibench.show import cost_bars
from dibench.show.blocks import Section
from dibench.show.parts import Study, section_of
from dibench.study.use.explain import terms_of
from dibench.study.use.fitted_model import fitted_model
from dibench.study.use.predict import predict

SHOWN = ("resnet50", "mobilenet_v2")
"""One of standard layers, one of depthwise ones."""

BATCH = 8


def sections(study: Study) -> list[Section]:
    """Each network by operator and term, then both side by side; none where DI cannot predict."""
    fit = None if study.fit is None else fitted_model(study.fit, "di_weighted")
    if fit is None:
        return []
    kind = "time" if fit.origin.is_time else "energy"
    networks = [models.load(name, batch=BATCH) for name in SHOWN]
    found = predict(networks, fit).predictions
    drawn = [
        cost_bars.operator_bars(one, terms_of(network, fit), kind, page_name=_name(one.network))
        for network, one in zip(networks, found, strict=True)
    ]
    drawn.append(cost_bars.side_by_side(found, kind, page_name=_name("compared")))
    lead = (
        f"Predicted by weighted DI as fitted here. {fit.origin.basis} "
        "`python -m dibench predict` and `explain` do it for any network."
    )
    return [section_of("costs", "Costs", "What is a network's cost made of?", [lead], drawn)]


def _name(what: str) -> str:
    return f"cost-{what}".replace("_", "-")
