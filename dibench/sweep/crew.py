"""The devices of a sweep, each held by a worker process that is replaced after a crash."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from dibench.errors import UserError
from dibench.sweep.worker import (
    START_LIMIT_S,
    CaseResult,
    Setup,
    Worker,
    WorkerDiedError,
    WorkerHungError,
)

if TYPE_CHECKING:
    from dibench.measure.settings import Settings
    from dibench.plan import Case
    from dibench.schema import Row


@attrs.frozen
class Opening:
    """What each worker opens, and the seconds after which a case counts as hung."""

    backend: str
    meter: str
    settings: Settings
    limit_s: float
    deadline: float | None = None
    """Instant of `time.monotonic()` at which a worker without an answer is ended."""
    idle: Mapping[str, Any] | None = None
    """What the facts of a meter say of the device's idle power; None: the worker measures it."""

    def left_s(self, limit_s: float, least_s: float = 0.0) -> float:
        """`limit_s`, or what the deadline leaves of it, but not less than `least_s`."""
        if self.deadline is None:
            return limit_s
        return min(limit_s, max(self.deadline - time.monotonic(), least_s))


LEAST_OPEN_S = 10.0
"""To open a device, and for its peaks, however short the time budget is."""


class DeviceLostError(Exception):
    """The device is gone; its case has to be measured on another. The message says why."""


class OpenDevice(Protocol):
    """One device with its meter, open; it measures one case at a time."""

    @property
    def setup(self) -> Setup:
        """Device and meter."""

    def peaks(self) -> dict[str, Any]:
        """The device's peaks, measured now.

        Raises:
            UserError: they cannot be measured.
        """

    def measure(self, case: Case, settings: Settings, upcoming: Sequence[Case] = ()) -> CaseResult:
        """Measure a case; a crash is a failed case. Called from a thread.

        Raises:
            DeviceLostError: the device is gone.
        """


class Crew(Protocol):
    """All devices of a sweep; `close` stops them at once."""

    @property
    def devices(self) -> Sequence[OpenDevice]:
        """The devices that are present."""

    def remove(self, device: OpenDevice) -> None:
        """Take out a device that was lost."""

    def joined(self) -> Sequence[OpenDevice]:
        """Devices that joined since the last call."""

    def refused(self) -> Sequence[str]:
        """Why devices could not join, since the last call."""

    def replacement(self, why: str) -> Sequence[OpenDevice]:
        """Wait for devices to join when none is left.

        Raises:
            UserError: no device can join; the message says why the last one was lost.
        """

    def close(self) -> None:
        """Stop all devices and give them back."""


def failed(case: Case, reason: str, setup: Setup) -> Row:
    """The row of a case that could not be measured on a device."""
    return attrs.evolve(case.row(), status="failed", reason=reason, energy_source=setup.meter.source)


def idle_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a meter's facts say of idle power; nothing where it is no GPU's."""
    return {name: facts[name] for name in ("idle", "idle_unknown", "idle_clock_mhz") if name in facts}


def uuid_of(device: OpenDevice) -> str:
    """The device's identity."""
    return device.setup.device.uuid


def check_alike(devices: Sequence[OpenDevice], option: str) -> None:
    """Refuse devices of two models, and one device twice: rows of one sweep are compared with each other.

    Raises:
        UserError: names both.
    """
    first, seen = devices[0].setup, set()
    for device in devices:
        setup = device.setup
        for what, now, known in (
            ("model", setup.device.name, first.device.name),
            ("energy source", setup.meter.source, first.meter.source),
        ):
            if now != known:
                rule = f"must be devices of one {what}, with a sweep for each: {known} and"
                raise UserError(option, rule, now)
        if uuid_of(device) in seen:
            rule = (
                "must have each device once, as two workers of one disturb each other: a CPU is one device, "
                "so a host has one worker for it; each GPU's worker needs a CUDA_VISIBLE_DEVICES of its own"
            )
            raise UserError(option, rule, f"{setup.device.name}, {uuid_of(device)}")
        seen.add(uuid_of(device))


