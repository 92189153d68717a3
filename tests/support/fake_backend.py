"""A backend without a device for the tests of sweeps: the layer's name says how a case behaves."""

from __future__ import annotations

import math
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
from processes import wait_for

from dibench import kernels
from dibench.backends import DeviceError, DeviceFaultError, ProcessSpentError
from dibench.errors import UserError
from dibench.layer import Layer
from dibench.measure.settings import Settings
from dibench.plan import Case, Plan
from dibench.schema import Row
from dibench.sweep.run import Sweep

BACKEND = "fake_backend:Fake"
QUICK = Settings(target=0.5, case_budget_s=0.5, warm_up_s=0.0, window_s=1e-3)
COUNTS = {"macs_executed": 10, "weight_reads": 4, "input_reads": 3, "output_reads": 2, "output_writes": 1}


@attrs.frozen
class Device:
    name: str
    uuid: str
    facts: dict[str, Any]


class Fake:
    name = "fake"
    _spent = False
    _peaks_measured = 0

    def __init__(self) -> None:
        self._visits: Counter[str] = Counter()
        if os.environ.get("FAKE_OPEN") == "hang":
            time.sleep(1000)
        lost = os.environ.get("FAKE_LOST")
        if lost and Path(lost).exists() and self.device().uuid == os.environ.get("FAKE_UNLUCKY"):
            raise UserError("device", "has fallen off the bus")

    def device(self) -> Device:
        return Device(
            os.environ.get("FAKE_DEVICE", "fake device"),
            os.environ.get("CUDA_VISIBLE_DEVICES") or "fake-0",
            {"threads": int(os.environ.get("FAKE_THREADS", "1"))},
        )

    def peaks(self) -> dict[str, float]:
        if os.environ.get("FAKE_PEAKS") == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if os.environ.get("FAKE_PEAKS") == "hang":
            time.sleep(1000)
        self._peaks_measured += 1
        disturbed = os.environ.get("FAKE_PEAKS") == "disturbed" and self._peaks_measured == 1
        return {"mac_per_s": 4e8 if disturbed else 1e9, "bytes_per_s": 2e10 if disturbed else 1e10}

    def prefetch(self, cases: Sequence[Case]) -> None:
        if any(case.layer.name == "refuse" for case in cases):
            raise UserError("tile_p", "must be at most 8", 9)
        if log := os.environ.get("FAKE_PREFETCH"):
            with Path(log).open("a", encoding="utf-8") as file:
                print(*(case.layer.name for case in cases), file=file)

    def prepare(self, case: Case) -> Prepared:
        assert not self._spent
        match case.layer.name:
            case "refused by CUDA":
                raise DeviceError("CUDA, run: too many resources requested for launch")
            case "spent":
                self._spent = True
                raise ProcessSpentError("PyTorch: operation not permitted when stream is capturing")
            case "fault":
                raise DeviceFaultError("CUDA, run: an illegal memory access was encountered")
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "oom":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                print("the driver is gone", file=sys.stderr)
                os._exit(3)
            case "gone":  # with all that stands around it, as a machine that loses power
                os.kill(os.getppid(), signal.SIGKILL)
            case "hang":
                time.sleep(1000)
            case "gated":
                wait_for(Path(os.environ["FAKE_GATE"]).exists)
            case "memory":
                raise MemoryError("64 GiB of inputs")
            case "refuse":
                raise UserError("tile_p", "must be at most 8", 9)
            case "chatty":
                print("a library prints")
        if (log := os.environ.get("FAKE_BEGUN")) is not None:
            with Path(log).open("a", encoding="utf-8") as file:
                print(case.order, self.device().uuid, file=file)
        if self.device().uuid == os.environ.get("FAKE_UNLUCKY"):  # the card is lost, and does not come back
            Path(os.environ["FAKE_LOST"]).touch()
            os._exit(4)
        return self._prepared(case)

    def _prepared(self, case: Case) -> Prepared:
        """Quiet windows; a neighbour stretches them at the first visit of this process, or at every one.

        `restless` comes good, `never` does not; `again NAME` behaves as NAME from the second visit on;
        `rough` is noisy by itself, and the first visit to `slowed` lasts twice as long in all its windows.
        """
        name, again = case.layer.name, self._visits[case.case_id] > 0
        self._visits[case.case_id] += 1
        if name.startswith("again ") and again and "FAKE_CALM" not in os.environ:
            return self.prepare(attrs.evolve(case, layer=attrs.evolve(case.layer, name=name.split()[1])))
        stretched = name.startswith("never") or (name.startswith(("restless", "again")) and not again)
        if stretched and "FAKE_CALM" not in os.environ:
            return Noisy(self._visits.total(), by_itself if name.startswith("never") else beside_a_neighbour)
        if name == "slowed" and not again and "FAKE_CALM" not in os.environ:
            return Noisy(0, lambda drawn, call: 1.9)
        if name == "rough":
            return Noisy(self._visits.total(), by_itself)
        return Prepared(0.002 if name == "slow" else 0.0, name == "not finite")


