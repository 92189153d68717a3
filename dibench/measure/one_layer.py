"""One layer measured with the fastest kernel of its operator, and beside it with PyTorch's library."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from dibench.backends.base import DeviceError
from dibench.errors import UserError
from dibench.schema import Row

if TYPE_CHECKING:
    from dibench.backends import Prepared
    from dibench.layer import Layer
    from dibench.measure.instrument import Instrument


@attrs.frozen
class Measured:
    """One way to run the layer, and what was measured."""

    name: str
    row: Row


def measure_layer(instrument: Instrument, layer: Layer) -> list[Measured]:
    """The fastest of our kernels, then PyTorch's where it is installed."""
    return [_ours(instrument, layer), *_peer(instrument, layer)]


def _ours(instrument: Instrument, layer: Layer) -> Measured:
    from dibench import kernels
    from dibench.plan import usual_case

    backend = instrument.backend
    registry = kernels.registry(backend.name).values()
    running = [v for v in registry if layer.op in v.ops and "fp32" in v.dtypes]
    fast = [v for v in running if v.fast] or running
    results = [Measured(v.name, _measured(backend.prepare(usual_case(layer, v)), instrument)) for v in fast]
    return min(results, key=lambda one: one.row.time_s or math.inf)


def _peer(instrument: Instrument, layer: Layer) -> list[Measured]:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        return []
    from importlib.metadata import version

    name = f"PyTorch {version('torch').partition('+')[0]}"
    try:
        return [Measured(name, _measured(_in_pytorch(instrument, layer), instrument))]
    except (UserError, DeviceError) as error:  # ours is measured, and is shown whatever became of the peer
        return [Measured(name, Row(status="failed", reason=str(error)))]


def _in_pytorch(instrument: Instrument, layer: Layer) -> Prepared:
    if instrument.backend.name == "cpu":
        from dibench.backends.torch import TorchLayer

        return TorchLayer(layer)
    from dibench.backends.torch_gpu import TorchGpuLayer

    return TorchGpuLayer(layer)


def _measured(prepared: Prepared, instrument: Instrument) -> Row:
    try:
        return instrument.measured(prepared)
    finally:
        prepared.close()
