"""One layer measured with the fastest kernel of its operator, and beside it with PyTorch's library."""

from __future__ import annotations

import math
from importlib import util
from typing import TYPE_CHECKING

import attrs

from dibench.backends.base import DeviceError
from dibench.errors import OutOfMemoryError, UserError
from dibench.measure.settings import Settings
from dibench.plan import usual_case
from dibench.schema import Row

if TYPE_CHECKING:
    from dibench.backends import Prepared
    from dibench.layer import Layer
    from dibench.measure.instrument import Instrument

ALONE = Settings(target=0.01, case_budget_s=4.0)
"""How exactly a layer is measured that is the only one."""


@attrs.frozen
class Measured:
    """One way to run the layer, and what was measured."""

    name: str
    row: Row


def measure_layer(instrument: Instrument, layer: Layer, settings: Settings | None = None) -> list[Measured]:
    """The fastest of our kernels, then PyTorch's where it is installed.

    Args:
        instrument: device and meter.
        layer: fp32; of a transposed convolution that whose gradient it is.
        settings: how long and how exactly each is measured; `ALONE` by default.

    Raises:
        UserError: no kernel of ours runs the layer here.
        DeviceError: the device refused.
    """
    layer, settings = layer.as_convolution, settings or ALONE
    return [_ours(instrument, layer, settings), *_peer(instrument, layer, settings)]


def has_peer() -> bool:
    """Whether PyTorch is installed."""
    return util.find_spec("torch") is not None


def _ours(instrument: Instrument, layer: Layer, settings: Settings) -> Measured:
    from dibench import kernels

    backend = instrument.backend
    registry = kernels.registry(backend.name).values()
    running = [v for v in registry if layer.op in v.ops and "fp32" in v.dtypes]
    found, refused = list[Measured](), list[UserError]()
    for variant in sorted(running, key=lambda one: not one.fast):
        if found and not variant.fast:
            break
        try:
            prepared = backend.prepare(usual_case(layer, variant))
        except OutOfMemoryError:
            raise
        except UserError as error:  # such as a filter larger than the kernel allows
            refused.append(error)
            continue
        found.append(Measured(variant.name, _measured(prepared, instrument, settings)))
        if not variant.fast:
            break
    if not found:
        raise refused[0] if refused else UserError("layer", f"must be one that a kernel runs, not {layer.op}")
    return min(found, key=lambda one: one.row.time_s or math.inf)


def _peer(instrument: Instrument, layer: Layer, settings: Settings) -> list[Measured]:
    if not has_peer():
        return []
    from importlib.metadata import version

    name = f"PyTorch {version('torch').partition('+')[0]}"
    try:
        return [Measured(name, _measured(_in_pytorch(instrument, layer), instrument, settings))]
    except (UserError, DeviceError) as error:  # ours is measured, and is shown whatever became of the peer
        return [Measured(name, Row(status="failed", reason=str(error)))]


def _in_pytorch(instrument: Instrument, layer: Layer) -> Prepared:
    if instrument.backend.name == "cpu":
        from dibench.backends.torch import TorchLayer

        return TorchLayer(layer)
    from dibench.backends.torch_gpu import TorchGpuLayer

    return TorchGpuLayer(layer)


def _measured(prepared: Prepared, instrument: Instrument, settings: Settings) -> Row:
    try:
        return instrument.measured(prepared, settings)
    finally:
        prepared.close()
