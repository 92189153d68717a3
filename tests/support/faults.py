"""Verbs run under faults: killed, signalled, or refused by the disk at a chosen file call or instant.

`Verbs` starts a program that has imported dibench already. Each run is a fork of it, and so are the workers
and verbs that it starts, so that it costs its own work and no start of Python. faults.c, preloaded there,
counts the file calls of the run and of every process that it starts, and makes that of a given number fail.

    with Verbs(folder) as verbs:
        verbs.run(["merge", "a", "b", "--out", "c"], place, Fault(at=7, error=errno.ENOSPC))
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import math
import os
import pkgutil
import runpy
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
from processes import HERE, children, environment

_PLAN = struct.Struct("qqii64s4096s")
_PR_SET_CHILD_SUBREAPER = 36
LONGEST_S, HUNG = 120.0, 124
"""After so long a run is killed, and that is its status."""
MODULES = "modules"
"""Where an undisturbed run tells what it has imported, so that the next one finds it there."""


@attrs.frozen
class Fault:
    """What goes wrong in one run; by default nothing."""

    at: int = 0
    """The file call that fails, counted from 1; 0: none."""
    error: int = 0
    """What it returns; 0: it kills its process."""
    on: bool = False
    """Whether all later ones fail, too."""
    after_s: float | None = None
    """Seconds after the start when the signal comes."""
    signal: int = int(signal.SIGKILL)
    everyone: bool = False
    """Whether the signal goes to the verb's workers, too, as a batch system sends it."""


NOTHING = Fault()


@attrs.frozen
class Ended:
    """How a run ended."""

    status: int
    """As of `subprocess`: negative where a signal ended it."""
    errors: str
    calls: int
    """File calls that it made."""
    failed: str
    """The call that failed; empty where it made fewer."""
    seconds: float
    stray: int
    """Processes that lived on, and were killed."""


def build(folder: Path) -> Path:
    """Compile faults.c into a folder.

    Raises:
        FileNotFoundError: this is not Linux, or there is no C compiler.
    """
    library = folder / "faults.so"
    command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(HERE / "faults.c"), "-ldl"]
    if not sys.platform.startswith("linux") or shutil.which(command[0]) is None:
        raise FileNotFoundError("needs Linux and a C compiler")
    subprocess.run(command, check=True)
    return library


