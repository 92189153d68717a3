"""Temporary files and directories that no run leaves for ever: what a killed one left, the next one removes.

Each has a name that only dibench gives, `.NAME.XXXXXXXX.dibench`, and is locked by the process that made it.
The kernel releases the lock however that process ends, also for other machines of a shared file system; so
what can be locked belongs to nobody alive. Where a file system has no locks, nothing is removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

_NAME = re.compile(r".+\.[0-9a-f]{8}\.dibench")
_TRIES = 100
USUAL = ("/tmp", "/var/tmp")


@contextlib.contextmanager
def file_beside(path: Path) -> Iterator[tuple[Path, int]]:
    """A new empty file in the same directory, and its descriptor; removed at the end if it is still there.

    Raises:
        OSError: it cannot be made.
    """

    def make(beside: Path) -> int:
        return os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)

    with _owned(path.parent, f".{path.name}", make) as (beside, descriptor):
        yield beside, descriptor


@contextlib.contextmanager
def directory_beside(path: Path) -> Iterator[Path]:
    """A new empty directory in the same directory, for this user alone; removed at the end if it is there.

    Raises:
        OSError: it cannot be made.
    """
    with _owned(path.parent, f".{path.name}", _make_directory) as (beside, _):
        yield beside


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A new empty directory in $TMPDIR, for this user alone; removed at the end.

    Raises:
        OSError: it cannot be made.
    """
    with _owned(usual_directory(), "work", _make_directory) as (directory, _):
        yield directory


def usual_directory() -> Path:
    """$TMPDIR, $TEMP or $TMP, else /tmp or /var/tmp: the first that may be written.

    `tempfile` writes a file to find out, and a program killed just then leaves it there.

    Raises:
        FileNotFoundError: none of them.
    """
    named = (os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    for name in filter(None, (*named, *USUAL)):
        if Path(name).is_dir() and os.access(name, os.W_OK | os.X_OK):
            return Path(name)
    raise FileNotFoundError(errno.ENOENT, "no usable temporary directory")


def is_temporary(path: Path) -> bool:
    """Whether the name is one of those given here.

    >>> is_temporary(Path("a/.sweep.csv.0123abcd.dibench")), is_temporary(Path("sweep.csv"))
    (True, False)
    """
    return _NAME.fullmatch(path.name) is not None


def remove_orphans(folder: Path) -> None:
    """Remove temporary files and directories of this user there that no living process owns."""
    with contextlib.suppress(OSError):
        for path in [path for path in folder.iterdir() if is_temporary(path)]:
            _remove_orphan(path)


def _remove_orphan(path: Path) -> None:
    try:
        descriptor = _opened(path)
    except OSError:
        return
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove(path)
    except OSError:  # its owner lives, or there are no locks here
        return
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, or a directory with all that is in it; what cannot be removed stays."""
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _opened(path: Path) -> int:
    """Never what a link points to."""
    further = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    if stat.S_ISDIR(path.lstat().st_mode):
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | further)
    return os.open(path, os.O_RDWR | further)  # NFS locks only what may be written


def _make_directory(path: Path) -> int:
    path.mkdir(mode=0o700)
    return _opened(path)


@contextlib.contextmanager
def _owned(folder: Path, name: str, make: Callable[[Path], int]) -> Iterator[tuple[Path, int]]:
    remove_orphans(folder)
    path, descriptor = _made(folder, name, make)
    try:
        yield path, descriptor
    finally:
        try:
            remove(path)
        finally:
            os.close(descriptor)


def _made(folder: Path, name: str, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Made and locked. In between another process may take it for an orphan: then there is no such path."""
    for _ in range(_TRIES):
        path = folder / f"{name[:40]}.{secrets.token_hex(4)}.dibench"
        try:
            descriptor = make(path)
        except FileExistsError:
            continue
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(path.lstat(), os.fstat(descriptor)):
                return path, descriptor
        os.close(descriptor)
    raise FileExistsError(f"no name is free in {folder}")