def broken() -> Fake:
    raise RuntimeError("no device today")


class Prepared:
    counts = COUNTS
    cells: Mapping[str, Any] = {}

    def __init__(self, pause_s: float, nan: bool) -> None:
        self._pause_s, self._launch_s = pause_s, math.nan if nan else 1e-3

    def launch(self, n: int) -> float:
        time.sleep(self._pause_s)
        return n * self._launch_s

    def close(self) -> None:
        pass


class Noisy(Prepared):
    """Batches of launches whose seconds vary by a factor that is drawn for each."""

    def __init__(self, seed: int, factor: Callable[[random.Random, int], float]) -> None:
        super().__init__(0.002, False)
        self._random, self._factor, self._calls = random.Random(seed), factor, 0

    def launch(self, n: int) -> float:
        self._calls += 1
        return super().launch(n) * self._factor(self._random, self._calls)


def beside_a_neighbour(drawn: random.Random, call: int) -> float:
    """Four of five windows are stretched."""
    return drawn.uniform(1.5, 3.0) if call % 5 else 1.0


def by_itself(drawn: random.Random, call: int) -> float:
    return max(drawn.gauss(1.0, 0.3), 0.05)


def plan_of(names: list[str], seed: int = 1, sha: str = "a" * 64) -> Plan:
    cases = tuple(
        Case(layer=Layer.fc(N=1, C=8, K=number, name=name), backend="fake", variant="fake", order=number)
        for number, name in enumerate(names, start=1)
    )
    fields: dict[str, Any] = {"name": "test", "seed": seed, "sha": sha, "cases": cases}
    extra = {"description": "", "backend": "fake", "dropped": {}}
    known = {field.name for field in attrs.fields(Plan)}
    return Plan(**{key: value for key, value in (fields | extra).items() if key in known})


def row(number: int = 1, **cells: Any) -> Row:
    """Of the table, as a sweep without a sensor writes it."""
    case = plan_of(["layer"] * number).cases[-1]
    measured: dict[str, Any] = {"time_s": 0.1, "energy_source": "none", "status": "ok"}
    return attrs.evolve(case.row(), **{**measured, **cells})


def sweep_of(names: list[str], **changes: Any) -> Sweep:
    sweep = Sweep(
        plan=plan_of(names),
        backend=BACKEND,
        meter="model",
        settings=QUICK,
        sources_sha="b" * 64,
        command_line=["dibench", "sweep"],
    )
    return attrs.evolve(sweep, **changes)


def cluster_sweep(names: list[str], scheduler: str) -> Sweep:
    """On a cluster, whose workers must have the same sources of real kernels."""
    plan = attrs.evolve(plan_of(names), backend="cpu")
    return sweep_of([], plan=plan, scheduler=scheduler, sources_sha=kernels.sources_sha("cpu"))


def replayed(values: list[float]) -> SimpleNamespace:
    """A prepared case whose launches take these seconds, one value after the other, then again."""
    taken = {"calls": 0}

    def launch(n: int) -> float:
        taken["calls"] += 1
        return n * values[(taken["calls"] - 1) % len(values)]

    return SimpleNamespace(launch=launch, counts=COUNTS, close=lambda: None)


if __name__ == "__main__":
    # A sweep as a process of its own, to be killed: OUT CASES [SCHEDULER]; cases by number or by name
    import signal

    from dibench.sweep.run import run_sweep

    # Tests that a shell runs in the background inherit SIGINT ignored: Python then leaves it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    work = ["slow"] * int(sys.argv[2]) if sys.argv[2].isdigit() else sys.argv[2].split()
    job = cluster_sweep(work, sys.argv[3]) if sys.argv[3:] else sweep_of(work)
    print(run_sweep(job, Path(sys.argv[1])).ended, flush=True)
