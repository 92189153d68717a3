"""What happens in a running sweep, for those who watch it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from dibench.plan import Case
    from dibench.schema import Row


@attrs.frozen
class Opened:
    """Devices and meters answered; `finished` of `total` cases stand in the table already.

    `steps` are to be measured: the other cases, each as often as it is to be visited.
    """

    device: str
    energy_source: str
    total: int
    finished: int
    steps: int


@attrs.frozen
class CaseBegan:
    """A case went to a device."""

    case: Case


@attrs.frozen
class CaseEnded:
    """A row was written."""

    case: Case
    row: Row


@attrs.frozen
class VisitEnded:
    """A visit was written down, of a case that more visits follow."""

    case: Case
    number: int


@attrs.frozen
class WorkerRestarted:
    """The worker died and a new one took its place."""

    reason: str


@attrs.frozen
class NoPeaks:
    """The device's peaks could not be measured; the sweep goes on without."""

    reason: str


@attrs.frozen
class DeviceLost:
    """A device of several cannot be had any more; its cases go to the others."""

    reason: str


@attrs.frozen
class DeviceJoined:
    """A device came while others measured."""

    where: str


Event = Opened | CaseBegan | VisitEnded | CaseEnded | WorkerRestarted | NoPeaks | DeviceLost | DeviceJoined
