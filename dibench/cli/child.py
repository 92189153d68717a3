"""Verbs of this program as processes of their own: what hangs is ended, what crashes takes nothing along.

`python -m dibench.cli.child PARENT VERB …` is a verb that ends with its parent, however that ends: nothing
stays behind on the GPU.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import attrs

from dibench.processes import python_path


@attrs.frozen
class Ended:
    """How a verb ended: all that it printed, its exit status; None where its time was up."""

    text: str
    status: int | None

    @property
    def how(self) -> str:
        """In one line: the last one that it printed, or what ended it."""
        if self.status is None:
            return "its time was up"
        if self.status < 0:
            return f"it died: {signal.Signals(-self.status).name}"
        lines = self.text.strip().splitlines()
        return lines[-1].strip().removeprefix("dibench: ") if lines else f"exit status {self.status}"


@contextlib.contextmanager
def started(arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A verb, running while the context lasts."""
    with subprocess.Popen(
        [sys.executable, "-m", "dibench.cli.child", str(os.getpid()), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONPATH": python_path()},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str], until: float) -> Ended:
    """Wait for a verb until an instant of `time.monotonic()`, then end it."""
    try:
        text, _ = process.communicate(timeout=max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        text, _ = process.communicate()
        return Ended(text, None)
    return Ended(text, process.returncode)


def run(arguments: Sequence[str], until: float) -> Ended:
    """A verb from begin to end."""
    with started(arguments) as process:
        return ended(process, until)


if __name__ == "__main__":
    from dibench.cli import main
    from dibench.processes import die_with

    die_with(int(sys.argv[1]))
    main(sys.argv[2:])
