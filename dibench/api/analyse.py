"""`dibench.layers`, `fit`, `predict`, `explain`, `compare`: look at models and tables, and use a fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import attrs

from dibench.api.batches import AtBatches, Batch, at_batches, sizes_of
from dibench.api.inputs import Network, Table, fitted_of, frame_of, model_of
from dibench.api.results import (
    ComparisonResult,
    ExplanationResult,
    FitResult,
    Layers,
    PredictionResult,
)
from dibench.api.shown import shown_as
from dibench.api.words import errors_in_python

if TYPE_CHECKING:
    from dibench import study
    from dibench.models.inputs import InputShape
    from dibench.study.findings.fitted_model import FittedModel


@overload
def layers(model: Network, *, batch: int | None = None, input_shape: InputShape = ()) -> Layers: ...


@overload
def layers(model: Network, *, batch: Sequence[int], input_shape: InputShape = ()) -> AtBatches[Layers]: ...


@errors_in_python
def layers(
    model: Network, *, batch: Batch = None, input_shape: InputShape = ()
) -> Layers | AtBatches[Layers]:
    """The layers of a model: shapes, MACs, elements, reuse, intensity, and what is no layer.

    Args:
        model: a network of `dibench networks`; a path of an .onnx file or of a table of layers;
            `module:callable`, `file.py:callable`, `torchvision:NAME`, `timm:NAME`; a `torch.nn.Module`;
            or a `Layer`, or several.
        batch: images in one inference; without it what the model says, else 1; or several.
        input_shape: of an ONNX file's or a module's inputs: `(1, 3, 224, 224)`, `"1,3,224,224"`,
            `"ids=1,77:int64"`; several as a list.

    Returns:
        A sequence of `Layer`, with `.to_frame()`, `.macs`, `.not_covered` and what every result has; of
        several batch sizes such a result by size.

    Raises:
        dibench.errors.UserError: there is no such model, or it cannot be read.

    >>> found = layers("resnet50", batch=8)
    >>> len(found), found[2].name, found.macs
    (54, 'resnet50/layer1.0.conv2', 32713474048)
    """
    return at_batches(batch, lambda size: shown_as(Layers, model_of(model, size, input_shape)))


# Wide because each parameter chooses rows or draws.
@errors_in_python
def fit(
    *tables: Table | Sequence[Table],
    device: str | None = None,
    backend: str | None = None,
    dtype: str | None = None,
    networks: bool | None = None,
    draws: int = 9999,
    seed: int = 20200806,
) -> FitResult:
    """Fit MACs, time, AI and DI to what was measured, and weigh AI against DI.

    Args:
        tables: a `sweep.csv`, the directory of a sweep, anybody's table of the CSV contract, a frame; several
            are taken together.
        device: use only its rows; needed where there are several.
        backend: use only its rows.
        dtype: use only rows of this data type.
        networks: fit the rows of whole networks; by default only where no layer was measured.
        draws: bootstrap draws of each test; fewer are faster.
        seed: of the draws.

    Returns:
        `.verdict`, `.alpha.weighted.value`, `.models`, …; `.summary()` (the answer as text), `.full()` (all
        that is behind it), `.plot()`, `.to_frame()` (rows with predictions), `.to_json()` (every
        figure, which `predict` reads back).

    Raises:
        dibench.errors.UserError: no row can be fitted, or several devices need a choice.

    >>> found = fit("results/local/networks")  # doctest: +SKIP
    >>> found.verdict, found.alpha.weighted.value  # doctest: +SKIP
    ('undecided', 0.4)
    """
    from dibench import study

    frame = frame_of(tables)
    found = study.fit(
        frame, device=device, backend=backend, dtype=dtype, networks=networks, draws=draws, seed=seed
    )
    return shown_as(FitResult, found)


@errors_in_python
def predict(
    model: Network | Sequence[Network],
    *,
    fit: study.Fit | Table,
    batch: Batch = None,
    by: str = "di_weighted",
    input_shape: InputShape = (),
    measured: Table | None = None,
    library: study.Fit | Table | None = None,
) -> PredictionResult:
    """Predict what networks cost on the device of a fit: per layer, operator and inference, with intervals.

    Args:
        model: as of `layers`; a list of names or models compares them.
        fit: what `dibench.fit` gave, the JSON of one, or a table that is fitted now.
        batch: one batch size or several.
        by: which model of the fit: `macs`, `ai`, `di_weighted` or `di_disjoint`.
        input_shape: as of `layers`.
        measured: a table of whole networks to hold the prediction against.
        library: a fit, as `fit` is, of rows of PyTorch's library on the same device: its costs beside ours.

    Returns:
        `.predictions`, one for each network and batch, with `.library` beside it; `.summary()`, `.full()`,
        `.to_frame()`, `.to_json()`, `.plot()`.

    Raises:
        dibench.errors.UserError: no such model, or the fit cannot predict it.

    >>> predict("resnet50", fit="fit.json", batch=[1, 8])  # doctest: +SKIP
    """
    from dibench.study.use.predict_all import predict_all
    from dibench.table import manifest_beside

    fitted = fitted_of(fit, by)
    theirs = None if library is None else fitted_of(library, by)
    models = _several(model)
    wanted = [model_of(one, size, input_shape) for one in models for size in sizes_of(batch)]
    found = predict_all(
        wanted,
        fitted,
        library=theirs,
        measured=None if measured is None else frame_of(measured),
        manifests=(manifest_beside(fit), manifest_beside(measured)),
    )
    return shown_as(PredictionResult, found)


@overload
def explain(
    model: Network,
    *,
    fit: study.Fit | Table,
    batch: int | None = None,
    by: str = "di_weighted",
    input_shape: InputShape = (),
) -> ExplanationResult: ...


@overload
def explain(
    model: Network,
    *,
    fit: study.Fit | Table,
    batch: Sequence[int],
    by: str = "di_weighted",
    input_shape: InputShape = (),
) -> AtBatches[ExplanationResult]: ...


@errors_in_python
def explain(
    model: Network,
    *,
    fit: study.Fit | Table,
    batch: Batch = None,
    by: str = "di_weighted",
    input_shape: InputShape = (),
) -> ExplanationResult | AtBatches[ExplanationResult]:
    """Say what each layer's cost is made of, and which changes of the design would save most.

    Args:
        model, input_shape: as of `layers`.
        fit, by: as of `predict`.
        batch: images in one inference, or several sizes.

    Returns:
        `.savings`, most first; `.terms` of each layer; `.summary()`, `.full()`, `.to_frame()`, `.to_json()`,
        `.plot()`;
        of several batch sizes such a result by size.

    Raises:
        dibench.errors.UserError: no such model, or the fit cannot predict it.

    >>> explain("resnet50", fit="fit.json").savings[0].where  # doctest: +SKIP
    'the whole network'
    """
    fitted = fitted_of(fit, by)
    return at_batches(batch, lambda size: _explained(model, fitted, size, input_shape))


def _explained(
    model: Network, fitted: FittedModel, batch: int | None, input_shape: InputShape
) -> ExplanationResult:
    from dibench.study.use.explain import explain as engine
    from dibench.study.use.explain import other_batches

    network = model_of(model, batch, input_shape)
    others, refused = other_batches(lambda size: model_of(model, size, input_shape), network.batch)
    not_tried = [f"Batch {size} was not tried: {error}" for size, error in refused.items()]
    found = engine(network, fitted, batches=others, dtypes=[])
    return attrs.evolve(shown_as(ExplanationResult, found), not_tried=tuple(not_tried))


@errors_in_python
def compare(before: Table, after: Table, *, margin: float | None = None) -> ComparisonResult:
    """Compare two sweeps case by case: what got worse, or better, beyond noise.

    Where both have a manifest that tells the machine's usual paces, times of `after` are stated at those of
    `before` first.

    Args:
        before: a table, a directory or a frame.
        after: what may have got worse.
        margin: a change counts from this on, 0.03 for 3%; without it, chosen from the noise.

    Returns:
        `.verdict` (`worse`, `not worse` or `too noisy`), `.quantities`; `.summary()`, `.full()`,
        `.to_frame()`, `.plot()` (of each case the ratio with its interval).

    Raises:
        dibench.errors.UserError: the tables have no case and no layer in common.

    >>> compare("results/local/before", "results/local/after").verdict  # doctest: +SKIP
    'not worse'
    """
    from dibench.study.use.compare import compare as engine
    from dibench.table import manifest_beside

    tables, manifests = map(frame_of, (before, after)), (manifest_beside(before), manifest_beside(after))
    return shown_as(ComparisonResult, engine(*tables, margin=margin, manifests=manifests))


def _several(model: Network | Sequence[Network]) -> list[Network]:
    """A list of names or models is several networks, one of layers is one."""
    from dibench.layer import Layer

    if isinstance(model, list | tuple) and model and not all(isinstance(one, Layer) for one in model):
        return list(model)
    return [model]