class LocalDevice:
    """A device of this machine."""

    def __init__(self, opening: Opening, visible: str = "") -> None:
        """Start the worker; `open` waits for it.

        Args:
            opening: backend, meter and settings.
            visible: CUDA_VISIBLE_DEVICES of the worker; empty leaves it as it is.
        """
        self._opening, self._visible = opening, visible
        self._lock = threading.Lock()
        self._closed = False
        self._setup: Setup | None = None
        self._worker = self._started()

    def _started(self) -> Worker:
        one = self._opening
        idle = one.idle if self._setup is None else idle_of(self._setup.meter.facts)  # before any load
        return Worker(one.backend, one.meter, one.settings, self._visible, idle)

    def open(self) -> None:
        """Wait until device and meter are open; after a crash they must be the same as before.

        Raises:
            UserError: they cannot be opened.
        """
        try:
            setup = self._worker.open(self._opening.left_s(START_LIMIT_S, LEAST_OPEN_S))
        except WorkerDiedError as death:
            rule = f"{self._opening.backend} could not be opened: {death}"
            raise UserError("--backend", rule) from None
        before, now = (self._setup or setup).device, setup.device
        if (before.uuid, before.name) != (now.uuid, now.name):
            raise UserError("device", f"must stay {before.name}", now.name)
        self._setup = setup

    @property
    def setup(self) -> Setup:
        """See OpenDevice."""
        assert self._setup is not None
        return self._setup

    @property
    def ended(self) -> bool:
        """Whether its worker was stopped and no other started, as where a stuck case outlives the budget."""
        return self._worker.closed

    def peaks(self) -> dict[str, Any]:
        """See OpenDevice."""
        try:
            return self._worker.peaks(self._opening.left_s(START_LIMIT_S, LEAST_OPEN_S))
        except WorkerDiedError as death:
            rule = f"{self._opening.backend} could not measure its peaks: {death}"
            if self._opening.left_s(LEAST_OPEN_S) > 0:
                self._restart()
            raise UserError("--backend", rule) from None

    def measure(self, case: Case, settings: Settings, upcoming: Sequence[Case] = ()) -> CaseResult:
        """See OpenDevice; a crash is a failed case and one restart, unless there is no time for another."""
        limit_s = self._opening.left_s(self._opening.limit_s)
        try:
            found = self._worker.measure(case, settings, limit_s, upcoming)
        except WorkerDiedError as death:
            late = isinstance(death, WorkerHungError) and limit_s < self._opening.limit_s
            found = CaseResult(failed(case, str(death), self.setup), died=str(death), late=late)
        if (found.died or found.spent) and not found.late:
            try:
                self._restart()
            except UserError as error:
                raise DeviceLostError(str(error)) from None
        return found

    def _restart(self) -> None:
        """Start another worker on the same device.

        Raises:
            DeviceLostError: the device was closed meanwhile.
            UserError: the device cannot be opened any more.
        """
        with self._lock:
            if self._closed:
                raise DeviceLostError("closed")
            self._worker.close()
            self._worker = self._started()
        self.open()

    def close(self) -> None:
        """End the worker at once."""
        with self._lock:
            self._closed = True
            self._worker.close()


class LocalCrew:
    """Devices of this machine, one worker each."""

    def __init__(self, opening: Opening, visible: Sequence[str] = ()) -> None:
        """Open all of them at once.

        Args:
            opening: backend, meter and settings.
            visible: CUDA_VISIBLE_DEVICES of each; nothing: the one device that the backend opens.

        Raises:
            UserError: one of them cannot be opened, or they are of two models.
        """
        self.devices: list[LocalDevice] = []
        try:
            # Started by this thread: the kernel ends a worker with the thread that started it.
            self.devices += [LocalDevice(opening, each) for each in visible or ("",)]
            with ThreadPoolExecutor(len(self.devices)) as pool:
                opened = [pool.submit(device.open) for device in self.devices]
                try:
                    for future in opened:
                        future.result()
                except BaseException:
                    self.close()  # do not wait for the others
                    raise
            check_alike(self.devices, "--devices")
        except BaseException:
            self.close()
            raise

    def remove(self, device: OpenDevice) -> None:
        """See Crew."""
        for each in self.devices:
            if each is device:
                each.close()
        self.devices = [other for other in self.devices if other is not device]

    def joined(self) -> Sequence[OpenDevice]:
        """No device can join."""
        return ()

    def refused(self) -> Sequence[str]:
        """None asks to."""
        return ()

    def replacement(self, why: str) -> Sequence[OpenDevice]:
        """No device can join."""
        raise UserError("", why)

    def close(self) -> None:
        """See Crew."""
        for device in self.devices:
            with contextlib.suppress(OSError):
                device.close()


def choose(devices: str, backend: str) -> tuple[str, ...]:
    """The devices that `--devices` names, GPUs by UUID.

    Args:
        devices: indices as CUDA counts them, UUIDs or their beginnings, or `all`.
        backend: resolved.

    Raises:
        UserError: no such device, or one twice.
    """
    from dibench.backends import cuda_driver
    from dibench.elsewhere import is_elsewhere

    wanted = [part.strip() for part in devices.split(",")]
    if is_elsewhere(backend):
        chosen = wanted  # a backend from elsewhere knows its own devices
    else:
        if backend == "cpu":
            rule = "chooses GPUs, but the backend is cpu; `python -m dibench doctor` says why no GPU is used"
            raise UserError("--devices", rule, devices)
        there = cuda_driver.uuids()
        if isinstance(there, str):
            raise UserError("--devices", f"must be GPUs of this machine: {there}", devices)
        chosen = list(there) if wanted == ["all"] else [_uuid_of(text, there) for text in wanted]
    if len(set(chosen)) < len(chosen) or "" in chosen:
        raise UserError("--devices", "must name each device once, as in 0,1", devices)
    return tuple(chosen)


def _uuid_of(text: str, there: Sequence[str]) -> str:
    if text.isascii() and text.isdigit() and len(text) < 5 and int(text) < len(there):
        return there[int(text)]
    fitting = [uuid for uuid in there if text.startswith(("GPU-", "MIG-")) and uuid.startswith(text)]
    if len(fitting) == 1:
        return fitting[0]
    shown = ", ".join(f"{index} ({uuid})" for index, uuid in enumerate(there))
    raise UserError("--devices", f"must be all or of {shown}", text)
