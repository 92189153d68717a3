"""The process that holds device and meter, and answers its parent's requests (`dibench.sweep.worker`).

It ends when its parent dies, however that dies: the kernel kills it, and its standard input ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from typing import Any

import attrs

from dibench import schema
from dibench.backends import DeviceError, DeviceFaultError, ProcessSpentError
from dibench.errors import OutOfMemoryError, UserError
from dibench.measure.instrument import Instrument, open_instrument
from dibench.measure.settings import Settings
from dibench.plan import Case
from dibench.processes import die_with
from dibench.schema import Row
from dibench.sweep.worker import CaseResult, Setup, case_from_json


class _Server:
    """The worker's side: one device, one meter, one request at a time."""

    _instrument: Instrument

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request, as plain values."""
        match request["do"]:
            case "open":
                settings = Settings.from_json(request["settings"])
                self._instrument = open_instrument(
                    request["backend"], request["meter"], settings, request["idle"]
                )
                return Setup(self._instrument.backend.device(), self._instrument.meter_facts()).to_json()
            case "peaks":
                return dict(self._instrument.backend.peaks())
            case _:
                upcoming = [case_from_json(fields) for fields in request["upcoming"]]
                with contextlib.suppress(UserError):  # reported when it is that case's turn
                    self._instrument.backend.prefetch(upcoming)
                settings = Settings.from_json(request["settings"])
                return self._measure(case_from_json(request["case"]), settings).to_json()

    def _measure(self, case: Case, settings: Settings) -> CaseResult:
        meter = self._instrument.meter_facts()
        row = attrs.evolve(
            case.row(),
            energy_source=meter.source,
            meter_period_s=meter.period_s,
            gain_accuracy_pct=meter.gain_accuracy_pct,
        )
        try:
            found = _measured(case, row, self._instrument, settings)
            json.dumps(found.to_json(), allow_nan=False)  # NaN or infinity in a cell fails the case
            return found
        except DeviceFaultError as error:
            # This process is lost: the parent reads the last line and starts another.
            print(" ".join(str(error).split()), file=sys.stderr, flush=True)
            os._exit(1)
        except (OutOfMemoryError, DeviceError) as error:
            spent = isinstance(error, ProcessSpentError)
            return CaseResult(attrs.evolve(row, status="failed", reason=str(error)), spent=spent)
        except UserError as error:  # refused by a rule of the variant or device: not a failure
            return CaseResult(attrs.evolve(row, status="skipped", reason=str(error)))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"[:300]
            return CaseResult(attrs.evolve(row, status="failed", reason=reason))


def _measured(case: Case, row: Row, instrument: Instrument, settings: Settings) -> CaseResult:
    """A visit to the case, what its row needs beside, and the seconds since the visit before."""
    begin, metering = time.monotonic(), instrument.metering
    prepared = instrument.backend.prepare(case)
    try:
        counts: dict[str, Any] = {name: n for name, n in prepared.counts.items() if name in schema.NAMES}
        row = attrs.evolve(row, **counts, **prepared.cells)
        layer = case.layer  # the model charges for compulsory elements, too
        elements = {"weights": layer.weights, "inputs": layer.inputs, "outputs": layer.outputs}
        # The meter sees whole launches, all instances together.
        whole = {what: n * case.instances for what, n in {**prepared.counts, **elements}.items()}
        visit = instrument.visit(prepared, settings, whole)
    finally:
        prepared.close()
    return CaseResult(row, visit, time.monotonic() - begin if metering is None else metering.lap_s())


def main(parent: int) -> None:
    """Answer requests from standard input until it ends."""
    import resource

    die_with(parent)
    # A batch system signals all processes of a job; the parent decides what becomes of the case under way.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves a row, no core file of gigabytes
    # What a library prints goes to standard error, not between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    server = _Server()
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"answer": server.answer(json.loads(line))}
        except UserError as error:
            answer = {"error": str(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
