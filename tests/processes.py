"""Programs that tests start, watch and kill."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent


def environment(**further: str) -> dict[str, str]:
    """With the tree and its tests to be imported from."""
    path = os.pathsep.join([str(HERE.parent), str(HERE), *filter(None, sys.path)])
    return {**os.environ, "PYTHONPATH": path, **further}


def children(pid: int) -> list[int]:
    """Of all threads of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return found


def alive(pid: int) -> bool:
    """Running, and no corpse that nobody has asked for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(what: Callable[[], object], limit_s: float = 20.0) -> None:
    """Until it is true."""
    deadline = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


def lines(out: Path) -> int:
    """Of the table, its header included."""
    try:
        return (out / "sweep.csv").read_bytes().count(b"\n")
    except OSError:
        return 0
