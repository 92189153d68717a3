"""The devices of a Dask cluster, used by one sweep.

A Dask worker with the resource `dibench` stands for one device: the first GPU that CUDA shows it. It holds
the device in a process of its own, as a sweep on one machine does. A case takes the resource, so the worker
measures one at a time. Results go back to the sweep, which alone writes. A worker that dies or vanishes is a
lost device: its case goes to another. A worker that starts or returns later joins the sweep.

    dask scheduler
    CUDA_VISIBLE_DEVICES=0 dask worker tcp://HOST:8786 --nthreads 1 --resources dibench=1
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import socket
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import attrs

from dibench import __version__
from dibench.errors import UserError
from dibench.extras import pip_install
from dibench.sweep import on_dask
from dibench.sweep.crew import (
    LEAST_OPEN_S,
    DeviceLostError,
    OpenDevice,
    Opening,
    check_alike,
    failed,
)
from dibench.sweep.worker import CaseResult, Setup, case_to_json

if TYPE_CHECKING:
    from dibench.measure.settings import Settings
    from dibench.plan import Case

RESOURCE = "dibench"
_ANSWER_S = 10.0
_KNOCK_S = 5.0
_OPEN_S = 180.0
_PATIENCE_S = 60.0
_LOOK_EVERY_S = 1.0
_ADDRESS = re.compile(r"(?:tcp|tls)://(.+):(\d{1,5})")
_START = (
    f"start one for each GPU: CUDA_VISIBLE_DEVICES=0 dask worker {{}} --nthreads 1 --resources {RESOURCE}=1"
)


class ClusterDevice:
    """The sweep's side of a device: every request is a task that only its Dask worker may run."""

    def __init__(self, client: Any, address: str, opening: Opening) -> None:
        """Remember where the device is; nothing is sent yet."""
        self._client, self.address, self._opening = client, address, opening
        self._future: Any = None
        self.setup: Setup

    def begin(self, request: Mapping[str, Any]) -> Any:
        """Begin to open it; the future's result is for `finish`."""
        return self._task(on_dask.open_device, json.dumps(request))

    def _task(self, function: Any, *arguments: str) -> Any:
        return self._client.submit(
            function,
            *arguments,
            workers=[self.address],
            allow_other_workers=False,
            resources={RESOURCE: 1},
            pure=False,
            retries=0,
        )

    def peaks(self) -> dict[str, Any]:
        """See OpenDevice."""
        try:
            answer = self.answer(self._task(on_dask.peaks, self._client.id), self._left_s(_OPEN_S))
        except DeviceLostError as error:
            raise UserError("--scheduler", f"lost a device while its peaks were measured: {error}") from None
        if "error" in answer:
            raise UserError("--scheduler", f"{self.address}: {answer['error']}")
        return dict(answer["peaks"])

    def measure(self, case: Case, settings: Settings, upcoming: Sequence[Case] = ()) -> CaseResult:
        """See OpenDevice."""
        cases = json.dumps([case_to_json(each) for each in (case, *upcoming)])
        # The worker ends a hung case itself; one that takes even longer has vanished.
        try:
            task = self._task(on_dask.measure, self._client.id, cases, json.dumps(attrs.asdict(settings)))
            limit_s = self._opening.limit_s + _OPEN_S
            answer = self.answer(task, self._opening.left_s(limit_s))
        except UserError as error:
            raise DeviceLostError(str(error)) from None
        except DeviceLostError as error:
            if self._opening.left_s(limit_s) > 0:
                raise
            return CaseResult(failed(case, str(error), self.setup), late=True)
        if "error" in answer:
            raise DeviceLostError(f"{self.address}: {answer['error']}")
        return CaseResult.from_json(answer["found"])

    def _left_s(self, limit_s: float) -> float:
        return self._opening.left_s(limit_s, LEAST_OPEN_S)

    def answer(self, future: Any, limit_s: float) -> dict[str, Any]:
        """The answer of a task.

        Raises:
            DeviceLostError: the worker is gone, or gave no answer within `limit_s`.
            UserError: the program there failed.
        """
        self._future = future
        try:
            answer: dict[str, Any] = json.loads(future.result(timeout=limit_s))
        except CancelledError:
            raise DeviceLostError(f"worker {self.address} is gone") from None
        except Exception as error:
            why = f"worker {self.address}: {_line(error)}"
            if future.status == "error" and type(error).__name__ != "KilledWorker":
                raise UserError("--scheduler", why) from None  # the program there failed, or there is none
            raise DeviceLostError(why) from None
        finally:
            self._future = None
        return answer

    def give_up(self) -> None:
        """Cancel the running task, so that whoever waits for its answer stops waiting."""
        future = self._future
        if future is not None:
            with contextlib.suppress(Exception):
                future.cancel(force=True)


