"""Child processes: they find the same modules as their parent, and end when it does.

`python -m dibench.processes PARENT VERB …` runs a verb that ends with its parent, however that ends: nothing
stays behind on the GPU.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

_PR_SET_PDEATHSIG = 1
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def python_path() -> str:
    """The PYTHONPATH with which a child finds the same modules as this process."""
    return os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Signals that raise KeyboardInterrupt in the main thread wait until the end of the block.

    In a Python function that C calls, the exception would be printed and lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in _ENDING}
    heard = {number: handler for number, handler in handlers.items() if callable(handler)}
    came: list[int] = []
    try:
        for number in heard:
            signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; exit at once if it is dead already.

    To the kernel, the parent is the thread that started the process (PR_SET_PDEATHSIG).
    """
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


@attrs.frozen
class Ended:
    """How a verb ended: what it printed, and its exit status, None where its time was up."""

    text: str
    errors: str
    status: int | None

    @property
    def how(self) -> str:
        """In one line: the last one that it printed, or what ended it."""
        if self.status is None:
            return "its time was up"
        if self.status < 0:
            return f"it died: {signal.Signals(-self.status).name}"
        printed = self.text if self.status == 0 or not self.errors else self.errors
        lines = printed.strip().splitlines()
        return lines[-1].strip().removeprefix("dibench: ") if lines else f"exit status {self.status}"


def run_verbs(*verbs: Sequence[str], until: float) -> list[Ended]:
    """Run verbs of this program side by side, each in a process of its own.

    What hangs is killed; what crashes takes nothing along.

    Args:
        verbs: each with its arguments.
        until: instant of `time.monotonic()` at which those still running are killed.
    """
    with contextlib.ExitStack() as stack:
        return [_ended(process, until) for process in [_started(verb, stack) for verb in verbs]]


def _started(verb: Sequence[str], stack: contextlib.ExitStack) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "dibench.processes", str(os.getpid()), *verb],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONPATH": python_path()},
    )
    stack.enter_context(process)
    stack.callback(process.kill)
    return process


def _ended(process: subprocess.Popen[str], until: float) -> Ended:
    status: int | None = None
    try:
        text, errors = process.communicate(timeout=max(0.1, until - time.monotonic()))
        status = process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        text, errors = process.communicate()
    return Ended(text, errors, status)


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    sys.argv[1:] = sys.argv[2:]
    runpy.run_module("dibench", run_name="__main__")
