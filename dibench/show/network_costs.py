"""What two networks cost by the fit, split by term; `predict` and `explain` do it for any network."""

from __future__ import annotations

from dibench import models
from dibench.errors import UserError
from dibench.show import cost_bars
from dibench.show.blocks import Section
from dibench.show.parts import Study, panel, section_of
from dibench.show.svg import to_svg
from dibench.study.use.explain import with_constant_power
from dibench.study.use.fitted_model import read_fitted_model
from dibench.study.use.predict import predict

SHOWN = ("resnet50", "mobilenet_v2")
"""One of standard layers, one of depthwise ones."""

BATCH = 8


def sections(study: Study) -> list[Section]:
    """Each network by operator and term, then both side by side; none where DI cannot predict."""
    try:
        fit = read_fitted_model(study.fit or {}, "di_weighted")
    except UserError:
        return []
    found = predict([models.load(name, batch=BATCH) for name in SHOWN], fit)
    drawn = [
        cost_bars.operator_bars(one, with_constant_power(one.costs, fit), fit.unit, fit.kind) for one in found
    ]
    drawn.append(cost_bars.comparison(found, fit.unit, fit.kind))
    panels = []
    for name, one in zip((*SHOWN, "compared"), drawn, strict=True):
        name = f"cost-{name}".replace("_", "-")
        svg = to_svg(one.figure, name, title=one.title, description=one.description)
        panels.append(panel(one.title, [], svg))
    lead = (
        f"Predicted by weighted DI as fitted here. {fit.basis} `python -m dibench predict` and `explain` do "
        "it for any network."
    )
    return [section_of("costs", "Costs", "What is a network's cost made of?", [lead], panels)]
