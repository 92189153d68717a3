"""One sweep at a time in a directory: a lock that ends with its process, however that dies, and names it.

Written by hand because the filelock library (4.3.1, tried) leaves its file behind empty: the message to a
second sweep could not name the process that has to be stopped.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from pathlib import Path

from dibench.errors import UserError
from dibench.files import explained
from dibench.sweep.record import LOCK, ChangedError

_DEAD_OWNER_WAIT_S = 2.0
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class Lock:
    """The exclusive right to write into a directory, as a context manager.

    The directory is made if needed; one that stays empty is removed again. The descriptor is not inheritable:
    a worker never holds the lock of a parent that was killed.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path = directory / LOCK
        self._fd = -1
        self._made: list[Path] = []

    def __enter__(self) -> Lock:
        folder = self._path.parent
        with explained(folder):
            if folder.exists() and not folder.is_dir():
                raise UserError("--out", "must be a directory", str(folder))
            self._made = [each for each in (folder, *folder.parents) if not each.exists()]
            folder.mkdir(parents=True, exist_ok=True)
        try:
            self._wait()
        except BaseException:
            self._remove_made()
            raise
        return self

    def _wait(self) -> None:
        deadline = time.monotonic() + _DEAD_OWNER_WAIT_S
        while not self._try():
            owner = self._owner()
            # The kernel may need an instant to release the lock of a killed sweep.
            if (owner is None or _is_gone(owner)) and time.monotonic() < deadline:
                time.sleep(0.01)
                continue
            who = f"process {owner}" if owner else "another process"
            rule = f"is in use by another sweep ({who}): wait for it, stop it, or take another --out"
            raise UserError("--out", rule, where=self._path.parent)

    def _try(self) -> bool:
        with explained(self._path.parent):
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The last owner removes its file, and a lock on a removed file excludes no other process.
                held = os.fstat(fd).st_ino == self._path.stat().st_ino
                if held:
                    self._sign(fd)
                    self._fd = fd
            except OSError as error:
                os.close(fd)
                if error.errno in (errno.EWOULDBLOCK, errno.ENOENT):
                    return False
                if error.errno in _NO_LOCKS:
                    rule = (
                        f"is on a file system without locks ({os.strerror(error.errno)}), so nothing would "
                        "keep a second sweep out: take an --out on a local disk and copy it afterwards, or "
                        "have NFS or Lustre mounted with locks (flock)"
                    )
                    raise UserError("--out", rule, where=self._path.parent) from None
                raise
            if not held:
                os.close(fd)
            return held

    def check(self) -> None:
        """Look whether the lock excludes other sweeps still.

        Raises:
            ChangedError: its file was removed or replaced.
        """
        if not self._is_there():
            rule = (
                "was removed by another program while this sweep ran, so a second sweep may write here and "
                "this one ends; what it measured is kept: the same command goes on when no other sweep runs"
            )
            raise ChangedError("", rule, where=self._path)

    def _is_there(self) -> bool:
        """Whether the file at the path is the locked one."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._fd))
        except OSError:
            return False

    def _sign(self, fd: int) -> None:
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError:  # a full disk: leave nothing half-written
            self._path.unlink(missing_ok=True)
            raise

    def _owner(self) -> int | None:
        try:
            return int(self._path.read_text())
        except (OSError, ValueError):
            return None

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            if self._is_there():  # or it is another sweep's
                self._path.unlink()
        os.close(self._fd)
        self._fd = -1
        self._remove_made()

    def _remove_made(self) -> None:
        with contextlib.suppress(OSError):  # stops at the first that is not empty
            for folder in self._made:
                folder.rmdir()


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
