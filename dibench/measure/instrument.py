"""A device with its meter, opened in the order that the meter needs; it measures prepared cases.

A GPU's own sensor is used in visits (`metering`), every other meter in windows (`windows`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs

from dibench import backends
from dibench.backends import Backend, Prepared
from dibench.errors import NoSensorError, UserError
from dibench.measure.budget import Pool
from dibench.measure.measurement import measurement
from dibench.measure.metering import Metering
from dibench.measure.pace import Pace, pace_of_cores
from dibench.measure.settings import Settings
from dibench.measure.visit import Visit, with_visits
from dibench.measure.window import WindowVisit
from dibench.measure.windows import visit_in_windows, waited_s
from dibench.meters import NOT_METERED, Meter, open_meter, without_sensor
from dibench.meters.base import MeterFacts, gain_accuracy_pct
from dibench.meters.gpu import GpuMeter
from dibench.schema import Row

_NO_COUNTS: Mapping[str, int] = MappingProxyType({})
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@attrs.frozen
class Instrument:
    """Opened with `open_instrument`."""

    backend: Backend
    meter: Meter | GpuMeter
    settings: Settings
    metering: Metering | None
    """Makes visits; None where the meter is used in windows."""

    @property
    def not_metered(self) -> str:
        """Why the model takes the place of a sensor; empty where it does not."""
        return str(self.meter.facts.get(NOT_METERED, ""))

    def visit(
        self, prepared: Prepared, settings: Settings, counts: Mapping[str, int] = _NO_COUNTS
    ) -> Visit | WindowVisit:
        """Visit a prepared case once.

        Args:
            prepared: what launches.
            settings: how long and how exactly, where windows are measured.
            counts: what one launch does, all instances together, for meters that calculate.

        Raises:
            DeviceFaultError: the GPU is lost.
        """
        if self.metering is not None:
            return self.metering.visit(prepared)
        assert not isinstance(self.meter, GpuMeter)
        # On a CPU other processes can take the cores away.
        waited = waited_s if self.backend.name in ("cpu", "torch") else lambda: 0.0
        return visit_in_windows(prepared, self.meter, settings, counts=counts, waited=waited, pace=self.pace)

    @functools.cached_property  # the backend reads its facts from files
    def pace(self) -> Pace | None:
        """The pace of this machine's cores; None where launches do not run on them."""
        on_cores = self.backend.name in ("cpu", "torch") and "threads" in self.backend.device().facts
        return pace_of_cores() if on_cores else None

    def measured(self, prepared: Prepared, settings: Settings | None = None) -> Row:
        """A row with what was measured at one visit, all instances together.

        Args:
            prepared: what launches.
            settings: in place of the instrument's own.
        """
        settings = settings or self.settings
        visit = self.visit(prepared, settings)
        if isinstance(visit, WindowVisit):
            return measurement([visit], settings).into(Row())
        pool = Pool()
        if visit.energy is not None:
            pool.add("case", visit.energy, visit.alternative)
        return with_visits(Row(), [visit], pool)

    def meter_facts(self) -> MeterFacts:
        """The meter as the manifest has it."""
        meter = self.meter
        return MeterFacts(
            meter.source, meter.period_s, meter.facts, self.metering is not None, gain_accuracy_pct(meter)
        )


def open_instrument(
    backend: str,
    meter: str,
    settings: Settings,
    idle: Mapping[str, Any] = _NOTHING,
    *,
    instead: str = "to go on without measured joules: --meter model or --meter none",
) -> Instrument:
    """Open device and meter: a GPU's idle power is measured before there is a context on it.

    Args:
        backend: a name of `dibench.backends.NAMES` other than auto, or `module:callable`.
        meter: a name of `dibench.meters.NAMES`, or `module:callable`. With `auto` a sensor that refuses gives
            way to the model, which then says in every row that nothing was metered.
        settings: how long and how exactly.
        idle: what is known of the GPU's idle power, as a GpuMeter's facts have it; nothing: it is measured.
        instead: what to do where the sensor that is named refuses, as its error ends.

    Raises:
        UserError: one of them cannot be opened; the message names the remedy.
    """
    try:
        chosen = open_meter(meter, backend, backends.device_uuid(backend))
    except NoSensorError as error:
        raise error.advised(instead) from None
    if not isinstance(chosen, GpuMeter):
        return Instrument(backends.open_backend(backend), chosen, settings, None)
    refusal = None
    try:
        if idle:
            chosen.take_idle(idle)
        else:
            chosen.measure_idle()
    except UserError as error:
        refusal = error
    device = backends.open_backend(backend)
    try:
        if refusal is not None:
            raise refusal
        chosen.start(device.busy)
    except UserError as error:
        if meter != "auto":
            raise NoSensorError.of(error).advised(instead) from None
        model = without_sensor(str(error).removeprefix("--meter: "), library=backend == "torch")
        return Instrument(device, model, settings, None)
    return Instrument(device, chosen, settings, Metering(chosen, device.busy, settings.visit))


def open_sensor(backend: str, meter: str, settings: Settings) -> tuple[Instrument, str]:
    """As `open_instrument`, but never with modelled joules: if no sensor works, without energy.

    Returns the instrument, and why it has no energy (empty where it has).

    Raises:
        UserError: the model is asked for, or the sensor that is named refuses.
    """
    if meter == "model":
        raise UserError(
            "--meter", "must be a sensor, auto or none: only measured joules are shown here", meter
        )
    opened = open_instrument(backend, meter, settings, instead="to go on without joules: --meter none")
    if opened.meter.source != "model":
        asked_for = "not asked for" if opened.meter.source == "none" else ""
        return opened, opened.not_metered or asked_for
    from dibench.meters.none import NoMeter

    return attrs.evolve(opened, meter=NoMeter(facts={NOT_METERED: opened.not_metered})), opened.not_metered
