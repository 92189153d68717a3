"""The parent's handle to the process that holds device and meter (`dibench.sweep.serve`).

One worker lives as long as a sweep. It is a fresh interpreter, not a fork, so that it inherits neither locks
nor threads nor a CUDA context; the two talk in JSON lines.

Requests: `{"do": "open", ...}`, `{"do": "peaks"}`, `{"do": "measure", "case": ...}`. Answers:
`{"answer": ...}`, or `{"error": "..."}` for what the user can correct.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from dibench.backends.base import Device
from dibench.errors import UserError
from dibench.meters.base import MeterFacts
from dibench.processes import python_path
from dibench.schema import Row
from dibench.temporary import usual_directory

if TYPE_CHECKING:
    from dibench.measure.settings import Settings
    from dibench.measure.visit import Visit
    from dibench.measure.window import WindowVisit
    from dibench.plan import Case

START_LIMIT_S = 120.0  # a GPU backend creates its context and compiles


class WorkerDiedError(Exception):
    """The worker died or was killed; the message says how."""


class WorkerHungError(WorkerDiedError):
    """The worker gave no answer in time and was killed."""


@attrs.frozen
class Setup:
    """A device and its meter, open."""

    device: Device
    meter: MeterFacts

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Setup:
        """The Setup that `to_json` wrote."""
        return cls(Device(**found["device"]), MeterFacts(**found["meter"]))


@attrs.frozen
class CaseResult:
    """What measuring a case returns: a visit, of which the sweep makes the row, or why there is none."""

    row: Row
    """Without session, start and device, and without what visits tell."""
    visit: Visit | WindowVisit | None = None
    took_s: float = 0.0
    """Seconds of the whole visit, preparing included."""
    died: str = ""
    """Why the worker was replaced after a crash; empty where it did not crash."""
    spent: bool = False
    """The worker can measure no other case, though no kernel crashed it."""
    late: bool = False
    """The time budget was used up before there was an answer; the worker was ended and not replaced."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "row": self.row.known(),
            "visit": None if self.visit is None else self.visit.to_json(),
            "took_s": self.took_s,
            "died": self.died,
            "spent": self.spent,
            "late": self.late,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> CaseResult:
        """The CaseResult that `to_json` wrote."""
        from dibench.sweep.visit_book import visit_from_json

        visit = None if found["visit"] is None else visit_from_json(found["visit"])
        return cls(Row(**found["row"]), visit, found["took_s"], found["died"], found["spent"], found["late"])


def hang_limit_s(settings: Settings) -> float:
    """Seconds after which a case counts as hung: far beyond its budget, as one launch may exceed that."""
    return 60.0 + 60.0 * max(settings.case_budget_s, settings.visit.visit_s)


def case_to_json(case: Case) -> dict[str, Any]:
    """The case as plain values."""
    return attrs.asdict(case)


def case_from_json(fields: dict[str, Any]) -> Case:
    """The case that `case_to_json` wrote."""
    from dibench.layer import Layer
    from dibench.plan import Case

    return Case(**{**fields, "layer": Layer(**fields["layer"])})


class Worker:
    """The parent's handle: starts the process, sends requests, reports how it died."""

    def __init__(
        self,
        backend: str,
        meter: str,
        settings: Settings,
        visible: str = "",
        idle: Mapping[str, Any] | None = None,
    ) -> None:
        """Start the process; `open` makes it open backend and meter.

        Args:
            backend: its name.
            meter: its name.
            settings: how long and how exactly.
            visible: the worker's CUDA_VISIBLE_DEVICES; empty leaves it as it is.
            idle: what the facts of an earlier meter of this GPU say of its idle power.
        """
        self._opening = {
            "do": "open",
            "backend": backend,
            "meter": meter,
            "settings": attrs.asdict(settings),
            "idle": dict(idle or {}),
        }
        self._stderr = tempfile.TemporaryFile(dir=usual_directory())  # noqa: SIM115 # closed by close()
        self._buffer = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dibench.sweep.serve", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
            # A group of its own, so that Ctrl-C at the terminal reaches only the parent, which decides.
            process_group=0,
            env={
                **os.environ,
                **({"CUDA_VISIBLE_DEVICES": visible} if visible else {}),
                "PYTHONPATH": python_path(),
            },
        )

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def open(self, limit_s: float) -> Setup:
        """Open backend and meter; returns what they are.

        Raises:
            UserError: the backend or meter cannot be opened; the message names the remedy.
            WorkerDiedError: it crashed in doing so, or gave no answer within `limit_s` and was killed.
        """
        return Setup.from_json(self._ask(self._opening, limit_s))

    def peaks(self, limit_s: float) -> dict[str, Any]:
        """The device's peaks, measured now.

        Raises:
            WorkerDiedError: as `open`.
        """
        return self._ask({"do": "peaks"}, limit_s)

    def measure(
        self, case: Case, settings: Settings, limit_s: float, upcoming: Sequence[Case] = ()
    ) -> CaseResult:
        """Measure a case; meanwhile the backend may prepare the upcoming ones.

        Raises:
            WorkerDiedError: it crashed, or gave no answer within `limit_s` and was killed.
        """
        request = {
            "do": "measure",
            "case": case_to_json(case),
            "settings": attrs.asdict(settings),
            "upcoming": [case_to_json(later) for later in upcoming],
        }
        return CaseResult.from_json(self._ask(request, limit_s))

    def _ask(self, request: dict[str, Any], limit_s: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            answer = json.loads(self._read_line(limit_s))
        except (BrokenPipeError, ConnectionResetError):
            raise WorkerDiedError(self._cause_of_death()) from None
        if "error" in answer:
            raise UserError("", answer["error"])
        result: dict[str, Any] = answer["answer"]
        return result

    def _read_line(self, limit_s: float) -> bytes:
        assert self._process.stdout is not None
        deadline = time.monotonic() + limit_s
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.close()
                raise WorkerHungError(f"worker gave no answer within {limit_s:.3g} s and was killed")
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                raise WorkerDiedError(self._cause_of_death())
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _cause_of_death(self) -> str:
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.close()
            return "worker closed its pipes and was killed"
        if status < 0:
            name = signal.Signals(-status).name
            return f"worker died: {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"worker died: exit status {status}" + (f": {lines[-1].strip()}" if lines else "")

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._process.stdin is None or self._process.stdin.closed

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        # One that is stuck inside a driver does not die: the kernel ends it when the driver lets go of it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        for pipe in (self._process.stdin, self._process.stdout, self._stderr):
            if pipe is not None:
                pipe.close()
