"""SIGTERM, SIGHUP and SIGQUIT end a command as Ctrl-C does: what is measured is kept, nothing is left over.

A signal that the caller has ignored, as `nohup` and `&` in a script do, stays ignored.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

_LIKE_CTRL_C = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_came: list[int] = []
_heard: list[int] = []
"""Signals that `listen` took over."""


def listen() -> None:
    """From now on, these signals and Ctrl-C raise KeyboardInterrupt in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, *_LIKE_CTRL_C):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _interrupt)
            _heard.append(number)


def listen_no_more() -> None:
    """All is done: these signals end the process again, where an exception would be a traceback."""
    while _heard and threading.current_thread() is threading.main_thread():
        signal.signal(_heard.pop(), signal.SIG_DFL)


def _interrupt(number: int, _: FrameType | None) -> None:
    _came.append(number)
    raise KeyboardInterrupt


def has_come() -> bool:
    """Whether one of these signals has come."""
    return bool(_came)


def status() -> int:
    """The exit status of a command that was interrupted: 128 and the signal, Ctrl-C where none of these came.

    >>> status()
    130
    """
    return 128 + (_came[0] if _came else signal.SIGINT)