class ClusterCrew:
    """All suitable workers of a cluster."""

    def __init__(self, opening: Opening, address: str, kernels: str, sources_sha: str) -> None:
        """Find the cluster and open its devices, all at once.

        Args:
            opening: backend, meter and settings.
            address: of the scheduler, `tcp://host:port`.
            kernels: the backend whose sources must be the same on all workers.
            sources_sha: of the sources here.

        Raises:
            UserError: no scheduler, no worker, or workers with another dibench or other devices.
        """
        self._address, self._opened_as = address, opening
        self._client = _connect(address)
        self.devices: list[ClusterDevice] = []
        self._opening_now: dict[str, tuple[ClusterDevice, Any]] = {}
        self._refused: set[str] = set()
        self._why_refused: list[str] = []
        self._looked_at = time.monotonic()
        self._request = {
            "client": self._client.id,
            "backend": opening.backend,
            "meter": opening.meter,
            "settings": attrs.asdict(opening.settings),
            "limit_s": opening.limit_s,
            "version": __version__,
            "kernels": kernels,
            "sources": sources_sha,
        }
        try:
            self._open_all()
        except BaseException:
            self.close()
            raise

    def _open_all(self) -> None:
        there = self._suitable()
        if not there:
            tls = " with the options of your certificates" if self._address.startswith("tls://") else ""
            rule = f"has no worker with the resource {RESOURCE}: {_START.format(self._address)}{tls}"
            raise UserError("--scheduler", rule, self._address)
        self._begin(there)
        why = ""
        for device, future in list(self._opening_now.values()):
            try:
                self._finish(device, future)
            except DeviceLostError as error:
                why = str(error)  # the others measure without it
                continue
            self.devices.append(device)
        self._opening_now.clear()
        if not self.devices:
            raise UserError("--scheduler", f"lost its workers while they were opened: {why}", self._address)
        check_alike(self.devices, "--scheduler")

    def _suitable(self) -> set[str]:
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        return {address for address, each in workers.items() if each["resources"].get(RESOURCE, 0) >= 1}

    def _begin(self, addresses: set[str]) -> None:
        # Dask sends a lambda as code, so the scheduler needs no dibench.
        clients = self._client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.clients))
        for address in sorted(addresses):
            device = ClusterDevice(self._client, address, self._opened_as)
            self._opening_now[address] = device, device.begin({**self._request, "clients": clients})

    def _finish(self, device: ClusterDevice, future: Any) -> None:
        answer = device.answer(future, self._opened_as.left_s(_OPEN_S, LEAST_OPEN_S))
        if "error" in answer:
            raise UserError("--scheduler", f"worker {device.address}: {answer['error']}")
        device.setup = Setup.from_json(answer["opened"])

    def remove(self, device: OpenDevice) -> None:
        """See Crew."""
        self.devices = [other for other in self.devices if other is not device]

    def joined(self) -> Sequence[OpenDevice]:
        """See Crew; also gives up tasks of workers that are gone."""
        if time.monotonic() - self._looked_at < _LOOK_EVERY_S:
            return ()
        self._looked_at = time.monotonic()
        try:
            there = self._suitable()
        except Exception:  # the scheduler is gone; Dask tells whoever waits for an answer
            return ()
        for device in self.devices:
            if device.address not in there:
                device.give_up()
        known = {device.address for device in self.devices} | set(self._opening_now) | self._refused
        if there - known:
            with contextlib.suppress(Exception):
                self._begin(there - known)
        return self._opened_meanwhile()

    def _opened_meanwhile(self) -> list[ClusterDevice]:
        ready = {address: each for address, each in self._opening_now.items() if each[1].done()}
        new = []
        for address, (device, future) in ready.items():
            del self._opening_now[address]
            try:
                self._finish(device, future)
                check_alike([*self.devices, device], "--scheduler")
            except DeviceLostError:
                continue
            except UserError as error:  # another card or program, or a second worker of one
                self._refused.add(address)
                self._why_refused.append(f"worker {address}: {str(error).removeprefix('--scheduler: ')}")
                continue
            self.devices.append(device)
            new.append(device)
        return new

    def refused(self) -> Sequence[str]:
        """See Crew."""
        told, self._why_refused = self._why_refused, []
        return told

    def replacement(self, why: str) -> Sequence[OpenDevice]:
        """See Crew."""
        deadline = time.monotonic() + self._opened_as.left_s(_PATIENCE_S)
        while time.monotonic() < deadline and self._client.status == "running":
            if new := self.joined():
                return new
            time.sleep(_LOOK_EVERY_S / 4)
        rule = f"has no worker left ({why}): rows are kept, the same command resumes"
        raise UserError("--scheduler", rule, self._address)

    def close(self) -> None:
        """See Crew; the workers stop measuring for this sweep."""
        for device in self.devices:
            device.give_up()
        addresses = [device.address for device in self.devices] + list(self._opening_now)
        self.devices, self._opening_now = [], {}
        # In a thread, since Dask waits without a limit for a worker that hangs.
        ending = threading.Thread(target=self._say_goodbye, args=(addresses,), daemon=True)
        ending.start()
        ending.join(2 * _ANSWER_S)

    def _say_goodbye(self, addresses: Sequence[str]) -> None:
        with contextlib.suppress(Exception):
            if addresses:
                client = self._client.id
                self._client.run(on_dask.close, client, workers=addresses, on_error="ignore")
        with contextlib.suppress(Exception):
            self._client.close(timeout=_ANSWER_S)


