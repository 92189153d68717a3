"""Whether a file of machine code may be loaded: whoever wrote it could as well run programs as this user."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from dibench.errors import UserError

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def check(path: Path, *, named: bool = False) -> bool:
    """Whether there is such a file. It and its directory are this user's or root's, and closed to others.

    Args:
        path: the file.
        named: the user named its directory, so its owner and group are trusted (files that were unpacked have
            others); only what everybody may write is refused.

    Raises:
        UserError: there is one, and others own or may change it or its directory; the message has the remedy.
    """
    for each in (path, path.parent):
        try:
            found = each.stat()
        except OSError:
            return False
        if not named and found.st_uid not in (os.geteuid(), 0):
            rule = "is another user's, who could change what runs: chown it, or use another directory"
            raise UserError("", rule, f"user id {found.st_uid}", where=each)
        if found.st_mode & (stat.S_IWOTH if named else _OTHERS_WRITE):
            rule = "can be written by others, who could change what runs: chmod go-w it and what is in it"
            raise UserError("", rule, f"{stat.S_IMODE(found.st_mode):o}", where=each)
    return True


def directory(path: Path) -> None:
    """Make a directory that only this user writes, whatever the umask; those above it, too."""
    for each in reversed((path, *path.parents)):
        with contextlib.suppress(FileExistsError):
            each.mkdir(mode=0o755)


def only_ours(descriptor: int) -> None:
    """Take the right to write a new file from everybody else, whatever the umask gave."""
    os.fchmod(descriptor, os.fstat(descriptor).st_mode & ~_OTHERS_WRITE)
