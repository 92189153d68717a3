"""Child processes: they find the same modules as their parent, and end when it does."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def python_path() -> str:
    """The PYTHONPATH with which a child finds the same modules as this process."""
    return os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; exit at once if it is dead already.

    To the kernel, the parent is the thread that started the process (PR_SET_PDEATHSIG).
    """
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