def _connect(address: str) -> Any:
    try:
        import distributed
    except ImportError:
        raise UserError("--scheduler", f"needs Dask: {pip_install('dask')}", address) from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # we report what matters in one line
    try:
        _knock(address)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about versions that differ; dibench compares its own later
            return distributed.Client(address, timeout=_ANSWER_S, set_as_default=False, name="dibench")
    except Exception as error:  # whatever a program that is no scheduler makes of it
        raise UserError("--scheduler", _remedy(address, error), address) from None


def _knock(address: str) -> None:
    """Fail at once where nothing listens, within seconds where it is no scheduler. Dask retries for minutes.

    Raises:
        Exception: of many types, for whatever is wrong there.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ValueError("no such address")
    with socket.create_connection((found[1].strip("[]"), int(found[2])), timeout=_KNOCK_S):
        pass
    asyncio.run(_greet(address))


async def _greet(address: str) -> None:
    """Ask the program there whether it is a scheduler."""
    from distributed.comm import connect
    from distributed.security import Security

    async with asyncio.timeout(_KNOCK_S):
        comm = await connect(address, timeout=_KNOCK_S, **Security().get_connection_args("client"))
        try:
            await comm.write({"op": "identity"})
            answer = await comm.read()
        finally:
            comm.abort()
    if not isinstance(answer, dict) or answer.get("type") != "Scheduler":
        raise ValueError("no Dask scheduler answers there")


def _remedy(address: str, error: Exception) -> str:
    """The rule that the address breaks, and what to do."""
    elsewhere = (TimeoutError, ConnectionRefusedError, socket.gaierror, ValueError)
    if address.startswith("tls://") and not isinstance(error, elsewhere):
        return (
            "tls:// needs certificates that the scheduler accepts: name them in "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and "
            f"DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY ({_line(error)})"
        )
    if isinstance(error, TimeoutError):
        return f"must be the address of a Dask scheduler: what listens there did not answer in {_KNOCK_S:g} s"
    return f"must be the address of a Dask scheduler, such as tcp://host:8786 ({_line(error)})"


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
