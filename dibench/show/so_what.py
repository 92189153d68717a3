"""The first screen of the page: what costs most, what a MAC costs, and whether reuse explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dibench.numbers import percent, plain
from dibench.show import fit_in_brief
from dibench.show.blocks import Block, Section, Sentence
from dibench.show.response import response_of
from dibench.study.findings.explanation import over_layers

if TYPE_CHECKING:
    from dibench.show.studies import Study
    from dibench.study.findings.prediction import NetworkCosts


def sections(study: Study, costs: NetworkCosts | None) -> list[Section]:
    """What the rows say in short; none where they could not be fitted, or are of whole networks.

    Args:
        study: of the card that the page is about first.
        costs: of two networks, by its fit.
    """
    if study.fit is None or study.found is None or study.fit.rows_are == "networks":
        return []
    answer, sure, *_ = fit_in_brief.blocks(study.found, "sweep.csv")
    made: list[Block] = [Sentence(f"**{answer.text}** {sure.text}")]
    made += [Sentence(text) for text in (_cheapest_to_dearest(study), _costliest(costs)) if text]
    made += fit_in_brief.descriptions(study.fit)
    return [Section("so-what", "In short", "What costs most here, and does reuse explain it?", made)]


def _cheapest_to_dearest(study: Study) -> str:
    """The median cost of a multiply-add by operator, and the dearest layer of all."""
    if not study.medians:
        return ""
    response = response_of(study.fit)
    ordered = sorted(study.medians, key=lambda op: study.medians[op])
    if len(ordered) == 1:
        (op,) = ordered
        return f"A multiply-add of {op} layers costs {plain(study.medians[op])} {response.unit} (median)."
    told = ", ".join(f"{op} {plain(study.medians[op])}" for op in ordered)
    said = f"A multiply-add, from the cheapest operator to the dearest: {told} {response.unit} (medians)."
    per_mac = study.used[response.per_mac].to_numpy(dtype=float)
    if not np.isfinite(per_mac).any():
        return said
    dearest = study.used.iloc[int(np.nanargmax(per_mac))]
    name = str(dearest["name"]).partition(";")[0] or "a layer without a name"
    return (
        f"{said} The dearest layer is {name} ({dearest['op']}), {plain(np.nanmax(per_mac))} {response.unit}."
    )


def _costliest(costs: NetworkCosts | None) -> str:
    """Where two well-known networks spend most, by the fit."""
    if costs is None:
        return ""
    told = []
    for one, terms in zip(costs.predictions, costs.terms, strict=True):
        sums = over_layers(terms)
        term = max(sums, key=lambda name: sums[name])
        known = [layer for layer in one.layers if layer.known]
        layer = max(known, key=lambda cost: cost.value)
        name = layer.layer.name.partition("/")[2]
        at = f"{one.network} at batch {one.batch}"
        spent = f"{at} spends {percent(sums[term] / sum(sums.values()))} on {term}"
        told.append(f"{spent}, and most in the layer {name} ({percent(layer.value / one.total.value)})")
    return f"By this fit, {'; '.join(told)}."
