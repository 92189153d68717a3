"""Rows of whole networks: whether they have the counts that a fit needs, and where these come from.

A network's counts are sums over its layers (`schema.network_counts`). A row without them gets those that its
name stands for: the published layers of one of the 25, at their own input, or the PyTorch module that
`module:callable` builds, as `torchvision:resnet50` in our own sweeps. A module whose layers are less than 95%
of its multiply-adds gets none: its joules are of the whole, and the sums would not be.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench import models, networks
from dibench.errors import UserError
from dibench.intensity import OPERATORS
from dibench.schema import NETWORK, network_counts
from dibench.study.table.catalogue import REQUIRED_SHARE
from dibench.study.table.columns import macs_by_operator, numbers, texts

if TYPE_CHECKING:
    import pandas as pd

Mask = NDArray[np.bool_]

NEEDED = ("macs", "weights", "outputs")
"""Counts without which a row says nothing of AI or DI; inputs may be taken as many as outputs."""

FROM_NAME = "counts_from_name"
"""Column that marks rows whose counts follow from their names."""


def only_networks(frame: pd.DataFrame) -> bool:
    """Whether a table has measured rows of whole networks, and none of layers."""
    measured = texts(frame, "op")[np.isin(texts(frame, "status").astype(str), ("ok", "flagged"))]
    return bool((measured == NETWORK).any()) and not np.isin(measured.astype(str), OPERATORS).any()


def with_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of networks, with the counts that their names stand for where they have none of their own."""
    lacking = np.flatnonzero(without_counts(frame))
    if not len(lacking):
        return frame
    frame = frame.reset_index(drop=True)
    found: dict[int, dict[str, int]] = {}
    names, batches = texts(frame, "name"), numbers(frame, "N")
    sizes = np.column_stack([numbers(frame, dim) for dim in ("C", "H", "W")])
    for row in lacking.tolist():
        batch = int(batches[row]) if batches[row] >= 1 else 1
        known = sizes[row] if np.isfinite(sizes[row]).all() else ()
        if own := _by_name(names[row], batch, tuple(int(size) for size in known)):
            found[row] = own
    for column in sorted({column for own in found.values() for column in own}):
        values = numbers(frame, column)
        for row, own in found.items():
            values[row] = own[column]
        frame[column] = values
    mark = np.zeros(len(frame), dtype=bool)
    mark[list(found)] = True
    return frame.assign(**{FROM_NAME: mark})


@cache
def _by_name(name: str, batch: int, size: tuple[int, ...]) -> dict[str, int]:
    """The counts of a network that the program knows; none of part of it, or at another input."""
    found = named_model(name, batch, size)
    if isinstance(found, str):
        return {}
    enough = found.covered.share_of_macs >= REQUIRED_SHARE and not found.covered.macs_unknown
    return network_counts(found.layers) if enough else {}


def named_model(name: str, batch: int, size: tuple[int, ...]) -> models.Model | str:
    """The network of a row, or why its layers are not known.

    Args:
        name: as in the row: one of the 25, or `module:callable`, as `torchvision:resnet50`.
        batch: images in one inference.
        size: C, H, W of its image; empty for the network's own.
    """
    published = name.removeprefix("torchvision:")  # those of the 25 that it has are its own
    if published in networks.names():
        found = models.load(published, batch=batch)
        if not size or size == found.image:
            return found
        if published == name:
            return "is published with another input"
    if ":" not in name:
        return "is no network that the program knows"
    try:
        return _at_batch(_built(name, size), batch) or _load(name, batch, size)
    except UserError as error:  # PyTorch is not installed, or builds no such network
        return str(error)


@cache
def _built(name: str, size: tuple[int, ...]) -> models.Model:
    """At batch 1; kept, as building takes half a second."""
    return _load(name, 1, size)


def _at_batch(found: models.Model, batch: int) -> models.Model | None:
    """The same at another batch size; None where that does not follow, as with tokens of an image."""
    if found.not_covered or any(layer.N != 1 for layer in found.layers):
        return None
    inputs = {name: (batch, *shape[1:]) for name, shape in found.input_shapes.items()}
    layers = tuple(layer.with_batch(batch) for layer in found.layers)
    return attrs.evolve(found, batch=batch, layers=layers, input_shapes=inputs)


def _load(name: str, batch: int, size: tuple[int, ...]) -> models.Model:
    return models.load(name, batch=batch, shapes={"": ",".join(map(str, (batch, *size)))} if size else {})


def without_counts(frame: pd.DataFrame) -> Mask:
    """Rows that lack a sum that the models need."""
    return np.asarray(~np.logical_and.reduce([numbers(frame, name) > 0 for name in NEEDED]))


def contradicts_itself(frame: pd.DataFrame) -> Mask:
    """Rows whose multiply-adds by operator do not add up to the whole."""
    summed, macs = macs_by_operator(frame).sum(axis=1), numbers(frame, "macs")
    return np.asarray(np.isfinite(summed) & (np.abs(summed - macs) > 1e-9 * macs))


def notes_on(frame: pd.DataFrame) -> tuple[str, ...]:
    """What the rows of a fit do not say, and what was done about it."""
    n = len(frame)
    by_operator = np.isfinite(macs_by_operator(frame)).all(axis=1)
    no_inputs = np.isnan(numbers(frame, "inputs"))
    told = {
        "have counts that follow from their names": numbers(frame, FROM_NAME, 0.0) > 0,
        "do not count inputs, taken as many as outputs (in the 25 networks 0.7 to 3.1 times)": no_inputs,
        "do not count multiply-adds by operator, so all operators have one e₀": ~by_operator,
        "do not count layers, so e_launch is that of a network": np.isnan(numbers(frame, "layers")),
    }
    return tuple(f"{rows.sum()} of {n} rows {what}" for what, rows in told.items() if rows.any())


def measured_models(frame: pd.DataFrame) -> tuple[list[models.Model], tuple[str, ...]]:
    """The networks of a table's rows, each at its batch and input, and in words which are not known."""
    rows = frame[frame["op"] == NETWORK]
    sizes = np.column_stack([numbers(rows, dim) for dim in ("C", "H", "W")])
    known = np.isfinite(sizes).all(axis=1)
    size = [tuple(map(int, one)) if told else () for one, told in zip(sizes, np.ravel(known), strict=True)]
    batch = [int(one) if one >= 1 else 1 for one in numbers(rows, "N")]
    found, unknown = list[models.Model](), dict[str, list[str]]()
    for name, N, image in dict.fromkeys(zip(texts(rows, "name").tolist(), batch, size, strict=True)):
        one = named_model(name, N, image)
        if isinstance(one, str):
            unknown.setdefault(one, []).append(name or "a row without a name")
        else:
            found.append(one)
    return found, tuple(f"{', '.join(dict.fromkeys(own))}: {why}" for why, own in unknown.items())
