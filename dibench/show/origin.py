"""What predictions stand on: which quantity they are, by which model of which fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from dibench.numbers import percent
from dibench.show.blocks import Block, Note, Sentence
from dibench.words import MODEL_NAMES, gain_text

if TYPE_CHECKING:
    from dibench.layer import Layer
    from dibench.study.findings.fitted_model import Origin
    from dibench.study.findings.prediction import Prediction

_ABOVE = {"energy_above_active_idle_j": " above active idle", "energy_above_idle_j": " above idle"}


def introduction(origin: Origin, source: str) -> list[Block]:
    """What is predicted, by which model of which fit.

    Args:
        origin: the fit.
        source: the file it was read from.
    """
    setting = f"{origin.dtype or 'data type not given'}, {', '.join(origin.energy_source)}; {source}"
    by = f"predicted by {MODEL_NAMES[origin.model]}, fitted on {origin.device} ({setting})"
    blocks: list[Block] = [Sentence(f"**{_quantity(origin)}**, {by}", "" if origin.measured else "warn")]
    if origin.is_time:
        blocks.append(Sentence("The rows of that fit have no measured energy: these are seconds, no joules."))
    elif origin.measured:
        blocks.append(Sentence(gain_text(origin.gain_accuracy)))
    return blocks


def _quantity(origin: Origin) -> str:
    """What is predicted: time and modelled joules must not pass for measured energy."""
    if origin.is_time:
        return "Time (not energy)"
    kind = "Energy" if origin.measured else "PIPELINE CHECK, not a prediction of any device. Modelled energy"
    if origin.energy_source == ("simulated",):
        kind = kind.replace("Modelled", "Simulated")
    return kind + _ABOVE.get(origin.response, ", gross")


def kind_of(origin: Origin) -> str:
    """What figures call the predicted quantity."""
    if origin.is_time:
        return "predicted time"
    return "predicted energy" if origin.measured else "energy, PIPELINE CHECK only"


def costliest(found: Prediction, most: int) -> list[int]:
    """Positions of the costliest layers in execution order; layers without a prediction come last."""
    cost = np.array([layer.value if layer.known else 0.0 for layer in found.layers])
    return sorted(np.argsort(-cost, kind="stable")[:most].tolist())


def coverage(found: Prediction) -> list[Block]:
    """What a network's total holds and what it leaves out."""
    blocks: list[Block] = []
    if found.unpredicted_operators:
        lost = [one.layer for one in found.layers if one.layer.op in found.unpredicted_operators]
        part = percent(_macs(lost) / max(_macs(one.layer for one in found.layers), 1))
        blocks.append(
            Sentence(
                f"{found.network}: no {', '.join(found.unpredicted_operators)} layer is in the fit; "
                f"{len(lost)} layers, {part} of the MACs, are in no total.",
                "warn",
            )
        )
    blocks.append(Sentence(f"{found.network} {found.coverage}"))
    blocks += [Note(f"not covered: {part.name} ({part.op}): {part.reason}") for part in found.not_covered]
    return blocks


def _macs(layers: Iterable[Layer]) -> int:
    return sum(layer.macs for layer in layers)
