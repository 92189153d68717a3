"""Sweeps killed at seeded random instants: `python tests/support/crash_campaign.py DIRECTORY SEED INSTANTS`.

The parent, its worker, or both die at a random time; or the parent dies in the middle of a write: a row is
torn at a random byte, a manifest is written but not renamed, renamed but not forced to the disk. After every
kill all rows that stood in the table stand in it still. A sweep that is complete has every case exactly once,
a valid table, and no file that does not belong there; then the next directory is begun.

One program forks all its sweeps, so that a kill costs the start of a worker and no more.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from fake_backend import sweep_of
from processes import children

from dibench import files
from dibench.errors import UserError
from dibench.sweep import record
from dibench.sweep.run import run_sweep
from dibench.table import read_csv

CASES = 40
HOW = ("parent", "worker", "both", "row", "manifest")


def main(directory: Path, seed: int, instants: int) -> Counter[str]:
    """Kill until there were so many instants; how many of each kind."""
    rng = random.Random(seed)
    died: Counter[str] = Counter()
    number = 0
    out = directory / "0"
    while died.total() < instants:
        attempt(out, HOW[died.total() % len(HOW)], rng, died)
        if is_complete(out):
            check_complete(out)
            number += 1
            out = directory / str(number)
    attempt(out, "", rng, died)
    check_complete(out)
    return died


def attempt(out: Path, how: str, rng: random.Random, died: Counter[str]) -> None:
    """One start of the program."""
    before, killed_worker = rows(out), how in ("worker", "both")
    at = rng.uniform(0.0, 0.8)
    pid = os.fork()
    if pid == 0:
        arm(how, rng)
        try:
            run_sweep(sweep_of(["slow"] * CASES), out)
        except UserError as error:  # the worker was killed while it opened the device
            os._exit(2 if "could not be opened: worker died: SIGKILL" in str(error) else 1)
        os._exit(0)
    if how in ("parent", "worker", "both"):
        time.sleep(at)
        if how != "parent":
            for worker in children(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
        if how == "worker":  # the sweep goes on with another
            died[how] += 1
            how = "parent"
            time.sleep(rng.uniform(0.0, 0.7))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if how:
        died[how] += os.WIFSIGNALED(status)
    allowed = (0, 2) if killed_worker else (0,)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) in allowed, "the sweep itself failed"
    assert rows(out)[: len(before)] == before, "rows were lost"


def arm(how: str, rng: random.Random) -> None:
    """Let this process die in the middle of a write."""
    if how == "row":
        left = rng.randint(0, 8)

        def write(fd: int, data: bytes) -> int:
            nonlocal left
            left -= 1
            if left < 0:
                os.write(fd, data[: rng.randrange(len(data))])
                die()
            return os.write(fd, data)

        defaults: Any = record.RowsFile.__init__.__kwdefaults__
        defaults["write"] = write
    if how == "manifest":
        # One write at the start, one at the end; of each: begun, before and after it is renamed.
        name = rng.choice(["fsync", "fsync", "replace"])
        real, passed = getattr(os, name), rng.randint(0, 1)

        def call(*arguments: Any, **further: Any) -> Any:
            nonlocal passed
            passed -= 1
            if passed < 0:
                die()
            return real(*arguments, **further)

        setattr(os, name, call)


def die() -> None:
    """As if killed from outside."""
    os.kill(os.getpid(), signal.SIGKILL)


def rows(out: Path) -> list[bytes]:
    """Whole lines of the table."""
    try:
        data = (out / record.TABLE).read_bytes()
    except FileNotFoundError:
        return []
    return data[: data.rfind(b"\n") + 1].splitlines()


def is_complete(out: Path) -> bool:
    """Whether every case has its row and the manifest says so."""
    manifest = files.read_json_object(out / record.MANIFEST) or {"rows": {}}
    return bool(sum(manifest["rows"].values()) == CASES)


def check_complete(out: Path) -> None:
    """Every case exactly once, and no file beside that does not belong there."""
    frame = read_csv(out / record.TABLE)
    assert sorted(frame["order"]) == list(range(1, CASES + 1)), "every case exactly once"
    assert frame["case_id"].is_unique
    there = {path.name for path in out.iterdir()} - {record.LOCK}
    assert there == {record.TABLE, record.VISITS, record.MANIFEST}, there


if __name__ == "__main__":
    print(dict(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
