"""Energy meters: each gives the joules of launches, one meter a file.

A meter is chosen by name in the process that also holds the device. It never returns zero for what it cannot
read. Its `source` says in every row what kind of number it is: `nvml_counter`, `nvml_power`, `rapl` and
`zeus` are sensors, `model` is computed from counted accesses, `none` leaves the energy empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench.elsewhere import is_elsewhere, make
from dibench.errors import NoSensorError, UserError
from dibench.meters.base import Meter, Reading, check_own

if TYPE_CHECKING:
    from dibench.meters.gpu import GpuMeter

__all__ = ["NAMES", "NOT_METERED", "Meter", "Reading", "check_name", "open_meter", "without_sensor"]

NOT_METERED = "not_metered"
"""The fact of a meter that says why it takes the place of a sensor."""

_BESIDE = ("nvml_counter+zeus", "nvml_power+zeus")
"""A GPU's sensor, and a second meter on the same windows, whose power the row has in a column of its own."""

NAMES = ("auto", "nvml_counter", "nvml_power", "rapl", "zeus", *_BESIDE, "model", "none")
"""What `--meter` accepts, and `module:callable` for a meter from elsewhere."""

_ON_GPU = ("nvml_counter", "nvml_power")
_SENSORS = {"cpu": ("rapl",), "cuda": _ON_GPU, "cuda+torch": _ON_GPU}
"""The sensors that meter each backend's device. `auto` takes what works of them, else the model."""

_ASKED_FOR = {"cuda": ("zeus", *_BESIDE), "cuda+torch": ("zeus", *_BESIDE)}
"""Meters that fit a backend's device, too, but are used only when they are named."""


def check_name(name: str) -> None:
    """Refuse an unknown meter.

    Raises:
        UserError: it names the legal ones.
    """
    if name not in NAMES and not is_elsewhere(name):
        raise UserError("--meter", "must be one of " + ", ".join(NAMES), name)


def open_meter(name: str, backend: str, uuid: str = "") -> Meter | GpuMeter:
    """The meter of that name for that backend's device; `auto` takes a working sensor, else the model.

    Args:
        name: one of NAMES, or `module:callable`.
        backend: whose device is metered.
        uuid: of that device, where it is a GPU.

    Raises:
        NoSensorError: its sensor refuses; the message says why, not what would do in its place.
        UserError: no such meter, or it does not meter this backend's device.
    """
    check_name(name)
    if is_elsewhere(name):
        return _own(name)
    library = backend == "torch"
    backend = ("cuda" if uuid else "cpu") if library else backend
    sensors = _SENSORS.get(backend, ())
    if name == "model" and library:
        raise UserError("--meter", "has no accesses of a library to model: auto, none or a sensor", name)
    if name == "none":
        from dibench.meters.none import NoMeter

        return NoMeter()
    if name not in ("auto", "model"):
        foreign = is_elsewhere(backend) and name == "zeus"  # an AMD or Apple GPU, if Zeus carries it
        if not foreign and name not in (*sensors, *_ASKED_FOR.get(backend, ())):
            raise UserError("--meter", f"does not meter the device of backend {backend}", name)
        try:
            return _open_sensor(name, uuid)
        except UserError as error:
            raise NoSensorError.of(error) from None
    if name == "auto":
        if not sensors:
            return without_sensor(f"no sensor is known of backend {backend}", library=library)
        try:
            return _open_sensor("rapl" if backend == "cpu" else "nvml", uuid)
        except UserError as error:
            return without_sensor(str(error).removeprefix("--meter: "), library=library)
    from dibench.meters.model import ModelMeter

    return ModelMeter()


def _own(name: str) -> Meter | GpuMeter:
    """A meter from elsewhere, opened and checked; what goes wrong in it is told as its own."""
    from dibench.meters.gpu import GpuMeter

    try:
        made: Meter | GpuMeter = make("--meter", name)
        if not isinstance(made, GpuMeter):
            check_own(made, name)
    except UserError:
        raise
    except Exception as error:  # somebody else's code
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError("--meter", f"cannot be opened: {why}", name) from None
    return made


def without_sensor(why: str, *, library: bool) -> Meter:
    """What takes the place of a sensor, and says why in its facts: the model, or nothing for a library.

    Args:
        why: no sensor can be used.
        library: whether a library runs, whose accesses are not counted.
    """
    from dibench.meters.model import FACTS, ModelMeter
    from dibench.meters.none import NoMeter

    facts = {NOT_METERED: why}
    return NoMeter(facts=facts) if library else ModelMeter(facts=FACTS | facts)


def _open_sensor(name: str, uuid: str) -> Meter | GpuMeter:
    zeus: Meter | None = None
    if name.endswith("zeus"):
        from dibench.meters.zeus import ZeusMeter

        zeus = ZeusMeter.open(uuid)
    if name.startswith("nvml"):
        from dibench.meters.gpu import GpuMeter

        source = "auto" if name == "nvml" else name.partition("+")[0]
        return GpuMeter.open(source, uuid, beside=zeus)
    if zeus is not None:
        return zeus
    from dibench.meters.rapl import RaplMeter

    return RaplMeter.open()
