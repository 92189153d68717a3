"""The changes that `explain` ranks first, measured: layers that leave and layers that take their place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import numpy as np
import pandas as pd

from dibench import models
from dibench.layer import DIMENSIONS, Layer
from dibench.models import Model
from dibench.study.findings.explanation import Saving
from dibench.study.findings.fitted_model import FittedModel
from dibench.study.use.compare_rows import fastest, measured
from dibench.study.use.explain import explain
from dibench.study.use.redesign import changes

NETWORKS = ("resnet50", "mobilenet_v2")
BATCHES = (1, 8, 32)
"""As `explain` tries them; the first is that of the network."""
MOST = 10


@attrs.frozen
class Ranked:
    """One change of a network at batch 1, as `explain` ranks it, and its layers."""

    network: str
    saving: Saving
    before: tuple[Layer, ...]
    after: tuple[Layer, ...]
    batch_after: int
    """Inferences of `after`, over which its cost is shared."""


@attrs.frozen
class Checked:
    """A change with what was measured: seconds of one inference."""

    ranked: Ranked
    before_s: float
    saved_s: float

    @property
    def inside(self) -> bool:
        """Whether the measured saving lies in the interval of the predicted one."""
        return self.ranked.saving.saved.low <= self.saved_s <= self.ranked.saving.saved.high


def ranked(name: str, fit: FittedModel) -> Iterator[Ranked]:
    """The first changes that `explain` shows: of each knob at each place the setting that saves most."""
    network, *others = (models.load(name, batch=batch) for batch in BATCHES)
    made = {(one.knob, one.setting, one.where): one for one in changes(network.layers)}
    shown: dict[tuple[str, str], Saving] = {}
    for saving in explain(network, fit, batches=others).savings:
        shown.setdefault((saving.knob, saving.where), saving)
    for saving in list(shown.values())[:MOST]:
        if saving.knob == "batch":
            yield _of_batch(network, others, saving)
        else:
            change = made[saving.knob, saving.setting, saving.where]
            before = tuple(network.layers[row] for row in change.removed)
            yield Ranked(name, saving, before, change.added, 1)


def _of_batch(network: Model, others: Sequence[Model], saving: Saving) -> Ranked:
    (other,) = (one for one in others if saving.setting.startswith(f"{one.batch} in place"))
    return Ranked(network.name, saving, network.layers, other.layers, other.batch)


def write_plan(path: Path, found: Sequence[Ranked]) -> None:
    """A plan of every shape that the changes need, each once."""
    layers = {layer.shape: layer for one in found for layer in (*one.before, *one.after)}
    rows = "".join(f'    "{layer}",\n' for layer in layers.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"[[layers]]\nlayers = [\n{rows}]\n\n[[kernels]]\nfast = true\n", encoding="utf-8")


def checked(found: Sequence[Ranked], frame: pd.DataFrame) -> Iterator[Checked]:
    """The changes of which every layer was measured."""
    rows = fastest(measured(frame))
    shapes = map(tuple, rows[list(DIMENSIONS)].to_numpy(dtype=np.int64).tolist())
    seconds = dict(zip(shapes, rows["time_s"].tolist(), strict=True))
    for one in found:
        if all(layer.shape in seconds for layer in (*one.before, *one.after)):
            before = sum(seconds[layer.shape] for layer in one.before)
            after = sum(seconds[layer.shape] for layer in one.after) / one.batch_after
            yield Checked(one, before, before - after)


def show(found: Sequence[Checked]) -> None:
    """Print each change, the share that it saves as predicted and as measured, as Markdown."""
    print("| network | change | where | predicted (95%) | measured | inside |")
    print("|:--|:--|:--|--:|--:|:--|")
    ratios = []
    for one in found:
        saving = one.ranked.saving
        assert saving.share is not None  # only where a part of the network cannot be predicted
        ratios.append(one.saved_s / saving.saved.value)
        whole = saving.saved.value / saving.share
        low, high = (100 * end / whole for end in (saving.saved.low, saving.saved.high))
        predicted = f"{100 * saving.share:.0f}% ({low:.0f} to {high:.0f})"
        print(
            f"| {one.ranked.network} | {saving.knob}: {saving.setting} | {saving.where} | {predicted} "
            f"| {100 * one.saved_s / whole:.0f}% | {'yes' if one.inside else 'no'} |"
        )
    inside = sum(one.inside for one in found)
    print(
        f"\n{inside} of {len(found)} inside; measured savings are {np.median(ratios):.2f} of the predicted "
        f"ones (median; {min(ratios):.2f} to {max(ratios):.2f}); shares are of the predicted cost"
    )
