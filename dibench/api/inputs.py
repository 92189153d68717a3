"""What a caller has at hand (a path, a frame, a layer, a model, a result) as what the engines take."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dibench.errors import UserError
from dibench.layer import Layer

if TYPE_CHECKING:
    import pandas as pd

    from dibench import study
    from dibench.models import Model
    from dibench.models.inputs import InputShape
    from dibench.study.findings.fitted_model import FittedModel

Table: TypeAlias = "str | os.PathLike[str] | pd.DataFrame"
"""A `sweep.csv` or anybody's table, the directory of a sweep, a result of `dibench.sweep`, or a frame."""

Network: TypeAlias = "str | os.PathLike[str] | Layer | Iterable[Layer] | Model | Any"
"""A network's name, `network/layer`, a file, a module, a `Layer`, several, or what `dibench.layers` gave."""

_PREDICTS = 99  # draws: a prediction rests on no bootstrap


def frame_of(table: Table | Sequence[Table | Sequence[Table]]) -> pd.DataFrame:
    """One frame of a table, or of several.

    Raises:
        UserError: it is no table, or breaks the contract.
    """
    import pandas as pd

    from dibench.table import load

    if isinstance(table, pd.DataFrame):
        return table
    if isinstance(table, str | os.PathLike):
        return load(Path(table))
    if isinstance(table, list | tuple) and table:
        frames = [frame_of(one) for one in table]
        return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    raise UserError("table", "must be a path, a frame, or a list of them", type(table).__name__)


def model_of(network: Network, batch: int | None = None, input_shape: InputShape = ()) -> Model:
    """The model that is meant, at this batch size.

    Raises:
        UserError: there is none of that name, or it cannot be read.
    """
    from dibench import models
    from dibench.models.inputs import as_texts, parse_inputs

    if isinstance(network, Layer):
        network = [network]
    if isinstance(network, models.Model):
        if batch is not None and batch != network.batch:
            raise UserError("batch", f"is {network.batch} in these layers: load them at another", batch)
        return network
    if isinstance(network, list | tuple):
        return _of_layers(network, batch)
    shapes = parse_inputs(as_texts(input_shape))
    if isinstance(network, str) and not Path(network).exists():
        if "=" in network:
            return _of_layers([Layer.parse(network)], batch)
        if models.named.split_layer(network)[1]:
            return _of_layers([models.find(network, batch=batch, shapes=shapes)], None)
    return models.load(network, batch=batch, shapes=shapes)


def _of_layers(layers: Sequence[Any], batch: int | None) -> Model:
    from dibench.models import Model

    for one in layers:
        if not isinstance(one, Layer):
            raise UserError("layers", "must be dibench.Layer each", type(one).__name__)
    if not layers:
        raise UserError("layers", "must be at least one")
    if batch is not None:
        layers = [one.with_batch(batch * one.N) for one in layers]
    batches = {one.N for one in layers}
    name = layers[0].name.partition("/")[0] if len(layers) > 1 else layers[0].name
    return Model(name=name or "layers", batch=min(batches), layers=tuple(layers))


def fitted_of(fit: study.Fit | Table, by: str) -> FittedModel:
    """One model of a fit: of a result, of a path as the command line's `--fit`, or fitted now to frames.

    Raises:
        UserError: there is no such model in it, or nothing can be fitted.
    """
    from dibench import study
    from dibench.study.findings.fitted_model import PREDICTORS
    from dibench.study.use import fitted_model

    if isinstance(fit, str | os.PathLike):
        found = fitted_model.open_fitted_model(Path(fit), by)
        if said := fitted_model.outdated(Path(fit)):
            warnings.warn(said, stacklevel=4)
        return found
    if by not in PREDICTORS:
        raise UserError("by", f"must be one of {', '.join(PREDICTORS)}", by)
    made = fit if isinstance(fit, study.Fit) else study.fit(frame_of(fit), draws=_PREDICTS)
    known = fitted_model.fitted_model(made, by)
    if known is None:
        of_networks = "it is of whole networks, whose joules also hold what runs between layers"
        why = of_networks if made.rows_are == "networks" else made.models[by].reason or "too few rows"
        raise UserError("fit", f"cannot predict layers by {by}: {why}")
    return known
