"""Events of a running sweep, for its display."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from dibench.plan import Case
    from dibench.schema import Row
    from dibench.sweep.noise import Noise


@attrs.frozen
class SweepBegan:
    """Devices and meters are open; `finished` of `total` cases have a row already.

    `steps` are to be measured: the other cases, each as often as it is to be visited. `revisits` says
    whether disturbed cases are measured again after them.
    """

    device: str
    energy_source: str
    total: int
    finished: int
    steps: int
    revisits: bool = True
    because: str = ""
    """Why the energy is not of a better source; empty where it is of the best, or of the one asked for."""


@attrs.frozen
class CaseBegan:
    """A device began a case."""

    case: Case


@attrs.frozen
class CaseEnded:
    """A row was written."""

    case: Case
    row: Row


@attrs.frozen
class VisitEnded:
    """A visit was recorded; the case needs more."""

    case: Case
    number: int
    of: int
    lost: bool = False
    """Whether it lay in a spell, so that it does not count and one more is made."""


@attrs.frozen
class NoiseMeasured:
    """Repeats of one case told how noisy this machine is."""

    noise: Noise
    asked: float
    """The target that was asked for."""
    steps: int
    """To be measured from here on: on a noisy machine, each case several times."""


@attrs.frozen
class RevisitsBegan:
    """So many disturbed cases are measured again while time is left, the worst first."""

    cases: int


@attrs.frozen
class CaseRevisited:
    """A disturbed case was measured again; its row follows from all its visits."""

    case: Case
    row: Row


@attrs.frozen
class CutShort:
    """The time budget was used up while a case was measured; `stuck` if it took far longer than expected."""

    case: Case
    took_s: float
    stuck: bool


@attrs.frozen
class WorkerRestarted:
    """A worker died, and a new one took its place."""

    reason: str


@attrs.frozen
class NoPeaks:
    """The device's peaks could not be measured; the sweep continues without them."""

    reason: str


@attrs.frozen
class FilesMended:
    """What the sweep found to mend in its files before it began."""

    what: str


@attrs.frozen
class DeviceLost:
    """One of several devices is gone; its cases go to the others."""

    reason: str


@attrs.frozen
class DeviceJoined:
    """A device joined while others measured."""

    where: str


@attrs.frozen
class DeviceRefused:
    """A device that came while others measured cannot join them."""

    reason: str


Event = (
    SweepBegan
    | DeviceRefused
    | NoiseMeasured
    | CaseBegan
    | VisitEnded
    | CaseEnded
    | RevisitsBegan
    | CaseRevisited
    | CutShort
    | WorkerRestarted
    | NoPeaks
    | FilesMended
    | DeviceLost
    | DeviceJoined
)
