"""Any network as a `Model`: one of the 25, a table, an ONNX file, a PyTorch module.

Call `load(source)`. Only shapes are used, never the values of weights. No pickle is ever loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from dibench import networks
from dibench.errors import UserError
from dibench.layer import Layer
from dibench.models.formats import check_suffix
from dibench.models.inputs import at_batch
from dibench.models.model import Model, NotCovered
from dibench.models.named import TABLES, is_model, split_layer
from dibench.models.table import model_name, read_table

__all__ = ["Model", "NotCovered", "find", "is_model", "load"]

MOST_IMAGES = 2**20


def load(
    source: str | Path | Any, *, batch: int | None = None, shapes: Mapping[str, str] | None = None
) -> Model:
    """The model behind a name, a file or a module.

    Args:
        source: a network of `python -m dibench networks`; the path of an .onnx file or of a table of layers
            (.csv, .tsv, .gz, .parquet); `module:callable` or `file.py:callable` that gives a
            `torch.nn.Module`; or such a module.
        batch: images in one inference; None: what the source says, or 1.
        shapes: shape of each input by its name ("" is the only or first one), such as `"1,3,224,224"`,
            with `:int64` behind it where a PyTorch module does not take floats. They replace those in a file.
            `N` in a shape is the batch (`"128,N,512"`), and so is a 1 in front where a batch is given.

    Raises:
        UserError: there is no such source, or it cannot be read; the message is one line.

    >>> load("resnet50", batch=8).macs
    32713474048
    """
    if batch is not None and not 1 <= batch <= MOST_IMAGES:
        raise UserError("--batch", f"must be from 1 to {MOST_IMAGES}", batch)
    sized, marked = at_batch(shapes or {}, batch)
    model = _read(source, None if marked else batch, sized)
    return attrs.evolve(model, batch=marked) if marked else model


def find(name: str, *, batch: int | None = None, shapes: Mapping[str, str] | None = None) -> Layer:
    """One layer of a model: `network/layer`, `net.onnx/layer`, `nets.py:make/layer`.

    Args:
        name: the model as `load` takes it, a slash, and the layer as `layers` shows it.
        batch: see `load`.
        shapes: see `load`.

    Raises:
        UserError: no such model, or no such layer in it; the message names the nearest.

    >>> find("resnet50/layer1.0.conv2", batch=8).N
    8
    """
    source, wanted = split_layer(name)
    model = load(source, batch=batch, shapes=shapes)
    known = {layer.name.partition("/")[2]: layer for layer in model.layers}
    if wanted in known:
        return known[wanted]
    for part in model.not_covered:
        if part.name.partition("/")[2] == wanted:
            raise UserError("layer", f"{part.name} is {part.op}, no layer: {part.reason}")
    raise UserError("layer", f"must be a layer of {source}{networks.nearest(wanted, known)}", wanted)


def _read(source: Any, batch: int | None, shapes: Mapping[str, str]) -> Model:
    """The model by the reader of its kind of source."""
    if not isinstance(source, (str, Path)):
        from dibench.models import torch as from_torch

        return from_torch.read(source, batch, shapes)
    text = str(source)
    suffix = Path(text).suffix.lower()
    check_suffix(Path(text))
    if suffix == ".onnx":
        from dibench.models import onnx as from_onnx

        return from_onnx.read(Path(text), batch, shapes)
    is_table = suffix in TABLES or (":" in text and Path(text).is_file())
    if ":" in text and not is_table:
        from dibench.models import torch as from_torch

        return from_torch.read(text, batch, shapes)
    if shapes:
        raise UserError("--input-shape", "must stand with an ONNX file or a PyTorch module, tables have none")
    if is_table:
        name, layers = model_name(Path(text)), read_table(Path(text))
    else:
        name, layers = text, networks.load(text)
    # Tables are at batch 1, but a linear layer inside a network may have several rows an image.
    layers = tuple(layer.with_batch(layer.N * (batch or 1)) for layer in layers)
    return Model(name=name, batch=batch or 1, layers=layers)