class Verbs:
    """Runs verbs; `folder` has what it needs itself and must not be among what the verbs write."""

    def __init__(self, folder: Path, modules: Sequence[str] = ()) -> None:
        """Start the program, with these modules imported beside dibench."""
        folder.mkdir(parents=True, exist_ok=True)
        self._plan, self._errors = folder / "plan", folder / "errors"
        self._plan.write_bytes(bytes(_PLAN.size))
        env = environment(LD_PRELOAD=str(build(folder)), FAULTS=str(self._plan), OPENBLAS_NUM_THREADS="1")
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__)), str(self._errors), *modules],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
            process_group=0,  # Ctrl-C is for whom runs the verbs
        )  # fmt: skip

    def __enter__(self) -> Verbs:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the program."""
        self._server.communicate()

    def run(
        self,
        words: Sequence[str],
        place: Path,
        fault: Fault = Fault(),
        patches: Sequence[str] = (),
        **env: str,
    ) -> Ended:
        """Run one command line.

        Args:
            words: behind `python -m dibench`.
            place: where file calls count; the verb runs there.
            fault: what goes wrong.
            patches: each `module:function`, called before the verb starts.
            env: further environment.
        """
        assert self._server.stdin is not None and self._server.stdout is not None
        plan = (0, fault.at, fault.error, fault.on, b"", os.fsencode(place.resolve()))
        with self._plan.open("r+b") as file:  # which is mapped there: never replaced
            file.write(_PLAN.pack(*plan))
        asked = {
            "words": list(words),
            "place": str(place),
            "env": env,
            "patches": list(patches),
            "tell": fault == Fault(),
        }
        strike = {"after_s": fault.after_s, "signal": int(fault.signal), "everyone": fault.everyone}
        print(json.dumps({**asked, **strike}), file=self._server.stdin, flush=True)
        told: dict[str, Any] = json.loads(self._server.stdout.readline())
        calls, _, _, _, failed, _ = _PLAN.unpack(self._plan.read_bytes())
        errors = self._errors.read_text(errors="replace")
        return Ended(errors=errors, calls=calls, failed=failed.rstrip(b"\0").decode(), **told)


def _serve(errors: Path, modules: Sequence[str]) -> None:
    """Fork a process for each line of standard input, until that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    import dibench

    ours = (module.name for module in pkgutil.walk_packages(dibench.__path__, "dibench."))
    for name in (*ours, *modules):
        if not name.endswith("__main__"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    subprocess.Popen._execute_child = _execute_child  # type: ignore[attr-defined]
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        asked = json.loads(line)
        begin = time.monotonic()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        pid = os.fork()
        if pid == 0:
            answers.close()
            _become(asked, errors)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        status = _wait(pid, asked, begin)
        seconds = time.monotonic() - begin
        if asked["tell"]:
            for name in errors.with_name(MODULES).read_text().split("\n"):
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
            gc.collect()
            gc.freeze()  # memory that is shared with a fork stays shared
        print(json.dumps({"status": status, "seconds": seconds, "stray": _reap()}), file=answers, flush=True)


def _become(asked: dict[str, Any], errors: Path) -> None:
    """The process of a run."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nothing, stream)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND), 2)
    os.environ.update(asked["env"])
    os.chdir(asked["place"])
    tempfile.tempdir = None
    sys.argv = ["dibench", *asked["words"]]
    # As a terminal starts it, not as `nohup` or `&` do; while modules load, a signal ends it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for patch in asked["patches"]:
        module, _, name = patch.partition(":")
        getattr(importlib.import_module(module), name)()
    from dibench.__main__ import start

    status = _ended(start)
    if asked["tell"]:
        errors.with_name(MODULES).write_text("\n".join(sys.modules))
    os._exit(status)


def _ended(program: Callable[[], object]) -> int:
    """The exit status of a program that ends as Python does, but for its memory, which is slow to free."""
    status = 0
    try:
        program()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]  # as Python ends
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    return status


_execute: Any = subprocess.Popen._execute_child  # type: ignore[attr-defined]


def _execute_child(self: Any, args: Any, *further: Any) -> None:
    """As of `subprocess.Popen`; `python -m MODULE …` is forked instead of executed."""
    if list(args[:2]) != [sys.executable, "-m"]:
        _execute(self, args, *further)
        return
    _, _, _, kept, cwd, env, *_ = further
    stdin, to_stdin, from_stdout, stdout, from_stderr, stderr = further[9:15]
    # A program that is executed has none of our handlers: no signal may come before the fork has lost them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    self.pid = os.fork()
    if self.pid == 0:
        try:
            if further[21] >= 0:
                os.setpgid(0, further[21])
            _become_module(list(args[2:]), (stdin, stdout, stderr), kept, cwd, env)
        finally:
            os._exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    self._child_created = True
    self._close_pipe_fds(stdin, to_stdin, from_stdout, stdout, from_stderr, stderr)


def _become_module(words: list[str], streams: Sequence[int], kept: Sequence[int], cwd: Any, env: Any) -> None:
    """The process of `python -m` those words."""
    for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    copies = [stream if stream == -1 else os.dup(stream) for stream in streams]
    for stream, copy in enumerate(copies):
        if copy != -1:
            os.dup2(copy, stream)
    for descriptor in {int(path.name) for path in Path("/proc/self/fd").iterdir()} - {0, 1, 2, *kept}:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    if env is not None:
        os.environ.clear()
        os.environ.update(env)
    os.chdir(cwd or ".")
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    sys.argv = words
    os._exit(_ended(lambda: runpy.run_module(words[0], run_name="__main__", alter_sys=True)))


def _wait(pid: int, asked: dict[str, Any], begin: float) -> int:
    """Strike when it is time; the status of the run."""
    end = begin + LONGEST_S
    strike_at = math.inf if asked["after_s"] is None else begin + asked["after_s"]
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return HUNG if time.monotonic() >= end else os.waitstatus_to_exitcode(status)
        now = time.monotonic()
        if now >= end:
            os.kill(pid, signal.SIGKILL)
        if now >= strike_at:
            for struck in [*(_family(pid) if asked["everyone"] else ()), pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(struck, asked["signal"])
            strike_at = math.inf
        time.sleep(0.002)


def _family(pid: int) -> list[int]:
    """All that descends from a process."""
    found = children(pid)
    return [*found, *(one for child in found for one in _family(child))]


def _reap() -> int:
    """Wait for what a killed run left; how many of them had to be killed."""
    strays, patience = 0, time.monotonic() + 5.0
    while True:
        try:
            found, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return strays
        if not found and time.monotonic() > patience:
            for pid in children(os.getpid()):
                strays += 1
                os.kill(pid, signal.SIGKILL)
            patience += 5.0
        if not found:
            time.sleep(0.002)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), sys.argv[2:])
