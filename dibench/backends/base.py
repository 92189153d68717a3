"""What measuring asks of a device that runs kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from dibench.plan import Case


@attrs.frozen
class Device:
    """A device that runs kernels: its model, an identity that survives reboots, facts for the manifest."""

    name: str
    uuid: str
    facts: Mapping[str, Any]


class DeviceError(Exception):
    """A call to the device failed and its case with it; the device works on."""


class DeviceFaultError(DeviceError):
    """The device is lost to this process, as after an illegal access; only a new process can use it."""


class ProcessSpentError(DeviceError):
    """No kernel faulted, but a library can do nothing more in this process."""


def first_of(
    error: BaseException, kind: type[BaseException] | tuple[type[BaseException], ...]
) -> BaseException:
    """The error of this kind that came first, where clearing up after it failed as well."""
    while isinstance(before := error.__context__, kind) and not error.__suppress_context__:
        error = before
    return error


class Prepared(Protocol):
    """One case on its device: operands in place, ready to launch."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Accesses by data type and executed multiply-adds, per launch and instance."""

    @property
    def cells(self) -> Mapping[str, Any]:
        """Further cells of the row that only the device can tell, such as `sms`."""

    def launch(self, n: int) -> float:
        """Launch n times back to back; seconds for all, by the device's clock."""

    def close(self) -> None:
        """Give the operands' memory back."""


def lap_of(prepared: Prepared) -> int:
    """Launches after which a case's operands come again, where it says so as `lap`; else they always do.

    Batches of whole laps begin with the same operands and so need the fewest graphs.
    """
    return int(getattr(prepared, "lap", 1))


class Backend(Protocol):
    """One device and the kernels written for it."""

    @property
    def name(self) -> str:
        """The `backend` of the rows."""

    def device(self) -> Device:
        """What the kernels run on."""

    def peaks(self) -> Mapping[str, float]:
        """The most it reaches, measured now: `mac_per_s` (MAC/s) and `bytes_per_s` (B/s, reading)."""

    def prepare(self, case: Case) -> Prepared:
        """Put a case's operands in place.

        Raises:
            UserError: the variant's header or the device does not allow the case.
            OutOfMemoryError: the device has too little memory for it.
            DeviceError: the device refused; DeviceFaultError: it is lost.
        """

    def busy(self) -> AbstractContextManager[None]:
        """Keep the device busy while the context lasts, so that it does not cool down between cases."""

    def prefetch(self, cases: Sequence[Case]) -> None:
        """Begin to prepare the next cases in the background."""
