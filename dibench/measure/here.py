"""This machine, opened to measure layers on it now: device, meter and peaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from dibench import backends
from dibench.backends import Device
from dibench.errors import UserError
from dibench.measure.instrument import Instrument, open_sensor
from dibench.measure.settings import Settings


@attrs.frozen
class Here:
    """Opened with `open_here`."""

    instrument: Instrument
    device: Device
    peaks: Mapping[str, Any]
    """`mac_per_s` and `bytes_per_s`, measured at the start: PyTorch's kernels may take the device down."""
    why_no_energy: str
    """Empty where a sensor is read."""


def open_here(backend: str, meter: str) -> Here:
    """Device and meter.

    Args:
        backend: `auto`, `cuda` or `cpu`.
        meter: `auto`, `none`, or a sensor; never a model.

    Raises:
        UserError: one of them is not known, or refuses.
    """
    resolved = backends.resolve(backend)
    if resolved == "torch":
        rule = (
            "must be auto, cuda or cpu: PyTorch's library is measured beside our kernels if it is installed"
        )
        raise UserError("--backend", rule, backend)
    instrument, why_not = open_sensor(resolved, meter, Settings())
    return Here(instrument, instrument.backend.device(), dict(instrument.backend.peaks()), why_not)
