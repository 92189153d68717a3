"""Programs that tests start, watch and kill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent


def environment(**further: str) -> dict[str, str]:
    """With the tree and its tests to be imported from; as if started by hand."""
    path = os.pathsep.join([str(HERE.parents[1]), str(HERE), *filter(None, sys.path)])
    known = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    return {**known, "PYTHONPATH": path, **further}


def sanitized(**further: str) -> dict[str, str]:
    """For a program that loads what -fsanitize=address built.

    Preloads the sanitizer, and libstdc++: it looks for what throws exceptions when it is loaded itself.
    """
    libraries = [
        subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout
        for name in ("libasan.so", "libstdc++.so")
    ]
    preload = ":".join(path.strip() for path in libraries)
    return environment(LD_PRELOAD=preload, ASAN_OPTIONS="detect_leaks=0", **further)


def sanitized_isa(best: str) -> list[str]:
    """Options of references.build: one instruction set that this machine runs, to save compiling."""
    return ["--isas", {"x86-64-v4": "v3", "x86-64-v3": "v3", "x86-64-v2": "v2"}.get(best, "base")]


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
