"""What predictions stand on: which quantity they are, by which model of which fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dibench.numbers import count, share_text
from dibench.schema import LIBRARY
from dibench.show.blocks import Block, Sentence
from dibench.show.partial import not_covered, transposed_text
from dibench.words import MODEL_NAMES, gain_text

if TYPE_CHECKING:
    from dibench.study.findings.fitted_model import Origin
    from dibench.study.findings.prediction import Prediction

_ABOVE = {"energy_above_active_idle_j": " above active idle", "energy_above_idle_j": " above idle"}


def introduction(origin: Origin, source: str) -> list[Block]:
    """What is predicted, by which model of which fit.

    Args:
        origin: the fit.
        source: the file it was read from; empty where it was at hand.
    """
    through = "PyTorch's library, " if origin.backend == LIBRARY else ""
    setting = f"{through}{origin.dtype or 'data type not given'}, {', '.join(origin.energy_source)}"
    setting += f"; {source}" if source else ""
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
    """Positions of so many layers, the costliest first, the unpredicted last; of all layers as they run."""
    if most >= len(found.layers):
        return list(range(len(found.layers)))
    cost = np.array([layer.value if layer.known else 0.0 for layer in found.layers])
    return [int(row) for row in np.argsort(-cost, kind="stable")[:most]]


def coverage(found: Prediction) -> list[Block]:
    """What a network's total holds and what it leaves out."""
    blocks: list[Block] = []
    covered = found.covered
    if found.unpredicted_operators:
        lost = [one.layer for one in found.layers if one.layer.op in found.unpredicted_operators]
        macs = sum(layer.macs for layer in lost)
        part = f", {share_text(macs, covered.macs_known)} of the MACs," if covered.macs_known else ""
        blocks.append(
            Sentence(
                f"{found.network}: no {', '.join(found.unpredicted_operators)} layer is in the fit; "
                f"{count(len(lost), 'layer')}{part} are in no total.",
                "warn",
            )
        )
    if text := transposed_text(found):
        blocks.append(Sentence(text, "warn"))
    blocks += [Sentence(f"{found.network} {found.coverage}."), *not_covered(found.not_covered)]
    if covered.partial:
        blocks.append(
            Sentence(
                f"**{found.network} is predicted in part**: {covered.text}. It costs more than its total; "
                "how much more is not known.",
                "warn",
            )
        )
    return blocks
